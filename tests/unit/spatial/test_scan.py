"""spatial.scan: the same rows as an exact search over the cells that are read, one query or many, in any segments."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.kernels.distance import inverse_norms, row_norms
from dreamdb_arrow.spatial import batch
from dreamdb_arrow.spatial.scan import Segment, cell_runs, scan_cells
from dreamdb_arrow.spatial.search import nearest

DIM = 9


def segment(seed, rows=300, cells=12, *, unit=False):
    """Rows with anchors of their own, in cells chosen at random."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, DIM)).astype(np.float32)
    if unit:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    elif rows > 7:
        vectors[7] = 0
    cell = np.sort(rng.integers(0, cells, rows))
    names, first = np.unique(cell, return_index=True)
    anchors = rng.permutation(rows).astype(np.int64) * 100 + seed
    order = np.argsort(anchors)
    return Segment(
        keys=np.array([f"{n:05b}" for n in names], "S"),
        starts=np.append(first, rows).astype(np.int64),
        anchors=anchors,
        vectors=vectors,
        inverse=None if unit else inverse_norms(row_norms(vectors)),
        order=order,
        ordered=anchors[order],
    )


def rows_in(segment, keys):
    begins, ends = segment.starts[:-1], segment.starts[1:]
    cells = [np.arange(a, b) for k, a, b in zip(segment.keys, begins, ends, strict=True) if k in set(keys)]
    return np.concatenate([np.arange(0), *cells])


def by_definition(segments, masks, keys, query, k, metric):
    blocks = []
    for held, mask in zip(segments, masks, strict=True):
        rows = rows_in(held, keys)
        rows = rows if mask is None else rows[mask[rows]]
        blocks.append((held.anchors[rows], held.vectors[rows]))
    anchors, distances = nearest(blocks, query[None, :], k, metric)
    return anchors[0], distances[0]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("count", [1, 17])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("alone", [batch._ALONE, 1])
@given(st.integers(0, 20), st.integers(1, 3), st.integers(1, 12), st.sampled_from([1, 5, 40]))
def test_the_nearest_of_the_cells_that_are_read(metric, count, masked, alone, seed, parts, nprobe, k):
    rng = np.random.default_rng(seed)
    segments = [segment(seed + n, rows=(300, 1, 60)[n], unit=n == 2) for n in range(parts)]
    masks = [rng.random(len(s)) < 0.4 if masked and n != 1 else None for n, s in enumerate(segments)]
    queries = rng.standard_normal((count, DIM)).astype(np.float32)
    names = np.array([f"{n:05b}" for n in range(14)], "S")
    wanted = [rng.permutation(names)[:nprobe] for _ in range(count)]
    runs = cell_runs(segments)
    with patch.object(batch, "_ALONE", alone):
        found = scan_cells(segments, masks, runs, runs.places(np.stack(wanted)), queries, k, metric)
    for query, keys, anchors, distances in zip(queries, wanted, found.anchors, found.distances, strict=True):
        true, far = by_definition(segments, masks, keys, query, k, metric)
        assert anchors[: len(true)].tolist() == true.tolist()
        np.testing.assert_array_equal(distances[: len(far)], far)
        assert (anchors[len(true) :] == -1).all()
        assert np.isinf(distances[len(true) :]).all()
    rows = sum(len(rows_in(s, keys)) for s in segments for keys in wanted)
    assert found.scored == rows


def test_cells_that_are_not_there_and_segments_without_rows():
    held, query = segment(1), np.ones((2, DIM), np.float32)
    runs = cell_runs([held])
    found = scan_cells([held], [None], runs, runs.places(np.array([[b"11111"]] * 2)), query, 3, "cosine")
    assert found.anchors.size == 0 or (found.anchors == -1).all()
    for count in (1, 2):
        none = cell_runs([]).places(np.array([[b"0"]] * count))
        assert scan_cells([], [], cell_runs([]), none, query[:count], 3, "cosine").anchors.shape == (count, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"_GROUP": 64},
        {"_PIECE": 3},
        {"_QUERIES": 7},
        {"_WIDER": 2},
        {"_ALONE": 1},
        {"_ALONE": 1, "_SHARED": 99},
        {"_ALONE": 1, "_SHARED": 99, "_BUNCH": 50},
        {"_ALONE": 300, "_SHARED": 99, "_PIECE": 3, "_NUMBERS": 90},
    ],
)
def test_a_batch_however_it_is_cut(monkeypatch, changed):
    segments = [segment(4, rows=900), segment(5, rows=400)]
    runs, queries = cell_runs(segments), np.random.default_rng(1).standard_normal((60, DIM)).astype("f4")
    wanted = np.stack([np.random.default_rng(n).permutation(12)[:9] for n in range(60)])
    wanted[3, 4:] = -1
    want = scan_cells(segments, [None, None], runs, wanted, queries, 10, "cosine")
    for name, value in changed.items():
        monkeypatch.setattr(batch, name, value)
    found = scan_cells(segments, [None, None], runs, wanted, queries, 10, "cosine")
    assert np.array_equal(found.anchors, want.anchors)
    assert np.array_equal(found.distances, want.distances)


def test_rows_are_found_by_anchor():
    held = segment(3)
    wanted = np.sort(np.append(held.anchors[:20], [-5, 10**9, 17]))
    rows = held.rows_of(wanted)
    assert sorted(held.anchors[rows]) == sorted(held.anchors[:20])
    assert held.rows_of(np.empty(0, np.int64)).tolist() == []
