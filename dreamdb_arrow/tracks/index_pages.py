"""Entries and children of media and spatial indexes into new pages. Spec 0007."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.objects.index_entries import CELLS, MEDIA, EntryShape, IndexEntries
from dreamdb_arrow.objects.index_page import (
    CHILDREN_MAX,
    LEAF_BYTES,
    IndexChild,
    IndexLeaf,
    IndexNode,
    encode_index_leaf,
    encode_index_node,
    index_child_sizes,
    index_entry_sizes,
    index_leaf,
    index_node,
    index_page_overhead,
    remember_index_page,
    rows_surely_fit,
    split_into_leaves,
)
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.tracks.filling import Cuts, Room, cut_by_number, cut_evenly, cut_from_left
from dreamdb_arrow.tracks.layout import index_directory

_SMALL: Final = 4  # a page that is less than this part full is joined with a neighbour


class IndexWriter:
    """Adds pages of one index to a batch; `added` counts them, `fanout` is the most children that one of them has."""

    __slots__ = ("_batch", "_directory", "_modality", "_room", "added", "fanout")

    def __init__(self, batch: Batch, timeline: Address, modality: str) -> None:
        self._batch, self._directory, self._modality = batch, index_directory(timeline, modality), modality
        overhead = index_page_overhead(modality)
        self._room = Room(LEAF_BYTES, CHILDREN_MAX, lambda _: overhead)  # 0007-R6
        self.added, self.fanout = 0, 1

    def add_leaves(self, entries: IndexEntries, *, grows: bool) -> list[IndexChild]:
        """Add the leaves of entries in order; full ones where the tree grows."""
        children = []
        for start, stop in self._leaf_cuts(entries, grows=grows):
            leaf = index_leaf(self._modality, entries.between(start, stop))
            keys = (leaf.entries.keys[0], leaf.entries.keys[-1]) if entries.shape is CELLS else None
            address = self._add(encode_index_leaf(leaf), leaf, entries.shape)
            children.append(IndexChild(leaf.t_min, leaf.t_max, address, stop - start, keys))
        return children

    def add_nodes(self, children: Sequence[IndexChild], *, grows: bool) -> list[IndexChild]:
        """Add the pages above these: of two children at least, but for the last one; full where the tree grows."""
        return [
            self._add_node(children[start:stop]) for start, stop in self._node_cuts(children, grows=grows)
        ]

    def is_small(self, held: IndexEntries | Sequence[IndexChild]) -> bool:
        """Whether these would make a page that is worth joining with another one."""
        if isinstance(held, IndexEntries):
            few = len(held) < LEAF_BYTES // _SMALL // 40  # each has an address
            return few and _SMALL * int(index_entry_sizes(held).sum()) < LEAF_BYTES
        few = _SMALL * len(held) < CHILDREN_MAX
        return few and _SMALL * int(index_child_sizes(held).sum()) < LEAF_BYTES

    def _leaf_cuts(self, entries: IndexEntries, *, grows: bool) -> Cuts:
        if grows:
            return split_into_leaves(self._modality, entries)
        return cut_evenly(index_entry_sizes(entries), Room(LEAF_BYTES, LEAF_BYTES, self._room.overhead))

    def _node_cuts(self, children: Sequence[IndexChild], *, grows: bool) -> Cuts:
        """Cut evenly into the fewest pages that are small enough, as the reference does, or fill from the left."""
        count = len(children)
        if children[0].keys is None and count <= CHILDREN_MAX and rows_surely_fit(self._modality, count):
            return [(0, count)]
        sizes, halves = index_child_sizes(children), max(1, len(children) // 2)
        if grows:
            cuts = cut_from_left(sizes, self._room)
            return cuts if len(cuts) <= halves else cut_by_number(len(children), halves)
        ends = np.r_[0, sizes.cumsum()]
        for pages in range(-(-len(children) // CHILDREN_MAX), halves):
            cuts = cut_by_number(len(children), pages)
            if all(self._room.holds(int(ends[stop] - ends[start]), stop - start) for start, stop in cuts):
                return cuts
        return cut_by_number(len(children), halves)  # two children at least, however long their keys

    def _add_node(self, children: Sequence[IndexChild]) -> IndexChild:
        node, shape = index_node(self._modality, children), MEDIA if children[0].keys is None else CELLS
        self.fanout = max(self.fanout, len(children))
        first, last = children[0].keys, children[-1].keys
        keys = (first[0], last[1]) if first is not None and last is not None else None
        items = sum(child.items for child in children)
        return IndexChild(
            node.t_min, node.t_max, self._add(encode_index_node(node), node, shape), items, keys
        )

    def _add(self, data: bytes, page: IndexLeaf | IndexNode, shape: EntryShape) -> Address:
        self.added += 1
        remember_index_page(data, shape, page)
        return self._batch.add(self._directory, data)


def sort_index_entries(entries: IndexEntries) -> IndexEntries:
    """Return entries as they lie in an index: media by time, those of one time as they came; cells by key and time."""
    if entries.shape is CELLS:
        return entries.take(np.lexsort((entries.firsts, np.array(entries.keys, "S"))))  # 0007-R7
    firsts = entries.firsts
    if np.all(firsts[1:] >= firsts[:-1]):
        return entries
    return entries.take(np.argsort(firsts, kind="stable"))  # 0007-R3, 0007-R5
