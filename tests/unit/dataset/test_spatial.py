import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.projection import spatial_index_address
from dreamdb_arrow.dataset.spatial import load_spatial_index, publish_spatial_index, trained_index
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.objects.spatial_index import make_imi_cosine, make_ivf_cosine, make_lsh_l2
from dreamdb_arrow.spatial.partitioners import assign_cells
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore

ALGORITHMS = ("dreamdb.lsh-cosine", "dreamdb.lsh-l2", "dreamdb.ivf-cosine", "dreamdb.imi-cosine")
DIM = 8


def create(store, algorithm, name="x", **options):
    schema = vd.Schema().add_embedding("v", dim=DIM, algorithm=algorithm, **options)
    return vd.Dataset.create(name, schema, store, cache_dir=None)


def index_of(ds):
    entry = find_entry(ds.manifest.tracks, "v")
    return load_spatial_index(ds.space.store, spatial_index_address(ds.manifest, entry.modality))


def vectors(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype("f4")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_new_field_has_an_index_at_once(algorithm):
    ds = create(MemoryStore(), algorithm)
    index = index_of(ds)
    assert (index.algorithm, index.dim) == (algorithm, DIM)
    assert len(set(assign_cells(index, vectors(40)).keys)) >= 1
    ds.append({"v": vectors(5)})
    assert ds.iter_vector("v", vectors(5)[3], top_k=1, nprobe=1)[0]["v"][0] == pytest.approx(vectors(5)[3])


def test_hyperplanes_follow_from_the_names():
    first, again, other = (
        index_of(create(MemoryStore(), "dreamdb.lsh-cosine", name)) for name in ("x", "x", "y")
    )
    assert first == again
    assert first != other
    assert index_of(create(MemoryStore(), "dreamdb.lsh-cosine", lsh_bits=6)).bits == 6


@pytest.mark.parametrize("algorithm", ALGORITHMS[2:])
def test_cells_are_trained_on_the_first_flush_and_stay(algorithm):
    ds = create(MemoryStore(), algorithm)
    before = index_of(ds)
    ds.append({"v": vectors(400)})
    assert index_of(ds) == before
    ds.flush()
    trained = index_of(ds)
    cells = len(set(assign_cells(trained, vectors(400)).keys))
    assert 9 <= cells <= 12
    ds.append({"v": vectors(400, seed=1)})
    ds.flush()
    assert index_of(ds) == trained
    exact, probed = (ds.iter_vector("v", vectors(1)[0], top_k=9, nprobe=n)[0]["v"] for n in (None, 1000))
    assert exact == probed


def test_few_vectors_and_lsh_need_no_training():
    ivf = make_ivf_cosine(np.eye(1, DIM, dtype="f4"))
    assert trained_index(ivf, vectors(255)) is ivf
    trained = trained_index(ivf, vectors(256))
    assert trained.params.k == 8
    assert trained_index(trained, vectors(4000)) is trained
    lsh = make_lsh_l2(DIM, bytes(32))
    assert trained_index(lsh, vectors(100)) is lsh


def publish(store, index):
    batch = Batch(store)
    address = publish_spatial_index(batch, index)
    batch.flush()
    return bytes(address)


def test_a_given_index_is_used_and_is_not_trained():
    store = MemoryStore()
    given = make_ivf_cosine(np.eye(5, DIM, dtype="f4"))
    ds = create(store, "dreamdb.ivf-cosine", spatial_index=publish(store, given))
    ds.append({"v": vectors(300)})
    ds.flush()
    assert index_of(ds) == given


def test_a_given_index_must_be_there_and_fit():
    store = MemoryStore()
    half = np.eye(2, DIM // 2, dtype="f4")
    for wrong in (make_imi_cosine(half, half), make_ivf_cosine(np.eye(2, DIM + 1, dtype="f4"))):
        with pytest.raises(vd.InvalidInputError, match=r"field 'v': the given index is dreamdb\."):
            create(store, "dreamdb.ivf-cosine", spatial_index=publish(store, wrong))
    with pytest.raises(vd.NotFoundError, match="spatial-index"):
        create(store, "dreamdb.ivf-cosine", spatial_index=bytes(address_of(b"nothing")))
    with pytest.raises(vd.CorruptDataError):
        create(store, "dreamdb.ivf-cosine", spatial_index=b"short")
    assert store.list_refs() == []
