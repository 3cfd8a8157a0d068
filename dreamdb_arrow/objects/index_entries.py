"""Entries of media and spatial indexes as columns: from lists, from CBOR rows, and back. Spec 0007.

    media     [t0, t1, size, address], then perhaps: whether chunked, then perhaps: offset in its pack
    cells     [spatial key, t0, t1, size, address], then perhaps: table, then perhaps: sidecar

The two kinds differ only in their shape, so all of this goes by a table of items. In pages the first time is relative
to the page and the second to the first; inline in a Track both are absolute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import ADDRESS_BYTES, BLAKE3_CODE
from dreamdb_arrow.codec.cbor_columns import (
    UINT,
    array_head,
    encode_addresses,
    encode_flags,
    encode_heads,
    encode_rows,
    encode_text,
)
from dreamdb_arrow.codec.cbor_rows import Item, find_rows, read_columns, row_steps
from dreamdb_arrow.codec.ragged import Bytes, Ints, Ragged
from dreamdb_arrow.errors import LayoutError


@dataclass(frozen=True, slots=True)
class EntryShape:
    """What entries of one kind hold: items, the first `required` of them always, times from `first` on."""

    name: str
    items: tuple[Item, ...]
    required: int
    first: int


MEDIA: Final = EntryShape(
    "media", (Item.UINT, Item.UINT, Item.UINT, Item.ADDRESS, Item.FLAG, Item.UINT), 4, 0
)
CELLS: Final = EntryShape(
    "cells", (Item.TEXT, Item.UINT, Item.UINT, Item.UINT, Item.ADDRESS, Item.UINT, Item.ADDRESS), 5, 1
)
_STEPS: Final = {
    shape.name: row_steps(*(shape.items[:size] for size in range(shape.required, len(shape.items) + 1)))
    for shape in (MEDIA, CELLS)
}


@dataclass(frozen=True, slots=True)
class IndexEntries:
    """n entries of one shape.

    columns   one an item of the shape: uint64 (n,), bool (n,), uint8 (n, 33) or list of str; zeros where an entry
              does not have the item
    members   int64 (n,), how many items each entry has
    """

    shape: EntryShape
    columns: tuple[Any, ...]
    members: Ints

    def __len__(self) -> int:
        return len(self.members)

    @property
    def firsts(self) -> NDArray[np.uint64]:
        """The times at which entries begin, uint64 (n,)."""
        return self.columns[self.shape.first]  # type: ignore[no-any-return]

    @property
    def stops(self) -> NDArray[np.uint64]:
        """The times before which they end, uint64 (n,)."""
        return self.columns[self.shape.first + 1]  # type: ignore[no-any-return]

    @property
    def sizes(self) -> NDArray[np.uint64]:
        """Sizes in bytes, uint64 (n,)."""
        return self.columns[self.shape.first + 2]  # type: ignore[no-any-return]

    @property
    def addresses(self) -> Bytes:
        """Addresses, uint8 (n, 33)."""
        return self.columns[self.shape.first + 3]  # type: ignore[no-any-return]

    @property
    def keys(self) -> list[str]:
        """The spatial keys of cells."""
        return self.columns[0]  # type: ignore[no-any-return]

    def take(self, order: Ints) -> IndexEntries:
        """Return the entries at these positions, in that order."""
        return IndexEntries(self.shape, tuple(_take(c, order) for c in self.columns), self.members[order])

    def between(self, start: int, stop: int) -> IndexEntries:
        """Return the entries from `start` up to `stop`."""
        return IndexEntries(self.shape, tuple(c[start:stop] for c in self.columns), self.members[start:stop])


def join_index_entries(shape: EntryShape, parts: Sequence[IndexEntries]) -> IndexEntries:
    """Return the entries of all parts, one after another."""
    columns = tuple(
        _JOIN.get(item, np.concatenate)([part.columns[i] for part in parts] or [_EMPTY[item]])
        for i, item in enumerate(shape.items)
    )
    return IndexEntries(
        shape, columns, np.concatenate([part.members for part in parts] or [np.empty(0, np.int64)])
    )


# --- lists --------------------------------------------------------------------------------------------------


def entries_of_lists(shape: EntryShape, rows: Any) -> IndexEntries:
    """Return decoded CBOR arrays as entries. Raises LayoutError for anything else than entries of this shape."""
    if not isinstance(rows, list) or not all(type(row) is list for row in rows):
        raise LayoutError(f"an inline index of {shape.name} must be an array of arrays")
    members = np.fromiter(map(len, rows), np.int64, len(rows))
    if np.any((members < shape.required) | (members > len(shape.items))):  # 0007-R7
        raise LayoutError(f"an entry of {shape.name} has {shape.required} to {len(shape.items)} items")
    columns = []
    for nth, item in enumerate(shape.items):
        held = np.flatnonzero(members > nth)
        column = _FROM_LIST[item]([row[nth] for row in rows if len(row) > nth])
        columns.append(column if len(held) == len(rows) else _spread(item, column, held, len(rows)))
    entries = IndexEntries(shape, tuple(columns), members)
    return check_times(entries)


def lists_of_entries(entries: IndexEntries) -> list[list[Any]]:
    """Return entries as the arrays that an inline index holds."""
    items = zip(entries.shape.items, entries.columns, strict=True)
    rows = zip(*(_TO_LIST[item](column) for item, column in items), strict=True)
    return [list(row[:members]) for row, members in zip(rows, entries.members.tolist(), strict=True)]


def check_times(entries: IndexEntries) -> IndexEntries:
    """Return the entries. Raises LayoutError when one ends before it begins."""
    if np.any(entries.stops < entries.firsts):  # 0003-R3
        raise LayoutError(f"an entry of {entries.shape.name} ends before it begins")
    return entries


# --- CBOR rows ----------------------------------------------------------------------------------------------


def encode_index_rows(entries: IndexEntries, t_min: int) -> Ragged:
    """Return each entry as it stands in the page that begins at `t_min`."""
    entries = _with_times(entries, entries.firsts - np.uint64(t_min), entries.stops - entries.firsts)
    columns = [
        _ENCODE[item](column) for item, column in zip(entries.shape.items, entries.columns, strict=True)
    ]
    counts, groups = np.unique(entries.members, return_inverse=True)
    if len(counts) == 1:
        return encode_rows(columns[: counts[0]])
    parts, places = [], []
    for group, count in enumerate(counts.tolist()):
        rows = np.flatnonzero(groups == group)
        parts.append(encode_rows([column.take(rows) for column in columns[:count]]))
        places.append(rows)
    joined = Ragged(np.concatenate([p.data for p in parts]), np.concatenate([p.lengths for p in parts]))
    return joined.take(np.argsort(np.concatenate(places)))


def decode_index_rows(
    shape: EntryShape, data: bytes, at: int, count: int, t_min: int
) -> tuple[IndexEntries, int]:
    """Return the entries of the page that begins at `t_min`, and where the last one ends.

    Raises LayoutError for anything else than `count` canonical entries of this shape.
    """
    starts, end = find_rows(data, at, count, _STEPS[shape.name])
    page = np.frombuffer(data, np.uint8)
    members = (page[starts] - array_head(0)[0]).astype(np.int64)
    columns, place = read_columns(page, starts + 1, shape.items[: shape.required])
    for item in shape.items[shape.required :]:
        held = np.flatnonzero(members > len(columns))
        (column,), place[held] = read_columns(page, place[held], (item,))
        columns.append(_spread(item, column, held, count))
    if shape.items[0] is Item.TEXT:
        columns[0] = _decode_text(data, columns[0].starts, columns[0].lengths)
    relative = IndexEntries(shape, tuple(columns), members)
    firsts = relative.firsts + np.uint64(t_min)
    stops = firsts + relative.stops
    if np.any(firsts < np.uint64(t_min)) or np.any(stops < firsts):
        raise LayoutError(f"an entry of {shape.name} lies beyond the end of time")
    return _with_times(relative, firsts, stops), end


def _with_times(entries: IndexEntries, firsts: NDArray[np.uint64], stops: NDArray[np.uint64]) -> IndexEntries:
    at = entries.shape.first
    columns = (*entries.columns[:at], firsts, stops, *entries.columns[at + 2 :])
    return replace(entries, columns=columns)


def _decode_text(data: bytes, starts: Ints, lengths: Ints) -> list[str]:
    try:
        return [data[a:b].decode() for a, b in zip(starts.tolist(), (starts + lengths).tolist(), strict=True)]
    except UnicodeDecodeError:
        raise LayoutError("a spatial key is not UTF-8") from None


# --- columns ------------------------------------------------------------------------------------------------


def _take(column: Any, order: Ints) -> Any:
    return [column[at] for at in order.tolist()] if isinstance(column, list) else column[order]


def _spread(item: Item, column: Any, held: Ints, count: int) -> Any:
    """Return a column of `count` entries, of which only those at `held` have the item."""
    whole = np.zeros((count, *column.shape[1:]), column.dtype)
    if item is Item.ADDRESS:
        whole[:, 0] = BLAKE3_CODE
    whole[held] = column
    return whole


def _uints(values: list[Any]) -> NDArray[np.uint64]:
    if not {type(value) for value in values} <= {int}:
        raise LayoutError("an index entry holds something else than an integer")
    try:
        return np.array(values, np.uint64)
    except OverflowError:
        raise LayoutError("an integer of an index entry is not within 64 bits") from None


def _flags(values: list[Any]) -> NDArray[np.bool_]:
    if not {type(value) for value in values} <= {bool}:
        raise LayoutError("an index entry holds something else than a boolean")
    return np.array(values, np.bool_)


def _texts(values: list[Any]) -> list[str]:
    if not {type(value) for value in values} <= {str}:
        raise LayoutError("an index entry holds something else than text")
    return values


def _addresses(values: list[Any]) -> Bytes:
    if not all(isinstance(value, bytes) and len(value) == ADDRESS_BYTES for value in values):
        raise LayoutError("an index entry holds something else than an address")
    rows = np.frombuffer(b"".join(values), np.uint8).reshape(-1, ADDRESS_BYTES)
    if np.any(rows[:, 0] != BLAKE3_CODE):
        raise LayoutError("an index entry holds something else than an address")
    return rows


def _address_list(rows: Bytes) -> list[bytes]:
    data = rows.tobytes()
    return [data[at : at + ADDRESS_BYTES] for at in range(0, len(data), ADDRESS_BYTES)]


_FROM_LIST: Final[Mapping[Item, Callable[[list[Any]], Any]]] = MappingProxyType(
    {Item.UINT: _uints, Item.FLAG: _flags, Item.TEXT: _texts, Item.ADDRESS: _addresses}
)
_TO_LIST: Final[Mapping[Item, Callable[[Any], list[Any]]]] = MappingProxyType(
    {Item.UINT: np.ndarray.tolist, Item.FLAG: np.ndarray.tolist, Item.TEXT: list, Item.ADDRESS: _address_list}
)
_ENCODE: Final[Mapping[Item, Callable[[Any], Ragged]]] = MappingProxyType(
    {
        Item.UINT: lambda column: encode_heads(UINT, column),
        Item.FLAG: encode_flags,
        Item.TEXT: lambda column: encode_text(Ragged.of([text.encode() for text in column])),
        Item.ADDRESS: encode_addresses,
    }
)
_JOIN: Final[Mapping[Item, Callable[[list[Any]], Any]]] = MappingProxyType(
    {Item.TEXT: lambda columns: [text for column in columns for text in column]}
)
_EMPTY: Final[Mapping[Item, Any]] = MappingProxyType(
    {
        Item.UINT: np.empty(0, np.uint64),
        Item.FLAG: np.empty(0, np.bool_),
        Item.TEXT: [],
        Item.ADDRESS: np.empty((0, ADDRESS_BYTES), np.uint8),
    }
)
