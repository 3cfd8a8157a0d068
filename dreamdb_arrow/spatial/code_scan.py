"""Scans of codes that lie by cell: the best rows of the cells of each query, by their codes. Spec 0010.

A cell's codes become numbers once, for all queries of a batch that want it, and are compared with them by one product. A
query that comes alone has all of its cells compared in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.code_topk import LEAST, BestRows, best_of, sampled_bounds
from dreamdb_arrow.objects.vector_compressor import VectorCompressor
from dreamdb_arrow.spatial.code_field import PIECE, CodeField, code_field, prepare_codes, turn_queries
from dreamdb_arrow.spatial.threads import THREADS, spread

__all__ = ["prepare_codes", "scan_codes"]

Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_FEW: Final = 4  # queries of a batch: so few share hardly a cell
_QUERIES: Final = 1 << 10  # of a batch at a time,
_HELD: Final = 1 << 27  # and bytes of what is kept of them
_GATHERED: Final = 1 << 20  # rows that one query is compared with before the best are picked
_SHARE: Final = 16  # one row of so many is in a sample; measured: 8 to 64 are alike


def scan_codes(
    codes: Codes,
    prepared: Mapping[str, NDArray[Any]],
    compressor: VectorCompressor,
    queries: F32,
    cells: Sequence[I64],
    starts: I64,
    pool: int,
    live: Bools | None = None,
    threads: int = THREADS,
) -> tuple[I64, F32]:
    """Return the best rows of the cells of each query, by their codes.

    Args:
        codes: uint8 (n, code_bytes), the rows of each cell side by side.
        prepared: what `prepare_codes` gave for them; without it rows are scored as the reference scores them.
        compressor: whose codes they are.
        queries: float32 (q, d), of unit length if the scores are to be cosines.
        cells: for each query the numbers of its cells, best first, int64.
        starts: where cells begin, and where the last one ends, int64 (c + 1,).
        pool: how many rows, at least 1.
        live: which rows count, bool (n,); None for all.
        threads: at most so many at work, on a batch.

    Returns:
        rows int64 (q, pool) and scores float32 (q, pool), in any order; -1 and -inf where a query has fewer rows. Of rows
        with the lowest score in the pool those come in whose numbers are lower.
    """
    assert queries.shape == (len(cells), compressor.dim)
    assert pool >= 1
    field = code_field(compressor, codes, prepared, live)
    turned = turn_queries(field, queries)
    rows, scores = np.empty((len(cells), pool), np.int64), np.empty((len(cells), pool), np.float32)
    for block in _batches(cells, starts, pool):
        scan = _scan_each if len(turned[block]) <= _FEW else _scan_block
        rows[block], scores[block] = scan(field, starts, turned[block], cells[block], pool, threads)
    return rows, scores


# --- one query after the other ------------------------------------------------------------------------------


def _scan_each(
    field: CodeField, starts: I64, queries: F32, cells: Sequence[I64], pool: int, _: int
) -> tuple[I64, F32]:
    """Return the best rows of each query, those of all its cells in one piece."""
    rows = np.full((len(cells), pool), -1, np.int64)
    scores = np.full((len(cells), pool), -np.inf, np.float32)
    for nth, mine in enumerate(cells):
        best, theirs = np.empty(0, np.float32), np.empty(0, np.int64)
        for part in row_blocks(len(mine), _most_rows(starts), _GATHERED):
            asked = _rows_of(mine[part], starts)
            found = field.scores_of(asked, queries[nth])
            if field.live is not None:
                counted = np.flatnonzero(found > -np.inf)
                asked, found = asked[counted], found[counted]
            best, theirs = best_of(np.append(best, found), np.append(theirs, asked), pool)
        scores[nth, : len(best)], rows[nth, : len(best)] = best, theirs
    return rows, scores


def _most_rows(starts: I64) -> int:
    return int(np.diff(starts).max(initial=1))


def _rows_of(cells: I64, starts: I64) -> I64:
    """Return the rows of some cells, int64 (m,)."""
    begins = starts[cells]
    counts = starts[cells + 1] - begins
    before = np.cumsum(counts) - counts
    rows: I64 = np.arange(counts.sum()) + np.repeat(begins - before, counts)
    return rows


# --- cell by cell -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Visit:
    """A cell, the queries that want it, int64 (m,), and which of all wishes these are, int64 (m,)."""

    cell: int
    asking: I64
    wishes: I64


def _scan_block(
    field: CodeField, starts: I64, queries: F32, cells: Sequence[I64], pool: int, threads: int
) -> tuple[I64, F32]:
    """Do as _scan_each does, all queries that want a cell at once."""
    shares = _dealt(_visits(cells), threads)
    bounds = _bounds(field, starts, queries, cells, shares, pool)
    best = BestRows(bounds, pool)

    def work(visits: Sequence[_Visit]) -> None:
        for visit in visits:
            asking = queries[visit.asking]
            for start, stop in _runs(starts, visit.cell):
                best.offer(visit.asking, field.scores(slice(start, stop), asking), start)

    spread(work, shares)
    rows, scores = best.found()
    again = np.flatnonzero((rows[:, -1] < 0) & (bounds > LEAST))
    if len(again):
        missed = [cells[query] for query in again.tolist()]
        rows[again], scores[again] = _scan_each(field, starts, queries[again], missed, pool, 1)
    return rows, scores


def _bounds(
    field: CodeField,
    starts: I64,
    queries: F32,
    cells: Sequence[I64],
    shares: Sequence[Sequence[_Visit]],
    pool: int,
) -> F32:
    """Return which scores the pool of each query is likely to reach, float32 (q,), from every so many-th row."""
    sampled = -(-starts // _SHARE)  # how many rows of the sample come before each cell
    counts = [np.diff(sampled)[mine] for mine in cells]
    sample = np.full((len(cells), max(int(each.sum()) for each in counts)), -np.inf, np.float32)
    places = np.concatenate([np.cumsum(each) - each for each in counts])  # where each wish has its scores

    def work(visits: Sequence[_Visit]) -> None:
        for visit in visits:
            asking, begin = queries[visit.asking], sampled[visit.cell]
            for start, stop in _runs(sampled, visit.cell):
                rows = slice(start * _SHARE, (stop - 1) * _SHARE + 1, _SHARE)
                at = places[visit.wishes][:, None] + np.arange(start - begin, stop - begin)
                sample[visit.asking[:, None], at] = field.scores(rows, asking)

    spread(work, shares)
    return sampled_bounds(sample, pool, _SHARE)


def _batches(cells: Sequence[I64], starts: I64, pool: int) -> Iterator[slice]:
    """Yield which queries are scanned together, so that the sample and what is kept of them stay bounded."""
    counts = np.diff(starts)
    deepest = max((int(counts[mine].sum()) for mine in cells), default=0)
    bytes_per_query = 4 * deepest // _SHARE + 16 * 2 * pool
    for part in row_blocks(len(cells), bytes_per_query, _HELD):
        for block in row_blocks(part.stop - part.start, 1, _QUERIES):
            yield slice(part.start + block.start, part.start + block.stop)


def _visits(cells: Sequence[I64]) -> list[_Visit]:
    """Return each cell that a query wants."""
    joined = np.concatenate(cells)
    asking = np.repeat(np.arange(len(cells)), [len(mine) for mine in cells])
    few = joined.max(initial=0) < 1 << 16  # numbers of 16 bits are sorted by counting
    order = np.argsort(joined.astype(np.uint16) if few else joined, kind="stable")
    counts = np.bincount(joined)
    ends = np.cumsum(counts).tolist()
    return [
        _Visit(cell, asking[mine], mine)
        for cell in np.flatnonzero(counts).tolist()
        for mine in [order[ends[cell] - counts[cell] : ends[cell]]]
    ]


def _runs(starts: I64, cell: int) -> Iterator[tuple[int, int]]:
    """Yield where pieces of a cell begin and end; none when it has no rows."""
    begin, end = int(starts[cell]), int(starts[cell + 1])
    for start in range(begin, end, PIECE):
        yield start, min(start + PIECE, end)


def _dealt(visits: Sequence[_Visit], threads: int) -> list[Sequence[_Visit]]:
    return [visits[nth::threads] for nth in range(min(threads, len(visits)))]
