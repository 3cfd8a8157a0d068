"""The rows nearest to each row of a matrix, by direction: what a graph is made of. Part of spec 0013."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.kmeans import nearest_centroids, spherical_kmeans
from dreamdb_arrow.kernels.topk import smallest

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

COMPARED: Final = 24_000  # rows that a row is compared with; of so many, all
_NOBODY: Final = -1
_TRAINED: Final = 64  # rows a cell learns from
_BLOCK: Final = 512  # rows compared at a time
_FAR_AWAY: Final = np.float32(np.inf)


def near_rows(unit: F32, k: int, seed: int) -> I32:
    """Return for each row k others near to it, nearest first, int32 (n, k), filled up with -1.

    Rows are compared with those of the cells nearest to their own; of at most `COMPARED` rows, with all.
    """
    count = len(unit)
    cells = 1 if count <= COMPARED else max(2, round(count**0.5))
    order, starts, probed = _cells(unit, cells, -(-cells * COMPARED // count), seed)
    ordered = unit[order]
    found = np.full((count, k), _NOBODY, np.int32)
    for cell in range(cells):
        runs = [np.arange(starts[c], starts[c + 1]) for c in probed[cell].tolist()]
        theirs = np.concatenate(runs)  # its own rows come first
        vectors = np.ascontiguousarray(ordered[theirs].T)
        for first in range(starts[cell], starts[cell + 1], _BLOCK):
            rows = np.arange(first, min(first + _BLOCK, starts[cell + 1]))
            far = -ordered[rows] @ vectors
            far[np.arange(len(rows)), rows - starts[cell]] = _FAR_AWAY
            near = (
                smallest(far, min(k, len(theirs) - 1)) if len(theirs) > 1 else np.empty((len(rows), 0), int)
            )
            found[order[rows], : near.shape[1]] = order[theirs[near]]
    return found


def _cells(unit: F32, cells: int, probes: int, seed: int) -> tuple[I64, I64, I64]:
    """Return rows by cell (n,), where cells begin (c + 1,), and for each cell the nearest ones, itself first (c, p)."""
    if cells == 1:
        return np.arange(len(unit)), np.array([0, len(unit)]), np.zeros((1, 1), np.int64)
    drawn = np.random.default_rng(seed).permutation(len(unit))[: _TRAINED * cells]
    centroids = spherical_kmeans(unit[np.sort(drawn)], cells, seed=seed, rounds=5)
    labels, _ = nearest_centroids(unit, centroids)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(cells + 1))
    far = -centroids @ centroids.T
    np.fill_diagonal(far, -_FAR_AWAY)
    return order, starts, np.argsort(far, axis=1, kind="stable")[:, :probes]


def nearest_among(unit: F32, rows: I64, among: I64, k: int) -> I32:
    """Return for each of the rows the k nearest among some, int32 (m, min(k, a)); a row may find itself."""
    vectors = np.ascontiguousarray(unit[among].T)
    found = np.empty((len(rows), min(k, len(among))), np.int32)
    for at in range(0, len(rows), _BLOCK):
        found[at : at + _BLOCK] = among[smallest(-unit[rows[at : at + _BLOCK]] @ vectors, k)]
    return found
