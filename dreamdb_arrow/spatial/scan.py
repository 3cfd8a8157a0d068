"""Scans of cells that lie side by side: the nearest rows of the cells of each query. Spec 0004.

The rows of a cell are one run of a matrix, so that a query is compared with a cell by one product, whatever the index has
chosen. Many queries are compared with cells as `spatial.batch` does it. The best few more than k are compared again in
float64, as in `spatial.search`: answers do not depend on how rows came to lie together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.blocks import row_blocks, side_by_side
from dreamdb_arrow.kernels.distance import METRICS, inverse_norms, row_norms, unit_rows
from dreamdb_arrow.kernels.tiles import products_by_tile, products_of_few
from dreamdb_arrow.spatial.batch import Part, best_rows
from dreamdb_arrow.spatial.search import SPARE

Bools = NDArray[np.bool_]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Keys = NDArray[np.bytes_]
Cells = list[tuple[int, int, int]]  # where each begins and ends, and where its scores end

_ALIKE: Final = np.float32(1e-6)  # lengths that differ from 1 by less need no division
_CACHED: Final = 1 << 18  # bytes that are worked on at once
_NOTHING: Final = np.float32(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows in the order of their cells.

    keys     of its cells, ascending, bytes (c,)
    starts   where cells begin, and where the last one ends, int64 (c + 1,)
    anchors  int64 (n,)
    vectors  float32 (n, d)
    inverse  one by the length of each vector, float32 (n,), 0 for one without a direction; None when all are 1
    order    the rows by their anchors, int64 (n,), of equal ones the later rows later
    ordered  the anchors in that order, int64 (n,)
    codes    uint8 (n, code_bytes), of a field that has them
    """

    keys: Keys
    starts: I64
    anchors: I64
    vectors: F32
    inverse: F32 | None
    order: I64
    ordered: I64
    codes: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.anchors)

    def rows_of(self, anchors: I64) -> I64:
        """Return the rows of those of these anchors that are there, in their order: int64 (m,)."""
        if not len(self) or not len(anchors):
            return np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self.ordered, anchors), len(self) - 1)
        rows: I64 = self.order[at[self.ordered[at] == anchors]]
        return rows


def inverse_lengths(vectors: F32) -> F32:
    """Return one by the length of each vector, float32 (n,), and 0 for one without a direction."""
    return inverse_norms(row_norms(vectors))


def are_unit(inverse: F32) -> bool:
    """Whether vectors of these inverse lengths may be taken as they are."""
    return bool((np.abs(inverse - 1) < _ALIKE).all())


@dataclass(frozen=True, slots=True, eq=False)
class CellRuns:
    """Where the cells of some segments lie. A cell has a place among all of them; place -1 is a cell without rows.

    keys    of all cells, ascending, bytes (c,)
    begins  where they begin, int64 (segments, c + 1)
    ends    where they end, int64 (segments, c + 1)
    sizes   how many rows each has, int64 (c + 1,)
    """

    keys: Keys
    begins: I64
    ends: I64
    sizes: I64

    def __len__(self) -> int:
        return len(self.keys)

    def places(self, keys: Keys) -> I64:
        """Return the places of the cells of these keys, int64 of the same shape; -1 for one that is not there."""
        if not len(self.keys):
            return np.full(keys.shape, -1, np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)


def cell_runs(segments: Sequence[Segment]) -> CellRuns:
    """Return where the cells of segments lie."""
    held = [segment.keys for segment in segments]
    keys = np.unique(np.concatenate(held)) if held else np.empty(0, "S1")
    begins, ends = (np.zeros((len(segments), len(keys) + 1), np.int64) for _ in range(2))
    for nth, segment in enumerate(segments):
        at = np.searchsorted(keys, segment.keys)
        begins[nth, at], ends[nth, at] = segment.starts[:-1], segment.starts[1:]
    return CellRuns(keys, begins, ends, (ends - begins).sum(axis=0))


@dataclass(slots=True)
class Found:
    """The best rows of each query: anchors int64 (q, j), distances float64 (q, j), nearest first, and how many were scored.

    Rows of -1 and infinity fill up a query that has fewer.
    """

    anchors: I64
    distances: F64
    scored: int = 0


def scan_cells(
    segments: Sequence[Segment],
    masks: Sequence[Bools | None],
    runs: CellRuns,
    wanted: I64,
    queries: F32,
    k: int,
    metric: str,
    unit: F32 | None = None,
) -> Found:
    """Return the k nearest rows of the cells that each query wants.

    Args:
        segments: the rows.
        masks: for each segment which rows count, bool (n,); None for all.
        runs: where the cells of the segments lie.
        wanted: for each query the places of its cells, best first, int64 (q, p).
        queries: float32 (q, d).
        k: how many, at least 1.
        metric: "cosine" or "l2".
        unit: the queries scaled to length one, if they are known.
    """
    if unit is None:
        unit = unit_rows(queries) if metric == "cosine" else queries
    if metric == "cosine" and len(queries) > 1:
        parts = [
            Part(partial(_batch_scores, segment, mask), len(segment), partial(_run_scores, segment, mask))
            for segment, mask in zip(segments, masks, strict=True)
        ]
        rows, _ = best_rows(parts, runs.begins, runs.ends, wanted, unit, k + SPARE)
    else:
        score = _cosine_scores if metric == "cosine" else _l2_scores
        chosen = [
            _scan_one(segments, masks, runs, places, query, k + SPARE, score)
            for query, places in zip(unit, wanted, strict=True)
        ]
        rows = side_by_side(chosen, -1)
    return compare_again(segments, rows, queries, k, metric, int(runs.sizes[wanted].sum()))


def _scan_one(
    segments: Sequence[Segment],
    masks: Sequence[Bools | None],
    runs: CellRuns,
    places: I64,
    query: F32,
    k: int,
    score: Callable[[Segment, Cells, F32], F32],
) -> I64:
    """Return the k best rows of some cells, as numbers that go on from segment to segment."""
    best, found, base = [], [], 0
    for nth, (segment, mask) in enumerate(zip(segments, masks, strict=True)):
        begins, ends = runs.begins[nth, places], runs.ends[nth, places]
        stops = np.cumsum(ends - begins)  # where the scores of each cell end
        cells = list(zip(begins.tolist(), ends.tolist(), stops.tolist(), strict=True))
        scores = score(segment, cells, query)
        if mask is not None:
            scores[~_gathered(mask, cells)] = _NOTHING
        top = _largest(scores, k)
        picked = scores[top]
        if len(top) and (mask is not None or len(segments) > 1):
            top, picked = top[picked > _NOTHING], picked[picked > _NOTHING]
        at = np.searchsorted(stops, top, side="right")
        best.append(picked)
        found.append(top + (ends - stops)[at] + base)
        base += len(segment)
    joined = np.concatenate(found) if found else np.empty(0, np.int64)
    if len(segments) > 1 and len(joined) > k:
        joined = joined[_largest(np.concatenate(best), k)]
    return joined


def _cosine_scores(segment: Segment, cells: Cells, query: F32) -> F32:
    scores = np.empty(cells[-1][2] if cells else 0, np.float32)
    vectors, at = segment.vectors, 0
    for start, stop, end in cells:
        vectors[start:stop].dot(query, out=scores[at:end])
        at = end
    if segment.inverse is not None:
        scores *= _gathered(segment.inverse, cells)
    return scores


def _l2_scores(segment: Segment, cells: Cells, query: F32) -> F32:
    fast = METRICS["l2"].fast
    parts = [-fast(query[None, :], segment.vectors[s:e], None)[0] for s, e, _ in cells]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _batch_scores(segment: Segment, mask: Bools | None, rows: I64, queries: F32) -> F32:
    """Return the scores of rows (g, r) and queries of length one (g, m, d), float32 (g, m, r)."""
    scores = products_by_tile(segment.vectors.take(rows, axis=0, mode="clip"), queries)
    if segment.inverse is not None:
        scores *= segment.inverse.take(rows, mode="clip")[:, None, :]
    if mask is not None:
        np.copyto(scores, _NOTHING, where=~mask.take(rows, mode="clip")[:, None, :])
    return scores


def _run_scores(segment: Segment, mask: Bools | None, start: int, stop: int, queries: F32, out: F32) -> None:
    """Put the scores of some rows in a row and queries of length one (m, d) into `out`, float32 (m, stop - start)."""
    products_of_few(segment.vectors[start:stop], queries, out)
    if segment.inverse is not None:
        out *= segment.inverse[start:stop]
    if mask is not None:
        np.copyto(out, _NOTHING, where=~mask[start:stop])


def _gathered(values: NDArray[Any], cells: Cells) -> NDArray[Any]:
    return np.concatenate([values[:0], *(values[s:e] for s, e, _ in cells)])


def _largest(scores: F32, k: int) -> I64:
    """Return where the k largest are, in any order."""
    if len(scores) <= k:
        return np.arange(len(scores))
    return np.argpartition(scores, len(scores) - k)[len(scores) - k :]


# --- the order that counts ----------------------------------------------------------------------------------


def compare_again(
    segments: Sequence[Segment], rows: I64, queries: F32, k: int, metric: str, scored: int
) -> Found:
    """Return the k nearest of each query's rows, by float64; of equals the lower anchors first.

    Args:
        segments: where the rows lie.
        rows: int64 (q, j), numbers that go on from segment to segment; -1 is no row.
        queries: float32 (q, d).
        k: how many.
        metric: "cosine" or "l2".
        scored: what the answer tells.
    """
    anchors, vectors = rows_of_segments(segments, rows.reshape(-1), queries.shape[1])
    anchors, vectors = anchors.reshape(rows.shape), vectors.reshape(*rows.shape, queries.shape[1])
    distances = np.full(rows.shape, np.inf)
    if rows.shape[1]:
        for part in row_blocks(len(rows), 8 * vectors[0].size, _CACHED):
            distances[part] = METRICS[metric].exact(queries[part], vectors[part])
        distances[rows < 0] = np.inf
    order = np.lexsort((anchors, distances), axis=1)[:, :k]
    each = np.arange(len(order))[:, None]
    return Found(anchors[each, order], distances[each, order], scored)


def rows_of_segments(segments: Sequence[Segment], rows: I64, dim: int) -> tuple[I64, F32]:
    """Return anchors and vectors of rows that are numbered on from segment to segment; -1 is nobody's."""
    if len(segments) == 1 and len(segments[0]):
        return np.where(rows < 0, -1, segments[0].anchors.take(rows, mode="clip")), segments[0].vectors.take(
            rows, axis=0, mode="clip"
        )
    anchors, vectors = np.full(len(rows), -1, np.int64), np.zeros((len(rows), dim), np.float32)
    base = 0
    for segment in segments:
        at = np.flatnonzero((rows >= base) & (rows < base + len(segment)))
        anchors[at], vectors[at] = segment.anchors[rows[at] - base], segment.vectors[rows[at] - base]
        base += len(segment)
    return anchors, vectors
