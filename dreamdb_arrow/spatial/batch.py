"""Batches: the best rows of the cells that many queries want, whatever gives the scores. Spec 0004.

A query meets a cell in a product of a few numbers, far less work than a call of NumPy. So many cells are compared at once:
those that as many queries want and that have about as many rows, filled up to the same shape. Cells are read in rounds, best
ones first: what a query has found in one round is a bound for the next, below which scores are dropped at once. Threads share
the groups of a round; each call is long enough for NumPy's lock not to matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import spread as ranks
from dreamdb_arrow.kernels.blocks import stacked
from dreamdb_arrow.kernels.tiles import TILE, rows_at_once
from dreamdb_arrow.kernels.topk import choose_smallest
from dreamdb_arrow.spatial.threads import THREADS, spread

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_GROUP: Final = 1 << 18  # scores of a group, and
_NUMBERS: Final = 1 << 19  # numbers of its rows, or queries
_PIECE: Final = 512  # rows of a cell that are compared at a time
_QUERIES: Final = 1 << 10  # of a batch at a time: what they keep is bounded
_WIDER: Final = 6  # times as many cells in the second round
_STEPS: Final = 256  # levels of the scores that bounds are taken from
_LITTLE: Final = np.float32(0.01)  # of a level: what rounding may do
_LEAST: Final = np.finfo(np.float32).min  # a bound that every score reaches but minus infinity


@dataclass(frozen=True, slots=True)
class Part:
    """Rows 0 to `rows` of one segment, and how they are scored.

    score   rows int64 (g, r) and queries float32 (g, m, w) -> float32 (g, m, r); minus infinity for a row that does not count.
            Rows past the end may be asked for; what they score does not matter.
    """

    score: Callable[[I64, F32], F32]
    rows: int


def best_rows(
    parts: Sequence[Part],
    begins: I64,
    ends: I64,
    wanted: I64,
    queries: F32,
    k: int,
    threads: int = THREADS,
) -> tuple[I64, F32]:
    """Return the k rows of the highest scores in the cells of each query.

    Args:
        parts: the rows, and what scores them.
        begins: where cells begin, by part and cell, int64 (parts, c).
        ends: where they end.
        wanted: for each query its cells, best first, int64 (q, p).
        queries: float32 (q, w), at least one.
        k: how many, at least 1.
        threads: at most so many at work.

    Returns:
        rows int64 (q, j), as numbers that go on from part to part, and scores float32 (q, j), in any order, j at most k; of
        equal scores the lower rows are taken. Rows of -1 and scores of minus infinity fill up a query that has fewer.
    """
    blocks = [slice(at, at + _QUERIES) for at in range(0, len(queries), _QUERIES)]
    found = [
        _best_of_some(parts, begins, ends, wanted[block], queries[block], k, threads) for block in blocks
    ]
    rows, scores = zip(*found, strict=True)
    return stacked(rows, -1), stacked(scores, -np.inf)


def _best_of_some(
    parts: Sequence[Part], begins: I64, ends: I64, wanted: I64, queries: F32, k: int, threads: int
) -> tuple[I64, F32]:
    bounds = np.append(
        np.full(len(queries), _LEAST, np.float32), np.float32(np.inf)
    )  # the last one is nobody's
    queries = np.concatenate([queries, np.zeros_like(queries, shape=(1, queries.shape[1]))])
    bases = np.cumsum([0, *(part.rows for part in parts)]).tolist()
    hits = _Hits.of([])
    for first, stop in _rounds(wanted, ends - begins, k):
        asked = _Asked.of(wanted[:, first:stop])
        groups = [
            (part, base, group)
            for nth, (part, base) in enumerate(zip(parts, bases, strict=False))
            for group in _groups(asked, begins[nth], ends[nth], queries.shape[1])
        ]

        def work(share: Sequence[tuple[Part, int, _Group]]) -> list[_Hits]:
            return [_compared(part, base, group, queries, bounds) for part, base, group in share]

        shares = [groups[nth::threads] for nth in range(min(threads, len(groups)))]
        found = [hit for some in spread(work, shares) for hit in some]
        hits = _Hits.of([hits, *found]).settled(bounds, k)
    return hits.best(len(queries) - 1, k)


def _rounds(wanted: I64, sizes: I64, k: int) -> Iterator[tuple[int, int]]:
    """Yield which of a query's cells are read in each round: first as many as are likely to have the rows."""
    deepest = wanted.shape[1]
    mean = sizes.sum() / max(1, sizes.shape[1])
    first = min(deepest, 1 + int(k // max(1.0, mean)))
    steps = sorted({0, first, min(deepest, _WIDER * first), deepest})
    yield from pairwise(steps)


# --- groups of cells ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Which queries want which cells: cells int64 (c,); the queries of the n-th are queries[starts[n] : starts[n + 1]]."""

    cells: I64
    starts: I64
    queries: I64

    @classmethod
    def of(cls, wanted: I64) -> _Asked:
        """Return the wishes of queries, int64 (q, p), by cell; a cell of -1 is none."""
        cells = wanted.reshape(-1)
        few = cells.max(initial=0) < (1 << 16) - 1  # numbers of 16 bits are sorted by counting
        order = np.argsort((cells + 1).astype(np.uint16) if few else cells, kind="stable")
        ordered = cells[order]
        order = order[np.searchsorted(ordered, 0) :]
        ordered = cells[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        return cls(ordered[starts], np.append(starts, len(ordered)), order // max(1, wanted.shape[1]))


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Pieces of cells that are compared at once.

    rows     int64 (g, r)
    sizes    how many of them are the piece's, int64 (g,)
    queries  int64 (g, m); beyond those that want the cell the number of nobody
    """

    rows: I64
    sizes: I64
    queries: I64


def _groups(asked: _Asked, begins: I64, ends: I64, width: int) -> Iterator[_Group]:
    """Yield the cells that are asked for, cut into pieces, in groups of alike shape."""
    begin, size = begins[asked.cells], (ends - begins)[asked.cells]
    limit = min(_PIECE, rows_at_once(width))
    pieces = -(-size // limit)
    nth = np.repeat(np.arange(len(size)), pieces)
    share = -(-size // np.maximum(1, pieces))[nth]  # pieces of a cell are equally long
    offset = share * (np.arange(len(nth)) - np.repeat(np.cumsum(pieces) - pieces, pieces))
    length = np.minimum(share, size[nth] - offset)
    tiles = -(-np.diff(asked.starts) // TILE)[nth]
    order = np.lexsort((length, tiles))
    for cut in _cuts(tiles[order].tolist(), length[order].tolist(), width):
        yield _group(asked, nth[order[cut]], (begin[nth] + offset)[order[cut]], length[order[cut]])


def _cuts(tiles: list[int], lengths: list[int], width: int) -> Iterator[slice]:
    """Yield runs of pieces that have the same number of tiles and fit into a group; lengths ascend within a number."""
    start = 0
    for at in range(1, len(tiles) + 1):
        if at < len(tiles) and tiles[at] == tiles[start]:
            count, queries = at + 1 - start, TILE * tiles[at]
            numbers = width * max(queries, lengths[at])
            if count * queries * lengths[at] <= _GROUP and count * numbers <= _NUMBERS:
                continue
        yield slice(start, at)
        start = at


def _group(asked: _Asked, nth: I64, begin: I64, length: I64) -> _Group:
    first, stop = asked.starts[nth], asked.starts[nth + 1]
    most = TILE * -(-int((stop - first).max()) // TILE)
    at = first[:, None] + np.arange(most)
    inside = at < stop[:, None]
    queries = np.where(inside, asked.queries[np.minimum(at, len(asked.queries) - 1)], -1)
    return _Group(begin[:, None] + np.arange(int(length.max())), length, queries)


def _compared(part: Part, base: int, group: _Group, queries: F32, bounds: F32) -> _Hits:
    """Return what of a group reaches the bounds of its queries."""
    scores = part.score(group.rows, queries[group.queries])
    at = np.flatnonzero(scores >= bounds[group.queries][:, :, None])
    piece, row = np.divmod(at, scores.shape[2])
    nth = piece // scores.shape[1]
    inside = row < group.sizes[nth]
    at, piece, row, nth = at[inside], piece[inside], row[inside], nth[inside]
    return _Hits(
        group.queries.reshape(-1)[piece].astype(np.uint16),
        group.rows[nth, row] + base,
        scores.reshape(-1)[at],
    )


# --- hits ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Hits:
    """Rows that may be among the best: queries uint16 (n,), rows int64 (n,), scores float32 (n,)."""

    queries: NDArray[np.uint16]
    rows: I64
    scores: F32

    @classmethod
    def of(cls, parts: Sequence[_Hits]) -> _Hits:
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

    def settled(self, bounds: F32, k: int) -> _Hits:
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
        np.maximum(bounds[:-1], np.where(highest >= 0, reached, _LEAST), out=bounds[:-1])
        kept = self.scores >= bounds[self.queries]
        return _Hits(self.queries[kept], self.rows[kept], self.scores[kept])

    def best(self, count: int, k: int) -> tuple[I64, F32]:
        """Return the k best rows of each of `count` queries, in any order, and their scores."""
        rows, scores = self.table(count)
        if not rows.shape[1]:
            return rows, scores
        best = choose_smallest(-scores, k, rows)
        return np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
