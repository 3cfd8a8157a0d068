"""The cells of a spatial Track: which entries of its index to read. Specs 0004 and 0007.

An entry is `[key, t_start, t_end, size, bucket, (table, (sidecar))]`. Of several hash tables each holds every vector,
so only table 0 is read. In a page tree entries lie by key: the pages that cannot hold a wanted key are not read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.index_entries import CELLS, IndexEntries
from dreamdb_arrow.objects.index_page import IndexLeaf, IndexNode, decode_index_page
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.layout import index_directory, paths_in
from dreamdb_arrow.tracks.pages import iterate_index, paged_tree

TABLE: Final = CELLS.first + 4  # the column of the table, and how many items an entry without one has
SIDECAR: Final = TABLE + 1
_DIGITS: Final = frozenset("01")


@dataclass(frozen=True, slots=True)
class CellEntry:
    """One bucket of a cell: its size in bytes as the index says, and the sidecar if it has one."""

    key: str
    size_bytes: int
    bucket: Address
    sidecar: Address | None


@dataclass(frozen=True, slots=True)
class Origin:
    """What the buckets of a field were written with, as the registry says: the SpatialIndex, the compressor if any."""

    index: Address
    compressor: Address | None = None


def field_directory(track: Track) -> str:
    """Return where everything of a Track lies: the buckets of a cell in the directory of its key below this."""
    return f"{track.timeline}/{track.modality}"


def sidecar_directory(track: Track) -> str:
    """Return where sidecars lie, whatever their cells."""
    return f"{field_directory(track)}/vectors"


def iterate_cells(
    store: Store,
    track: Track,
    *,
    keys: Collection[str] | None = None,
    known: frozenset[Address] = frozenset(),
) -> Iterator[CellEntry]:
    """Yield the entries of a spatial Track in the order of its index.

    Args:
        store: where the Space is.
        track: one of an embedding field.
        keys: the cells wanted; None for all.
        known: addresses of buckets to leave out.

    Raises:
        CorruptDataError: the index is malformed, or a key is none.
        UnsupportedError: a form of index that is not known.
    """
    wanted = None if keys is None else set(keys)
    for entries in (
        iterate_index(store, track) if wanted is None else _pages_with(store, track, sorted(wanted))
    ):
        rows = _wanted_rows(check_keys(entries), wanted)
        names, sizes = entries.addresses[rows].tobytes(), entries.sizes[rows].tolist()
        for nth, at in enumerate(rows):
            bucket = Address(names[nth * ADDRESS_BYTES : (nth + 1) * ADDRESS_BYTES])
            if bucket not in known:
                yield CellEntry(entries.keys[at], sizes[nth], bucket, _sidecar(entries, at))


def check_keys(entries: IndexEntries) -> IndexEntries:
    """Return entries whose keys are all written in base 2; raises LayoutError for others, as keys become paths."""
    if not set().union(*entries.keys) <= _DIGITS or "" in entries.keys:  # 0004-R2
        raise LayoutError("a spatial key is not written in base 2")
    return entries


def _wanted_rows(entries: IndexEntries, wanted: set[str] | None) -> list[int]:
    rows: list[int] = np.flatnonzero(entries.columns[TABLE] == 0).tolist()  # 0007-R8
    return rows if wanted is None else [at for at in rows if entries.keys[at] in wanted]


def _sidecar(entries: IndexEntries, at: int) -> Address | None:
    return Address(entries.columns[SIDECAR][at].tobytes()) if entries.members[at] > SIDECAR else None


def _pages_with(store: Store, track: Track, keys: list[str]) -> Iterator[IndexEntries]:
    """Yield the entries of those pages that may hold one of the keys, which are in order; all when it is inline."""
    if not isinstance(track.object_index, dict):
        yield from iterate_index(store, track)
        return
    tree = paged_tree(track)
    directory = index_directory(track.timeline, track.modality)
    level = [tree.root]
    for height in range(tree.height - 1, -1, -1):
        # A page listed twice is read once, so that a tree that folds back on itself stays as small as it is.
        pages = fetch_many(store, paths_in(directory, dict.fromkeys(level)))
        level = []
        for page in (decode_index_page(data, CELLS, track.modality) for data in pages):
            if isinstance(page, IndexNode) != (height > 0):
                raise LayoutError("an index has leaves at several levels")
            if isinstance(page, IndexLeaf):
                yield page.entries
            else:
                level += _children_with(page, keys)


def _children_with(node: IndexNode, keys: list[str]) -> list[Address]:
    """Return the children between whose first and last key there is one of the keys."""
    found = []
    for child in node.children:
        assert child.keys is not None
        first, last = child.keys
        at = bisect_left(keys, first)
        if at < len(keys) and keys[at] <= last:
            found.append(child.address)
    return found
