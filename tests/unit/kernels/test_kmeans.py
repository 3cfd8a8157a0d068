"""kernels.kmeans: centroids are unit, the same each time, and find clusters that are there."""

import numpy as np
import pytest

from dreamdb_arrow.kernels import kmeans
from dreamdb_arrow.kernels.blocks import row_blocks

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((5, 16))
VECTORS = (np.repeat(CENTRES, 40, axis=0) + RNG.standard_normal((200, 16)) / 20).astype(np.float32)


def test_unit_and_repeatable():
    first = kmeans.spherical_kmeans(VECTORS, 7, seed=3)
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-6)
    assert np.array_equal(first, kmeans.spherical_kmeans(VECTORS, 7, seed=3))
    assert not np.array_equal(first, kmeans.spherical_kmeans(VECTORS, 7, seed=4))


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_one_cluster_share_a_centroid(seed):
    centroids = kmeans.spherical_kmeans(VECTORS, 40, seed=seed)
    _, best = kmeans.nearest_centroids(VECTORS, centroids)
    assert (best / np.linalg.norm(VECTORS, axis=1)).min() > 0.98


def test_blocks_make_no_difference(monkeypatch):
    centroids = kmeans.spherical_kmeans(VECTORS, 9)
    labels, best = kmeans.nearest_centroids(VECTORS, centroids)
    means = kmeans._mean_directions(VECTORS, labels, 10)
    monkeypatch.setattr(kmeans, "row_blocks", lambda count, size: row_blocks(count, size, 7 * size))
    again = kmeans.nearest_centroids(VECTORS, centroids)
    assert np.array_equal(labels, again[0])
    np.testing.assert_allclose(best, again[1], rtol=1e-6)
    np.testing.assert_allclose(kmeans._mean_directions(VECTORS, labels, 10), means, atol=1e-6)
    assert not means[9].any()
    sums = np.array([VECTORS[labels == label].sum(axis=0, dtype="f8") for label in range(9)])
    np.testing.assert_allclose(means[:9], sums / np.linalg.norm(sums, axis=1, keepdims=True), atol=1e-6)


def test_more_centroids_than_distinct_rows():
    centroids = kmeans.spherical_kmeans(np.ones((6, 3), dtype=np.float32), 4)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-6)


def test_of_equal_products_the_lower_centroid():
    labels, best = kmeans.nearest_centroids(
        np.eye(3, dtype=np.float32)[:1], np.ones((4, 3), dtype=np.float32)
    )
    assert (labels.tolist(), best.tolist()) == ([0], [1])
