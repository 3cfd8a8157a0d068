"""spatial.search: exact answers, the same for any cut into blocks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.errors import InvalidInputError, UnsupportedError
from dreamdb_arrow.kernels.distance import row_norms
from dreamdb_arrow.spatial import search
from dreamdb_arrow.spatial.search import nearest

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((500, 7)).astype(np.float32)
VECTORS[100:200] = VECTORS[:100]  # equal rows: anchors decide
VECTORS[3] = VECTORS[490] = 0
ANCHORS = RNG.permutation(500) * 3
QUERIES = RNG.standard_normal((6, 7)).astype(np.float32)


def by_definition(query, k, metric):
    q, v = query.astype(np.float64), VECTORS.astype(np.float64)
    if metric == "l2":
        distances = ((v - q) ** 2).sum(axis=1)
    else:
        lengths = np.linalg.norm(q) * np.linalg.norm(v, axis=1)
        distances = 1 - np.divide(v @ q, lengths, out=np.zeros(len(v)), where=lengths > 0)
    order = np.lexsort((ANCHORS, distances.round(12)))[:k]
    return ANCHORS[order].tolist(), distances[order]


def cut(stops):
    edges = [0, *sorted(stops), 500]
    return [(ANCHORS[a:b], VECTORS[a:b]) for a, b in pairwise(edges)]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@given(st.lists(st.integers(0, 500), max_size=12), st.integers(1, 520))
def test_equals_the_definition_for_any_cut(metric, stops, k):
    anchors, distances = nearest(cut(stops), QUERIES, k, metric)
    assert anchors.shape == distances.shape == (6, min(k, 500))
    for query, found, values in zip(QUERIES, anchors, distances, strict=True):
        expected, exact = by_definition(query, k, metric)
        assert found.tolist() == expected
        np.testing.assert_allclose(values, exact, atol=1e-12)


def test_small_bounds_on_arrays_change_nothing(monkeypatch):
    expected = nearest(cut([]), QUERIES, 20, "cosine")
    monkeypatch.setattr(search, "row_blocks", lambda n, *_: (slice(a, min(a + 3, n)) for a in range(0, n, 3)))
    for found, wanted in zip(nearest(cut([]), QUERIES, 20, "cosine"), expected, strict=True):
        assert np.array_equal(found, wanted)


def test_norms_that_are_kept_give_the_same():
    block = (ANCHORS, VECTORS, row_norms(VECTORS))
    for metric in ("cosine", "l2"):
        for found, wanted in zip(
            nearest([block], QUERIES, 9, metric), nearest(cut([]), QUERIES, 9, metric), strict=True
        ):
            assert np.array_equal(found, wanted)


def test_a_vector_without_a_direction_is_at_distance_one():
    anchors, distances = nearest(cut([]), QUERIES[0], 500, "cosine")
    at = np.isin(anchors[0], [ANCHORS[3], ANCHORS[490]])
    assert distances[0, at].tolist() == [1, 1]
    assert nearest(cut([]), np.zeros(7), 5, "cosine")[1].tolist() == [[1] * 5]


def test_itself_is_at_distance_zero():
    for metric in ("cosine", "l2"):
        anchors, distances = nearest(cut([]), VECTORS[300], 1, metric)
        assert anchors.tolist() == [[ANCHORS[300]]]
        assert 0 <= distances[0, 0] < 1e-12


def test_nothing_to_search():
    for blocks in ([], [(ANCHORS[:0], VECTORS[:0])]):
        anchors, distances = nearest(blocks, QUERIES, 5, "l2")
        assert anchors.shape == distances.shape == (6, 0)


@pytest.mark.parametrize("k", [0, -3, True, 2.0, None])
def test_k_is_a_count(k):
    with pytest.raises(InvalidInputError, match="k must"):
        nearest([], QUERIES, k, "l2")


@pytest.mark.parametrize("queries", [[], [[]], [np.nan] * 7, [[1] * 7, [np.inf] * 7], np.zeros((1, 1, 7))])
def test_queries_that_are_none(queries):
    with pytest.raises(InvalidInputError, match="quer"):
        nearest([], queries, 1, "l2")


def test_queries_and_vectors_of_two_lengths():
    with pytest.raises(InvalidInputError, match="6 numbers"):
        nearest(cut([]), QUERIES[:, :6], 1, "l2")


def test_an_unknown_metric():
    with pytest.raises(UnsupportedError, match="dot"):
        nearest([], QUERIES, 1, "dot")
