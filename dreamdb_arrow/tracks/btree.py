"""B-trees of scalar columns in a store: read whole, or changed where new entries fall. Specs 0007 and 0011.

Leaves are immutable, so a change rewrites those that new entries fall into, and the pages above. Untouched leaves stay
as they are, unread; where they end is free.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.ragged import Ints, Ragged
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.btree_page import (
    CHILDREN_MAX,
    LEAF_ENTRIES_MAX,
    PAGE_BYTES_MAX,
    BtreeChild,
    BtreeNode,
    ScalarEntries,
    child_size,
    decode_btree_page,
    encode_entries,
    encode_leaf,
    encode_node,
    is_ordered,
    join_entries,
    leaf_overhead,
)
from dreamdb_arrow.objects.scalar_values import (
    Values,
    ValueType,
    decode_keys,
    encode_key,
    order_keys,
    tree_keys,
)
from dreamdb_arrow.objects.shape import expect_closed_map, expect_list, expect_map
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
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
    tree = btree_of(track)
    if tree is None:
        return None
    entries = join_entries(list(_walk(store, track, tree, kind)))
    # 0011-R9
    return entries if is_ordered(entries) else _sorted(entries)  # leaves of one value lie in no order


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


def _walk(store: Store, track: Track, tree: Tree, kind: ValueType) -> Iterator[ScalarEntries]:
    def decode(data: bytes) -> ScalarEntries | BtreeNode:
        return decode_btree_page(data, kind)

    return walk_tree(store, index_directory(track.timeline, track.modality), tree, decode, _check_page)


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
    tree = btree_of(track)
    if tree is None:
        children, total = _add_leaves(batch, directory, kind, new, encoded), len(new)
    else:
        leaves = _list_leaves(store, directory, tree, kind)
        children, total = _rewrite(store, batch, directory, kind, leaves, new), tree.items + len(new)
    pages, level = len(children), 0
    while len(children) > 1:
        level += 1
        children = _add_nodes(batch, directory, kind, children, level)
        pages += len(children)
    counts = {"page_count": pages, "tree_height": level + 1, "total_entries": total}  # 0011-R11
    return {"form": FORM, "root": children[0].address, **counts}


def _list_leaves(store: Store, directory: str, tree: Tree, kind: ValueType) -> list[BtreeChild]:
    """Return the leaves of a tree from left to right, as the pages above them have them."""
    level = [BtreeChild(b"", b"", tree.root)]
    for height in range(tree.height - 1, 0, -1):
        fetched = fetch_many(store, paths_in(directory, [child.address for child in level]))
        nodes = [_expect_node(decode_btree_page(data, kind), height) for data in fetched]
        if height < tree.height - 1:
            for node, child in zip(nodes, level, strict=True):
                _check_page(node, height, child)
        level = [child for node in nodes for child in node.children]
        if height > 1 and len({child.address for child in level}) < len(level):  # as leaves they may be equal
            raise LayoutError("a B-tree lists an internal page twice")
    return level


def _rewrite(
    store: Store,
    batch: Batch,
    directory: str,
    kind: ValueType,
    leaves: list[BtreeChild],
    new: ScalarEntries,
) -> list[BtreeChild]:
    """Return the leaves after new entries are put into those they belong to; neighbours are rewritten as one."""
    first = _first_entries(kind, leaves, new.values)
    touched = first[1:] > first[:-1]
    after: list[BtreeChild] = []
    for changed, group in groupby(range(len(leaves)), key=touched.__getitem__):
        run = list(group)
        if not changed:
            after += [leaves[nth] for nth in run]
            continue
        old = fetch_many(store, paths_in(directory, [leaves[nth].address for nth in run]))
        parts = [_expect_leaf(decode_btree_page(data, kind)) for data in old]
        parts.append(_between(new, int(first[run[0]]), int(first[run[-1] + 1])))
        entries = _sorted(join_entries(parts))
        after += _add_leaves(batch, directory, kind, entries, kind.encode(entries.values))
    return after


def _first_entries(kind: ValueType, leaves: list[BtreeChild], values: Values) -> Ints:
    """Return the first new entry that goes to each leaf, and, last, how many there are: int64 (leaves + 1,)."""
    lows = decode_keys(kind, [leaf.low for leaf in leaves[1:]])
    if isinstance(values, list):
        inner = [bisect_left(values, low) for low in lows]
    else:
        inner = np.searchsorted(tree_keys(values), tree_keys(lows)).tolist()
    if any(left > right for left, right in pairwise(inner)):
        raise LayoutError("the pages of a B-tree are out of order")
    return np.array([0, *inner, len(values)], np.int64)


def _expect_leaf(page: ScalarEntries | BtreeNode) -> ScalarEntries:
    if isinstance(page, BtreeNode):
        raise LayoutError("a B-tree has leaves at several levels")
    return page


def _expect_node(page: ScalarEntries | BtreeNode, height: int) -> BtreeNode:
    if not isinstance(page, BtreeNode) or page.level != height:
        raise LayoutError(f"a scalar index page is at another level than its place, {height}")
    return page


def _between(entries: ScalarEntries, start: int, stop: int) -> ScalarEntries:
    return entries.take(np.arange(start, stop))


def _sorted(entries: ScalarEntries) -> ScalarEntries:
    """Return entries in the order of their value, then of their first anchor."""
    if not isinstance(entries.values, list):
        return entries.take(np.lexsort((entries.firsts, order_keys(entries.values))))
    order = np.array(sorted(range(len(entries)), key=entries.values.__getitem__), np.int64)
    values = [entries.values[at] for at in order.tolist()]
    ranks = np.cumsum([False, *(left != right for left, right in pairwise(values))])
    return entries.take(order[np.lexsort((entries.firsts[order], ranks))])


def _add_leaves(
    batch: Batch, directory: str, kind: ValueType, entries: ScalarEntries, encoded: Ragged
) -> list[BtreeChild]:
    """Fill leaves from the left."""
    rows = encode_entries(entries, encoded)
    ends = rows.lengths.cumsum()
    data = rows.data.tobytes()
    children, start, begin = [], 0, 0
    while start < len(entries):
        stop = _leaf_end(kind, ends, start, begin)
        end = int(ends[stop - 1])
        address = batch.add(directory, encode_leaf(kind, data[begin:end], stop - start))
        low, high = (encode_key(entries.values[at]) for at in (start, stop - 1))
        children.append(BtreeChild(low, high, address))
        start, begin = stop, end
    return children


def _leaf_end(kind: ValueType, ends: Ints, start: int, begin: int) -> int:
    """Return the entry after the last one that fits in a leaf that begins with `start`, at byte `begin`."""
    room = begin + PAGE_BYTES_MAX - leaf_overhead(kind, 0)  # 0011-R10
    stop = min(int(np.searchsorted(ends, room, side="right")), start + LEAF_ENTRIES_MAX)
    while stop > start + 1 and ends[stop - 1] - begin + leaf_overhead(kind, stop - start) > PAGE_BYTES_MAX:
        stop -= 1
    return max(stop, start + 1)


def _add_nodes(
    batch: Batch, directory: str, kind: ValueType, children: list[BtreeChild], level: int
) -> list[BtreeChild]:
    """Fill internal pages from the left, up to 256 children or 65,536 bytes.

    Children lie by their keys, those of one and the same value by their addresses: the reference asks for that.
    """
    fixed = len(encode_node(kind, BtreeNode(level, ()))) + 2  # two more bytes for the head of the array
    groups: list[list[BtreeChild]] = []
    room = 0
    for child in sorted(children, key=lambda child: (child.low, child.high, child.address)):  # 0011-R9
        size = child_size(child)
        if not groups or len(groups[-1]) == CHILDREN_MAX or size > room:
            groups.append([])
            room = PAGE_BYTES_MAX - fixed
        groups[-1].append(child)
        room -= size
    pages = [(group, encode_node(kind, BtreeNode(level, tuple(group)))) for group in groups]
    return [BtreeChild(group[0].low, group[-1].high, batch.add(directory, page)) for group, page in pages]
