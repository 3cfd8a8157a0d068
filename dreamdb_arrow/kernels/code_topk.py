"""The best of many scores that come in blocks, of many queries at once. Part of spec 0010.

A block has the scores of some queries with one run of rows. What is below the bound of its query is dropped at once, so that
little is left to be sorted. A sample of the scores says where a bound can be; when it was too high, fewer rows are found than
are wanted, and the query has to be scanned again without one. So which rows are best depends on nothing but the scores: of
equal ones the lower rows count as better.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U16 = NDArray[np.uint16]
Flags = NDArray[np.bool_]

MAX_QUERIES: Final = 1 << 16  # numbers of 16 bits are grouped by counting, not by comparing
LEAST: Final = np.finfo(np.float32).min  # a bound that all scores reach but minus infinity
_SURE: Final = 4.0  # standard deviations that a sample may be off, before a query has to be scanned again


def sampled_bounds(scores: F32, count: int, share: int) -> F32:
    """Return below which scores the `count` best of each query hardly lie, float32 (q,).

    Args:
        scores: those of a sample, float32 (q, m), filled up with minus infinity.
        count: how many are wanted.
        share: the sample has one row of so many.
    """
    expected = count / share
    rank = int(expected + _SURE * np.sqrt(expected) + _SURE)
    if rank > scores.shape[1]:
        return np.full(len(scores), LEAST, np.float32)
    at = scores.shape[1] - rank
    return np.maximum(np.partition(scores, at, axis=1)[:, at], LEAST)


class BestRows:
    """The best rows of each query, as far as they are known."""

    def __init__(self, bounds: F32, count: int) -> None:
        """Keep the `count` best rows of each query, at least 1, whose scores reach the queries' bounds, float32 (q,)."""
        assert len(bounds) <= MAX_QUERIES
        assert count >= 1
        self._bounds, self._count = bounds, count
        self._held: list[tuple[U16, I64, F32]] = []  # queries, rows and scores

    def offer(self, queries: I64, scores: F32, first: int) -> None:
        """Take what is good enough of the scores (q, n) of these queries with the rows from `first` on.

        A score of minus infinity is never taken.
        """
        assert scores.shape[0] == len(queries)
        at = np.flatnonzero(scores >= self._bounds[queries][:, None])
        if len(at):
            nth = at // scores.shape[1]
            rows = at + (first - nth * scores.shape[1])
            self._held.append((queries.astype(np.uint16)[nth], rows, scores.reshape(-1)[at]))

    def found(self) -> tuple[I64, F32]:
        """Return rows int64 (q, count) and scores float32 (q, count), in any order; -1 and -inf fill up."""
        shape = (len(self._bounds), self._count)
        rows, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
        if not self._held:
            return rows, scores
        queries, held, values = (np.concatenate(column) for column in zip(*self._held, strict=True))
        order = np.argsort(queries, kind="stable")
        ends = np.cumsum(np.bincount(queries, minlength=shape[0])).tolist()
        for query, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            mine = order[start:end]
            best, theirs = best_of(values[mine], held[mine], self._count)
            scores[query, : len(best)], rows[query, : len(best)] = best, theirs
        return rows, scores


def best_of(scores: F32, rows: I64, count: int) -> tuple[F32, I64]:
    """Return the `count` best of scores (n,) and their rows, int64 (n,), all when there are fewer, in any order.

    Of those that equal the worst the lower rows are taken.
    """
    if len(scores) <= count:
        return scores, rows
    edge = np.partition(scores, len(scores) - count)[len(scores) - count]
    chosen = np.flatnonzero(scores >= edge)
    if len(chosen) > count:
        equal = np.flatnonzero(scores == edge)
        above = np.flatnonzero(scores > edge)
        chosen = np.concatenate([above, equal[np.argsort(rows[equal])[: count - len(above)]]])
    return scores[chosen], rows[chosen]
