"""Canonical CBOR for whole columns: many short arrays of the same items, decoded at once. Spec 0007.

First it is found where rows begin. Most follow a row with the very same heads, which shows for all of them at once; over
the others a walk goes, a table step an item. Then each column is read in one go. Whatever comes out is as canonical as
what `codec.cbor` takes, which remains the definition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.cbor_columns import ADDRESS_HEAD, ADDRESS_SIZE, ARRAY, BYTES, TEXT, UINT
from dreamdb_arrow.codec.ragged import Bytes, Ints, numbers_at, rows_at
from dreamdb_arrow.errors import LayoutError

Steps: TypeAlias = Mapping[
    int, Sequence[bytes]
]  # by the head of a row, the table of _STEPS of each of its items
_FIRST_LOOK: Final = 16  # so many rows alike pay for comparing more of them at once
_REST_MAX: Final = 512  # how many rows to walk, at most, before it is tried again
_WIDTHS: Final = ((0x18, ">u1", 24), (0x19, ">u2", 1 << 8), (0x1A, ">u4", 1 << 16), (0x1B, ">u8", 1 << 32))


class Item(Enum):
    """What one column of the rows holds."""

    UINT = "unsigned integer"
    FLAG = "boolean"
    BYTES = "byte string"
    TEXT = "text"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Spans:
    """The contents of n byte strings or texts within the bytes they were read from: int64 (n,) both."""

    starts: Ints
    lengths: Ints


def read_array_head(data: bytes, at: int) -> tuple[int, int]:
    """Return the count of the CBOR array whose head lies here, and where its first item begins.

    Raises LayoutError when there is no array head, when it is not the shortest, or when the items cannot fit.
    """
    count, after = read_head(data, at, ARRAY)
    if count > len(data) - after:  # 0000-R2
        raise LayoutError(f"an array of {count} items cannot fit in its page")
    return count, after


def read_head(data: bytes, at: int, major: int) -> tuple[int, int]:
    """Return the argument of the head of this major type that lies here, and where it ends.

    Raises LayoutError for another type, a head that is cut off and one that is not the shortest.
    """
    initial = data[at] if at < len(data) else 0xFF
    info = initial & 0x1F
    if initial >> 5 != major or info > 0x1B:
        raise LayoutError(f"unexpected item at byte {at}")
    if info < 24:
        return info, at + 1
    end = at + 1 + (1 << (info - 24))
    argument = int.from_bytes(data[at + 1 : end], "big")
    if end > len(data) or argument < _WIDTHS[info - 24][2]:
        raise LayoutError(f"a head that is cut off or not the shortest at byte {at}")
    return argument, end


def row_steps(*shapes: Sequence[Item]) -> Steps:
    """Return how find_rows walks over rows that hold the items of any of these shapes."""
    return {ARRAY << 5 | len(shape): tuple(_STEPS[item] for item in shape) for shape in shapes}


def find_rows(data: bytes, at: int, count: int, steps: Steps) -> tuple[Ints, int]:
    """Return where each of `count` rows begins, int64 (count,), and where the last one ends.

    Args:
        data: the page.
        at: where the first row begins.
        count: the number of rows, which the caller has bounded by the size of the page.
        steps: of row_steps.

    Raises:
        LayoutError: a row of another shape, or one that reaches beyond the page.
    """
    starts: list[int] = []
    rest = 0
    try:
        if count <= _FIRST_LOOK:
            at = _walk_rows(data, at, count, steps, starts)
        page = np.frombuffer(data, np.uint8)
        while len(starts) < count:
            heads, end = _measure_row(data, at, steps)
            size = end - at
            left = count - len(starts) - 1
            alike = _count_alike(page, heads, size, min(left, _FIRST_LOOK))
            if alike == _FIRST_LOOK:
                alike = _count_alike(page, heads, size, left)
            starts.extend(range(at, end + alike * size, size))
            at = end + alike * size
            rest = 0 if alike >= _FIRST_LOOK else min(2 * rest + _FIRST_LOOK, _REST_MAX)
            at = _walk_rows(data, at, min(rest, count - len(starts)), steps, starts)
    except (IndexError, KeyError):
        raise LayoutError(f"an entry near byte {at} has another shape, or is cut off") from None
    if at > len(data):
        raise LayoutError("the last entry is cut off")
    return np.array(starts, np.int64), at


def _walk_rows(data: bytes, at: int, count: int, steps: Steps, starts: list[int]) -> int:
    """Add where each of the next rows begins to `starts`, and return where the last one ends."""
    for _ in range(count):
        starts.append(at)
        tables = steps[data[at]]
        at += 1
        for table in tables:
            at += table[data[at]] or _string_size(data, at, table)
    return at


def _measure_row(data: bytes, at: int, steps: Steps) -> tuple[list[int], int]:
    """Return the places of all bytes of a row that say how long it is, and where it ends."""
    heads = [at]
    tables = steps[data[at]]
    at += 1
    for table in tables:
        step = table[data[at]]
        width = 0 if step else 1 << (data[at] - _LONG_STRINGS.get(table, 0x100) - 24 & 3)
        heads += range(at, at + 1 + width)
        at += step or _string_size(data, at, table)
    return heads, at


def _count_alike(page: Bytes, heads: list[int], size: int, most: int) -> int:
    """Return how many of the rows that follow one of these heads have the same ones."""
    after = heads[0] + size
    count = min(most, (len(page) - after) // size)
    if count <= 0:
        return 0
    places = np.array(heads) - heads[0]
    rows = page[after : after + count * size].reshape(count, size)[:, places]
    same = (rows == page[heads]).all(axis=1)
    return count if same.all() else int(np.argmin(same))


def read_columns(data: Bytes, at: Ints, shape: Sequence[Item]) -> tuple[list[Any], Ints]:
    """Read items of rows that find_rows has measured, column by column.

    Args:
        data: the page.
        at: where the first item to read lies in each row, int64 (n,).
        shape: this item and those after it.

    Returns:
        For each item of the shape: uint64 (n,) for UINT, bool (n,) for FLAG, uint8 (n, 33) for ADDRESS, Spans for
        BYTES and TEXT; and where the last one ends in each row.

    Raises:
        LayoutError: an item of another type, or one that is not canonical.
    """
    columns = []
    for item in shape:
        column, at = _READERS[item](data, at)
        columns.append(column)
    return columns, at


def _read_uints(data: Bytes, at: Ints) -> tuple[NDArray[np.uint64], Ints]:
    return read_arguments(data, at, UINT)


def read_arguments(data: Bytes, at: Ints, major: int) -> tuple[NDArray[np.uint64], Ints]:
    """Return the arguments of the heads of one major type that lie at these places, and where the heads end.

    Raises LayoutError for another type, a head that is cut off and one that is not the shortest.
    """
    initials = data[at]
    infos = initials & 0x1F
    if np.any((initials >> 5 != major) | (infos > 0x1B)):
        raise LayoutError(f"an item is not of CBOR type {major}")
    arguments = infos.astype(np.uint64)
    for info, dtype, least in _WIDTHS:
        rows = np.flatnonzero(infos == info)
        if len(rows):
            arguments[rows] = _numbers_within(data, at[rows] + 1, dtype)
            if np.any(arguments[rows] < least):
                raise LayoutError("a head is not the shortest")
    return arguments, at + _HEAD_SIZES[infos]


def _numbers_within(data: Bytes, at: Ints, dtype: str) -> NDArray[Any]:
    if at.max() + np.dtype(dtype).itemsize > len(data):
        raise LayoutError("an item is cut off")
    return numbers_at(data, at, dtype)


def _read_flags(data: Bytes, at: Ints) -> tuple[NDArray[np.bool_], Ints]:
    initials = data[at]
    if np.any(initials & 0xFE != 0xF4):
        raise LayoutError("an item is not a boolean")
    return initials == 0xF5, at + 1


def _read_strings(major: int) -> Callable[[Bytes, Ints], tuple[Spans, Ints]]:
    def read(data: Bytes, at: Ints) -> tuple[Spans, Ints]:
        sizes, starts = read_arguments(data, at, major)
        lengths = np.minimum(sizes, len(data) + 1).astype(np.int64)
        if np.any(starts + lengths > len(data)):
            raise LayoutError("a string is cut off")
        return Spans(starts, lengths), starts + lengths

    return read


def _read_addresses(data: Bytes, at: Ints) -> tuple[Bytes, Ints]:
    if len(at) and at.max() + ADDRESS_SIZE > len(data):
        raise LayoutError("an address is cut off")
    rows = rows_at(data, at, ADDRESS_SIZE)
    if np.any(rows[:, :3] != np.frombuffer(ADDRESS_HEAD + b"\x1e", np.uint8)):
        raise LayoutError("an item is not an address")
    return rows[:, 2:], at + ADDRESS_SIZE


def _string_size(data: bytes, at: int, table: bytes) -> int:
    """Return the size of a string whose length lies after its first byte; that it is canonical shows later."""
    info = data[at] - _LONG_STRINGS.get(table, 0x100)
    if info == 24:
        return 2 + data[at + 1]
    if not 24 < info < 28:
        raise KeyError(at)
    end = at + 1 + (1 << (info - 24))
    return end - at + int.from_bytes(data[at + 1 : end], "big")


def _string_steps(major: int) -> bytes:
    return bytes((major << 5 <= b < (major << 5) + 24) and 1 + (b & 0x1F) for b in range(256))


_HEAD_SIZES: Final = np.array([1] * 24 + [2, 3, 5, 9] + [0] * 4, np.int64)
# For each first byte of an item, the size of the whole item; 0 where it takes more than the first byte to say.
_STEPS: Final = {
    Item.UINT: bytes(int(_HEAD_SIZES[b]) if b < 0x1C else 0 for b in range(256)),
    Item.FLAG: bytes(int(b in (0xF4, 0xF5)) for b in range(256)),
    Item.BYTES: _string_steps(BYTES),
    Item.TEXT: _string_steps(TEXT),
    Item.ADDRESS: bytes(ADDRESS_SIZE if b == 0x58 else 0 for b in range(256)),
}
_LONG_STRINGS: Final = {_STEPS[Item.BYTES]: BYTES << 5, _STEPS[Item.TEXT]: TEXT << 5}
_READERS: Final[Mapping[Item, Callable[[Bytes, Ints], tuple[Any, Ints]]]] = {
    Item.UINT: _read_uints,
    Item.FLAG: _read_flags,
    Item.BYTES: _read_strings(BYTES),
    Item.TEXT: _read_strings(TEXT),
    Item.ADDRESS: _read_addresses,
}
