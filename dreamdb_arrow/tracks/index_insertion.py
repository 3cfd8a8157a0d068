"""Changes of the paged index of a media or spatial Track, by copy-on-write: entries in, entries out. Spec 0007."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address
from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.index_entries import CELLS, EntryShape, IndexEntries, join_index_entries
from dreamdb_arrow.objects.index_page import IndexChild, IndexLeaf, decode_index_page
from dreamdb_arrow.objects.shape import expect_uint
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.cells import check_keys
from dreamdb_arrow.tracks.index_pages import IndexWriter, sort_index_entries
from dreamdb_arrow.tracks.insertion import Insertion
from dreamdb_arrow.tracks.layout import index_directory, paths_in
from dreamdb_arrow.tracks.pages import FORM, check_index_page, paged_tree


def insert_in_index(store: Store, batch: Batch, track: Track, new: IndexEntries) -> dict[str, Any]:
    """Add the pages of an index that also has these entries; return the map that stands for it in the Track.

    Only the leaves that new entries fall into are read and written again, and the pages above these: with later and
    later times the last leaf, with cells those of their keys.

    Args:
        store: where the pages of the Track are.
        batch: what new pages are added to.
        track: as it was, with a paged index.
        new: entries in the order of the index; at least one.

    Raises:
        LayoutError, UnsupportedError: as iterate_index does, as far as pages are read; for pages out of order, too.
    """
    _, found = _change_index(store, batch, track, new, frozenset())
    return found


def swap_in_index(
    store: Store, batch: Batch, track: Track, new: IndexEntries, old: IndexEntries
) -> Track | None:
    """Return a Track of media that has some entries more and others, told by their addresses, no more.

    Reads and writes as insert_in_index does. None when not all of the old ones lie where their times say, as entries
    of one time may, or when nothing is left: then the index is to be made anew.
    """
    gone = frozenset(addresses_of(old))
    routed = sort_index_entries(join_index_entries(new.shape, [new, old]))
    root, found = _change_index(store, batch, track, routed, gone)
    if root is None or root.items != paged_tree(track).items + len(new) - len(old):
        return None
    return replace(track, coverage=(root.t_min, root.t_max), object_index=found)


def _change_index(
    store: Store, batch: Batch, track: Track, routed: IndexEntries, gone: frozenset[Address]
) -> tuple[IndexChild | None, dict[str, Any]]:
    tree = paged_tree(track)
    writer = IndexWriter(batch, track.timeline, track.modality)
    change = Insertion(_IndexPages(store, track, writer, routed, gone))
    root = IndexChild(0, 0, tree.root, tree.items)
    children, level = change.replace_root(root, tree.height, len(routed))
    while len(children) > 1:
        children, level = writer.add_nodes(children, grows=change.grows), level + 1
    if not children:
        return None, {}
    pages = tree.pages - change.dropped + writer.added
    fanout = max(expect_uint(track.object_index["fanout"], "fanout of an index"), writer.fanout)
    counts = {"page_count": pages, "total_items": children[0].items, "tree_height": level + 1}  # 0007-R4
    return children[0], {"form": FORM, "root": children[0].address, "fanout": fanout, **counts}


class _IndexPages:
    """The pages of an index and the entries that go into it, as tracks.insertion wants them."""

    __slots__ = ("_directory", "_gone", "_modality", "_new", "_shape", "_store", "_writer")

    def __init__(
        self, store: Store, track: Track, writer: IndexWriter, new: IndexEntries, gone: frozenset[Address]
    ) -> None:
        self._store, self._writer, self._new = store, writer, new
        self._gone = np.array([bytes(address) for address in gone], f"S{ADDRESS_BYTES}")
        self._directory = index_directory(track.timeline, track.modality)
        self._modality, self._shape = track.modality, new.shape

    def open(self, pages: Sequence[IndexChild], level: int, *, claimed: bool) -> list[Any]:
        fetched = fetch_many(self._store, paths_in(self._directory, [page.address for page in pages]))
        return [
            self._check(data, level, claim if claimed else None)
            for data, claim in zip(fetched, pages, strict=True)
        ]

    def _check(self, data: bytes, level: int, claim: IndexChild | None) -> Any:
        page = decode_index_page(data, self._shape, self._modality)
        check_index_page(page, level, claim)
        if isinstance(page, IndexLeaf):
            return check_keys(page.entries) if self._shape is CELLS else page.entries
        places = _places_of(self._shape, page.children)
        if any(left > right for left, right in pairwise(places)):  # 0007-R5
            raise LayoutError("the pages of an index are out of order, nothing can be added to it")
        if level > 1 and len({child.address for child in page.children}) < len(page.children):
            raise LayoutError("an index lists an internal page twice")
        return list(page.children)

    def places(self, pages: Sequence[IndexChild], start: int, stop: int) -> Ints:
        begins = _places_of(self._shape, pages[1:])
        if self._shape is CELLS:
            inner = [bisect_left(self._new.keys, key, start, stop) for key in begins]
        else:
            times = np.array(begins, np.uint64)
            inner = (start + np.searchsorted(self._new.firsts[start:stop], times)).tolist()
        return np.array([start, *inner, stop], np.int64)

    def new_entries(self, start: int, stop: int) -> IndexEntries:
        return self._new.between(start, stop)

    def join_entries(self, parts: Sequence[IndexEntries]) -> IndexEntries:
        joined = join_index_entries(self._shape, parts)
        if len(self._gone) == 0:
            return joined
        names = np.ascontiguousarray(joined.addresses).view(self._gone.dtype).reshape(-1)
        return joined.take(np.flatnonzero(~np.isin(names, self._gone)))

    def is_small(self, held: IndexEntries | list[IndexChild], _level: int) -> bool:
        return len(held) == 0 or self._writer.is_small(held)

    def write(self, held: IndexEntries | list[IndexChild], _level: int, *, grows: bool) -> list[IndexChild]:
        if len(held) == 0:  # all of it is gone
            return []
        if isinstance(held, IndexEntries):
            return self._writer.add_leaves(sort_index_entries(held), grows=grows)
        return self._writer.add_nodes(held, grows=grows)

    def in_order(self, pages: list[IndexChild]) -> list[IndexChild]:
        return pages


def _places_of(shape: EntryShape, pages: Sequence[IndexChild]) -> list[Any]:
    """Return where pages begin: their first key, or their first time."""
    if shape is CELLS:
        return [page.keys[0] for page in pages if page.keys is not None]
    return [page.t_min for page in pages]


def addresses_of(entries: IndexEntries) -> tuple[Address, ...]:
    """Return the addresses that entries name, each once."""
    data = entries.addresses.tobytes()
    rows = (data[at : at + ADDRESS_BYTES] for at in range(0, len(data), ADDRESS_BYTES))
    return tuple(map(Address, dict.fromkeys(rows)))
