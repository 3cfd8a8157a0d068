"""Spherical k-means: unit centroids for rows by direction; same input, seed and machine, same output. Spec 0004."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.distance import unit_rows

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

ROUNDS: Final = 10


def nearest_centroids(vectors: F32, centroids: F32) -> tuple[I64, F32]:
    """Return for each vector (n, d) the centroid (k, d) of the largest dot product, and that product.

    Returns:
        int64 (n,), the lower index of equal ones, and float32 (n,).
    """
    assert vectors.shape[1] == centroids.shape[1]
    labels = np.empty(len(vectors), dtype=np.int64)
    best = np.empty(len(vectors), dtype=np.float32)
    columns = np.ascontiguousarray(centroids.T, dtype=np.float32)
    room: F32 | None = None
    for rows in row_blocks(len(vectors), 4 * len(centroids)):
        if room is None:  # one for all blocks: fresh memory costs as much as a fifth of the products
            room = np.empty((rows.stop - rows.start, len(centroids)), dtype=np.float32)
        products = np.matmul(vectors[rows], columns, out=room[: rows.stop - rows.start])
        labels[rows] = products.argmax(axis=1)
        best[rows] = np.take_along_axis(products, labels[rows, None], axis=1)[:, 0]
    return labels, best


def spherical_kmeans(vectors: F32, k: int, *, seed: int = 0, rounds: int = ROUNDS) -> F32:
    """Return k unit centroids of the rows (n, d), n >= k: float32 (k, d).

    Starts from k rows drawn by the seed; a centroid that lost all its rows moves to one that fits its own worst.
    """
    assert vectors.ndim == 2
    assert 1 <= k <= len(vectors)
    unit = unit_rows(vectors)
    drawn = np.random.default_rng(seed).choice(len(unit), size=k, replace=False)
    centroids = unit[np.sort(drawn)]
    for _ in range(rounds):
        labels, best = nearest_centroids(unit, centroids)
        moved = _mean_directions(unit, labels, k)
        empty = np.flatnonzero(np.bincount(labels, minlength=k) == 0)
        moved[empty] = unit[np.argsort(best, kind="stable")[: len(empty)]]
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def _mean_directions(unit: F32, labels: I64, k: int) -> F32:
    """Return the direction of the sum of each label's rows, float32 (k, d); zero where there is none."""
    sums = np.zeros((k, unit.shape[1]), dtype=np.float64)
    for rows in row_blocks(len(unit), 4 * unit.shape[1]):  # in blocks, since rows by label are a copy
        order = np.argsort(labels[rows], kind="stable")
        present, starts = np.unique(labels[rows][order], return_index=True)
        sums[present] += np.add.reduceat(unit[rows][order], starts, axis=0)
    return unit_rows(sums.astype(np.float32))
