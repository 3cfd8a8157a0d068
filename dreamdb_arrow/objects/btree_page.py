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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress, islice, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.codec.cbor_columns import (
    UINT,
    array_head,
    encode_addresses,
    encode_bytes,
    encode_heads,
    encode_rows,
)
from dreamdb_arrow.codec.cbor_rows import (
    Item,
    Steps,
    find_rows,
    read_array_head,
    read_columns,
    read_head,
    row_steps,
)
from dreamdb_arrow.codec.ragged import Bytes, Ints, Ragged, cut_strings
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.scalar_values import Values, ValueType, order_keys, take_values

PAGE_BYTES_MAX: Final = 65_536
LEAF_ENTRIES_MAX: Final = 4096  # 0011-R10
CHILDREN_MAX: Final = 256
LEVEL_MAX: Final = 32
WHOLE: Final = -1  # in place of a length: the whole bucket
_ENTRY: Final = (Item.BYTES, Item.UINT, Item.UINT, Item.ADDRESS)
_PART: Final = (Item.UINT, Item.UINT)
_CHILD: Final = (Item.BYTES, Item.BYTES, Item.ADDRESS)
_ENTRY_STEPS: Final = row_steps(_ENTRY, (*_ENTRY, *_PART))
_CHILD_STEPS: Final = row_steps(_CHILD)
_ENTRIES: Final = b"\x67entries"
_LEAF_HEAD: Final = b"\xa4\x64type\x64leaf\x65level\x00" + _ENTRIES
_NODE_HEAD: Final = b"\xa4\x64type\x68internal\x65level"
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
    return _LEAF_HEAD + array_head(count) + rows + _page_tail(kind)


def leaf_overhead(kind: ValueType, count: int) -> int:
    """Return how many bytes a leaf of `count` entries has beside them."""
    return len(_LEAF_HEAD) + len(array_head(count)) + len(_page_tail(kind))


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


def _page_tail(kind: ValueType) -> bytes:
    return encode_cbor("algorithm") + encode_cbor(kind.algorithm)


# --- reading ------------------------------------------------------------------------------------------------


def decode_btree_page(data: bytes, kind: ValueType) -> ScalarEntries | BtreeNode:
    """Return what one page holds, as decode_btree_pages does."""
    return decode_btree_pages([data], kind)[0]


def decode_btree_pages(pages: Sequence[bytes], kind: ValueType) -> list[ScalarEntries | BtreeNode]:
    """Return for each page the entries of a leaf, or the children of an internal page, for a column of this value type.

    The reference writes pages of a handful of entries: many pages are read as one. Raises LayoutError for anything else
    than such a page: another algorithm, entries out of order or none.
    """
    if (size := max(map(len, pages), default=0)) > PAGE_BYTES_MAX:  # 0011-R10
        raise LayoutError(f"a scalar index page has {size} bytes, at most {PAGE_BYTES_MAX} are allowed")
    # Pages are canonical, so that every leaf begins alike.
    are_leaves = [data.startswith(_LEAF_HEAD) for data in pages]
    leaves = iter(_decode_leaves(list(compress(pages, are_leaves)), kind))
    nodes = iter(_decode_nodes(list(compress(pages, map(operator.not_, are_leaves))), kind))
    return [next(leaves) if is_leaf else next(nodes) for is_leaf in are_leaves]


def is_ordered(entries: ScalarEntries, begins: Sequence[int] = ()) -> bool:
    """Whether entries lie in the order of their value, then of their first anchor; the order begins anew at `begins`."""
    values, firsts = entries.values, entries.firsts
    if isinstance(values, list):
        ascending = np.fromiter(map(operator.le, values, islice(values, 1, None)), np.bool_)
        same = np.fromiter(map(operator.eq, values, islice(values, 1, None)), np.bool_)
    else:
        keys = order_keys(values)
        ascending, same = keys[:-1] <= keys[1:], keys[:-1] == keys[1:]
    right = ascending & ~(same & (firsts[:-1] > firsts[1:]))
    right[np.array(begins, np.int64) - 1] = True
    return bool(right.all())


def _decode_leaves(pages: Sequence[bytes], kind: ValueType) -> list[ScalarEntries]:
    if not pages:
        return []
    rows = _find_entries(pages, [len(_LEAF_HEAD)] * len(pages), kind, _ENTRY_STEPS)
    entries = _read_entries(np.frombuffer(rows.data, np.uint8), rows.starts, kind)
    if not is_ordered(entries, rows.bounds[1:-1]):  # 0011-R9
        raise LayoutError("scalar index entries are out of order")
    return [entries.between(start, stop) for start, stop in pairwise(rows.bounds)]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Several pages as one: their bytes, where entries begin in these, and between which of them each page lies."""

    data: bytes
    starts: Ints
    bounds: list[int]


def _find_entries(pages: Sequence[bytes], places: Sequence[int], kind: ValueType, steps: Steps) -> _Rows:
    """Find the entries of pages whose arrays of entries begin at these places."""
    tail = _page_tail(kind)
    found, bounds, size = [], [0], 0
    for data, place in zip(pages, places, strict=True):
        count, at = read_array_head(data, place)
        starts, end = find_rows(data, at, count, steps)
        if data[end:] != tail:
            raise LayoutError("a scalar index page has another algorithm than its column, or foreign keys")
        if count == 0:
            raise LayoutError("a scalar index page has no entries")
        found.append(starts + size)
        bounds.append(bounds[-1] + count)
        size += len(data)
    return _Rows(b"".join(pages), np.concatenate(found), bounds)


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


def _decode_nodes(pages: Sequence[bytes], kind: ValueType) -> list[BtreeNode]:
    if not pages:
        return []
    levels, places = zip(*map(_read_level, pages), strict=True)
    rows = _find_entries(pages, places, kind, _CHILD_STEPS)
    (lows, highs, addresses), _ = read_columns(np.frombuffer(rows.data, np.uint8), rows.starts + 1, _CHILD)
    names = addresses.tobytes()
    children = [
        BtreeChild(low, high, Address(names[at : at + ADDRESS_BYTES]))
        for low, high, at in zip(
            cut_strings(rows.data, lows.starts, lows.lengths),
            cut_strings(rows.data, highs.starts, highs.lengths),
            range(0, len(names), ADDRESS_BYTES),
            strict=True,
        )
    ]
    return [
        BtreeNode(level, _check_children(children[start:stop]))
        for level, (start, stop) in zip(levels, pairwise(rows.bounds), strict=True)
    ]


def _read_level(data: bytes) -> tuple[int, int]:
    """Return the level of an internal page, and where its array of entries begins."""
    if not data.startswith(_NODE_HEAD):
        raise LayoutError("a scalar index page is neither a leaf nor an internal page")
    level, at = read_head(data, len(_NODE_HEAD), UINT)
    if not 1 <= level <= LEVEL_MAX or not data.startswith(_ENTRIES, at):  # 0000-R2
        raise LayoutError(f"a scalar index page cannot be at level {level}, or has foreign keys")
    return level, at + len(_ENTRIES)


def _check_children(children: list[BtreeChild]) -> tuple[BtreeChild, ...]:
    pairs = pairwise(children)
    if any(c.low > c.high for c in children) or any(_place(a) > _place(b) for a, b in pairs):  # 0011-R9
        raise LayoutError("the children of an internal scalar index page are out of order")
    return tuple(children)


_place: Callable[[BtreeChild], tuple[bytes, bytes, Address]] = operator.attrgetter("low", "high", "address")
