"""Scans of codes that lie by cell: the best rows of the cells of each query, by their codes. Spec 0010.

Of a batch, a cell's codes become numbers once for all queries that want it (`spatial.batch`). A query that comes alone has
all of its cells compared in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import spread as ranks
from dreamdb_arrow.kernels.blocks import side_by_side
from dreamdb_arrow.kernels.topk import choose_smallest
from dreamdb_arrow.spatial.batch import Part, best_rows
from dreamdb_arrow.spatial.code_field import CodeField, turn_queries
from dreamdb_arrow.spatial.threads import THREADS

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_FEW: Final = 4  # queries of a batch: so few share hardly a cell
_GATHERED: Final = 1 << 20  # rows that one query is compared with before the best are picked


def scan_codes(
    fields: Sequence[CodeField],
    begins: I64,
    ends: I64,
    wanted: I64,
    queries: F32,
    pool: int,
    threads: int = THREADS,
) -> tuple[I64, F32]:
    """Return the best rows of the cells of each query, by their codes.

    Args:
        fields: the codes of each segment, of one compressor, the rows of each cell side by side.
        begins: where cells begin, by segment and cell, int64 (segments, c).
        ends: where they end.
        wanted: for each query its cells, best first, int64 (q, p).
        queries: float32 (q, d), of unit length if the scores are to be cosines.
        pool: how many rows, at least 1.
        threads: at most so many at work, on a batch.

    Returns:
        rows int64 (q, j), as numbers that go on from segment to segment, and scores float32 (q, j), in any order, j at most pool;
        -1 and minus infinity where a query has fewer rows. Of equal scores the lower rows are taken.
    """
    assert len(queries) == len(wanted)
    assert pool >= 1
    if not fields or not len(queries):
        return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    turned = turn_queries(fields[0], queries)
    if len(queries) > _FEW:
        parts = [Part(field.batch_scores, len(field.codes)) for field in fields]
        return best_rows(parts, begins, ends, wanted, turned, pool, threads)
    found = [
        _scan_one(fields, begins[:, cells], ends[:, cells], query, pool)
        for query, cells in zip(turned, wanted, strict=True)
    ]
    rows, scores = zip(*found, strict=True)
    return side_by_side(rows, -1), side_by_side(scores, -np.inf)


def _scan_one(fields: Sequence[CodeField], begins: I64, ends: I64, query: F32, pool: int) -> tuple[I64, F32]:
    """Return the best rows of some cells, which begin and end there, int64 (segments, p), and their scores."""
    rows, scores, base = np.empty(0, np.int64), np.empty(0, np.float32), 0
    for nth, field in enumerate(fields):
        for part in _parts(ends[nth] - begins[nth]):
            asked = _rows_between(begins[nth, part], ends[nth, part])
            found = field.scores_of(asked, query)
            counted = slice(None) if field.live is None else np.flatnonzero(found > -np.inf)
            rows = np.append(rows, asked[counted] + base)
            scores = np.append(scores, found[counted])
            best = choose_smallest(-scores[None, :], pool, rows)[0]
            rows, scores = rows[best], scores[best]
        base += len(field.codes)
    return rows, scores


def _parts(sizes: I64) -> Iterator[slice]:
    """Yield runs of cells that have so many rows as may be compared at once, or one cell."""
    ends, start = np.cumsum(sizes), 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _GATHERED, side="right")))
        yield slice(start, stop)
        start = stop


def _rows_between(begins: I64, ends: I64) -> I64:
    """Return the rows of some cells, int64 (m,)."""
    counts = ends - begins
    rows: I64 = np.repeat(begins, counts) + ranks(counts)
    return rows
