"""Scans of codes that lie by cell: the best rows of the cells of each query, and their exact order. Spec 0010.

The score of a row is the dot product of the query and what its code stands for, as the reference ranks. With the scales
that `prepare_codes` derives for codes of several bits, it is divided by the length of the latter: a cosine, which finds
more of the nearest rows in a pool of the same size. A cell's codes become numbers once, for all queries that want it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.code_topk import LEAST, BestRows, best_of, sampled_bounds
from dreamdb_arrow.kernels.codes import (
    ByteTable,
    expand_codes,
    inverse_lengths,
    products,
    shared_table,
    table_by_byte,
)
from dreamdb_arrow.kernels.distance import METRICS, inverse_norms, row_norms
from dreamdb_arrow.kernels.rabitq import byte_numbers, code_width, rotation, stored_factors
from dreamdb_arrow.objects.vector_compressor import RabitqParams, VectorCompressor, codebook_rows

Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

SCALES: Final = "scales"
_THREADS: Final = min(8, os.cpu_count() or 1)
_QUERIES: Final = 512  # of a block: bounds what is kept of them
_SPARE: Final = 8  # candidates beyond k: what float32 may put into another order than float64
_FEW: Final = 4  # queries of a block: so few share hardly a cell
_CACHED: Final = 1 << 18  # bytes of an array that is used at once and again: memory new to a process is slow
_PIECE: Final = 1 << 10  # rows of one query that become numbers at once
_SHARES: Final = (8, 32)  # of a sample: one row of so many, the more the larger the pool is


def prepare_codes(compressor: VectorCompressor, codes: Codes) -> dict[str, NDArray[Any]]:
    """Return what is laid out beside codes, by name.

    Args:
        compressor: whose codes they are.
        codes: uint8 (n, code_bytes).

    Returns:
        `scales` float16 (n,), one by the length of what the code stands for, for RaBitQ of 2, 4 and 8 bits; nothing for
        the others: a length of their own is the same for all, or is the factor that is stored.

    Raises LayoutError for codes of another width, or that name what is not there.
    """
    _check_width(compressor, codes)
    params = compressor.params
    if not isinstance(params, RabitqParams):
        if codes.size and codes.max() >= params.k:  # 0010-R5
            raise LayoutError(f"a code names row {codes.max()} of a codebook of {params.k} rows")
        return {}
    if params.bits_per_dim == 1:
        return {}
    scales = np.empty(len(codes), np.float16)
    table = _meaning(compressor).table
    for rows in row_blocks(len(codes), 4 * compressor.dim):
        scales[rows] = inverse_lengths(table, codes[rows], compressor.dim)
    return {SCALES: scales}


def scan_codes(
    codes: Codes,
    prepared: Mapping[str, NDArray[Any]],
    compressor: VectorCompressor,
    queries: F32,
    cells: Sequence[I64],
    starts: I64,
    pool: int,
    live: Bools | None = None,
    threads: int = _THREADS,
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
        threads: at most so many at work; each takes queries of its own.

    Returns:
        rows int64 (q, pool) and scores float32 (q, pool), best first, of equal scores the lower rows first; -1 and -inf
        where a query has fewer rows.
    """
    _check_width(compressor, codes)
    assert queries.shape == (len(cells), compressor.dim)
    assert pool >= 1
    field = _Field(codes, prepared.get(SCALES), _meaning(compressor), starts, live)
    turned = _turned(field.meaning, queries)
    parts = _in_blocks(len(cells), threads, lambda b: _scan_block(field, turned[b], cells[b], pool))
    empty = (np.empty((0, pool), np.int64), np.empty((0, pool), np.float32))
    rows, scores = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    return rows, scores


def rerank(
    rows: I64,
    vectors: F32,
    queries: F32,
    k: int,
    metric: str,
    *,
    unit: bool = False,
    threads: int = _THREADS,
) -> tuple[I64, F64]:
    """Return the k nearest of each query's rows, by their exact vectors.

    The rows are compared in float32, and the best few more than k again in float64, as in `spatial.search`.

    Args:
        rows: int64 (q, pool), in any order; -1 is no row.
        vectors: float32 (n, d), may be mapped.
        queries: float32 (q, d).
        k: how many, at least 1.
        metric: "cosine" or "l2".
        unit: whether all vectors have length one, which spares the float32 pass half of its work.
        threads: at most so many at work.

    Returns:
        rows int64 (q, min(k, pool)) and distances float64 of the same shape, nearest first, of equal distances the lower
        rows first; -1 and inf where there are fewer.
    """
    assert rows.shape[0] == len(queries)
    assert k >= 1
    kind = "unit" if unit and metric == "cosine" else metric
    if not len(vectors):
        return rows[:, :k], np.full(rows[:, :k].shape, np.inf)
    parts = _in_blocks(len(rows), threads, lambda b: _rerank_block(rows[b], vectors, queries[b], k, kind))
    empty = (np.empty((0, min(k, rows.shape[1])), np.int64), np.empty((0, min(k, rows.shape[1]))))
    nearest, distances = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    return nearest, distances


def _rerank_block(rows: I64, vectors: F32, queries: F32, k: int, kind: str) -> tuple[I64, F64]:
    count = min(k + _SPARE, rows.shape[1])
    exact = METRICS["l2" if kind == "l2" else "cosine"].exact
    rows = _nearer(rows, vectors, queries, count, kind)
    distances = np.full(rows.shape, np.inf)
    for part in row_blocks(len(rows), 8 * count * vectors.shape[1], _CACHED):
        distances[part] = exact(queries[part], vectors[rows[part]])
    distances[rows < 0] = np.inf
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _nearer(rows: I64, vectors: F32, queries: F32, count: int, kind: str) -> I64:
    """Return the `count` nearest of each query's rows by float32, in any order: int64 (q, count)."""
    kept = np.empty((len(rows), count), np.int64)
    for nth, mine in enumerate(rows):
        scores = _CLOSENESS[kind](vectors[mine], queries[nth])
        scores[mine < 0] = -np.inf
        kept[nth] = mine[np.argpartition(scores, len(mine) - count)[len(mine) - count :]]
    return kept


def _unit_closeness(vectors: F32, query: F32) -> F32:
    return products(vectors, query[None, :])[0]


def _cosine_closeness(vectors: F32, query: F32) -> F32:
    return _unit_closeness(vectors, query) * inverse_norms(row_norms(vectors))


def _l2_closeness(vectors: F32, query: F32) -> F32:
    gaps = vectors - query
    return -np.einsum("ij,ij->i", gaps, gaps)


_CLOSENESS: Final = {"unit": _unit_closeness, "cosine": _cosine_closeness, "l2": _l2_closeness}


def _in_blocks(count: int, threads: int, work: Callable[[slice], Any]) -> list[Any]:
    """Return what `work` gives for each block of so many queries, in order; it runs in several threads."""
    size = max(1, min(_QUERIES, -(-count // threads)))
    blocks = [slice(at, min(at + size, count)) for at in range(0, count, size)]
    if len(blocks) < 2:  # spares a single query the start of a thread
        return list(map(work, blocks))
    with ThreadPoolExecutor(threads) as workers:
        return list(workers.map(work, blocks))


def _check_width(compressor: VectorCompressor, codes: Codes) -> None:
    if codes.shape[1] != compressor.code_bytes:
        raise LayoutError(
            f"codes of {codes.shape[1]} bytes, where their compressor writes {compressor.code_bytes}"
        )


# --- what codes mean ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Meaning:
    """What the codes of a compressor stand for.

    turn     the basis of the numbers, float64 (d, d); None when it is that of the queries
    table    the numbers of each byte
    width    how many bytes hold numbers
    factors  whether a factor follows them
    """

    turn: F64 | None
    table: ByteTable
    width: int
    factors: bool = False


@lru_cache(maxsize=4)  # a table of PQ is as large as its codebooks
def _meaning(compressor: VectorCompressor) -> _Meaning:
    params, dim = compressor.params, compressor.dim
    if not isinstance(params, RabitqParams):
        return _Meaning(None, table_by_byte(codebook_rows(compressor)), params.m)
    bits, factors = params.bits_per_dim, params.with_correction_factors
    table = shared_table(byte_numbers(dim, bits, factors=factors))
    turn = rotation(params.rotation_seed, dim)
    return _Meaning(turn, table, code_width(dim, bits, factors=False), factors)


def _turned(meaning: _Meaning, queries: F32) -> F32:
    """Return queries in the basis of the codes, float32 (q, numbers of a code); unused bits meet zeros."""
    if meaning.turn is None:
        return np.ascontiguousarray(queries)
    turned = np.zeros((len(queries), meaning.width * meaning.table.numbers.shape[1]), np.float32)
    turned[:, : queries.shape[1]] = queries.astype(np.float64) @ meaning.turn.T
    return turned


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """The codes of a field by cell, and how to read them."""

    codes: Codes
    scales: NDArray[Any] | None
    meaning: _Meaning
    starts: I64
    live: Bools | None

    def scores(self, rows: slice, queries: F32) -> F32:
        """Return the scores of turned queries (q, numbers) with some rows, float32 (q, n)."""
        return self._scored(self.codes[rows], rows, queries)

    def scores_of(self, rows: I64, query: F32) -> F32:
        """Return the scores of one turned query (numbers,) with some rows (n,), float32 (n,)."""
        parts = [self._scored(self.codes[part], part, query[None, :])[0] for part in _pieces(rows)]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def _scored(self, codes: Codes, rows: Any, queries: F32) -> F32:
        scores = products(expand_codes(self.meaning.table, codes[:, : self.meaning.width]), queries)
        if self.meaning.factors:
            scores *= stored_factors(codes)
        elif self.scales is not None:
            scores *= self.scales[rows].astype(np.float32)
        if self.live is not None:
            scores[:, ~self.live[rows]] = -np.inf
        return scores


def _pieces(rows: I64) -> list[I64]:
    return [rows[at : at + _PIECE] for at in range(0, len(rows), _PIECE)]


# --- blocks of queries --------------------------------------------------------------------------------------


def _scan_block(field: _Field, queries: F32, cells: Sequence[I64], pool: int) -> tuple[I64, F32]:
    """Return the best rows of some queries."""
    if len(queries) <= _FEW:
        return _scan_each(field, queries, cells, pool)
    bounds = _bounds(field, queries, cells, pool)
    best = BestRows(bounds, pool)
    for start, end, asking in _by_cell(cells, field.starts):
        best.offer(asking, field.scores(slice(start, end), queries[asking]), start)
    rows, scores = best.found()
    again = np.flatnonzero((rows[:, -1] < 0) & (bounds > LEAST))
    if len(again):
        part = _scan_each(field, queries[again], [cells[query] for query in again], pool)
        rows[again], scores[again] = part
    return rows, scores


def _bounds(field: _Field, queries: F32, cells: Sequence[I64], pool: int) -> F32:
    """Return which scores the pool of each query is likely to reach, float32 (q,), by every so many-th row."""
    share = min(max(_SHARES), max(min(_SHARES), pool // max(_SHARES)))
    sampled = -(-field.starts // share)  # how many rows of the sample come before each cell
    width = max(int((sampled[mine + 1] - sampled[mine]).sum()) for mine in cells)
    sample = np.full((len(cells), width), -np.inf, np.float32)
    filled = np.zeros(len(cells), np.int64)
    for start, end, asking in _by_cell(cells, sampled):
        scores = field.scores(slice(start * share, (end - 1) * share + 1, share), queries[asking])
        sample[asking[:, None], filled[asking][:, None] + np.arange(end - start)] = scores
        filled[asking] += end - start
    return sampled_bounds(sample, pool, share)


def _scan_each(field: _Field, queries: F32, cells: Sequence[I64], pool: int) -> tuple[I64, F32]:
    """Do as _scan_block does, one query after the other."""
    rows = np.full((len(cells), pool), -1, np.int64)
    scores = np.full((len(cells), pool), -np.inf, np.float32)
    for nth, mine in enumerate(cells):
        asked = _rows_of(mine, field.starts)
        found = field.scores_of(asked, queries[nth])
        counted = found > -np.inf
        best, theirs = best_of(found[counted], asked[counted], pool)
        scores[nth, : len(best)], rows[nth, : len(best)] = best, theirs
    return rows, scores


def _rows_of(cells: I64, starts: I64) -> I64:
    """Return the rows of some cells, int64 (m,)."""
    begins = starts[cells]
    counts = starts[cells + 1] - begins
    before = np.cumsum(counts) - counts
    return np.arange(counts.sum()) + np.repeat(begins - before, counts)


def _by_cell(cells: Sequence[I64], starts: I64) -> Iterator[tuple[int, int, I64]]:
    """Yield each cell with rows that a query wants: where it begins and ends, and which queries want it."""
    joined = np.concatenate(cells)
    asking = np.repeat(np.arange(len(cells)), [len(mine) for mine in cells])
    order = np.argsort(joined, kind="stable")
    wanted, firsts = np.unique(joined[order], return_index=True)
    bounds = np.append(firsts, len(order)).tolist()
    begins, ends = starts[wanted].tolist(), starts[wanted + 1].tolist()
    for nth, (start, end) in enumerate(zip(begins, ends, strict=True)):
        if end > start:
            yield start, end, asking[order[bounds[nth] : bounds[nth + 1]]]
