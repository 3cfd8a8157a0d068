"""Unions: one Track out of several that branches made of the same one. Specs 0007 and 0008.

The entries of the index are united (0008-R7); payloads stay as they are. What several have is there once. Entries of
scalars and media only ever add up. A cell of vectors may have been rewritten on one side: then the entries that it had
before are left out, or its rows would be there twice. Each union is made in one go: an index of many branches is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.errors import MergeError, UnsupportedError
from dreamdb_arrow.objects.index_entries import (
    CELLS,
    IndexEntries,
    join_index_entries,
)
from dreamdb_arrow.objects.scalar_values import value_type_of
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.arrays import unite_arrays
from dreamdb_arrow.tracks.btree import insert_entries
from dreamdb_arrow.tracks.categories import read_list
from dreamdb_arrow.tracks.cell_overlaps import leave_out_shared
from dreamdb_arrow.tracks.cells import check_keys
from dreamdb_arrow.tracks.kinds import TrackForm, form_of, scalar_type_of
from dreamdb_arrow.tracks.leaves import entries_only_in, first_of_each, join_distinct
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.placing import place_entries
from dreamdb_arrow.tracks.scalars import number_addresses


@dataclass(frozen=True, slots=True)
class Sides:
    """The Tracks of one field, ours first, and the one that all come from, if it is known."""

    field: str
    tracks: tuple[Track, ...]
    base: Track | None = None

    @property
    def ours(self) -> Track:
        """The first one, into which the others are united."""
        return self.tracks[0]


def unite_tracks(store: Store, batch: Batch, sides: Sides) -> Track:
    """Return the Track of a field that several sides changed, and add its pages to the batch.

    Raises:
        MergeError: all cannot hold, such as two values of a constant.
        UnsupportedError: a kind of Track that cannot be united.
        CorruptDataError: a page cannot be read.
    """
    for track in sides.tracks:
        _refuse_unlike(sides.field, sides.ours, track)
        _refuse_hot(sides.field, track)
    filled = tuple(track for track in sides.tracks if track.object_index != [])
    if len(filled) < 2:
        return (*filled, sides.ours)[0]
    held = replace(sides, tracks=filled)
    index = _UNITE[form_of(held.ours)](store, batch, held)
    first, stop = min(t.coverage[0] for t in filled), max(t.coverage[1] for t in filled)
    return replace(held.ours, coverage=(first, stop), object_index=index)


def _refuse_unlike(field: str, ours: Track, theirs: Track) -> None:
    if (ours.modality, ours.timeline) != (theirs.modality, theirs.timeline):
        raise MergeError(f"field {field!r} is {ours.modality} on one side, {theirs.modality} on the other")
    if ours.init_segment != theirs.init_segment:
        raise MergeError(f"field {field!r}: both sides ingested video with different init segments")


def _refuse_hot(field: str, track: Track) -> None:
    if form_of(track) is TrackForm.HOT:
        raise UnsupportedError(
            f"field {field!r} has rows in a hot buffer; call flush_hot() with the SDK that wrote them, then merge"
        )


# --- scalars ------------------------------------------------------------------------------------------------


def _unite_btrees(store: Store, batch: Batch, sides: Sides) -> dict[str, Any]:
    """Insert the entries that only the others have into our tree; pages that it shares with another are not read."""
    kind = value_type_of(scalar_type_of(sides.ours.modality))
    new = entries_only_in(store, kind, sides.tracks[1:], sides.ours)
    if new is None:
        return dict(sides.ours.object_index)
    return insert_entries(store, batch, sides.ours, kind, new, kind.encode(new.values))


def _unite_lists(_: Store, __: Batch, sides: Sides) -> list[Any]:
    kind = value_type_of(scalar_type_of(sides.ours.modality))
    for track in sides.tracks:
        read_list(track, kind)
    rows = {tuple(row): row for track in reversed(sides.tracks) for row in track.object_index}
    return sorted(rows.values(), key=lambda row: (row[0], row[1]))


# --- fragments, cells, arrays, constants --------------------------------------------------------------------


def _unite_fragments(store: Store, batch: Batch, sides: Sides) -> Any:
    """Unite by time; of several at one anchor the last side's come last, so that a reader shows them (0001-R17)."""
    entries = join_distinct([read_index(store, track) for track in sides.tracks])
    return place_entries(batch, sides.ours, entries)


def have_rivals(store: Store, ours: Track, theirs: Track) -> bool:
    """Whether two Tracks of fragments have different payloads at one anchor."""
    sides = [read_index(store, track) for track in (ours, theirs)]
    shared = np.intersect1d(sides[0].firsts, sides[1].firsts)
    doubtful = [side.take(np.flatnonzero(np.isin(side.firsts, shared))) for side in sides]
    return any(len(join_distinct(doubtful)) > len(side) for side in doubtful)


def _unite_cells(store: Store, batch: Batch, sides: Sides) -> Any:
    """Unite against the base: what one side took out of a cell, to write it anew, stays out."""
    tracks = sides.tracks if sides.base is None else (*sides.tracks, sides.base)
    tables = [check_keys(read_index(store, track)) for track in tracks]
    names, cells = _number_entries(tables)
    held, base = names[: len(sides.tracks)], names[-1] if sides.base is not None else names[0][:0]
    _refuse_several(sides.field, tables, held, base, cells)
    gone = np.concatenate([np.setdiff1d(base, side) for side in held])
    kept = np.flatnonzero(~np.isin(held[0], gone))
    parts, known = [tables[0].take(kept)], np.union1d(held[0], base)
    fresh = tables[0].take(np.flatnonzero(~np.isin(held[0], base)))
    numbers = held[0][~np.isin(held[0], base)]
    for table, side in zip(tables[1:], held[1:], strict=False):
        rivals = fresh.take(np.flatnonzero(~np.isin(numbers, side)))
        new = np.flatnonzero(~np.isin(side, known))
        added = leave_out_shared(store, batch, sides.ours, rivals, table.take(new))
        parts.append(added)
        fresh = join_index_entries(CELLS, [fresh, added])
        numbers = np.r_[numbers, np.full(len(added), -1)]
        known = np.union1d(known, side)
    return place_entries(batch, sides.ours, join_index_entries(CELLS, parts))


def _number_entries(tables: Sequence[IndexEntries]) -> tuple[list[Ints], Ints]:
    """Return the entries of each table as numbers, equal for equal ones, and by number the cell that it is of, a number too."""
    joined = join_index_entries(CELLS, tables)
    keys, codes = np.unique(np.array(joined.keys or [""]), return_inverse=True)
    table = joined.columns[CELLS.first + 4].astype(np.int64)
    cell = np.unique(table * len(keys) + codes[: len(joined)], return_inverse=True)[1]
    times = (column.view(np.int64) for column in (joined.firsts, joined.stops, joined.sizes))
    columns = [cell, number_addresses(joined.addresses)[1], *times]
    order = np.lexsort(columns)
    names = np.empty(len(joined), np.int64)
    names[order] = np.cumsum(first_of_each(columns)[order]) - 1
    cells = np.empty(len(joined), np.int64)
    cells[names] = cell
    return np.split(names, np.cumsum([len(each) for each in tables])[:-1]), cells


def _refuse_several(
    field: str, tables: Sequence[IndexEntries], held: Sequence[Ints], base: Ints, cells: Ints
) -> None:
    """Refuse cells that two sides compacted, each for itself: both new buckets have the old rows."""
    gone = [np.setdiff1d(base, side) for side in held]
    changed = [nth for nth, names in enumerate(gone) if len(names)]
    for one, two in combinations(changed, 2):
        alike = np.setdiff1d(np.intersect1d(held[one], held[two]), base)
        both = np.intersect1d(cells[gone[one]], cells[gone[two]])
        if len(lost := np.setdiff1d(both, cells[alike])):
            keys = {int(cells[n]): key for n, key in zip(base, tables[-1].keys, strict=True)}
            cell = min(keys[int(each)] for each in lost)
            raise MergeError(
                f"field {field!r}: both sides compacted cell {cell!r} since they parted; merge before you compact"
            )


def _unite_arrays(store: Store, batch: Batch, sides: Sides) -> Any:
    return unite_arrays(store, batch, sides.tracks)


def _equal_constants(_: Store, __: Batch, sides: Sides) -> Any:
    if any(track.object_index != sides.ours.object_index for track in sides.tracks):
        raise MergeError(
            f"constant {sides.field!r} has another value on each side; make them equal, then merge"
        )
    return sides.ours.object_index


def _refuse(_: Store, __: Batch, sides: Sides) -> Any:
    raise UnsupportedError(
        f"field {sides.field!r} changed on both sides, and Tracks of {sides.ours.modality} cannot be united"
    )


_UNITE: Final[Mapping[TrackForm, Callable[[Store, Batch, Sides], Any]]] = MappingProxyType(
    {
        TrackForm.BTREE: _unite_btrees,
        TrackForm.LIST: _unite_lists,
        TrackForm.FRAGMENTS: _unite_fragments,
        TrackForm.CELLS: _unite_cells,
        TrackForm.ARRAY: _unite_arrays,
        TrackForm.CONSTANT: _equal_constants,
        TrackForm.GRAPH: _refuse,
        TrackForm.HOT: _refuse,
        TrackForm.OTHER: _refuse,
    }
)
