"""Indexes and compressors that are published before their field: what goes in, what comes out, and the same each time."""

import inspect

import dreamdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.projection import spatial_index_address
from dreamdb_arrow.dataset.samples import draw, vector_blocks
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.objects.vector_compressor import codebook_rows, make_rabitq
from dreamdb_arrow.spatial.training import cells_for
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.vectors import load_compressor
from tests.places import url_of

DIM = 8
VECTORS = np.random.default_rng(0).standard_normal((600, DIM)).astype("f4")
SEED = bytes(range(32))
FUNCTIONS = (
    "train_and_publish_ivf_centroids",
    "train_and_publish_imi_centroids",
    "publish_rabitq_compressor",
    "train_and_publish_pq_compressor",
)


def index_at(store, address):
    assert len(address) == 33
    return load_spatial_index(store, Address(address))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_are_those_of_the_reference(name):
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (vd, dreamdb))
    assert [n for n in ours if n != "expected_rows"] == list(theirs)
    for given, said in theirs.items():
        assert ours[given].default == said.default or said.default is inspect.Parameter.empty, given


def test_default_sizes():
    assert [cells_for(n) for n in (0, 31, 64, 400, 4096, 10_000, 1_000_000)] == [1, 1, 2, 12, 128, 200, 2000]
    store = MemoryStore()
    index = index_at(store, vd.train_and_publish_ivf_centroids(store, VECTORS, DIM))
    assert (index.params.k, index.dim) == (18, DIM)
    expecting = vd.train_and_publish_ivf_centroids(store, VECTORS, DIM, expected_rows=3200)
    assert index_at(store, expecting).params.k == 100
    assert index_at(store, vd.train_and_publish_imi_centroids(store, VECTORS, DIM)).params.k_sub == 4
    expecting = vd.train_and_publish_imi_centroids(store, VECTORS, DIM, expected_rows=3200)
    assert index_at(store, expecting).params.k_sub == 10


def fixed_list():
    return pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.reshape(-1)), DIM)


def table():
    return pa.table({"n": pa.array(range(600)), "v": fixed_list()})


FORMS = {
    "lists": VECTORS.tolist,
    "rows": lambda: list(VECTORS),
    "float64": lambda: VECTORS.astype("f8"),
    "big-endian": lambda: VECTORS.astype(">f4"),
    "columns first": lambda: np.asfortranarray(VECTORS),
    "arrow": fixed_list,
    "chunks": lambda: pa.chunked_array([fixed_list()[:99], fixed_list()[99:]]),
    "table": table,
    "reader": lambda: table().to_reader(max_chunksize=70),
    "polars": lambda: pl.from_arrow(table()),
    "polars series": lambda: pl.from_arrow(table())["v"],
    "batches": lambda: table().to_batches(max_chunksize=70),
    "a generator": lambda: (VECTORS[at : at + 7] for at in range(0, 600, 7)),
    "a list of arrays": lambda: [VECTORS[:10], VECTORS[10:]],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_sample_in_any_form_gives_the_same_index(form):
    store = MemoryStore()
    wanted = vd.train_and_publish_ivf_centroids(store, VECTORS, DIM, 5, seed=SEED)
    assert vd.train_and_publish_ivf_centroids(store, FORMS[form](), DIM, 5, seed=SEED) == wanted
    assert vd.train_and_publish_ivf_centroids(store, VECTORS, DIM, 5) != wanted


@pytest.mark.parametrize("cut", [1, 7, 64, 600])
def test_what_is_drawn_does_not_go_by_how_the_stream_is_cut(cut):
    rows, seen = draw((VECTORS[at : at + cut] for at in range(0, 600, cut)), DIM, 40, 3)
    again, _ = draw(VECTORS, DIM, 40, 3)
    assert (len(rows), seen) == (40, 600)
    np.testing.assert_array_equal(rows, again)
    places = [int(np.flatnonzero((row == VECTORS).all(axis=1))[0]) for row in rows]
    assert places == sorted(set(places))
    assert min(places) < 100
    assert max(places) > 500
    other, _ = draw(VECTORS, DIM, 40, 4)
    assert not np.array_equal(rows, other)


def test_a_long_stream_is_never_held_whole():
    most = 0

    def batches():
        nonlocal most
        for _ in range(300):
            block = np.random.default_rng(0).standard_normal((1000, DIM)).astype("f4")
            most = max(most, pa.total_allocated_bytes())
            yield block

    rows, seen = draw(batches(), DIM, 500, 0)
    assert (rows.shape, seen) == ((500, DIM), 300_000)
    assert most < 10 << 20
    assert sum(len(block) for block in vector_blocks(VECTORS, DIM)) == 600


@pytest.mark.parametrize(("bits", "factors"), [(1, True), (1, False), (2, True), (4, False), (8, True)])
def test_rabitq_is_what_the_reference_publishes(tmp_path, bits, factors):
    (tmp_path / "theirs").mkdir()
    for seed in (None, SEED):
        ours = vd.publish_rabitq_compressor(
            tmp_path / "ours", DIM, seed, bits, with_correction_factors=factors
        )
        theirs = dreamdb.publish_rabitq_compressor(
            f"file://{tmp_path}/theirs", DIM, seed, bits, with_correction_factors=factors and bits == 1
        )
        assert ours == theirs
    made = load_compressor(vd.open_store(tmp_path / "ours"), Address(ours))
    assert made == make_rabitq(DIM, bits, SEED, with_correction_factors=factors and bits == 1)


def test_pq_has_unit_rows_and_its_seed():
    store = MemoryStore()
    address = vd.train_and_publish_pq_compressor(store, VECTORS, DIM, 4, 16, seed=SEED)
    assert address == vd.train_and_publish_pq_compressor(store, VECTORS.tolist(), DIM, 4, 16, seed=SEED)
    made = load_compressor(store, Address(address))
    assert (made.dim, made.code_bytes, made.params.training_seed) == (DIM, 4, SEED)
    books = codebook_rows(made)
    assert books.shape == (4, 16, 2)
    np.testing.assert_allclose(np.linalg.norm(books, axis=2), 1, rtol=1e-5)
    default = load_compressor(store, Address(vd.train_and_publish_pq_compressor(store, VECTORS, DIM, 2)))
    assert default.params.k == 256


def test_an_index_may_be_bound_to_a_spec():
    store = MemoryStore()
    spec = bytes([0x1E]) + bytes(32)
    plain = vd.train_and_publish_ivf_centroids(store, VECTORS, DIM, 4)
    bound = vd.train_and_publish_ivf_centroids(store, VECTORS, DIM, 4, spec_id=spec)
    assert bound != plain
    assert (index_at(store, plain).spec, index_at(store, bound).spec) == (None, spec)


def bad(at, value):
    vectors = VECTORS.copy()
    vectors[at] = value
    return vectors


IVF, IMI, RABITQ, PQ = (getattr(vd, name) for name in FUNCTIONS)
WRONG = [
    (IVF, (VECTORS, 9), "expected numbers (n, 9)"),
    (IVF, (VECTORS[0], DIM), "expected numbers (n, 8)"),
    (IVF, (np.empty((0, DIM)), DIM), "k=1 needs as many vectors at least, the sample has 0"),
    (IVF, (VECTORS, DIM, 601), "k=601 needs as many vectors at least, the sample has 600"),
    (IVF, (VECTORS, DIM, 0), "k must be"),
    (IVF, (VECTORS, 0), "dim must be"),
    (IVF, (VECTORS, DIM, 2, 0), "iterations must be"),
    (IVF, (VECTORS, DIM, 2, 1, b"x"), "seed must be 32 bytes"),
    (IVF, (VECTORS, DIM, 2, 1, None, b"x"), "spec_id must be an address of 33 bytes"),
    (IVF, (VECTORS, DIM, 2, 1, None, bytes(33)), "spec_id must be an address of 33 bytes"),
    (IVF, (bad(599, np.nan), DIM, 2), "row 599: the vector holds NaN"),
    (IVF, (bad(41, 0), DIM, 2), "row 41: the vector is all zeros"),
    (IVF, ([VECTORS[:300], bad(301, np.inf)[300:]], DIM, 2), "row 301: the vector holds NaN or an infinity"),
    (IVF, ("text", DIM), "not str"),
    (IVF, (["text"], DIM), "no array of numbers"),
    (IVF, (VECTORS > 0, DIM), "expected numbers"),
    (IVF, ([[1.0], [1.0, 2.0]], DIM), "no array of numbers"),
    (IVF, (pa.table({"a": [1], "b": [2]}), DIM), "a, b: select one"),
    (IVF, (pa.array([None, *VECTORS.tolist()], pa.list_(pa.float32(), DIM)), DIM), "a vector is missing"),
    (IMI, (VECTORS[:, :7], 7), "must be even"),
    (RABITQ, (DIM, None, 3), "bits_per_dim must be"),
    (RABITQ, (5000,), "dim must be 1 to 4096"),
    (RABITQ, (DIM, b"x"), "seed must be"),
    (PQ, (VECTORS, DIM, 3), "m must divide dim"),
    (PQ, (VECTORS, DIM, 2, 257), "k must be 1 to 256"),
    (PQ, (VECTORS[:9], DIM, 2, 16), "centroids"),
]


@pytest.mark.parametrize(("function", "arguments", "said"), WRONG)
def test_what_cannot_be_is_refused_and_nothing_is_written(function, arguments, said):
    store = MemoryStore()
    with pytest.raises(vd.InvalidInputError) as caught:
        function(store, *arguments)
    assert said in str(caught.value)
    assert list(store.list("")) == []


@pytest.mark.parametrize("algorithm", ["dreamdb.ivf-cosine", "dreamdb.imi-cosine"])
@pytest.mark.parametrize("coded", [None, "exact", "codes"])
def test_a_field_that_began_small_gets_its_cells_when_it_has_rows(tmp_path, algorithm, coded):
    compressor = None if coded is None else vd.publish_rabitq_compressor(tmp_path / "s", DIM)
    schema = vd.Schema().add_embedding("v", DIM, algorithm, compressor=compressor, rerank=coded == "exact")
    ds = vd.Dataset.create("x", schema, tmp_path / "s", cache_dir=tmp_path / "c")

    def cells():
        entry = find_entry(ds.manifest.tracks, "v")
        index = load_spatial_index(ds.space.store, spatial_index_address(ds.manifest, entry.modality))
        return index.params.k if algorithm == "dreamdb.ivf-cosine" else index.params.k_sub**2

    found = []
    for first, stop in ((0, 1), (1, 3), (3, 250), (250, 256), (256, 600)):
        ds.append({"_anchor": np.arange(first, stop), "v": VECTORS[first:stop]})
        ds.flush()
        found.append(cells())
    assert found[:3] == [1, 1, 1]
    assert found[3] == found[4] in (8, 9)
    theirs = dreamdb.Dataset.open("x", backend=url_of(tmp_path / "s"))
    rows = [at for b in theirs.iter_all_batches() for at in b["_time_anchors"]]
    assert sorted(rows) == list(range(600))
    wanted = list(range(0, 300, 7))
    pool = {"rerank_pool_size": 64} if coded == "exact" else {}
    hits = [theirs.iter_vector("v", VECTORS[at].tolist(), 1, nprobe=2, **pool)[0] for at in wanted]
    right = sum(hit["_time_anchors"] == [at] for hit, at in zip(hits, wanted, strict=True))
    assert right == len(wanted) if coded != "codes" else right > 3
    assert ds.to_arrow()["_anchor"].to_pylist() == list(range(600))
    again = [ds.iter_vector("v", VECTORS[at], 1, nprobe=2)[0]["_time_anchors"] for at in wanted]
    assert again == [[at] for at in wanted] if coded != "codes" else len(again) == len(wanted)
