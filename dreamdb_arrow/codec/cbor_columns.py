"""Canonical CBOR for whole columns: many short arrays of the same items, encoded at once. Spec 0007.

Index pages and inline indexes hold thousands of small arrays, *rows*, of unsigned integers, byte strings, text,
booleans and Addresses. Each column is encoded by itself, then the rows are joined. `codec.cbor` is the definition,
`codec.cbor_rows` the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Bytes, Ints, Ragged, join

ADDRESS_HEAD: Final = b"\x58\x21"
ADDRESS_SIZE: Final = 35  # of an Address as a byte string
UINT, BYTES, TEXT, ARRAY = 0, 2, 3, 4  # CBOR major types
_LIMITS: Final = np.array([24, 1 << 8, 1 << 16, 1 << 32], np.uint64)  # the first argument too wide for
_CLASS_SIZES: Final = np.array([1, 2, 3, 5, 9], np.int64)  # a head of 1, 2, 3, 5 bytes


def encode_heads(major: int, arguments: NDArray[Any]) -> Ragged:
    """Return the shortest head of a CBOR major type for each argument, uint64 (n,)."""
    numbers = np.asarray(arguments).astype(np.uint64)
    if len(numbers) and _class_of(numbers.min()) == (only := _class_of(numbers.max())):
        return _encode_alike(major, numbers, only)
    classes = np.searchsorted(_LIMITS, numbers, side="right")
    lengths = _CLASS_SIZES[classes]
    rows = np.empty((len(numbers), 9), np.uint8)
    rows[:, 0] = (major << 5) | np.where(classes == 0, numbers, 23 + classes.astype(np.uint64)).astype(
        np.uint8
    )
    # The big-endian digits, moved to the left until the significant ones come first.
    shifts = np.array([0, 56, 48, 32, 0], np.uint64)[classes]
    rows[:, 1:] = (numbers << shifts).astype(">u8").view(np.uint8).reshape(-1, 8)
    return left_parts(rows, lengths)


def _class_of(argument: np.uint64) -> int:
    return int(np.searchsorted(_LIMITS, argument, side="right"))


def _encode_alike(major: int, numbers: NDArray[np.uint64], only: int) -> Ragged:
    """Return the heads of arguments that all take as many bytes: those of sorted columns, mostly."""
    size = int(_CLASS_SIZES[only])
    rows = np.empty((len(numbers), size), np.uint8)
    if only == 0:
        rows[:, 0] = (major << 5) | numbers.astype(np.uint8)
        return Ragged.of_rows(rows)
    rows[:, 0] = (major << 5) + 23 + only
    rows[:, 1:] = numbers.astype(f">u{size - 1}").view(np.uint8).reshape(-1, size - 1)
    return Ragged.of_rows(rows)


def head_sizes(arguments: NDArray[Any]) -> Ints:
    """Return how long the shortest head of each argument, uint64 (n,), is."""
    return _CLASS_SIZES[np.searchsorted(_LIMITS, arguments, side="right")]


def encode_flags(flags: NDArray[np.bool_]) -> Ragged:
    """Return the CBOR of booleans, (n,)."""
    return Ragged.of_rows(np.where(flags, 0xF5, 0xF4).astype(np.uint8)[:, None])


def encode_addresses(addresses: Bytes) -> Ragged:
    """Return Addresses, uint8 (n, 33), as CBOR byte strings."""
    rows = np.empty((len(addresses), ADDRESS_SIZE), np.uint8)
    rows[:, :2] = np.frombuffer(ADDRESS_HEAD, np.uint8)
    rows[:, 2:] = addresses
    return Ragged.of_rows(rows)


def encode_bytes(strings: Ragged) -> Ragged:
    """Return byte strings as CBOR byte strings."""
    return join([encode_heads(BYTES, strings.lengths), strings])


def encode_text(strings: Ragged) -> Ragged:
    """Return UTF-8 strings as CBOR text."""
    return join([encode_heads(TEXT, strings.lengths), strings])


def encode_rows(columns: Sequence[Ragged]) -> Ragged:
    """Return n CBOR arrays, each made of one encoded item of every column."""
    head = Ragged.repeat(bytes([ARRAY << 5 | len(columns)]), len(columns[0]))
    return join([head, *columns])


def array_head(count: int) -> bytes:
    """Return the head of a CBOR array of this many items."""
    if count < 24:
        return bytes([ARRAY << 5 | count])
    width = next(width for width in (1, 2, 4, 8) if count < 1 << (8 * width))
    return bytes([(ARRAY << 5) + 23 + width.bit_length()]) + count.to_bytes(width, "big")


def left_parts(rows: Bytes, lengths: Ints) -> Ragged:
    """Return the first `length` bytes of each row."""
    if len(lengths) and lengths.min() == lengths.max():
        return Ragged.of_rows(rows[:, : lengths[0]])
    return Ragged(rows[np.arange(rows.shape[1]) < lengths[:, None]], lengths)
