"""The ChaCha20 key stream, all blocks at once: where hyperplanes and rotations come from. Spec 0004.

The original layout: a 64-bit block counter from 0 and a 64-bit nonce, here 0; twenty rounds.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]

BLOCK_WORDS: Final = 16
_CONSTANTS: Final = np.frombuffer(b"expand 32-byte k", dtype="<u4")
# A quarter round works on columns; these row orders turn the diagonals into columns, and back.
_TURN: Final = ([1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2])


def key_stream(key: bytes, count: int) -> NDArray[np.int32]:
    """Return the first `count` words of the key stream, read as little-endian signed int32 (count,)."""
    assert len(key) == 32
    assert count >= 0
    state = _initial_state(key, -(-count // BLOCK_WORDS))
    a, b, c, d = (state[row : row + 4].copy() for row in (0, 4, 8, 12))
    for _ in range(10):
        _quarter_round(a, b, c, d)
        b, c, d = b[_TURN[0]], c[_TURN[1]], d[_TURN[2]]
        _quarter_round(a, b, c, d)
        b, c, d = b[_TURN[2]], c[_TURN[1]], d[_TURN[0]]
    words = np.concatenate([a, b, c, d]) + state
    return words.T.reshape(-1)[:count].view(np.int32)  # 0004-R5


def _initial_state(key: bytes, blocks: int) -> U32:
    """Return uint32 (16, blocks): a column for each block, only the counters differ."""
    counters = np.arange(blocks, dtype=np.uint64)
    state = np.zeros((BLOCK_WORDS, blocks), dtype=np.uint32)
    state[0:4] = _CONSTANTS[:, None]
    state[4:12] = np.frombuffer(key, dtype="<u4")[:, None]
    state[12] = counters & np.uint64(0xFFFFFFFF)
    state[13] = counters >> np.uint64(32)
    return state


def _quarter_round(a: U32, b: U32, c: U32, d: U32) -> None:
    """Mix four rows of columns, in place."""
    _mix(a, b, d, 16)
    _mix(c, d, b, 12)
    _mix(a, b, d, 8)
    _mix(c, d, b, 7)


def _mix(x: U32, y: U32, z: U32, bits: int) -> None:
    """Add y to x, fold x into z, turn z left by `bits`, in place."""
    x += y
    z ^= x
    z[:] = (z << np.uint32(bits)) | (z >> np.uint32(32 - bits))
