"""kernels.distance: both metrics against float64 by the definition, and vectors without a direction."""

import numpy as np
import pytest

from dreamdb_arrow.kernels import distance

RNG = np.random.default_rng(0)


def by_definition(metric, queries, vectors):
    q, v = queries.astype(np.float64), vectors.astype(np.float64)
    if metric == "l2":
        return ((q[:, None] - v[None]) ** 2).sum(axis=2)
    return 1 - (q @ v.T) / (np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(v, axis=1))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize(("q", "n", "d"), [(1, 1, 1), (1, 500, 24), (7, 300, 128), (3, 0, 4)])
def test_fast_and_exact_agree_with_the_definition(metric, q, n, d):
    queries = RNG.standard_normal((q, d), dtype=np.float32)
    vectors = RNG.standard_normal((n, d), dtype=np.float32) * 3
    kernels, expected = distance.METRICS[metric], by_definition(metric, queries, vectors)
    fast = kernels.fast(queries, vectors, None)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, expected, rtol=1e-4, atol=1e-5)
    candidates = np.broadcast_to(vectors, (q, n, d))
    np.testing.assert_allclose(kernels.exact(queries, candidates), expected, rtol=1e-12, atol=1e-12)


def test_norms_that_are_kept_change_nothing():
    queries, vectors = RNG.standard_normal((3, 9)).astype("f4"), RNG.standard_normal((50, 9)).astype("f4")
    kept = distance.cosine_distances(queries, vectors, distance.row_norms(vectors))
    assert np.array_equal(kept, distance.cosine_distances(queries, vectors))


def test_a_vector_without_a_direction_is_at_cosine_distance_one():
    vectors = np.array([[0, 0], [3e38, 3e38], [1e-30, 0], [1, 0]], dtype=np.float32)
    for query, last in (([1, 0], 0.0), ([0, 0], 1.0)):
        queries = np.array([query], dtype=np.float32)
        assert distance.cosine_distances(queries, vectors).tolist() == [[1, 1, 1, last]]
        assert distance.exact_cosine_distances(queries, vectors[None]).tolist() == [[1, 1, 1, last]]


def test_unit_rows_have_length_one_or_zero():
    rows = distance.unit_rows(np.array([[3, 4], [0, 0], [3e38, 3e38]], dtype=np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [0, 0]], rtol=1e-6)


def test_l2_far_from_the_origin_keeps_its_digits():
    vectors = (np.full((100, 8), 1000) + RNG.standard_normal((100, 8)) / 100).astype(np.float32)
    fast = distance.squared_l2_distances(vectors[:1], vectors)
    np.testing.assert_allclose(fast, by_definition("l2", vectors[:1], vectors), rtol=1e-5)


def test_rows_may_be_views_with_gaps():
    records = np.zeros(40, dtype=[("anchor", ">u8"), ("payload", "<f4", (5,))])
    records["payload"] = RNG.standard_normal((40, 5))
    vectors, queries = records["payload"], RNG.standard_normal((2, 5)).astype("f4")
    for kernels in distance.METRICS.values():
        copied = kernels.fast(queries, np.ascontiguousarray(vectors), None)
        np.testing.assert_allclose(kernels.fast(queries, vectors, None), copied, rtol=1e-5, atol=1e-6)
