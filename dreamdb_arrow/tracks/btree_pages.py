"""Entries and children of a scalar B-tree into new pages. Specs 0007 and 0011."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Ints, Ragged
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.btree_page import (
    CHILDREN_MAX,
    LEAF_ENTRIES_MAX,
    PAGE_BYTES_MAX,
    BtreeChild,
    BtreeNode,
    ScalarEntries,
    child_size,
    encode_entries,
    encode_leaf,
    encode_node,
    leaf_overhead,
)
from dreamdb_arrow.objects.scalar_values import Values, ValueType, encode_key, order_keys
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.tracks.filling import Cuts, Room, cut_evenly, cut_from_left

_SMALL: Final = 4  # a page that is less than this part full is joined with a neighbour
_ENCODED_TOGETHER: Final = 1 << 15  # entries: what fits in the caches of a core is encoded twice as fast
_ENTRY_BYTES: Final = 64  # of an entry without its value, roughly


class PageWriter:
    """Adds pages of one tree to a batch and counts them in `added`."""

    __slots__ = ("_batch", "_directory", "_leaf_room", "_node_room", "added", "kind")

    def __init__(self, batch: Batch, directory: str, kind: ValueType) -> None:
        self._batch, self._directory, self.kind, self.added = batch, directory, kind, 0
        self._leaf_room = Room(PAGE_BYTES_MAX, LEAF_ENTRIES_MAX, lambda count: leaf_overhead(kind, count))
        fixed = len(encode_node(kind, BtreeNode(1, ()))) + 2  # two more bytes for the head of the array
        self._node_room = Room(PAGE_BYTES_MAX, CHILDREN_MAX, lambda _: fixed)

    def add_leaves(self, entries: ScalarEntries, encoded: Ragged, *, grows: bool) -> list[BtreeChild]:
        """Add the leaves of entries in order, given the bytes of their values; full ones where the tree grows."""
        offsets = np.r_[0, encoded.lengths.cumsum()]
        children: list[BtreeChild] = []
        at = 0
        while at < len(entries):
            stop = min(at + _ENCODED_TOGETHER, len(entries))
            values = Ragged(encoded.data[offsets[at] : offsets[stop]], encoded.lengths[at:stop])
            rows = encode_entries(entries.between(at, stop), values)
            cuts = (cut_from_left if grows or stop < len(entries) else cut_evenly)(
                rows.lengths, self._leaf_room
            )
            if stop < len(entries):  # the last one has room for more
                cuts = cuts[:-1] or cuts
            children += self._add_leaves(entries.values, rows, at, cuts)
            at += cuts[-1][1]
        return children

    def _add_leaves(self, values: Values, rows: Ragged, at: int, cuts: Cuts) -> Iterator[BtreeChild]:
        """Add the leaves of some encoded entries, the first of which has the value `values[at]`."""
        data, starts = rows.data.tobytes(), np.r_[0, rows.lengths.cumsum()].tolist()
        for start, stop in cuts:  # 0011-R10
            page = encode_leaf(self.kind, data[starts[start] : starts[stop]], stop - start)
            yield self._add(encode_key(values[at + start]), encode_key(values[at + stop - 1]), page)

    def add_nodes(self, children: Sequence[BtreeChild], level: int, *, grows: bool) -> list[BtreeChild]:
        """Add the pages above these, up to 256 children or 65,536 bytes; full ones where the tree grows."""
        ordered = in_order(children)
        sizes = np.array([child_size(child) for child in ordered], np.int64)
        nodes = []
        for start, stop in (cut_from_left if grows else cut_evenly)(sizes, self._node_room):
            group = tuple(ordered[start:stop])
            page = encode_node(self.kind, BtreeNode(level, group))
            nodes.append(self._add(group[0].low, group[-1].high, page))
        return nodes

    def _add(self, low: bytes, high: bytes, page: bytes) -> BtreeChild:
        if len(page) > PAGE_BYTES_MAX:  # 0011-R10
            raise LayoutError("an entry of a B-tree is too long for its page")
        self.added += 1
        return BtreeChild(low, high, self._batch.add(self._directory, page))


def is_small(held: ScalarEntries | list[BtreeChild], kind: ValueType) -> bool:
    """Whether these would make a page that is worth joining with another one."""
    if not isinstance(held, ScalarEntries):
        return _SMALL * len(held) < CHILDREN_MAX and _SMALL * sum(map(child_size, held)) < PAGE_BYTES_MAX
    room = PAGE_BYTES_MAX // _SMALL - _ENTRY_BYTES * len(held)
    few = _SMALL * len(held) < LEAF_ENTRIES_MAX
    return few and room > 0 and int(kind.encode(held.values).lengths.sum()) < room


def in_order(children: Sequence[BtreeChild]) -> list[BtreeChild]:
    """Return children by their keys, those of one and the same value by their addresses: the reference asks for that."""
    return sorted(children, key=lambda child: (child.low, child.high, child.address))  # 0011-R9


def sort_entries(entries: ScalarEntries) -> ScalarEntries:
    """Return entries in the order of their value, then of their first anchor, then of all else they say."""
    if not isinstance(entries.values, list):
        return entries.take(_by_rank(entries, order_keys(entries.values)))
    order = np.array(sorted(range(len(entries)), key=entries.values.__getitem__), np.int64)
    values = [entries.values[at] for at in order.tolist()]
    ranks = np.cumsum([False, *(left != right for left, right in pairwise(values))])
    return entries.take(order[_by_rank(entries.take(order), ranks)])


def _by_rank(entries: ScalarEntries, ranks: NDArray[Any]) -> Ints:
    """Return the order of entries whose values have these ranks."""
    order = np.lexsort((entries.firsts, ranks))
    ordered, firsts = ranks[order], entries.firsts[order]
    if not np.any((ordered[1:] == ordered[:-1]) & (firsts[1:] == firsts[:-1])):
        return order
    names = np.ascontiguousarray(entries.buckets).view(f"S{entries.buckets.shape[1]}").reshape(-1)
    return np.lexsort(
        (entries.lengths, entries.offsets, names, entries.stops, entries.firsts, ranks)
    )  # 0011-R9
