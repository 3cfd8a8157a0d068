"""Bits of spatial keys: rows of bits to the distinct ones, numbers to bits, bits to text. Spec 0004."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]


def distinct_rows(bits: Bits) -> tuple[Bits, NDArray[np.int64]]:
    """Return the distinct rows of (n, b) bits in the order of their text, and for each row which one it is."""
    assert bits.ndim == 2
    packed = np.packbits(bits, axis=1)  # first bit highest: bytes sort as the text does
    if packed.shape[1] <= 8:
        padded = np.zeros((len(packed), 8), dtype=np.uint8)
        padded[:, : packed.shape[1]] = packed
        keys = padded.view(">u8").reshape(-1).astype(np.uint64)  # numbers sort faster than bytes
    else:
        keys = np.ascontiguousarray(packed).view(f"V{packed.shape[1]}").reshape(-1)
    _, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    return bits[first], codes.reshape(-1).astype(np.int64)


def number_bits(numbers: NDArray[np.uint64], width: int) -> Bits:
    """Return the numbers (n,) in base 2, `width` digits each, the highest first: bool (n, width)."""
    assert numbers.dtype == np.uint64
    assert 1 <= width <= 64
    shifts = np.arange(width - 1, -1, -1, dtype=np.uint64)
    digits: Bits = ((numbers[:, None] >> shifts) & np.uint64(1)).astype(np.bool_)
    return digits


def bit_texts(bits: Bits) -> list[str]:
    """Return each row of (n, b) bits as text of `0` and `1`, the first bit first."""
    assert bits.ndim == 2
    width = bits.shape[1]
    joined = (bits + np.uint8(ord("0"))).astype(np.uint8).tobytes().decode("ascii")
    return [joined[start : start + width] for start in range(0, len(joined), width)]  # 0004-R2
