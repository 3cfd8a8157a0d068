"""Pages of a scalar B-tree: the index of an int, float, string or timestamp column. Specs 0007 and 0011.

    leaf       {type "leaf", level 0, entries, algorithm}, each entry
               [value bytes, first anchor, last anchor + 1, bucket, offset, length], or without the last two
               when the whole bucket is its record
    internal   {type "internal", level >= 1, entries, algorithm}, each entry [low key, high key, child]

Entries of a leaf lie in the order of their value, then of their first anchor; children by their keys, which are those
of the first and last entry below, then by their address. A page has at most 65,536 bytes, and where it ends
is free. A column of distinct values has as many entries as rows, so leaves are read and written as columns.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.cbor_columns import (
    UINT,
    array_head,
    encode_addresses,
    encode_bytes,
    encode_heads,
    encode_rows,
)
from dreamdb_arrow.codec.cbor_rows import Item, find_rows, read_array_head, read_columns
from dreamdb_arrow.codec.ragged import Bytes, Ints, Ragged
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.scalar_values import Values, ValueType, order_keys, take_values
from dreamdb_arrow.objects.shape import (
    expect_address,
    expect_closed_map,
    expect_list,
    expect_uint,
)

PAGE_BYTES_MAX: Final = 65_536
LEAF_ENTRIES_MAX: Final = 4096  # 0011-R10
CHILDREN_MAX: Final = 256
LEVEL_MAX: Final = 32
WHOLE: Final = -1  # in place of a length: the whole bucket
_KEYS: Final = frozenset({"type", "level", "entries", "algorithm"})
_ENTRY: Final = (Item.BYTES, Item.UINT, Item.UINT, Item.ADDRESS)
_PART: Final = (Item.UINT, Item.UINT)
_SHAPES: Final = {4: _ENTRY, 6: (*_ENTRY, *_PART)}
_LEAF_HEAD: Final = b"\xa4\x64type\x64leaf\x65level\x00\x67entries"
_SIZE_LIMIT: Final = np.uint64(1 << 62)


@dataclass(frozen=True, slots=True)
class ScalarEntries:
    """n index entries as columns.

    values    of each entry, in order: an array (n,), or a list of str
    firsts    uint64 (n,), the first anchor of its record
    stops     uint64 (n,), the last one + 1
    buckets   uint8 (n, 33), addresses
    offsets   int64 (n,), where its record lies in the bucket
    lengths   int64 (n,), of its record; WHOLE where the bucket is nothing else
    """

    values: Values
    firsts: NDArray[np.uint64]
    stops: NDArray[np.uint64]
    buckets: Bytes
    offsets: Ints
    lengths: Ints

    def __len__(self) -> int:
        return len(self.firsts)

    def between(self, start: int, stop: int) -> ScalarEntries:
        """Return the entries from `start` up to `stop`."""
        columns: tuple[Any, ...] = (self.firsts, self.stops, self.buckets, self.offsets, self.lengths)
        return ScalarEntries(self.values[start:stop], *(column[start:stop] for column in columns))

    def take(self, order: Ints) -> ScalarEntries:
        """Return the entries at these positions, in that order."""
        columns: tuple[Any, ...] = (self.firsts, self.stops, self.buckets, self.offsets, self.lengths)
        return ScalarEntries(take_values(self.values, order), *(column[order] for column in columns))


@dataclass(frozen=True, slots=True)
class BtreeChild:
    """A page below an internal one, and the keys of its first and last entries."""

    low: bytes
    high: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class BtreeNode:
    """An internal page."""

    level: int
    children: tuple[BtreeChild, ...]


def join_entries(parts: Sequence[ScalarEntries]) -> ScalarEntries:
    """Return the entries of all parts, one after another. There must be a part."""
    values: Any = (
        [value for part in parts for value in part.values]
        if isinstance(parts[0].values, list)
        else np.concatenate([part.values for part in parts])
    )
    names = ("firsts", "stops", "buckets", "offsets", "lengths")
    return ScalarEntries(values, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


# --- writing ------------------------------------------------------------------------------------------------


def encode_entries(entries: ScalarEntries, encoded: Ragged) -> Ragged:
    """Return each entry as CBOR, given the bytes of its value."""
    columns = [
        encode_bytes(encoded),
        encode_heads(UINT, entries.firsts),
        encode_heads(UINT, entries.stops),
        encode_addresses(entries.buckets),
    ]
    whole = entries.lengths == WHOLE
    if whole.any():
        return _encode_mixed(entries, encoded, columns, whole)
    return encode_rows([*columns, encode_heads(UINT, entries.offsets), encode_heads(UINT, entries.lengths)])


def _encode_mixed(
    entries: ScalarEntries, encoded: Ragged, columns: list[Ragged], whole: NDArray[np.bool_]
) -> Ragged:
    part, rest = np.flatnonzero(~whole), np.flatnonzero(whole)
    short = encode_rows([column.take(rest) for column in columns])
    if len(part) == 0:
        return short
    long = encode_entries(entries.take(part), encoded.take(part))
    both = Ragged(np.concatenate([long.data, short.data]), np.concatenate([long.lengths, short.lengths]))
    return both.take(np.argsort(np.concatenate([part, rest])))


def encode_leaf(kind: ValueType, rows: bytes, count: int) -> bytes:
    """Return the leaf that holds `count` encoded entries."""
    return _LEAF_HEAD + array_head(count) + rows + _leaf_tail(kind)


def leaf_overhead(kind: ValueType, count: int) -> int:
    """Return how many bytes a leaf of `count` entries has beside them."""
    return len(_LEAF_HEAD) + len(array_head(count)) + len(_leaf_tail(kind))


def encode_node(kind: ValueType, node: BtreeNode) -> bytes:
    """Return the bytes of an internal page."""
    entries = [_child_value(child) for child in node.children]
    return encode_cbor(
        {"type": "internal", "level": node.level, "entries": entries, "algorithm": kind.algorithm}
    )


def child_size(child: BtreeChild) -> int:
    """Return how many bytes a child takes in the page above it."""
    return len(encode_cbor(_child_value(child)))


def _child_value(child: BtreeChild) -> list[bytes]:
    return [child.low, child.high, child.address]


def _leaf_tail(kind: ValueType) -> bytes:
    return encode_cbor("algorithm") + encode_cbor(kind.algorithm)


# --- reading ------------------------------------------------------------------------------------------------


def decode_btree_page(data: bytes, kind: ValueType) -> ScalarEntries | BtreeNode:
    """Return the entries of a leaf, or the children of an internal page, for a column of this value type.

    Raises LayoutError or CanonicalError for anything else: another algorithm, entries out of order or none.
    """
    if len(data) > PAGE_BYTES_MAX:  # 0011-R10
        raise LayoutError(f"a scalar index page has {len(data)} bytes, at most {PAGE_BYTES_MAX} are allowed")
    if data.startswith(_LEAF_HEAD):  # canonical, so that every leaf begins like this
        return _decode_leaf(data, kind)
    return _decode_node(decode_cbor(data), kind)


def is_ordered(entries: ScalarEntries) -> bool:
    """Whether entries lie in the order of their value, then of their first anchor."""
    values, firsts = entries.values, entries.firsts
    if isinstance(values, list):
        ascending = all(map(operator.le, values, islice(values, 1, None)))
        same = np.fromiter(map(operator.eq, values, islice(values, 1, None)), np.bool_)
    else:
        keys = order_keys(values)
        ascending = bool(np.all(keys[:-1] <= keys[1:]))
        same = keys[:-1] == keys[1:]
    return ascending and not np.any(same & (firsts[:-1] > firsts[1:]))


def _decode_leaf(data: bytes, kind: ValueType) -> ScalarEntries:
    count, at = read_array_head(data, len(_LEAF_HEAD))
    starts, end = find_rows(data, at, count, _SHAPES)
    if data[end:] != _leaf_tail(kind):
        raise LayoutError("a scalar index leaf has another algorithm than its column, or foreign keys")
    if count == 0:
        raise LayoutError("a scalar index leaf has no entries")
    entries = _read_entries(np.frombuffer(data, np.uint8), starts, kind)
    if not is_ordered(entries):  # 0011-R9
        raise LayoutError("scalar index entries are out of order")
    return entries


def _read_entries(page: Bytes, starts: Ints, kind: ValueType) -> ScalarEntries:
    (values, firsts, stops, buckets), at = read_columns(page, starts + 1, _ENTRY)
    if np.any(firsts >= stops):  # 0003-R1
        raise LayoutError("a scalar index entry covers no time")
    offsets, lengths = np.zeros(len(starts), np.int64), np.full(len(starts), WHOLE)
    part = np.flatnonzero(page[starts] != array_head(len(_ENTRY))[0])
    for column, read in zip((offsets, lengths), read_columns(page, at[part], _PART)[0], strict=True):
        if np.any(read >= _SIZE_LIMIT):
            raise LayoutError("a scalar index entry lies outside any bucket")
        column[part] = read
    return ScalarEntries(kind.decode(page, values), firsts, stops, buckets, offsets, lengths)


def _decode_node(page: Any, kind: ValueType) -> BtreeNode:
    found = expect_closed_map(page, "scalar index page", _KEYS)
    if found["type"] != "internal" or found["algorithm"] != kind.algorithm:
        raise LayoutError("a scalar index page has another type or algorithm than its column")
    level = expect_uint(found["level"], "level of a scalar index page")
    if not 1 <= level <= LEVEL_MAX:  # 0000-R2
        raise LayoutError(f"an internal page cannot be at level {level}")
    children = tuple(map(_child, expect_list(found["entries"], "entries of a scalar index page")))
    places = [(child.low, child.high, child.address) for child in children]
    if not children or places != sorted(places) or any(low > high for low, high, _ in places):  # 0011-R9
        raise LayoutError("an internal scalar index page has no children, or they are out of order")
    return BtreeNode(level, children)


def _child(entry: Any) -> BtreeChild:
    parts = expect_list(entry, "entry of an internal scalar index page")
    if len(parts) != 3 or not isinstance(parts[0], bytes) or not isinstance(parts[1], bytes):
        raise LayoutError("an entry of an internal scalar index page must be two keys and an address")
    return BtreeChild(parts[0], parts[1], expect_address(parts[2], "child of a scalar index page"))
