"""Exact search: the k nearest rows of a stream of blocks. Spec 0004.

Each block is compared in float32 by matrix product; its best few more than k are compared again in float64, and
those are merged. So equal rows have equal distances wherever they lie, and answers do not depend on the blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.errors import InvalidInputError, UnsupportedError
from dreamdb_arrow.kernels.blocks import BLOCK_BYTES, row_blocks
from dreamdb_arrow.kernels.distance import METRICS, Metric
from dreamdb_arrow.kernels.topk import smallest
from dreamdb_arrow.spatial.partitioners import check_count

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# anchors int64 (n,), vectors float32 (n, d), and, when somebody keeps them, the rows' lengths float32 (n,)
Block = tuple[I64, F32] | tuple[I64, F32, F32]

_SMALL_ROWS: Final = 4096
SPARE: Final = 8  # candidates beyond k: what float32 may put into another order than float64


def nearest(blocks: Iterable[Block], queries: F32, k: int, metric: str) -> tuple[I64, F64]:
    """Return the k rows nearest to each query, nearest first.

    Args:
        blocks: rows, in any number of blocks of any size; each row counts for itself, also one that is there twice.
        queries: float32 (q, d), or (d,) for one.
        k: how many, at least 1.
        metric: "cosine" (1 - cos; 1 where a vector has no direction) or "l2" (squared distance).

    Returns:
        anchors int64 (q, j) and distances float64 (q, j), j = min(k, rows); equal distances in order of anchors.

    Raises:
        InvalidInputError: a query of another shape or not finite, or a k below 1.
        UnsupportedError: another metric.
    """
    kernels = METRICS.get(metric)
    if kernels is None:
        raise UnsupportedError(f"unknown metric {metric!r}: there are {', '.join(METRICS)}")
    k = check_count("k", k)
    queries = check_queries(queries)
    anchors, distances = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0))
    for block in _joined(blocks):
        for part in _parts(block, queries):
            found = _nearest_in(part, queries, k, kernels)
            anchors, distances = merge_found((anchors, distances), found, k)
    return anchors, distances


def check_queries(queries: F32) -> F32:
    """Return queries as float32 (q, d); raises InvalidInputError for other shapes and for NaN and infinity."""
    queries = np.atleast_2d(np.asarray(queries, dtype=np.float32))
    if queries.ndim != 2 or not queries.size:
        raise InvalidInputError(f"queries are (q, d), or (d,) for one; found shape {queries.shape}")
    finite = np.isfinite(queries).all(axis=1)
    if not finite.all():
        raise InvalidInputError(f"query {finite.argmin()} holds NaN or infinity")
    return queries


def _joined(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the same rows in blocks that are not small: cells of a hundred rows cost more to visit than to copy."""
    waiting: list[Block] = []
    rows = 0
    for block in blocks:
        if waiting and len(block) != len(waiting[0]):
            yield _concatenated(waiting)
            waiting, rows = [], 0
        waiting.append(block)
        rows += len(block[0])
        if rows >= _SMALL_ROWS:
            yield _concatenated(waiting)
            waiting, rows = [], 0
    if rows:
        yield _concatenated(waiting)


def _concatenated(blocks: list[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    return tuple(np.concatenate(column) for column in zip(*blocks, strict=True))  # type: ignore[return-value]


def _parts(block: Block, queries: F32) -> Iterator[Block]:
    """Cut a block so that neither its rows nor their distances take more than a bounded array."""
    vectors = block[1]
    if vectors.ndim != 2 or vectors.shape[1] != queries.shape[1]:
        raise InvalidInputError(f"queries of {queries.shape[1]} numbers, vectors of shape {vectors.shape}")
    for rows in row_blocks(len(vectors), 4 * max(queries.shape)):
        yield tuple(column[rows] for column in block)  # type: ignore[misc]


def _nearest_in(block: Block, queries: F32, k: int, kernels: Metric) -> tuple[I64, F64]:
    """Return the k + SPARE nearest rows of one part, with exact distances: int64, float64 (q, c)."""
    anchors, vectors = block[:2]
    norms = block[2] if len(block) == 3 else None
    chosen = smallest(kernels.fast(queries, vectors, norms), k + SPARE, anchors)
    distances = np.empty(chosen.shape)
    for rows in row_blocks(len(queries), 8 * chosen.shape[1] * queries.shape[1], 2 * BLOCK_BYTES):
        distances[rows] = kernels.exact(queries[rows], vectors[chosen[rows]])
    return anchors[chosen], distances


def merge_found(left: tuple[I64, F64], right: tuple[I64, F64], k: int) -> tuple[I64, F64]:
    """Return the k nearest of two answers to the same queries, each (anchors, distances) of shape (q, j)."""
    anchors = np.concatenate([left[0], right[0]], axis=1)
    distances = np.concatenate([left[1], right[1]], axis=1)
    best = smallest(distances, k, anchors)
    return np.take_along_axis(anchors, best, axis=1), np.take_along_axis(distances, best, axis=1)
