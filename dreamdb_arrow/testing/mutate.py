"""Damaged copies of bytes, for decoders to refuse: some know CBOR, others do not. Seeded, so that every run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

_NUMBERS: Final = (
    0,
    1,
    23,
    24,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_CHUNK_MAX: Final = 64
_DEPTHS: Final = (1, 2, 16, 63, 64, 65, 200, 5000)
_COPIES: Final = (2, 16, 500)
_GROWN_MAX: Final = 1 << 20  # bytes; larger inputs are the limits' business, and tests of those say so
_ROUNDS_MAX: Final = 4  # changes of one input


def mutate(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return bytes with 1 to 4 changes. `others` lend parts of theirs."""
    for _ in range(chance.randint(1, _ROUNDS_MAX)):
        change = chance.choice(_CHANGES)
        data = change(data, others, chance)[:_GROWN_MAX]
    return data


# --- of any bytes -------------------------------------------------------------------------------------------


def _flip(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    if not data:
        return b"\0"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _overwrite(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    width = chance.choice((1, 2, 4, 8))
    number = (chance.choice(_NUMBERS) & (1 << 8 * width) - 1).to_bytes(
        width, chance.choice(("big", "little"))
    )
    at = chance.randrange(len(data) + 1)
    return data[:at] + number + data[at + width :]


def _cut(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _remove(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:start] + data[stop:]


def _repeat(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:stop] + data[start:stop] * chance.choice(_COPIES) + data[stop:]


def _insert(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.randrange(1, 17)) + data[at:]


def _splice(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    start, stop = _span(data, chance)
    low, high = _span(other, chance)
    return data[:start] + other[low:high] + data[stop:]


def _span(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.randrange(_CHUNK_MAX))


# --- of CBOR ------------------------------------------------------------------------------------------------


def _another_head(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """Give an item another length, number or kind."""
    start, stop, major = _head(data, chance)
    if chance.random() < 0.3:
        major = chance.randrange(8)
    return data[:start] + _head_bytes(major, chance.choice(_NUMBERS)) + data[stop:]


def _nest(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """Put an item into lists in lists, or maps in maps."""
    start, _stop, _major = _head(data, chance)
    around = chance.choice((b"\x81", b"\xa1\x00", b"\xa1\x61a", b"\x82\x00"))
    return data[:start] + around * chance.choice(_DEPTHS) + data[start:]


def _swap_items(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Put what begins at an item of another input in place of an item, up to a few bytes."""
    other = chance.choice(others)
    start, stop, _ = _head(data, chance)
    low, _high, _ = _head(other, chance)
    return data[:start] + other[low : low + chance.randrange(1, _CHUNK_MAX)] + data[stop:]


def _head(data: bytes, chance: random.Random) -> tuple[int, int, int]:
    """Return where the head of an item may begin and end, and its kind: found by walking from a place that may be one."""
    if not data:
        return 0, 0, 0
    at = 0
    for _ in range(chance.randrange(1, 40)):
        step = _item_step(data, at)
        if at + step >= len(data):
            break
        at += step
    return at, min(len(data), at + _head_size(data[at])), data[at] >> 5


def _item_step(data: bytes, at: int) -> int:
    """Return how far the next item is: behind the head of a container, behind a text or bytes."""
    size = _head_size(data[at])
    if data[at] >> 5 not in (2, 3):
        return size
    low = data[at] & 31
    length = low if low < 24 else int.from_bytes(data[at + 1 : at + size], "big")
    return size + length


def _head_size(first: int) -> int:
    return {24: 2, 25: 3, 26: 5, 27: 9}.get(first & 31, 1)


def _head_bytes(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    width, low = next((w, low) for w, low in ((1, 24), (2, 25), (4, 26), (8, 27)) if number < 1 << 8 * w)
    return bytes([major << 5 | low]) + number.to_bytes(width, "big")


_CHANGES: Final[tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...]] = (
    _flip,
    _overwrite,
    _cut,
    _remove,
    _repeat,
    _insert,
    _splice,
    _another_head,
    _nest,
    _swap_items,
)
