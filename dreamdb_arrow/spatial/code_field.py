"""Codes that lie by cell: what they mean, what is laid out beside them, and their scores. Spec 0010.

The score of a row is the dot product of the query and what its code stands for, as the reference ranks. With the scales
that `prepare_codes` derives for codes of several bits, it is divided by the length of the latter: a cosine, which finds
more of the nearest rows in a pool of the same size. A factor that is no number counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.codes import (
    ByteTable,
    expand_codes,
    inverse_lengths,
    shared_table,
    table_by_byte,
)
from dreamdb_arrow.kernels.rabitq import byte_numbers, code_width, rotation, stored_factors
from dreamdb_arrow.kernels.tiles import all_products, products_by_tile, products_of_one
from dreamdb_arrow.objects.vector_compressor import RabitqParams, VectorCompressor, codebook_rows

Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

SCALES: Final = "scales"
PIECE: Final = 1 << 10  # rows that become numbers at once


def prepare_codes(compressor: VectorCompressor, codes: Codes) -> dict[str, NDArray[Any]]:
    """Return what is laid out beside codes, by name.

    Args:
        compressor: whose codes they are.
        codes: uint8 (n, code_bytes).

    Returns:
        `scales` (n,), for RaBitQ only: of 2, 4 and 8 bits float16, one by the length of what the code stands for; of one
        bit with factors float32, these. What other codes stand for is equally long.

    Raises LayoutError for codes of another width, or that name what is not there.
    """
    _check_width(compressor, codes)
    params = compressor.params
    if not isinstance(params, RabitqParams):
        if codes.size and codes.max() >= params.k:  # 0010-R5
            raise LayoutError(f"a code names row {codes.max()} of a codebook of {params.k} rows")
        return {}
    if params.bits_per_dim == 1:
        return {SCALES: _factors(codes)} if params.with_correction_factors else {}
    scales = np.empty(len(codes), np.float16)
    table = _meaning(compressor).table
    for rows in row_blocks(len(codes), 4 * compressor.dim):
        scales[rows] = inverse_lengths(table, codes[rows], compressor.dim)
    return {SCALES: scales}


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


@dataclass(frozen=True, slots=True, eq=False)
class CodeField:
    """The codes of a field by cell, and how to read them.

    codes    uint8 (n, code_bytes)
    scales   float16 or float32 (n,), or None
    meaning  what the codes stand for
    live     which rows count, bool (n,); None for all
    """

    codes: Codes
    scales: NDArray[Any] | None
    meaning: _Meaning
    live: Bools | None

    def batch_scores(self, rows: I64, queries: F32) -> F32:
        """Return the scores of rows (g, r) and turned queries (g, m, numbers), float32 (g, m, r), as `batch.Part` asks for."""
        codes = self.codes.take(rows.reshape(-1), axis=0, mode="clip")
        numbers = expand_codes(self.meaning.table, codes[:, : self.meaning.width])
        scores = products_by_tile(numbers.reshape(*rows.shape, -1), queries)
        scales = self._scales(codes, rows.reshape(-1))
        if scales is not None:
            with np.errstate(over="ignore"):  # a stored factor may be anything
                scores *= scales.reshape(rows.shape)[:, None, :]
        if self.live is not None:
            np.copyto(scores, -np.inf, where=~self.live.take(rows, mode="clip")[:, None, :])
        return scores

    def scores_of(self, rows: I64, query: F32) -> F32:
        """Return the scores of one turned query (numbers,) with some rows (n,), float32 (n,)."""
        parts = [self._scored(part, query) for part in _pieces(rows)]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def _scored(self, rows: I64, query: F32) -> F32:
        codes = self.codes.take(rows, axis=0)
        scores = products_of_one(expand_codes(self.meaning.table, codes[:, : self.meaning.width]), query)
        scales = self._scales(codes, rows)
        if scales is not None:
            with np.errstate(over="ignore"):
                scores *= scales
        if self.live is not None:
            scores[~self.live[rows]] = -np.inf
        return scores

    def _scales(self, codes: Codes, rows: I64) -> F32 | None:
        if self.scales is not None:
            return self.scales.take(rows, mode="clip").astype(np.float32, copy=False)
        return _factors(codes) if self.meaning.factors else None


def code_field(
    compressor: VectorCompressor,
    codes: Codes,
    prepared: Mapping[str, NDArray[Any]],
    live: Bools | None = None,
) -> CodeField:
    """Return codes and what `prepare_codes` gave for them, ready to be scored. Raises LayoutError for another width."""
    _check_width(compressor, codes)
    return CodeField(codes, prepared.get(SCALES), _meaning(compressor), live)


def turn_queries(field: CodeField, queries: F32) -> F32:
    """Return queries (q, d) in the basis of the codes, float32 (q, numbers of a code); unused bits meet zeros."""
    meaning = field.meaning
    if meaning.turn is None:
        return np.ascontiguousarray(queries)
    turned = np.zeros((len(queries), meaning.width * meaning.table.numbers.shape[1]), np.float32)
    turned[:, : queries.shape[1]] = all_products(queries.astype(np.float64), meaning.turn)
    return turned


def _factors(codes: Codes) -> F32:
    """Return the stored factors, float32 (n,), 0 for one that is no number."""
    factors = stored_factors(codes)
    return np.where(np.isfinite(factors), factors, np.float32(0))


def _pieces(rows: I64) -> list[I64]:
    return [rows[at : at + PIECE] for at in range(0, len(rows), PIECE)]


def _check_width(compressor: VectorCompressor, codes: Codes) -> None:
    if codes.shape[1] != compressor.code_bytes:
        raise LayoutError(
            f"codes of {codes.shape[1]} bytes, where their compressor writes {compressor.code_bytes}"
        )
