"""Hits of a batch: rows that may be among the best of their queries, and the bounds below which none is. Spec 0004."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import spread as ranks
from dreamdb_arrow.kernels.topk import choose_smallest

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

LEAST: Final = np.finfo(np.float32).min  # a bound that every score reaches but minus infinity
_STEPS: Final = 256  # levels of the scores that bounds are taken from
_LITTLE: Final = np.float32(0.01)  # of a level: what rounding may do


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Rows that may be among the best: queries uint16 (n,), rows int64 (n,), scores float32 (n,)."""

    queries: NDArray[np.uint16]
    rows: I64
    scores: F32

    @classmethod
    def of(cls, parts: Sequence[Hits]) -> Hits:
        """Join some."""
        none = np.empty(0, np.uint16), np.empty(0, np.int64), np.empty(0, np.float32)
        columns = zip(none, *((p.queries, p.rows, p.scores) for p in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def table(self, count: int) -> tuple[I64, F32]:
        """Return rows and scores of `count` queries side by side, filled up with -1 and minus infinity."""
        order = np.argsort(self.queries, kind="stable")
        queries = self.queries[order]
        counts = np.bincount(queries, minlength=count)
        place = ranks(counts)
        shape = count, int(counts.max(initial=0))
        rows, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
        rows[queries, place], scores[queries, place] = self.rows[order], self.scores[order]
        return rows, scores

    def settled(self, bounds: F32, k: int) -> Hits:
        """Raise the bounds, float32 (q + 1,), to about the k-th best score of each query, and keep what reaches them."""
        if not len(self.scores):
            return self
        low, high = self.scores.min(), self.scores.max()
        step = max((high - low) / _STEPS, np.finfo(np.float32).tiny)
        level = np.minimum((self.scores - low) / step, _STEPS - 1).astype(np.uint32)
        counts = np.bincount(self.queries * np.uint32(_STEPS) + level, minlength=(len(bounds) - 1) * _STEPS)
        above = np.cumsum(counts.reshape(-1, _STEPS)[:, ::-1], axis=1)[:, ::-1]  # rows at a level or higher
        highest = np.count_nonzero(above >= k, axis=1) - 1
        reached = low + step * (np.float32(highest) - _LITTLE)
        np.maximum(bounds[:-1], np.where(highest >= 0, reached, LEAST), out=bounds[:-1])
        kept = self.scores >= bounds[self.queries]
        return Hits(self.queries[kept], self.rows[kept], self.scores[kept])

    def best(self, count: int, k: int) -> tuple[I64, F32]:
        """Return the k best rows of each of `count` queries, in any order, and their scores."""
        rows, scores = self.table(count)
        if not rows.shape[1]:
            return rows, scores
        best = choose_smallest(-scores, k, rows)
        return np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
