"""Outboards by the book: a plain recursion over blake3's subtrees, beside the whole-array one of the package. Spec 0002."""

from __future__ import annotations

import struct
from typing import Final

_KEY: Final = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_ORDER: Final = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_START, _END, _PARENT = 1, 2, 4
_MASK: Final = 0xFFFFFFFF


def outboard(payload: bytes) -> bytes:
    """Return the Bao outboard of a payload."""
    nodes: list[bytes] = []
    if len(payload) > 1024:
        _visit(payload, 0, nodes)
    return struct.pack("<Q", len(payload)) + b"".join(nodes)


def _visit(part: bytes, first_chunk: int, nodes: list[bytes]) -> bytes:
    """Append the inner nodes of this part in pre-order; return its chaining value."""
    chunks = -(-len(part) // 1024)
    if chunks <= 1:
        return _chunk(part, first_chunk)
    left = 1 << (chunks - 1).bit_length() - 1
    at = len(nodes)
    nodes.append(b"")
    pair = _visit(part[: left * 1024], first_chunk, nodes) + _visit(
        part[left * 1024 :], first_chunk + left, nodes
    )
    nodes[at] = pair
    return struct.pack("<8I", *_compress(_KEY, pair, 0, 64, _PARENT))


def _chunk(data: bytes, counter: int) -> bytes:
    value = _KEY
    blocks = range(0, max(len(data), 1), 64)
    for at in blocks:
        block = data[at : at + 64]
        flags = (_START if at == 0 else 0) | (_END if at == blocks[-1] else 0)
        value = _compress(value, block.ljust(64, b"\0"), counter, len(block), flags)
    return struct.pack("<8I", *value)


def _compress(value: tuple[int, ...], block: bytes, counter: int, size: int, flags: int) -> tuple[int, ...]:
    words = list(struct.unpack("<16I", block))
    state = [*value, *_KEY[:4], counter & _MASK, counter >> 32, size, flags]
    for _ in range(7):
        for column in range(4):
            _mix(state, column, column + 4, column + 8, column + 12, *words[2 * column : 2 * column + 2])
        for column in range(4):
            places = (column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
            _mix(state, *places, *words[8 + 2 * column : 10 + 2 * column])
        words = [words[place] for place in _ORDER]
    return tuple(state[n] ^ state[n + 8] for n in range(8))


def _mix(state: list[int], a: int, b: int, c: int, d: int, x: int, y: int) -> None:
    for word, (first, second) in ((x, (16, 12)), (y, (8, 7))):
        state[a] = (state[a] + state[b] + word) & _MASK
        state[d] = _turn(state[d] ^ state[a], first)
        state[c] = (state[c] + state[d]) & _MASK
        state[b] = _turn(state[b] ^ state[c], second)


def _turn(word: int, bits: int) -> int:
    return (word >> bits | word << 32 - bits) & _MASK
