"""RaBitQ codes: vectors turned by a random rotation, each number to a few bits, and back. Spec 0007.

Bit for bit the codes of the reference SDK: the rotation is made orthonormal in float64, which settles every sign that
its own arithmetic settles. The factor beside one-bit codes is a float32 whose last bits depend on the order of a sum.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.chacha import key_stream

Codes = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FACTOR_BYTES: Final = 4
BITS: Final = (1, 2, 4, 8)  # of one number; all divide a byte
_SPAN: Final = 4.0  # numbers of a unit vector lie within 4 / sqrt(dim), but for a few


def rotation(seed: bytes, dim: int) -> F64:
    """Return the rotation of a seed, float64 (dim, dim): orthonormal rows, each cleared of those above it."""
    rows = key_stream(seed, dim * dim).astype(np.float64).reshape(dim, dim)
    for at in range(dim):
        rows[at] /= np.sqrt(np.square(rows[at]).sum())
        rows[at + 1 :] -= np.outer(rows[at + 1 :] @ rows[at], rows[at])
    return rows


def code_width(dim: int, bits: int, *, factors: bool) -> int:
    """Return how many bytes the code of one vector has."""
    return -(-dim * bits // 8) + (FACTOR_BYTES if factors else 0)


def encode_rabitq(turn: F64, vectors: F32, bits: int, *, factors: bool = False) -> Codes:
    """Return the codes of vectors, uint8 (n, width).

    Args:
        turn: what `rotation` returns, float64 (d, d).
        vectors: float32 (n, d), as given: not scaled.
        bits: of each number, 1, 2, 4 or 8; number i takes bits i * bits and on, the lowest bit first.
        factors: whether one over the sum of magnitudes, float32, follows the bits. For one bit only.
    """
    assert turn.shape == (vectors.shape[1], vectors.shape[1])
    assert bits in BITS
    assert bits == 1 or not factors
    codes = np.empty((len(vectors), code_width(len(turn), bits, factors=factors)), np.uint8)
    for rows in row_blocks(len(vectors), 32 * len(turn)):
        turned = vectors[rows].astype(np.float64) @ turn.T
        packed = _pack(_levels(turned, bits), bits)
        codes[rows, : packed.shape[1]] = packed
        if factors:
            codes[rows, packed.shape[1] :] = _factors(turned)
    return codes


def decode_rabitq(turn: F64, codes: Codes, bits: int, *, factors: bool = False) -> F32:
    """Return what codes, uint8 (n, width), say of their vectors: float32 (n, d). Arguments as of encode_rabitq."""
    dim = len(turn)
    assert codes.shape[1] == code_width(dim, bits, factors=factors)
    vectors = np.empty((len(codes), dim), np.float32)
    for rows in row_blocks(len(codes), 32 * dim):
        levels = _unpack(codes[rows, : code_width(dim, bits, factors=False)], dim, bits)
        turned = _middles(levels, dim, bits)
        if factors:
            turned = (2.0 * levels - 1.0) * stored_factors(codes[rows]).astype(np.float64)[:, None]
        vectors[rows] = turned @ turn
    return vectors


def byte_numbers(dim: int, bits: int, *, factors: bool = False) -> F32:
    """Return the numbers that each byte of a code stands for in the rotated basis, float32 (256, 8 / bits).

    With factors they are 1 and -1, and each code has the factor that goes with them.
    """
    assert bits in BITS
    levels = _unpack(np.arange(256, dtype=np.uint8)[:, None], 8 // bits, bits)
    numbers = 2.0 * levels - 1.0 if factors else _middles(levels, dim, bits)
    return numbers.astype(np.float32)


def stored_factors(codes: Codes) -> F32:
    """Return the factors that codes with factors, uint8 (n, width), end with: float32 (n,)."""
    return np.ascontiguousarray(codes[:, -FACTOR_BYTES:]).view("<f4").reshape(-1)


def _levels(turned: F64, bits: int) -> Codes:
    """Return the step that each number (n, d) is on: its sign, or one of 2^bits equal steps over the span."""
    if bits == 1:
        return (turned >= 0).astype(np.uint8)
    limit = _SPAN / np.sqrt(turned.shape[1])
    steps = np.floor((turned + limit) / (2 * limit) * (1 << bits))
    levels: Codes = np.clip(steps, 0, (1 << bits) - 1).astype(np.uint8)
    return levels


def _middles(levels: Codes, dim: int, bits: int) -> F64:
    """Return the number in the middle of each step, float64 (n, d)."""
    limit = _SPAN / np.sqrt(dim)
    middles: F64 = (levels + 0.5) / (1 << bits) * (2 * limit) - limit
    return (2.0 * levels - 1.0) / np.sqrt(dim) if bits == 1 else middles


def _factors(turned: F64) -> Codes:
    with np.errstate(divide="ignore", over="ignore"):
        factors: F32 = (1.0 / np.abs(turned).sum(axis=1)).astype("<f4")
    return factors.view(np.uint8).reshape(-1, FACTOR_BYTES)


def _pack(levels: Codes, bits: int) -> Codes:
    places = np.arange(bits, dtype=np.uint8)
    single = (levels[:, :, None] >> places) & np.uint8(1)
    return np.packbits(single.reshape(len(levels), -1), axis=1, bitorder="little")


def _unpack(packed: Codes, dim: int, bits: int) -> Codes:
    single = np.unpackbits(packed, axis=1, count=dim * bits, bitorder="little").reshape(-1, dim, bits)
    levels: Codes = (single << np.arange(bits, dtype=np.uint8)).sum(axis=2, dtype=np.uint8)
    return levels
