"""B-trees of scalar columns in a store: read whole, or changed where new entries fall. Specs 0007 and 0011.

A change rewrites the leaves that new entries fall into, and the pages above (tracks.insertion).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.ragged import Ints, Ragged
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.btree_page import (
    BtreeChild,
    BtreeNode,
    ScalarEntries,
    decode_btree_pages,
    is_ordered,
    join_entries,
)
from dreamdb_arrow.objects.scalar_values import ValueType, decode_keys, encode_key, tree_keys
from dreamdb_arrow.objects.shape import expect_closed_map, expect_list, expect_map
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.btree_pages import PageWriter, in_order, is_small, sort_entries
from dreamdb_arrow.tracks.insertion import Insertion
from dreamdb_arrow.tracks.layout import index_directory, paths_in
from dreamdb_arrow.tracks.pages import Tree, read_tree, walk_tree

FORM: Final = "scalar-btree-v1"
HOT_FORM: Final = "hot-overlay-v1"
_KEYS: Final = frozenset({"form", "root", "page_count", "tree_height", "total_entries"})


# --- reading ------------------------------------------------------------------------------------------------


def read_btree(store: Store, track: Track, kind: ValueType) -> ScalarEntries | None:
    """Return all entries of a column, in order; None when it has none.

    Raises CorruptDataError for anything that is not such a tree, UnsupportedError for an unknown form.
    """
    if btree_of(track) is None:
        return None
    entries = join_entries(list(iterate_btree(store, track, kind)))
    # 0011-R9
    return entries if is_ordered(entries) else sort_entries(entries)  # leaves of one value lie in no order


def btree_of(track: Track) -> Tree | None:
    """Return what the Track says of its tree; None when it is empty. Raises LayoutError, UnsupportedError."""
    if isinstance(track.object_index, list):
        if expect_list(track.object_index, "object_index of a scalar Track"):  # 0011-R8
            raise LayoutError("a column of this value type must be indexed by a B-tree")
        return None
    found = expect_map(track.object_index, "object_index of a scalar Track")
    check_form(found)
    return read_tree(expect_closed_map(found, "B-tree", _KEYS), "total_entries")


def check_form(found: dict[str, Any]) -> None:
    """Raise UnsupportedError when the index of a scalar Track is of a form that cannot be read."""
    if found.get("form") == HOT_FORM:
        raise UnsupportedError("rows in a hot buffer cannot be read yet; flush it with the SDK that wrote it")
    if found.get("form") != FORM:
        raise UnsupportedError(f"a scalar index of form {found.get('form')!r:.80} cannot be read yet")


def iterate_btree(store: Store, track: Track, kind: ValueType) -> Iterator[ScalarEntries]:
    """Yield the entries of a column, a leaf at a time. Raises as read_btree does."""

    def decode(pages: list[bytes]) -> list[ScalarEntries | BtreeNode]:
        return decode_btree_pages(pages, kind)

    if (tree := btree_of(track)) is None:
        return
    yield from walk_tree(store, index_directory(track.timeline, track.modality), tree, decode, _check_page)


def _check_page(page: ScalarEntries | BtreeNode, height: int, claim: BtreeChild | None) -> int:
    if (page.level if isinstance(page, BtreeNode) else 0) != height:  # 0011-R11
        raise LayoutError(f"a scalar index page is at another level than its place, {height}")
    if claim is not None and (claim.low, claim.high) != _bounds(page):  # 0011-R11
        raise LayoutError("a scalar index page has other bounds than its parent says")
    return 0 if isinstance(page, BtreeNode) else len(page)


def _bounds(page: ScalarEntries | BtreeNode) -> tuple[bytes, bytes]:
    if isinstance(page, BtreeNode):
        return page.children[0].low, page.children[-1].high
    return encode_key(page.values[0]), encode_key(page.values[-1])


# --- changing -----------------------------------------------------------------------------------------------


def insert_entries(
    store: Store, batch: Batch, track: Track, kind: ValueType, new: ScalarEntries, encoded: Ragged
) -> dict[str, Any]:
    """Add the pages of a column that also has these entries; return the map that stands for it in the Track.

    Only the leaves that new entries fall into are read and written again, and the pages above these.

    Args:
        store: where the pages of the Track are.
        batch: what new pages are added to.
        track: as it was.
        kind: of the column's values.
        new: entries in order; at least one.
        encoded: the bytes of their values.

    Raises:
        CorruptDataError, UnsupportedError: as read_btree does, as far as pages are read.
    """
    directory = index_directory(track.timeline, track.modality)
    writer = PageWriter(batch, directory, kind)
    tree = btree_of(track)
    if tree is None:
        children, level, pages, total, grows = writer.add_leaves(new, encoded, grows=True), 0, 0, 0, True
    else:
        change = Insertion(_BtreePages(store, directory, writer, new))
        children, level = change.replace_root(BtreeChild(b"", b"", tree.root), tree.height, len(new))
        pages, total, grows = tree.pages - change.dropped, tree.items, change.grows
    while len(children) > 1:
        level += 1
        above = writer.add_nodes(children, level, grows=grows)
        if len(above) == len(children):  # keys that no writer makes
            raise LayoutError("the keys of a B-tree are too long for its pages")
        children = above
    counts = {"page_count": pages + writer.added, "tree_height": level + 1}  # 0011-R11
    return {"form": FORM, "root": children[0].address, **counts, "total_entries": total + len(new)}


class _BtreePages:
    """The pages of a B-tree and the entries that go into it, as tracks.insertion wants them."""

    __slots__ = ("_directory", "_keys", "_new", "_store", "_writer")

    def __init__(self, store: Store, directory: str, writer: PageWriter, new: ScalarEntries) -> None:
        self._store, self._directory, self._writer, self._new = store, directory, writer, new
        self._keys = new.values if isinstance(new.values, list) else tree_keys(new.values)

    def open(self, pages: Sequence[BtreeChild], level: int, *, claimed: bool) -> list[Any]:
        fetched = fetch_many(self._store, paths_in(self._directory, [page.address for page in pages]))
        opened = decode_btree_pages(fetched, self._writer.kind)
        return [
            self._check(page, level, claim if claimed else None)
            for page, claim in zip(opened, pages, strict=True)
        ]

    def _check(self, page: ScalarEntries | BtreeNode, level: int, claim: BtreeChild | None) -> Any:
        _check_page(page, level, claim)
        if not isinstance(page, BtreeNode):
            return page
        if level > 1 and len({child.address for child in page.children}) < len(page.children):
            raise LayoutError("a B-tree lists an internal page twice")  # leaves may be equal
        return list(page.children)

    def places(self, pages: Sequence[BtreeChild], start: int, stop: int) -> Ints:
        lows = decode_keys(self._writer.kind, [page.low for page in pages[1:]])
        if isinstance(self._keys, list):
            inner = [bisect_left(self._keys, low, start, stop) for low in lows]
        else:
            inner = (start + np.searchsorted(self._keys[start:stop], tree_keys(lows))).tolist()
        return np.array([start, *inner, stop], np.int64)

    def new_entries(self, start: int, stop: int) -> ScalarEntries:
        return self._new.between(start, stop)

    def join_entries(self, parts: Sequence[ScalarEntries]) -> ScalarEntries:
        return join_entries(parts)

    def is_small(self, held: ScalarEntries | list[BtreeChild], _level: int) -> bool:
        return is_small(held, self._writer.kind)

    def write(self, held: ScalarEntries | list[BtreeChild], level: int, *, grows: bool) -> list[BtreeChild]:
        if not isinstance(held, ScalarEntries):
            return self._writer.add_nodes(held, level, grows=grows)
        entries = sort_entries(held)
        return self._writer.add_leaves(entries, self._writer.kind.encode(entries.values), grows=grows)

    def in_order(self, pages: list[BtreeChild]) -> list[BtreeChild]:
        return in_order(pages)
