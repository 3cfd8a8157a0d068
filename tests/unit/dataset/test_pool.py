"""Pools: rows chosen by their codes, then compared by their exact vectors; in one segment and in several."""

import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.search import Report, search
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.vector_compressor import encode_vector_compressor, make_rabitq
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore

N, DIM = 1500, 16
RNG = np.random.default_rng(8)
CENTRES = RNG.standard_normal((20, DIM)) * 2
VECTORS = (CENTRES[RNG.integers(0, 20, N)] + RNG.standard_normal((N, DIM))).astype("f4")
QUERIES = (CENTRES[RNG.integers(0, 20, 12)] + RNG.standard_normal((12, DIM))).astype("f4")
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=[(1, True), (4, False)])
def rows(request):
    bits, factors = request.param
    store = MemoryStore()
    batch = Batch(store)
    coder = make_rabitq(DIM, bits, with_correction_factors=factors)
    address = batch.add("vector-compressor", encode_vector_compressor(coder))
    batch.flush()
    schema = vd.Schema().add_embedding(
        "v", dim=DIM, algorithm="dreamdb.ivf-cosine", compressor=bytes(address), rerank=True
    )
    ds = vd.Dataset.create("x", schema, store, cache_dir=None)
    for part in (slice(0, 1200), slice(1200, N)):
        ds.append({"_anchor": np.arange(N)[part], "v": VECTORS[part]})
        ds.flush()
    return ds._rows


def true(keep):
    held = np.flatnonzero(keep)
    return held[np.argsort(-(QUERIES @ UNIT[held].T), axis=1)[:, :5]]


def test_a_pool_of_all_is_exact_and_a_small_one_nearly(rows):
    report = Report()
    every = true(np.ones(N, bool))
    found, distances = search(rows, "v", QUERIES, 5, nprobe=1000, pool=N, report=report)
    assert found.tolist() == every.tolist()
    exact = 1 - np.take_along_axis(QUERIES @ UNIT.T, every, 1) / np.linalg.norm(QUERIES, axis=1)[:, None]
    np.testing.assert_allclose(distances, exact, atol=1e-5)
    assert report.strategy == f"codes, a pool of {N}"
    few, _ = search(rows, "v", QUERIES, 5, nprobe=1000, pool=150)
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(few, every, strict=True)]) >= 0.9
    one, _ = search(rows, "v", QUERIES[:1], 5, nprobe=1000, pool=150)
    assert one.tolist() == few[:1].tolist()


def test_a_condition_holds_for_a_pool_too(rows, monkeypatch):
    monkeypatch.setattr("dreamdb_arrow.dataset.cells.FEW_ROWS", 0)
    keep = np.arange(N) % 3 == 0
    found, _ = search(rows, "v", QUERIES, 5, nprobe=200, pool=N, allowed=np.flatnonzero(keep))
    assert found.tolist() == true(keep).tolist()


@pytest.mark.parametrize("pool", [0, 4, 2.5])
def test_what_is_no_pool(rows, pool):
    with pytest.raises(InvalidInputError, match="pool"):
        search(rows, "v", QUERIES, 5, nprobe=10, pool=pool)


def test_a_field_without_codes_has_no_pool():
    ds = vd.Dataset.create("x", vd.Schema().add_embedding("v", dim=2), MemoryStore(), cache_dir=None)
    with pytest.raises(InvalidInputError, match="no codes"):
        ds.search("v", [1, 0], 5, nprobe=2, pool=20)


def test_a_pool_needs_cells(rows):
    with pytest.raises(InvalidInputError, match="say nprobe or recall"):
        search(rows, "v", QUERIES, 5, pool=50)
