"""Pools: the best rows of some cells by their codes, and of these the nearest by their exact vectors. Spec 0010."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.objects.vector_compressor import VectorCompressor
from dreamdb_arrow.spatial.code_scan import scan_codes
from dreamdb_arrow.spatial.scan import Bools, Found, Keys, Segment, compare_again

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


def scan_pool(
    segments: Sequence[Segment],
    prepared: Sequence[Mapping[str, NDArray[Any]]],
    compressor: VectorCompressor,
    masks: Sequence[Bools | None],
    wanted: Sequence[Keys],
    queries: F32,
    k: int,
    pool: int,
) -> Found:
    """Return the k nearest, by cosine, of the `pool` rows that have the best codes in the cells that each query wants.

    Args:
        segments: the rows, with codes.
        prepared: for each segment what `prepare_codes` gave.
        compressor: whose codes they are.
        masks: for each segment which rows count, bool (n,); None for all.
        wanted: for each query the keys of its cells, best first.
        queries: float32 (q, d).
        k: how many, at least 1 and at most `pool`.
        pool: how many rows are compared by their exact vectors.
    """
    unit = unit_rows(queries)
    rows, scores, base, scored = [], [], 0, 0
    for segment, held, mask in zip(segments, prepared, masks, strict=True):
        assert segment.codes is not None
        cells = [_numbers(segment, keys) for keys in wanted]
        sizes = np.diff(segment.starts)
        scored += int(sum(sizes[mine].sum() for mine in cells))
        found, how_good = scan_codes(segment.codes, held, compressor, unit, cells, segment.starts, pool, mask)
        rows.append(np.where(found < 0, -1, found + base))
        scores.append(how_good)
        base += len(segment)
    chosen = _best(rows, scores, pool) if rows else np.empty((len(queries), 0), np.int64)
    return compare_again(segments, [mine[mine >= 0] for mine in chosen], queries, k, "cosine", scored)


def _numbers(segment: Segment, keys: Keys) -> I64:
    """Return which cells of a segment have these keys, those that are there, in the order of the keys."""
    if not len(segment.keys):
        return np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(segment.keys, keys), len(segment.keys) - 1)
    numbers: I64 = at[segment.keys[at] == keys]
    return numbers


def _best(rows: Sequence[I64], scores: Sequence[F32], pool: int) -> I64:
    joined, how_good = np.concatenate(rows, axis=1), np.concatenate(scores, axis=1)
    if len(rows) == 1:
        return joined
    order = np.argsort(-how_good, axis=1, kind="stable")[:, :pool]
    return np.take_along_axis(joined, order, axis=1)
