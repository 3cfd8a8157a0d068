"""Batches: the best rows of the cells that many queries want, whatever gives the scores. Spec 0004.

A query meets a small cell in a product of a few numbers, far less work than a call of NumPy. So many of them are compared at
once: those that as many queries want and that have about as many rows, filled up to the same shape. That takes a copy of their
rows, so a large cell that few queries want is compared by itself, where it lies. Cells are read in rounds, best ones first: what
a query has found in one round is a bound for the next, below which scores are dropped at once. Threads share the groups of a
round; what they do in Python is little beside their products, so that they hardly wait for each other.
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
from dreamdb_arrow.kernels.tiles import filled_up, rows_at_once
from dreamdb_arrow.spatial.hits import LEAST, Hits
from dreamdb_arrow.spatial.threads import THREADS, spread

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_GROUP: Final = 1 << 18  # scores of a group, and
_NUMBERS: Final = 1 << 19  # numbers of its rows, or queries
_PIECE: Final = 512  # rows of a cell that are compared at a time, with others
_ALONE: Final = 1 << 16  # numbers of a cell that is compared by itself
_BUNCH: Final = 1 << 16  # scores of cells that are compared one by one, about
_SHARED: Final = 4  # queries that want a cell: with more, a copy of its rows is cheap beside their products
_QUERIES: Final = 1 << 10  # of a batch at a time: what they keep is bounded
_WIDER: Final = 6  # times as many cells in the second round


@dataclass(frozen=True, slots=True)
class Part:
    """Rows 0 to `rows` of one segment, and how they are scored.

    score   rows int64 (g, r) and queries float32 (g, m, w) -> float32 (g, m, r); minus infinity for a row that does not count.
            Rows past the end may be asked for; what they score does not matter.
    run     takes where rows begin and end, queries float32 (m, w), and puts what `score` gives into the last, float32
            (m, end - begin); None where rows have to be copied, or decoded, anyway
    """

    score: Callable[[I64, F32], F32]
    rows: int
    run: Callable[[int, int, F32, F32], None] | None = None


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
        np.full(len(queries), LEAST, np.float32), np.float32(np.inf)
    )  # the last one is nobody's
    queries = np.concatenate([queries, np.zeros_like(queries, shape=(1, queries.shape[1]))])
    bases = np.cumsum([0, *(part.rows for part in parts)]).tolist()
    hits = Hits.of([])
    for first, stop in _rounds(wanted, ends - begins, k):
        asked = _Asked.of(wanted[:, first:stop])
        groups = [
            (part, base, group)
            for nth, (part, base) in enumerate(zip(parts, bases, strict=False))
            for group in _groups(asked, begins[nth], ends[nth], queries.shape[1], alone=part.run is not None)
        ]

        def work(share: Sequence[tuple[Part, int, _Group | _Bunch]]) -> list[Hits]:
            return [
                _compared_alone(part, base, group, queries, bounds, k)
                if isinstance(group, _Bunch)
                else _compared(part, base, group, queries, bounds)
                for part, base, group in share
            ]

        shares = [groups[nth::threads] for nth in range(min(threads, len(groups)))]
        found = [hit for some in spread(work, shares) for hit in some]
        hits = Hits.of([hits, *found]).settled(bounds, k)
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


@dataclass(frozen=True, slots=True, eq=False)
class _Bunch:
    """Cells that are compared one by one.

    begins   where their rows begin, int64 (c,)
    ends     and end
    queries  the numbers of those that want each, int64 (m,)
    """

    begins: I64
    ends: I64
    queries: list[I64]


def _groups(asked: _Asked, begins: I64, ends: I64, width: int, *, alone: bool) -> Iterator[_Group | _Bunch]:
    """Yield the cells that are asked for: large ones `alone`, if so, others cut into pieces, in groups of alike shape."""
    begin, size = begins[asked.cells], (ends - begins)[asked.cells]
    few = np.diff(asked.starts) <= _SHARED
    large = alone & few & (size * width >= _ALONE)
    yield from _bunches(asked, np.flatnonzero(large), begin, size, width)
    size = np.where(large, 0, size)
    limit = min(_PIECE, rows_at_once(width))
    pieces = -(-size // limit)
    nth = np.repeat(np.arange(len(size)), pieces)
    share = -(-size // np.maximum(1, pieces))[nth]  # pieces of a cell are equally long
    offset = share * (np.arange(len(nth)) - np.repeat(np.cumsum(pieces) - pieces, pieces))
    length = np.minimum(share, size[nth] - offset)
    tall = filled_up(np.diff(asked.starts))[nth]
    order = np.lexsort((length, tall))
    for cut in _cuts(tall[order].tolist(), length[order].tolist(), width):
        most = int(tall[order[cut.start]])
        yield _group(asked, nth[order[cut]], (begin[nth] + offset)[order[cut]], length[order[cut]], most)


def _bunches(asked: _Asked, cells: I64, begin: I64, size: I64, width: int) -> Iterator[_Bunch]:
    """Yield some of the cells, in pieces that take a bounded array and in bunches of alike length."""
    most = max(1, _NUMBERS // width)
    pieces = -(-size[cells] // most)
    nth = np.repeat(cells, pieces)
    first = begin[nth] + most * ranks(pieces)
    last = np.minimum(first + most, (begin + size)[nth])
    order = np.argsort(last - first, kind="stable")
    scores = np.diff(asked.starts)[nth] * (last - first)
    ends = np.cumsum(scores[order])
    for some in np.split(order, np.flatnonzero(np.diff(ends // _BUNCH)) + 1):
        if len(some):
            asking = [asked.queries[asked.starts[n] : asked.starts[n + 1]] for n in nth[some].tolist()]
            yield _Bunch(first[some], last[some], asking)


def _cuts(tall: list[int], lengths: list[int], width: int) -> Iterator[slice]:
    """Yield runs of pieces that as many queries want, filled up, and that fit into a group; lengths ascend within a number."""
    start = 0
    for at in range(1, len(tall) + 1):
        if at < len(tall) and tall[at] == tall[start]:
            count, queries = at + 1 - start, tall[at]
            numbers = width * max(queries, lengths[at])
            if count * queries * lengths[at] <= _GROUP and count * numbers <= _NUMBERS:
                continue
        yield slice(start, at)
        start = at


def _group(asked: _Asked, nth: I64, begin: I64, length: I64, most: int) -> _Group:
    first, stop = asked.starts[nth], asked.starts[nth + 1]
    at = first[:, None] + np.arange(most)
    inside = at < stop[:, None]
    queries = np.where(inside, asked.queries[np.minimum(at, len(asked.queries) - 1)], -1)
    return _Group(begin[:, None] + np.arange(int(length.max())), length, queries)


def _compared(part: Part, base: int, group: _Group, queries: F32, bounds: F32) -> Hits:
    """Return what of a group reaches the bounds of its queries."""
    scores = part.score(group.rows, queries[group.queries])
    at = np.flatnonzero(scores >= bounds[group.queries][:, :, None])
    piece, row = np.divmod(at, scores.shape[2])
    nth = piece // scores.shape[1]
    inside = row < group.sizes[nth]
    at, piece, row, nth = at[inside], piece[inside], row[inside], nth[inside]
    return Hits(
        group.queries.reshape(-1)[piece].astype(np.uint16),
        group.rows[nth, row] + base,
        scores.reshape(-1)[at],
    )


def _compared_alone(part: Part, base: int, bunch: _Bunch, queries: F32, bounds: F32, k: int) -> Hits:
    """Return what of some cells reaches the bounds of their queries, which they raise: k rows of each are enough."""
    assert part.run is not None
    asking, sizes = np.concatenate(bunch.queries), bunch.ends - bunch.begins
    longest, at = int(sizes.max()), 0
    scores = np.full((len(asking), longest), -np.inf, np.float32)
    for begin, end, wanted in zip(bunch.begins.tolist(), bunch.ends.tolist(), bunch.queries, strict=True):
        out = scores[at : at + len(wanted), : end - begin]
        part.run(begin, end, queries[wanted], out)
        at += len(wanted)
    if longest > k:
        np.maximum.at(bounds, asking, np.partition(scores, longest - k, axis=1)[:, longest - k])
    nth, row = np.nonzero(scores >= bounds[asking][:, None])
    firsts = np.repeat(bunch.begins, [len(wanted) for wanted in bunch.queries])
    return Hits(asking[nth].astype(np.uint16), row + firsts[nth] + base, scores[nth, row])
