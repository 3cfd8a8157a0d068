"""Cells made anew beside the reference SDK: it opens, searches, appends to and compacts what we file again."""

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from tests.places import url_of

DIM, N = 16, 400
KINDS = ("raw", "rabitq1", "pq")


@pytest.fixture
def backend(tmp_path):
    (tmp_path / "space").mkdir(exist_ok=True)
    return url_of(tmp_path / "space")


def vectors(n=N, seed=7):
    """Return unit rows, three of four in one region."""
    rows = np.random.default_rng(seed).standard_normal((n, DIM))
    rows[n // 4 :] = 1 + 0.3 * rows[n // 4 :]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("f4")


def compressor_of(backend, kind):
    if kind == "raw":
        return None
    if kind == "pq":
        return dreamdb.train_and_publish_pq_compressor(backend, vectors().tolist(), DIM, 4, 16)
    return dreamdb.publish_rabitq_compressor(backend, DIM, bits_per_dim=1, with_correction_factors=True)


def samples(rows, start=0):
    return [{"_anchor": start + at, "n": at, "v": row} for at, row in enumerate(rows)]


def create(backend, kind, module=dreamdb):
    """Make a Space whose cells were trained on the rows of the even quarter."""
    index = dreamdb.train_and_publish_ivf_centroids(backend, vectors()[: N // 4].tolist(), DIM, 12)
    schema = module.Schema().add_scalar_int("n")
    schema = schema.add_embedding(
        "v",
        DIM,
        "dreamdb.ivf-cosine",
        spatial_index=index,
        compressor=compressor_of(backend, kind),
        rerank=kind != "raw",
    )
    return module.Dataset.create("s", schema, backend=backend)


def hits(backend, queries, **options):
    theirs = dreamdb.Dataset.open("s", backend=backend)
    found = []
    for query in queries:
        batches = list(theirs.iter_vector("v", query.tolist(), top_k=10, **options))
        found.append({at for batch in batches for at in batch["_time_anchors"]})
    return found


def nearest(queries, rows):
    return [set(np.argsort(-(rows @ query), kind="stable")[:10].tolist()) for query in queries]


def recall(found, wanted):
    return sum(len(a & b) for a, b in zip(found, wanted, strict=True)) / (10 * len(wanted))


@pytest.mark.parametrize("verb", ["rebuild_ivf", "ada_ivf_step"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_goes_on_with_our_cells(backend, tmp_path, kind, verb):
    create(backend, kind).append_many(samples(vectors()))
    wanted, queries = nearest(vectors()[::20], vectors()), vectors()[::20]
    options = {} if kind == "raw" else {"rerank_pool_size": 500}
    before = recall(hits(backend, queries, nprobe=2, **options), wanted)
    ours = vd.Dataset.open("s", backend=backend, cache_dir=tmp_path / "c")
    held = ours.to_arrow()
    call = {"rebuild_ivf": {"k": 20}, "ada_ivf_step": {"target": 2.0}}[verb]
    assert getattr(ours, verb)("v", **call)["manifest"] == ours.current_manifest()
    assert ours.to_arrow().equals(held)

    assert recall(hits(backend, queries, nprobe=64, **options), wanted) == 1.0
    assert recall(hits(backend, queries, nprobe=8, **options), wanted) >= min(before, 0.95)
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.append_many(samples(vectors(60, 8), start=N))
    theirs.compact()
    assert dreamdb.Dataset.open("s", backend=backend).count() == N + 60
    assert (
        recall(
            hits(backend, queries, nprobe=64, **options),
            nearest(queries, np.concatenate([vectors(), vectors(60, 8)])),
        )
        == 1.0
    )
    assert len(ours.refresh()) == N + 60
    again = ours.ada_ivf_step("v", target=1.5)
    assert again["manifest"] == ours.current_manifest()
    assert dreamdb.Dataset.open("s", backend=backend).count() == N + 60


@pytest.mark.parametrize("kind", KINDS)
def test_older_versions_are_as_they_were_for_the_reference(backend, tmp_path, kind):
    theirs = create(backend, kind)
    theirs.append_many(samples(vectors()))
    version = theirs.snapshot("before")
    vd.Dataset.open("s", backend=backend, cache_dir=tmp_path / "c").rebuild_ivf("v", k=5)
    old = dreamdb.Dataset.open_at(version, backend=backend)
    (first, *_) = old.iter_vector("v", vectors()[3].tolist(), top_k=1)
    assert list(first["_time_anchors"]) == [3]


@pytest.mark.parametrize("rerank", [True, False])
def test_codes_without_exact_vectors_are_filed_by_what_they_say(backend, tmp_path, rerank):
    index = dreamdb.train_and_publish_ivf_centroids(backend, vectors().tolist(), DIM, 4)
    compressor = dreamdb.publish_rabitq_compressor(
        backend, DIM, bits_per_dim=8, with_correction_factors=False
    )
    schema = dreamdb.Schema().add_embedding(
        "v", DIM, "dreamdb.ivf-cosine", spatial_index=index, compressor=compressor, rerank=rerank
    )
    dreamdb.Dataset.create("s", schema, backend=backend).append_many(
        [{"_anchor": at, "v": row} for at, row in enumerate(vectors())]
    )
    ours = vd.Dataset.open("s", backend=backend, cache_dir=tmp_path / "c")
    held = ours.to_arrow()
    ours.rebuild_ivf("v", k=10)
    assert ours.to_arrow().equals(held)
    assert ours.index_status("v", sample=0)["code_bytes"] == N * DIM
    assert recall(hits(backend, vectors()[::20], nprobe=10), nearest(vectors()[::20], vectors())) > 0.8


def test_rows_of_both_sides_are_told_apart(backend, tmp_path):
    ours = create(backend, "raw", vd)
    ours.append_many(samples(vectors()))
    ours.flush()
    dreamdb.Dataset.open("s", backend=backend).append_many(samples(vectors(50, 3), start=1000))
    ours = vd.Dataset.open("s", backend=backend, cache_dir=tmp_path / "c")
    held = ours.to_arrow()
    ours.rebuild_ivf("v", k=10)
    assert ours.to_arrow().equals(held)
    ours.append_many(samples(vectors(20, 4), start=2000))
    ours.flush()
    dreamdb.Dataset.open("s", backend=backend).append_many(samples(vectors(5, 5), start=3000))
    assert len(ours.refresh()) == N + 75
    assert dreamdb.Dataset.open("s", backend=backend).count() == N + 75
    ours.compact()
    assert len(ours) == N + 75
