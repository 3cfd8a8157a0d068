"""Differences of indexes: the entries that one Track has and another has not. Specs 0007 and 0011.

Two Tracks that come from one share most of their pages. Pages that both have are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.btree_page import (
    BtreeNode,
    ScalarEntries,
    decode_btree_pages,
    join_entries,
)
from dreamdb_arrow.objects.index_entries import IndexEntries, join_index_entries
from dreamdb_arrow.objects.scalar_values import ValueType
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.btree import btree_of
from dreamdb_arrow.tracks.layout import index_directory, paths_in
from dreamdb_arrow.tracks.scalars import number_addresses

_FETCHED_TOGETHER: Final = 256


def entries_only_in(
    store: Store, kind: ValueType, tracks: Sequence[Track], other: Track
) -> ScalarEntries | None:
    """Return the entries of B-trees that another one of the same column has not, each once, in order; None when there is none."""
    theirs = _leaf_addresses(store, kind, other)
    ours = [_leaf_addresses(store, kind, track) for track in tracks]
    held = _read_leaves(store, kind, other, set[Address]().union(*ours) - theirs)
    if held is None:
        return None
    known = _read_leaves(store, kind, other, theirs.difference(set(theirs).intersection(*ours)))
    if known is None and len(tracks) == 1:
        return _in_order(kind, held)
    return _in_order(kind, _without(kind, held, known))


def _in_order(kind: ValueType, entries: ScalarEntries) -> ScalarEntries | None:
    _, codes = kind.distinct(entries.values)
    return entries.take(np.lexsort((entries.firsts, codes))) if len(entries) else None


def _leaf_addresses(store: Store, kind: ValueType, track: Track) -> set[Address]:
    tree = btree_of(track)
    if tree is None:
        return set()
    directory = index_directory(track.timeline, track.modality)
    level = {tree.root}
    for height in range(tree.height - 1, 0, -1):
        nodes = _pages(store, kind, directory, level)
        if not all(isinstance(node, BtreeNode) and node.level == height for node in nodes):
            raise LayoutError(f"a scalar index page is at another level than its place, {height}")
        level = {child.address for node in nodes for child in node.children}
    return level


def _read_leaves(
    store: Store, kind: ValueType, track: Track, addresses: set[Address]
) -> ScalarEntries | None:
    directory = index_directory(track.timeline, track.modality)
    leaves = _pages(store, kind, directory, addresses)
    if any(isinstance(leaf, BtreeNode) for leaf in leaves):
        raise LayoutError("a B-tree has leaves at several levels")
    return join_entries(leaves) if leaves else None


def _pages(store: Store, kind: ValueType, directory: str, addresses: Iterable[Address]) -> list[Any]:
    names = sorted(addresses)
    parts = [names[at : at + _FETCHED_TOGETHER] for at in range(0, len(names), _FETCHED_TOGETHER)]
    fetched = (fetch_many(store, paths_in(directory, part)) for part in parts)
    return [page for pages in fetched for page in decode_btree_pages(pages, kind)]


def _without(kind: ValueType, held: ScalarEntries, known: ScalarEntries | None) -> ScalarEntries:
    """Return the entries that `known` does not have, each once."""
    before = 0 if known is None else len(known)
    joined = held if known is None else join_entries([known, held])
    _, values = kind.distinct(joined.values)
    columns = [values, number_addresses(joined.buckets)[1], joined.offsets, joined.lengths]
    fresh = first_of_each([*columns, joined.firsts.view(np.int64), joined.stops.view(np.int64)])
    return joined.take(np.flatnonzero(fresh & (np.arange(len(joined)) >= before)))


def join_distinct(parts: Sequence[IndexEntries]) -> IndexEntries:
    """Return the entries of a media or spatial index of all parts, one after another, each only once."""
    joined = join_index_entries(parts[0].shape, parts)
    columns = [joined.members, *_columns_of(joined)]
    return joined.take(np.flatnonzero(first_of_each(columns)))


def _columns_of(entries: IndexEntries) -> Iterator[Ints]:
    """Yield the columns of entries as integers that are equal where the items are."""
    for column in entries.columns:
        if isinstance(column, list):
            yield (
                np.unique(np.array(column, dtype="S"), return_inverse=True)[1]
                if column
                else np.empty(0, np.int64)
            )
        elif column.ndim == 2:
            yield number_addresses(column)[1]
        else:
            yield column.astype(np.uint64).view(np.int64)


def first_of_each(columns: Sequence[Ints]) -> NDArray[np.bool_]:
    """Return for each row, given by columns, whether no row before it is equal: bool (n,)."""
    order = np.lexsort(columns)  # stable: equal rows stay in their order
    fresh = np.zeros(len(order), np.bool_)
    fresh[:1] = True
    for column in columns:
        ordered = column[order]
        fresh[1:] |= ordered[1:] != ordered[:-1]
    out = np.empty(len(order), np.bool_)
    out[order] = fresh
    return out
