"""Scans of cells that lie side by side: the nearest rows of the cells of each query. Spec 0004.

The rows of a cell are one run of a matrix, so that a query is compared with a cell by one product, whatever the index has
chosen. A batch is compared cell by cell with all queries that want the cell; what cannot be among the best any more is
dropped by a bound that each query's first cells give. The best few more than k are compared again in float64, as in
`spatial.search`: answers do not depend on how rows came to lie together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.distance import METRICS, inverse_norms, row_norms, unit_rows

Bools = NDArray[np.bool_]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Keys = NDArray[np.bytes_]

SPARE: Final = 8  # candidates beyond k: what float32 may put into another order than float64
_FIRST: Final = (1, 6)  # after how many of its best cells a query of a batch gets a bound, and a better one
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

    def runs(self, wanted: Keys) -> tuple[I64, I64]:
        """Return where the cells of these keys begin and end, those that are there: int64 (m,) twice."""
        if not len(self.keys):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        at = at[self.keys[at] == wanted]
        return self.starts[at], self.starts[at + 1]

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
    wanted: Sequence[Keys],
    queries: F32,
    k: int,
    metric: str,
) -> Found:
    """Return the k nearest rows of the cells that each query wants.

    Args:
        segments: the rows.
        masks: for each segment which rows count, bool (n,); None for all.
        wanted: for each query the keys of its cells, best first.
        queries: float32 (q, d).
        k: how many, at least 1.
        metric: "cosine" or "l2".
    """
    if metric == "cosine" and len(queries) > 1:
        chosen, scored = _scan_batch(segments, masks, wanted, unit_rows(queries), k + SPARE)
    else:
        score = _cosine_scores if metric == "cosine" else _l2_scores
        unit = unit_rows(queries) if metric == "cosine" else queries
        chosen, scored = [], 0
        for query, keys in zip(unit, wanted, strict=True):
            rows, count = _scan_one(segments, masks, keys, query, k + SPARE, score)
            chosen.append(rows)
            scored += count
    return compare_again(segments, chosen, queries, k, metric, scored)


def _scan_one(
    segments: Sequence[Segment], masks: Sequence[Bools | None], keys: Keys, query: F32, k: int, score: Any
) -> tuple[I64, int]:
    """Return the k best rows of some cells, as numbers that go on from segment to segment, and how many were scored."""
    best, places, base, scored = [], [], 0, 0
    for segment, mask in zip(segments, masks, strict=True):
        begins, ends = segment.runs(keys)
        runs = list(zip(begins.tolist(), ends.tolist(), strict=True))
        scores = score(segment, runs, query)
        if mask is not None:
            scores[~_gathered(mask, runs)] = _NOTHING
        scored += len(scores)
        top = _largest(scores, k)
        stops = np.cumsum(ends - begins)
        at = np.searchsorted(stops, top, side="right")
        rows = top - stops[at] + ends[at] if len(top) else top
        kept = scores[top] > _NOTHING
        best.append(scores[top][kept])
        places.append(rows[kept] + base)
        base += len(segment)
    joined = np.concatenate(places) if places else np.empty(0, np.int64)
    if len(segments) > 1 and len(joined) > k:
        joined = joined[_largest(np.concatenate(best), k)]
    return joined, scored


def _cosine_scores(segment: Segment, runs: Sequence[tuple[int, int]], query: F32) -> F32:
    scores = np.empty(sum(e - s for s, e in runs), np.float32)
    vectors, at = segment.vectors, 0
    for start, stop in runs:
        np.dot(vectors[start:stop], query, out=scores[at : at + stop - start])
        at += stop - start
    if segment.inverse is not None:
        scores *= _gathered(segment.inverse, runs)
    return scores


def _l2_scores(segment: Segment, runs: Sequence[tuple[int, int]], query: F32) -> F32:
    fast = METRICS["l2"].fast
    parts = [-fast(query[None, :], segment.vectors[s:e], None)[0] for s, e in runs]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _gathered(values: NDArray[Any], runs: Sequence[tuple[int, int]]) -> NDArray[Any]:
    return np.concatenate([values[:0], *(values[s:e] for s, e in runs)])


def _largest(scores: F32, k: int) -> I64:
    """Return where the k largest are, in any order."""
    if len(scores) <= k:
        return np.arange(len(scores))
    return np.argpartition(scores, len(scores) - k)[len(scores) - k :]


# --- batches ------------------------------------------------------------------------------------------------


def _scan_batch(
    segments: Sequence[Segment], masks: Sequence[Bools | None], wanted: Sequence[Keys], queries: F32, k: int
) -> tuple[list[I64], int]:
    """Do as _scan_one does for each query, cell by cell."""
    best = _Best(len(queries), k)
    scored = 0
    deepest = max((len(keys) for keys in wanted), default=0)
    for first, stop in zip((0, *_FIRST), (*_FIRST, deepest), strict=True):
        base = 0
        part = [keys[first:stop] for keys in wanted]
        for segment, mask in zip(segments, masks, strict=True):
            for start, end, asking in _cells_of_batch(segment, part):
                scored += len(asking) * (end - start)
                scores = queries[asking] @ segment.vectors[start:end].T
                if segment.inverse is not None:
                    scores *= segment.inverse[start:end]
                if mask is not None:
                    scores[:, ~mask[start:end]] = _NOTHING
                best.offer(asking, scores, base + start)
            base += len(segment)
        best.settle()
    return best.rows(), scored


def _cells_of_batch(segment: Segment, wanted: Sequence[Keys]) -> Iterator[tuple[int, int, I64]]:
    """Yield each cell that a query wants: where it begins and ends, and which queries want it."""
    joined = np.concatenate(wanted) if wanted else np.empty(0, "S1")
    if not len(joined) or not len(segment.keys):
        return
    asking = np.repeat(np.arange(len(wanted)), [len(keys) for keys in wanted])
    at = np.minimum(np.searchsorted(segment.keys, joined), len(segment.keys) - 1)
    there = np.flatnonzero(segment.keys[at] == joined)
    order = there[np.argsort(at[there], kind="stable")]
    cells, firsts = np.unique(at[order], return_index=True)
    bounds = np.append(firsts, len(order)).tolist()
    for nth, cell in enumerate(cells.tolist()):
        yield (
            int(segment.starts[cell]),
            int(segment.starts[cell + 1]),
            asking[order[bounds[nth] : bounds[nth + 1]]],
        )


class _Best:
    """The best rows of each query of a batch, as far as they are known; the worst of k of them is a query's bound."""

    def __init__(self, count: int, k: int) -> None:
        self._k, self._bounds, self._unbounded = k, np.full(count, _NOTHING, np.float32), True
        self._held: list[tuple[I64, I64, F32]] = []  # queries, rows and scores

    def offer(self, asking: I64, scores: F32, base: int) -> None:
        """Keep what of the scores (q, n) of the rows from `base` on is above the queries' bounds."""
        width = scores.shape[1]
        if self._unbounded and width > self._k:
            at = np.argpartition(scores, width - self._k, axis=1)[:, width - self._k :]
            at = (at + width * np.arange(len(at))[:, None]).reshape(-1)
            at = at[scores.reshape(-1)[at] > _NOTHING]
        else:
            at = np.flatnonzero(scores > self._bounds[asking][:, None])
        if len(at):
            query = at // width
            self._held.append((asking[query], at - query * width + base, scores.reshape(-1)[at]))

    def settle(self) -> None:
        """Keep the k best rows of each query, and raise the bounds."""
        self._unbounded = False
        if not self._held:
            return
        queries, rows, scores = (np.concatenate(column) for column in zip(*self._held, strict=True))
        order = np.lexsort((-scores, queries))
        queries, rows, scores = queries[order], rows[order], scores[order]
        begins = np.searchsorted(queries, np.arange(len(self._bounds)))
        rank = np.arange(len(queries)) - begins[queries]
        full = np.flatnonzero(rank == self._k - 1)
        self._bounds[queries[full]] = scores[full]
        kept = rank < self._k
        self._held = [(queries[kept], rows[kept], scores[kept])]

    def rows(self) -> list[I64]:
        """Return the rows of each query."""
        if not self._held:
            return [np.empty(0, np.int64)] * len(self._bounds)
        queries, rows, _ = self._held[0]
        return np.split(rows, np.searchsorted(queries, np.arange(1, len(self._bounds))))


# --- the order that counts ----------------------------------------------------------------------------------


def compare_again(
    segments: Sequence[Segment], chosen: Sequence[I64], queries: F32, k: int, metric: str, scored: int
) -> Found:
    """Return the k nearest of each query's rows, by float64; of equals the lower anchors first."""
    width = max((len(rows) for rows in chosen), default=0)
    table = np.full((len(queries), width), -1, np.int64)
    for query, rows in enumerate(chosen):
        table[query, : len(rows)] = rows
    anchors, vectors = _rows_of_segments(segments, table.reshape(-1), queries.shape[1])
    anchors = anchors.reshape(table.shape)
    distances = np.full(table.shape, np.inf)
    if width:
        distances = METRICS[metric].exact(queries, vectors.reshape(*table.shape, -1))
        distances[table < 0] = np.inf
    order = np.lexsort((anchors, distances), axis=1)[:, :k]
    each = np.arange(len(order))[:, None]
    return Found(anchors[each, order], distances[each, order], scored)


def _rows_of_segments(segments: Sequence[Segment], rows: I64, dim: int) -> tuple[I64, F32]:
    """Return anchors and vectors of rows that are numbered on from segment to segment; -1 is nobody's."""
    anchors, vectors = np.full(len(rows), -1, np.int64), np.zeros((len(rows), dim), np.float32)
    base = 0
    for segment in segments:
        at = np.flatnonzero((rows >= base) & (rows < base + len(segment)))
        anchors[at], vectors[at] = segment.anchors[rows[at] - base], segment.vectors[rows[at] - base]
        base += len(segment)
    return anchors, vectors
