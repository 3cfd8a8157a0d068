"""Tombstones in a store: the set of deleted anchors of a version. Spec 0020.

A delete writes those pages anew that its anchors belong to, and the pages above them. A merge writes an index without a
root, whose parents are both heads: the set is the union over that graph. Of several tombstones at one anchor the earliest
counts: it is when the row went.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.distinct import distinct
from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.errors import InvalidInputError, LayoutError
from dreamdb_arrow.objects.tombstone_tree import (
    Tombstones,
    build_above,
    build_leaves,
    build_pages,
    decode_leaf,
    leaf_ref,
    unite,
)
from dreamdb_arrow.objects.tombstones import (
    PageRef,
    TombstoneIndex,
    check_page,
    decode_index,
    decode_page,
    encode_index,
)
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX, paths_in

DIRECTORY: Final = "tombstones"
INDEXES_MAX: Final = 100_000  # of one graph of merges
_FETCHED_TOGETHER: Final = 256


# --- reading ------------------------------------------------------------------------------------------------


def read_tombstones(store: Store, head: Address) -> Tombstones:
    """Return the tombstones that a head stands for, itself and its parents.

    Raises CorruptDataError. Anchors that nobody can see are left out; times beyond them are the last there is.
    """
    most = np.uint64(VISIBLE_ANCHOR_MAX)
    held = unite([*read_leaves(store, roots_of(store, head))])
    held = held.part(0, int(np.searchsorted(held.anchors, most, side="right")))
    return replace(held, deleted_at=np.minimum(held.deleted_at, most))


def roots_of(store: Store, head: Address) -> list[PageRef]:
    """Return the trees whose union a head stands for."""
    found: dict[PageRef, None] = {}
    seen, level = {head}, [head]
    while level:
        indexes = [decode_index(data) for data in fetch_many(store, paths_in(DIRECTORY, level))]
        found |= dict.fromkeys(index.root for index in indexes if index.root is not None)  # 0020-R1
        parents = dict.fromkeys(parent for index in indexes for parent in index.parents)  # 0020-R7, 0008-R8
        level = [parent for parent in parents if parent not in seen]
        seen.update(level)
        if len(seen) > INDEXES_MAX:  # 0000-R2
            raise LayoutError(f"more than {INDEXES_MAX} tombstone indexes in one graph")
    return list(found)


def read_leaves(
    store: Store, refs: Sequence[PageRef], t0: int = 0, t1: int = VISIBLE_ANCHOR_MAX + 1
) -> Iterator[Tombstones]:
    """Yield the entries of the pages of level 0 that meet [t0, t1), below these. A page listed twice is read once."""
    level = dict.fromkeys(refs)
    while level:
        below: dict[PageRef, None] = {}
        pending = iter([ref for ref in level if ref.min_anchor < t1 and ref.max_anchor >= t0])
        while group := list(islice(pending, _FETCHED_TOGETHER)):
            fetched = fetch_many(store, paths_in(DIRECTORY, [ref.address for ref in group]))
            for ref, data in zip(group, fetched, strict=True):
                if ref.level:
                    below |= dict.fromkeys(_children(ref, data))
                else:
                    yield _entries(ref, data)
        level = below


def read_children(store: Store, refs: Sequence[PageRef]) -> list[PageRef]:
    """Return the references that pages above level 0 hold."""
    fetched = fetch_many(store, paths_in(DIRECTORY, [ref.address for ref in refs]))
    return [child for ref, data in zip(refs, fetched, strict=True) for child in _children(ref, data)]


def _children(ref: PageRef, data: bytes) -> tuple[PageRef, ...]:
    page = decode_page(data)
    check_page(page, ref)  # 0020-R3
    return page.children


def _entries(ref: PageRef, data: bytes) -> Tombstones:
    held = decode_leaf(data)
    if held is None:
        check_page(decode_page(data), ref)
    if held is None or leaf_ref(held, ref.address) != ref:  # 0020-R3
        raise LayoutError(f"tombstone page {ref.address} is not what its parent says of it")
    return held


# --- writing ------------------------------------------------------------------------------------------------


def delete_anchors(anchors: Ints, deleted_at_ms: int, reason: str | None = None) -> Tombstones:
    """Return tombstones at some anchors, in any order.

    Raises InvalidInputError for an anchor that nobody can see.
    """
    if len(anchors) and not 0 <= int(anchors.min()) <= int(anchors.max()) <= VISIBLE_ANCHOR_MAX:
        raise InvalidInputError("anchors to delete must lie in 0 .. 2^63 - 2")
    ordered = distinct(anchors).astype(np.uint64)
    return Tombstones(ordered, np.full(len(ordered), deleted_at_ms, np.uint64), [reason] * len(ordered))


def add_tombstones(
    store: Store, batch: Batch, timeline: Address, head: Address | None, new: Tombstones, issued_at_ms: int
) -> Address | None:
    """Add to the batch the set that a head stands for with some more tombstones, and return its head.

    Anchors that are deleted already keep their time and reason, unless the new time is earlier. None when nothing is new.
    """
    roots = [] if head is None else roots_of(store, head)
    tree, changed = _largest(roots), len(roots) > 1
    for root in roots:
        if root is not tree:
            new = unite([*_unlike(store, root, tree), new])
    if tree is None:
        if not len(new):
            return None
        tree, pages = build_pages(new)
        _add_all(batch, pages)
    else:
        grown = _Growth(store, batch).grow(tree, new)  # 0020-R6
        if grown == [tree] and not changed:
            return None
        tree = _one(batch, grown)
    return batch.add(DIRECTORY, encode_index(TombstoneIndex(timeline, issued_at_ms, tree)))


def _largest(roots: Sequence[PageRef]) -> PageRef | None:
    return max(roots, key=lambda root: root.count, default=None)


def _unlike(store: Store, root: PageRef, other: PageRef | None) -> Iterator[Tombstones]:
    """Yield the entries of a tree but for pages that another has as well."""
    shared, ours = set[PageRef](), [] if other is None else [other]
    while ours:
        shared.update(ours)
        ours = read_children(store, [ref for ref in ours if ref.level])
    theirs = [root]
    while theirs:
        theirs = [ref for ref in theirs if ref not in shared]
        yield from read_leaves(store, [ref for ref in theirs if not ref.level])
        theirs = read_children(store, [ref for ref in theirs if ref.level])


def _one(batch: Batch, refs: list[PageRef]) -> PageRef:
    while len(refs) > 1:
        refs, pages = build_above(refs)
        _add_all(batch, pages)
    return refs[0]


def _add_all(batch: Batch, pages: Sequence[bytes]) -> None:
    for page in pages:
        batch.add(DIRECTORY, page)


@dataclass(frozen=True, slots=True)
class _Growth:
    """Tombstones on their way into a tree, of which only the pages that they belong to are read and written anew."""

    store: Store
    batch: Batch

    def grow(self, ref: PageRef, new: Tombstones) -> list[PageRef]:
        """Return what takes the place of a page: itself, if nothing is new in it, or pages of its level."""
        (data,) = fetch_many(self.store, paths_in(DIRECTORY, [ref.address]))
        return self._grow(ref, data, new)

    def _grow(self, ref: PageRef, data: bytes, new: Tombstones) -> list[PageRef]:
        if not ref.level:
            return self._grow_leaf(ref, _entries(ref, data), new)
        children = _children(ref, data)
        starts = np.array([child.min_anchor for child in children[1:]], np.uint64)
        cuts = [0, *np.searchsorted(new.anchors, starts).tolist(), len(new)]
        touched = [nth for nth in range(len(children)) if cuts[nth] < cuts[nth + 1]]
        paths = paths_in(DIRECTORY, [children[nth].address for nth in touched])
        fetched = dict(zip(touched, fetch_many(self.store, paths), strict=True))
        grown: list[PageRef] = []
        for nth, child in enumerate(children):
            part = new.part(cuts[nth], cuts[nth + 1])
            grown += self._grow(child, fetched[nth], part) if nth in fetched else [child]
        return [ref] if grown == [*children] else self._written(*build_above(grown))

    def _grow_leaf(self, ref: PageRef, held: Tombstones, new: Tombstones) -> list[PageRef]:
        both = unite([held, new])
        if len(both) == len(held) and np.array_equal(both.deleted_at, held.deleted_at):
            return [ref]
        return self._written(*build_leaves(both))

    def _written(self, refs: list[PageRef], pages: list[bytes]) -> list[PageRef]:
        _add_all(self.batch, pages)
        return refs
