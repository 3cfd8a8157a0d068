"""Codes as numbers: each byte stands for a few of them, a table says which. Part of spec 0010.

Codes of every kind, RaBitQ of any bits and PQ, become rows of numbers by one lookup, and their scores one matrix product.
For many queries the lookup is a small part of the product; for one it takes as long as tables of scores or counts of bits
do in NumPy (ADR 0023).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ByteTable:
    """What the bytes of a code stand for.

    numbers  float32 (256, w), the same for every byte, or (b * 256, w), 256 rows for each byte of a code
    shifts   where the rows of each byte begin, int64 (b,); None when all bytes have the same
    """

    numbers: F32
    shifts: I64 | None = None


def shared_table(numbers: F32) -> ByteTable:
    """Return the table of codes whose bytes all mean the same, float32 (256, w)."""
    assert numbers.shape[0] == 256
    return ByteTable(np.ascontiguousarray(numbers))


def table_by_byte(numbers: F32) -> ByteTable:
    """Return the table of codes whose bytes have rows of their own, float32 (b, k, w), k at most 256."""
    b, k, width = numbers.shape
    assert k <= 256
    padded = np.zeros((b, 256, width), np.float32)
    padded[:, :k] = numbers
    return ByteTable(padded.reshape(b * 256, width), 256 * np.arange(b))


def expand_codes(table: ByteTable, codes: Codes) -> F32:
    """Return the numbers of codes, uint8 (n, b): float32 (n, b * w)."""
    assert codes.ndim == 2
    rows = codes if table.shifts is None else codes + table.shifts
    # every row of a table can be named by a byte: nothing is clipped, and "clip" is faster than a check
    expanded: F32 = table.numbers.take(rows, axis=0, mode="clip")
    return expanded.reshape(len(codes), codes.shape[1] * table.numbers.shape[1])


def inverse_lengths(table: ByteTable, codes: Codes, dim: int) -> NDArray[np.float16]:
    """Return one by the length of the first `dim` numbers of each code, float16 (n,); 0 for a length of zero."""
    numbers = expand_codes(table, codes)[:, :dim]
    lengths = np.sqrt(np.einsum("ij,ij->i", numbers, numbers))
    inverse: F32 = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return inverse.astype(np.float16)
