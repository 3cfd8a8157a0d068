"""The nodes of BLAKE3 trees, many at once: chunk and parent chaining values. Spec 0002.

Lanes lie along the last axis: a chaining value of n lanes is uint32 (8, n), a message block uint32 (16, n).
One step of the compression function is one NumPy operation over all lanes, so the cost of a call is that of
some three hundred operations, be there one lane or two thousand.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES: Final = 1024
BLOCK_BYTES: Final = 64
_BLOCKS: Final = CHUNK_BYTES // BLOCK_BYTES
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8
_KEY: Final = np.array(
    [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19],
    dtype=np.uint32,
)[:, None]
_PERMUTATION: Final = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)

Words = NDArray[np.uint32]


def chunk_values(
    chunks: NDArray[np.uint8], lengths: NDArray[np.int64], counters: NDArray[np.uint64]
) -> Words:
    """Return the chaining value of each chunk, uint32 (8, n).

    Args:
        chunks: uint8 (n, 1024), C-contiguous, zero after the end of a short chunk.
        lengths: int64 (n,), bytes in each chunk, 0 .. 1024.
        counters: uint64 (n,), the place of each chunk in its own payload.
    """
    n = len(chunks)
    assert chunks.shape == (n, CHUNK_BYTES)
    assert lengths.shape == counters.shape == (n,)
    words = chunks.view("<u4").reshape(n, _BLOCKS, 16).transpose(1, 2, 0)
    last = np.maximum((lengths + BLOCK_BYTES - 1) // BLOCK_BYTES, 1) - 1
    values = np.repeat(_KEY, n, axis=1)
    for block in range(int(last.max(initial=-1)) + 1):
        flags = np.where(last == block, _CHUNK_END, 0) | (_CHUNK_START if block == 0 else 0)
        sizes = np.clip(lengths - block * BLOCK_BYTES, 0, BLOCK_BYTES)
        following = _compress(values, np.ascontiguousarray(words[block]), counters, sizes, flags)
        # A chunk that ended in an earlier block keeps the value it ended with.
        values = np.where(last >= block, following, values)
    return values


def parent_values(left: Words, right: Words, *, root: bool = False) -> Words:
    """Return the chaining values of the parents of n pairs, uint32 (8, n); of a root, its digest words."""
    n = left.shape[1]
    assert left.shape == right.shape == (8, n)
    zeros, sizes = np.zeros(n, dtype=np.uint64), np.full(n, BLOCK_BYTES)
    flags = np.full(n, _PARENT | (_ROOT if root else 0))
    return _compress(np.repeat(_KEY, n, axis=1), np.concatenate([left, right]), zeros, sizes, flags)


def _compress(
    values: Words,
    block: Words,
    counters: NDArray[np.uint64],
    sizes: NDArray[np.int64],
    flags: NDArray[np.int64],
) -> Words:
    """The compression function on n lanes: uint32 (8, n) and (16, n) to (8, n)."""
    rows = _Rows(values, counters, sizes, flags)
    order = np.arange(16)
    for _ in range(7):
        rows.mix(block[order[0:8:2]], block[order[1:8:2]])
        rows.to_diagonals()
        rows.mix(block[order[8:16:2]], block[order[9:16:2]])
        rows.to_columns()
        order = order[list(_PERMUTATION)]
    return rows.folded()


class _Rows:
    """The state of the compression function: four rows of four words, each word n lanes wide.

    Rows b, c and d lie in buffers longer than four words, so that turning columns into diagonals moves a
    window by one word (c: by two) and copies only the words that come round, not the whole row.
    """

    __slots__ = ("_b", "_c", "_d", "_spare", "a", "b", "c", "d")

    def __init__(
        self,
        values: Words,
        counters: NDArray[np.uint64],
        sizes: NDArray[np.int64],
        flags: NDArray[np.int64],
    ) -> None:
        n = values.shape[1]
        self._b, self._c, self._d = (np.empty((extra, n), dtype=np.uint32) for extra in (5, 6, 5))
        self.a = values[:4].copy()
        self.b, self.c, self.d = self._b[:4], self._c[:4], self._d[1:]
        self.b[:] = values[4:]
        self.c[:] = _KEY[:4]
        self.d[:] = (counters & 0xFFFFFFFF, counters >> np.uint64(32), sizes, flags)
        self._spare = np.empty((4, n), dtype=np.uint32)

    def mix(self, x: Words, y: Words) -> None:
        """Quarter rounds of all four columns (or diagonals) with the message words (4, n) each."""
        a, b, c, d = self.a, self.b, self.c, self.d
        a += b
        a += x
        d ^= a
        self._rotate_right(d, 16)
        c += d
        b ^= c
        self._rotate_right(b, 12)
        a += b
        a += y
        d ^= a
        self._rotate_right(d, 8)
        c += d
        b ^= c
        self._rotate_right(b, 7)

    def _rotate_right(self, row: Words, bits: int) -> None:
        np.right_shift(row, bits, out=self._spare)
        np.left_shift(row, 32 - bits, out=row)
        np.bitwise_or(row, self._spare, out=row)

    def to_diagonals(self) -> None:
        self._b[4] = self._b[0]
        self._c[4:] = self._c[:2]
        self._d[0] = self._d[4]
        self.b, self.c, self.d = self._b[1:], self._c[2:], self._d[:4]

    def to_columns(self) -> None:
        self._b[0] = self._b[4]
        self._c[:2] = self._c[4:]
        self._d[4] = self._d[0]
        self.b, self.c, self.d = self._b[:4], self._c[:4], self._d[1:]

    def folded(self) -> Words:
        """Return the chaining value that comes out, uint32 (8, n)."""
        return np.concatenate([self.a ^ self.c, self.b ^ self.d])
