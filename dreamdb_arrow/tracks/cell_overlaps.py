"""Rows that two branches both have, in buckets of their own: kept once when their Tracks are united. Specs 0007 and 0008.

Two branches that start with unflushed rows, and flush on their own, write these rows twice: into buckets that also hold
what only they have. A reader that lists buckets would see them twice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.objects.index_entries import CELLS, IndexEntries, entries_of_lists, join_index_entries
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cell_rows import CellRows, add_rows, fetch_rows
from dreamdb_arrow.tracks.cells import TABLE

Cell = tuple[str, int]


def leave_out_shared(
    store: Store, batch: Batch, track: Track, ours: IndexEntries, theirs: IndexEntries
) -> IndexEntries:
    """Return their entries, with buckets written anew that have rows of ours, byte for byte.

    Rows with one anchor and different vectors stay. Only buckets of one cell whose times meet are read. Raises
    CorruptDataError.
    """
    if not _meet_in_time(ours, theirs):
        return theirs
    held = _by_cell(ours)
    made: list[list[object]] = []
    gone: list[int] = []
    for cell, at in _by_cell(theirs).items():
        near = [row for row in held.get(cell, ()) if _meets(ours, row, theirs, at)]
        if not near:
            continue
        known = fetch_rows(store, track, ours, near)
        for row, rows in zip(at, fetch_rows(store, track, theirs, at), strict=True):
            fresh = ~_is_in(rows, known)
            if fresh.all():
                continue
            gone.append(row)
            if fresh.any():
                made.append(
                    add_rows(batch, track, cell[0], rows.take(fresh), int(theirs.members[row]), cell[1])
                )
    kept = np.setdiff1d(np.arange(len(theirs)), np.array(gone, np.int64))
    return join_index_entries(CELLS, [theirs.take(kept), entries_of_lists(CELLS, made)]) if gone else theirs


def _meet_in_time(ours: IndexEntries, theirs: IndexEntries) -> bool:
    """Whether some bucket of ours may hold a time that theirs lie around: what branches by time never do."""
    if not len(theirs):
        return False
    first, stop = theirs.firsts.min(), theirs.stops.max()
    return bool(np.any((ours.firsts < stop) & (first < ours.stops)))


def _by_cell(entries: IndexEntries) -> dict[Cell, list[int]]:
    held: dict[Cell, list[int]] = {}
    for at, cell in enumerate(zip(entries.keys, entries.columns[TABLE].tolist(), strict=True)):
        held.setdefault(cell, []).append(at)
    return held


def _meets(ours: IndexEntries, row: int, theirs: IndexEntries, at: list[int]) -> bool:
    return bool(np.any((theirs.firsts[at] < ours.stops[row]) & (ours.firsts[row] < theirs.stops[at])))


def _is_in(rows: CellRows, known: list[CellRows]) -> NDArray[np.bool_]:
    """Whether each row is in one of these buckets: bool (n,)."""
    found = np.zeros(len(rows.anchors), np.bool_)
    for other in known:
        if (rows.payload.shape[1:], rows.exact is None) != (other.payload.shape[1:], other.exact is None):
            continue
        _, mine, there = np.intersect1d(rows.anchors, other.anchors, return_indices=True)
        found[mine] |= np.all(rows.bytes_of(mine) == other.bytes_of(there), axis=1)
    return found
