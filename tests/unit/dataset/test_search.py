"""dataset.search: cells, conditions, recall; against an exact search by definition."""

import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset import cells as planner
from dreamdb_arrow.dataset.search import Report, search
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.store.memory import MemoryStore

DIM, N = 10, 3000
RNG = np.random.default_rng(4)
CENTRES = RNG.standard_normal((30, DIM)) * 2
VECTORS = (CENTRES[RNG.integers(0, 30, N)] + RNG.standard_normal((N, DIM))).astype("f4")
QUERIES = (CENTRES[RNG.integers(0, 30, 25)] + RNG.standard_normal((25, DIM))).astype("f4")
ANCHORS = RNG.permutation(N).astype(np.int64) * 10


@pytest.fixture(scope="module")
def rows():
    schema = vd.Schema().add_embedding("v", dim=DIM, algorithm="dreamdb.ivf-cosine")
    ds = vd.Dataset.create("x", schema, MemoryStore(), cache_dir=None)
    for part in (slice(0, 2000), slice(2000, 2500)):
        ds.append({"_anchor": ANCHORS[part], "v": VECTORS[part]})
        ds.flush()
    ds.append({"_anchor": ANCHORS[2500:], "v": VECTORS[2500:]})
    ds.delete(anchors=ANCHORS[:50])
    return ds._rows


def true(keep, k=10):
    keep = keep & (np.arange(N) >= 50)
    unit = VECTORS[keep] / np.linalg.norm(VECTORS[keep], axis=1, keepdims=True)
    scores = QUERIES @ unit.T
    return ANCHORS[keep][np.argsort(-scores, axis=1, kind="stable")[:, :k]]


def recall(found, wanted):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, wanted, strict=True)])


EVERY = np.ones(N, bool)


def test_without_anything_it_is_exact(rows):
    report = Report()
    found, distances = search(rows, "v", QUERIES, 10, report=report)
    assert recall(found, true(EVERY)) == 1
    assert (np.diff(distances, axis=1) >= 0).all()
    assert (report.strategy, report.rows_scored) == ("exact", N - 50)


def test_all_cells_and_what_no_flush_has_brought_there(rows):
    report = Report()
    found, _ = search(rows, "v", QUERIES, 10, nprobe=10_000, report=report)
    assert recall(found, true(EVERY)) == 1
    assert report.strategy == "cells"
    assert search(rows, "v", QUERIES[:1], 10, nprobe=10_000)[0].tolist() == found[:1].tolist()


@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.99])
def test_as_many_cells_as_a_recall_needs(rows, wanted):
    report = Report()
    found, _ = search(rows, "v", QUERIES, 10, recall=wanted, report=report)
    assert recall(found, true(EVERY)) >= wanted - 0.05
    assert 1 <= report.nprobe < 60


def test_less_recall_reads_fewer_cells(rows):
    read = []
    for wanted in (0.5, 0.9, 0.99):
        report = Report()
        search(rows, "v", QUERIES, 10, recall=wanted, report=report)
        read.append(report.nprobe)
    assert read == sorted(read)
    assert read[0] < read[-1]


@pytest.mark.parametrize("few", [0, 20_000])
@pytest.mark.parametrize("share", [0.003, 0.3])
def test_a_condition_comes_first_and_k_rows_come_back(rows, monkeypatch, few, share):
    monkeypatch.setattr(planner, "FEW_ROWS", few)
    keep = np.random.default_rng(1).random(N) < share
    found, _ = search(rows, "v", QUERIES, 5, nprobe=3, allowed=np.sort(ANCHORS[keep]))
    wanted = true(keep, 5)
    assert found.shape == wanted.shape
    assert np.isin(found, ANCHORS[keep]).all()
    if few:
        assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("few", [0, 20_000])
@pytest.mark.parametrize("options", [{}, {"nprobe": 2}, {"recall": 0.9}])
def test_a_time_range(rows, monkeypatch, few, options):
    monkeypatch.setattr(planner, "FEW_ROWS", few)
    keep = (ANCHORS >= 12_000) & (ANCHORS < 12_600)
    found, _ = search(rows, "v", QUERIES, 5, t0=12_000, t1=12_600, **options)
    assert ((found >= 12_000) & (found < 12_600)).all()
    if few or not options:
        assert found.tolist() == true(keep, 5).tolist()


def test_of_no_rows_nothing_is_found(rows):
    assert search(rows, "v", QUERIES, 5, nprobe=3, allowed=np.empty(0, np.int64))[0].size == 0
    assert search(rows, "v", QUERIES, 5, t0=5, t1=6)[0].size == 0


@pytest.mark.parametrize(
    "options",
    [{"recall": 0}, {"recall": 1.5}, {"recall": "all"}, {"nprobe": 0}, {"nprobe": 2.5}],
)
def test_what_is_no_option(rows, options):
    with pytest.raises(InvalidInputError):
        search(rows, "v", QUERIES, 5, **options)
