"""Vector Spaces that we write, opened by the reference SDK: its search finds in them at least what it finds in its own."""

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.spatial import publish_spatial_index
from dreamdb_arrow.objects.spatial_index import make_lsh_cosine, make_lsh_l2
from dreamdb_arrow.store.batch import Batch
from tests.places import url_of

DIM, ROWS, QUERIES, K = 32, 1500, 25, 10
RNG = np.random.default_rng(11)
CENTRES = RNG.standard_normal((40, DIM))
LENGTHS = RNG.uniform(0.5, 4, (ROWS, 1))  # which direction alone decides on, but for l2
GIVEN = ((CENTRES[RNG.integers(0, 40, ROWS)] + RNG.standard_normal((ROWS, DIM)) * 0.6) * LENGTHS).astype("f4")
ASKED = (CENTRES[RNG.integers(0, 40, QUERIES)] + RNG.standard_normal((QUERIES, DIM)) * 0.6).astype("f4")
UNIT = GIVEN / np.linalg.norm(GIVEN, axis=1, keepdims=True)
CODED = {"rabitq1": 1, "rabitq2": 2, "rabitq4": 4, "rabitq8": 8, "pq": None}
KINDS = ("lsh", "lsh-l2", "ivf", "imi", *CODED)
LSH = {"lsh": make_lsh_cosine(DIM, bytes(32), 6), "lsh-l2": make_lsh_l2(DIM, bytes(32), 4.0)}


def vectors_of(kind):
    """What is written: of 2 bits, whose steps suit some lengths more than others, vectors of length one."""
    return UNIT if kind == "rabitq2" else GIVEN


def published(kind, backend, module):
    """What a field of this kind is declared with, published by us or by the reference."""
    if kind in LSH:
        batch = Batch(vd.open_store(backend, create=True))
        address = publish_spatial_index(batch, LSH[kind])
        batch.flush()
        return {"algorithm": LSH[kind].algorithm, "spatial_index": bytes(address)}
    if kind == "imi":
        index = module.train_and_publish_imi_centroids(backend, GIVEN, DIM, 6)
        return {"algorithm": "dreamdb.imi-cosine", "spatial_index": index}
    index = module.train_and_publish_ivf_centroids(backend, GIVEN, DIM, 38)
    options = {"algorithm": "dreamdb.ivf-cosine", "spatial_index": index}
    if kind == "pq":
        options["compressor"] = module.train_and_publish_pq_compressor(backend, GIVEN, DIM, 8, 64)
    elif kind in CODED:
        bits = CODED[kind]
        options["compressor"] = module.publish_rabitq_compressor(
            backend, DIM, bits_per_dim=bits, with_correction_factors=bits == 1
        )
    return options


def write(module, name, backend, options, vectors, **how):
    schema = module.Schema().add_embedding("v", DIM, **options)
    ds = module.Dataset.create(name, schema, backend=backend, **how)
    for first in range(0, ROWS, 500):
        ds.append_many([{"_anchor": at, "v": vectors[at].tolist()} for at in range(first, first + 500)])
    return ds


def truth(kind):
    squares = ((GIVEN[None] - ASKED[:, None]) ** 2).sum(axis=2)
    scores = -squares if kind == "lsh-l2" else ASKED @ UNIT.T
    return [set(row) for row in np.argsort(-scores, axis=1)[:, :K].tolist()]


def recall(found, kind):
    hits = sum(len(set(row) & wanted) for row, wanted in zip(found, truth(kind), strict=True))
    return hits / (QUERIES * K)


def asked_of(ds, options):
    answers = [ds.iter_vector("v", q.tolist(), top_k=K, fields=[], **options) for q in ASKED]
    return [[a for batch in batches for a in batch["_time_anchors"]] for batches in answers]


def options_of(kind, rerank):
    """What is asked with, where not every row is looked at; exact answers need so many cells of these."""
    pool = {"rerank_pool_size": 60} if rerank else {}
    return {"nprobe": {"lsh": 16, "lsh-l2": 3, "imi": 8}.get(kind, 6), **pool}


@pytest.mark.parametrize(
    ("kind", "rerank"),
    [(kind, False) for kind in KINDS] + [(kind, True) for kind in ("ivf", *CODED)],
)
def test_the_reference_finds_in_our_space_what_it_finds_in_its_own(tmp_path, kind, rerank):
    # 0004-R6, 0004-R8, 0004-R10, 0004-R12, 0007-R9, 0007-R11, 0010-R4
    backend = url_of(tmp_path / "space")
    (tmp_path / "space").mkdir(exist_ok=True)
    options = published(kind, backend, vd) | {"rerank": rerank}
    ours = write(vd, "ours", backend, options, vectors_of(kind), cache_dir=tmp_path / "c")
    ours.flush()
    write(dreamdb, "theirs", backend, options, vectors_of(kind))
    how = options_of(kind, rerank)
    in_ours, in_theirs = (
        recall(asked_of(dreamdb.Dataset.open(name, backend=backend), how), kind)
        for name in ("ours", "theirs")
    )
    assert in_ours >= in_theirs > 0.05
    if kind not in CODED or rerank:
        assert in_ours > 0.75
        mine = [
            ours.search("v", q, K, nprobe=how["nprobe"], pool=60 if kind in CODED else None).anchors
            for q in ASKED
        ]
        assert recall([row.tolist() for row in mine], kind) >= in_theirs


@pytest.mark.parametrize("kind", ["ivf", "imi", "pq"])
def test_what_we_train_is_as_good_as_what_the_reference_trains(tmp_path, kind):
    found = {}
    for module in (vd, dreamdb):
        name = module.__name__
        (tmp_path / name).mkdir(exist_ok=True)
        backend = url_of(tmp_path / name)
        options = published(kind, backend, module) | {"rerank": kind == "pq"}
        how = {"cache_dir": tmp_path / "c"} if module is vd else {}
        ds = write(module, "x", backend, options, GIVEN, **how)
        if module is vd:
            ds.flush()
        asked = asked_of(dreamdb.Dataset.open("x", backend=backend), options_of(kind, kind == "pq"))
        found[name] = recall(asked, kind)
    assert found["dreamdb_arrow"] >= found["dreamdb"] - 0.03
