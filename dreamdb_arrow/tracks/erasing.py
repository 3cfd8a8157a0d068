"""Erasing: a Track without what it holds at some anchors, in objects of its own. Spec 0022.

Payloads that hold rows to be erased are written again without them, and the whole index is, as its pages have values and
times of rows. Other payloads stay as they are, so what versions share they share again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.objects.btree_page import join_entries
from dreamdb_arrow.objects.geometry_item import decode_geometry_entries
from dreamdb_arrow.objects.hot_shard import encode_hot_shard
from dreamdb_arrow.objects.index_entries import (
    CELLS,
    MEDIA,
    IndexEntries,
    entries_of_lists,
    join_index_entries,
)
from dreamdb_arrow.objects.scalar_values import ValueType, take_values, value_type_of
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, GEOMETRY_KEY, Track, encode_track
from dreamdb_arrow.objects.video_item import decode_video_entries
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.arrays import place_array_entries, read_array_entries
from dreamdb_arrow.tracks.btree import insert_entries, read_btree
from dreamdb_arrow.tracks.btree_pages import sort_entries
from dreamdb_arrow.tracks.categories import insert_in_list, read_list
from dreamdb_arrow.tracks.cell_rows import add_rows, fetch_rows
from dreamdb_arrow.tracks.cells import TABLE, check_keys
from dreamdb_arrow.tracks.compaction import add_bucket, group_anchors, groups, read_records
from dreamdb_arrow.tracks.cuts import Cut, Seen
from dreamdb_arrow.tracks.hot import base_of, overlay_of, read_hot_shard
from dreamdb_arrow.tracks.kinds import TrackForm, form_of, scalar_type_of
from dreamdb_arrow.tracks.layout import bucket_directory, paths_in, track_directory
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.placing import place_entries
from dreamdb_arrow.tracks.reach import SHARDS
from dreamdb_arrow.tracks.scalars import number_addresses
from dreamdb_arrow.tracks.video_items import read_video_entries

U64 = NDArray[np.uint64]
Cuts = Mapping[Address, Cut]

_PACKED: Final = len(MEDIA.items)
_CHUNKED_AT, _OFFSET_AT = 4, 5  # among the columns of an index of media


def erase_rows(store: Store, batch: Batch, track: Track, gone: U64, cuts: Cuts) -> Track:
    """Return a Track without what it holds at some anchors; the very Track when it holds nothing there.

    Args:
        store: where its objects are.
        batch: what new ones are added to.
        track: of any form but a graph.
        gone: the anchors, ascending, uint64 (n,).
        cuts: what becomes of payloads of media.

    Raises:
        CorruptDataError: as reading it does.
        UnsupportedError: rows lie where only the SDK that wrote them can take them out.
    """
    erase = _ERASE.get(form_of(track))
    # 0022-R3
    return track if erase is None or track.object_index == [] else erase(store, batch, track, gone, cuts)


def see_media(store: Store, track: Track, gone: U64, seen: Seen) -> None:
    """Note which payloads the items of a Track of media name, but for chunked ones, which share none in part."""
    entries = read_index(store, track)
    plain = ~entries.columns[_CHUNKED_AT]
    offsets = np.where(entries.members == _PACKED, entries.columns[_OFFSET_AT], 0).astype(np.int64)
    dead = np.isin(entries.firsts, gone)
    seen.add(entries.addresses[plain], offsets[plain], entries.sizes[plain].astype(np.int64), dead[plain])


# --- scalars ------------------------------------------------------------------------------------------------


def _erase_btree(store: Store, batch: Batch, track: Track, gone: U64, _: Cuts) -> Track:
    kind = value_type_of(scalar_type_of(track.modality))
    entries = read_btree(store, track, kind)
    if entries is None:
        return track
    kept, fresh = _erase_buckets(store, batch, track, kind, entries, gone)
    if len(kept) == len(entries):
        return track
    left = join_entries([entries.take(kept), *fresh])
    empty = replace(track, object_index=[])
    if not len(left):
        return replace(empty, coverage=EMPTY_COVERAGE)
    ordered = sort_entries(left)
    index = insert_entries(store, batch, empty, kind, ordered, kind.encode(ordered.values))
    return replace(track, object_index=index)


def _erase_list(store: Store, batch: Batch, track: Track, gone: U64, _: Cuts) -> Track:
    kind = value_type_of(scalar_type_of(track.modality))
    entries = read_list(track, kind)
    if entries is None:
        return track
    kept, fresh = _erase_buckets(store, batch, track, kind, entries, gone)
    if len(kept) == len(entries):
        return track
    names = {entries.buckets[at].tobytes() for at in kept.tolist()}
    left = replace(track, object_index=[row for row in track.object_index if bytes(row[3]) in names])
    for part in fresh:
        left = replace(left, object_index=insert_in_list(left, kind, part, kind.encode(part.values)))
    return left if left.object_index else replace(left, coverage=EMPTY_COVERAGE)


def _erase_buckets(
    store: Store, batch: Batch, track: Track, kind: ValueType, entries: Any, gone: U64
) -> tuple[Ints, list[Any]]:
    """Return which entries are of buckets without rows to be erased, and the entries of new buckets for the others."""
    values, codes = kind.distinct(entries.values)
    buckets, bucket_of = number_addresses(entries.buckets)
    order = np.argsort(bucket_of, kind="stable")
    stops = np.searchsorted(bucket_of[order], np.arange(len(buckets)), side="right").tolist()
    directory = bucket_directory(track.timeline, track.modality)
    kept, fresh, start = [], [], 0
    for bucket, stop in zip(buckets, stops, strict=True):
        part, start = order[start:stop], stop
        (data,) = fetch_many(store, paths_in(directory, [bucket]))
        anchors, counts = read_records(data, entries.offsets[part], entries.lengths[part])
        alive = ~np.isin(anchors, gone)
        if alive.all():
            kept.append(part)
        elif alive.any():
            held, dense = np.unique(np.repeat(codes[part], counts)[alive], return_inverse=True)
            grouped = group_anchors(anchors[alive], dense, len(held))
            fresh.append(add_bucket(batch, track, kind, take_values(values, held), *grouped)[0])
    return np.sort(np.concatenate([np.empty(0, np.int64), *kept])), fresh


def _erase_hot(store: Store, batch: Batch, track: Track, gone: U64, cuts: Cuts) -> Track:
    base = base_of(store, track)
    below = erase_rows(store, batch, base, gone, cuts)
    named, under = overlay_of(track)
    if below is not base:
        under = batch.add(track_directory(track.timeline, track.modality), encode_track(below))
    shard = erase_hot(store, batch, track, named, gone, None if below is base else under)
    if shard is None:
        return below
    if (named, below) == (shard, base):
        return track
    return replace(track, object_index={**track.object_index, "hot_shard": shard, "base_track": under})


def erase_hot(
    store: Store, batch: Batch, track: Track, named: Address, gone: U64, moved: Address | None
) -> Address | None:
    """Return the hot shard that takes the place of one beside a Track, which may itself be a new one; None of no rows.

    `moved` is the address of that Track, where it is a new one.
    """
    shard = read_hot_shard(store, track, named)
    alive = ~np.isin(np.array(shard.anchors, np.uint64), gone)
    if alive.all() and moved is None:
        return named
    kept = np.flatnonzero(alive).tolist()
    if not kept:
        return None
    left = replace(
        shard,
        parent=moved or shard.parent,
        anchors=tuple(shard.anchors[at] for at in kept),
        payloads=tuple(shard.payloads[at] for at in kept),
    )
    return batch.add(f"{track.timeline}/{track.modality}/{SHARDS}", encode_hot_shard(left))


# --- media, arrays ------------------------------------------------------------------------------------------


def _erase_media(store: Store, batch: Batch, track: Track, gone: U64, cuts: Cuts) -> Track:
    entries = read_index(store, track)
    dead = np.isin(entries.firsts, gone)
    names, numbers = number_addresses(entries.addresses)
    cut = np.array([name in cuts for name in names], np.bool_)[numbers] & ~entries.columns[_CHUNKED_AT]
    if not dead.any() and not cut.any():
        return track
    moved = [_moved(entries, at, names[numbers[at]], cuts) for at in np.flatnonzero(cut & ~dead).tolist()]
    left = join_index_entries(
        MEDIA, [entries.take(np.flatnonzero(~dead & ~cut)), entries_of_lists(MEDIA, moved)]
    )
    return _with_entries(batch, track, left)


def _moved(entries: IndexEntries, at: int, name: Address, cuts: Cuts) -> list[Any]:
    """Return the entry of an item in the payload that took the place of another."""
    cut = cuts[name]
    assert cut.address is not None
    times = int(entries.firsts[at]), int(entries.stops[at]), int(entries.sizes[at])
    if entries.members[at] < _PACKED:
        return [*times, cut.address]
    offset = cut.moved(np.array([entries.columns[_OFFSET_AT][at]], np.int64))
    return [*times, cut.address, False, int(offset[0])]


def _erase_arrays(store: Store, batch: Batch, track: Track, gone: U64, _: Cuts) -> Track:
    entries, keys = read_array_entries(store, track)
    alive = np.flatnonzero(~np.isin(entries.anchors, gone))
    if len(alive) == len(entries):
        return track
    if not len(alive):
        return replace(track, object_index=[], coverage=EMPTY_COVERAGE)
    return place_array_entries(batch, track, entries.take(alive), keys[alive])


def _with_entries(batch: Batch, track: Track, entries: IndexEntries) -> Track:
    if not len(entries):
        return replace(track, object_index=[], coverage=EMPTY_COVERAGE)
    return replace(track, object_index=place_entries(batch, track, entries))


# --- cells --------------------------------------------------------------------------------------------------


def _erase_cells(store: Store, batch: Batch, track: Track, gone: U64, _: Cuts) -> Track:
    entries = check_keys(read_index(store, track))
    near = np.searchsorted(gone, entries.firsts) < np.searchsorted(gone, entries.stops)
    rows = [np.array([at], np.int64) for at in np.flatnonzero(near).tolist()]
    made: list[list[Any]] = []
    emptied: list[int] = []
    for group in groups(entries, rows):
        listed = np.concatenate(group).tolist()
        for at, held in zip(listed, fetch_rows(store, track, entries, listed), strict=True):
            alive = ~np.isin(held.anchors.view(np.uint64), gone)
            if alive.all():
                continue
            emptied.append(at)
            if alive.any():
                members, table = int(entries.members[at]), int(entries.columns[TABLE][at])
                made.append(add_rows(batch, track, entries.keys[at], held.take(alive), members, table))
    if not emptied:
        return track
    kept = np.setdiff1d(np.arange(len(entries)), emptied, assume_unique=True)
    return _with_entries(
        batch, track, join_index_entries(CELLS, [entries.take(kept), entries_of_lists(CELLS, made)])
    )


# --- videos and geometry ------------------------------------------------------------------------------------


def _erase_items(store: Store, _: Batch, track: Track, gone: U64, __: Cuts) -> Track:
    """Take entries out of a list of geometry or videos; of what else is not known nothing can be told."""
    rows = track.object_index
    if track.index_key == GEOMETRY_KEY:
        anchors = [entry.anchor for entry in decode_geometry_entries(rows)]
    elif ".video_item." in track.modality and isinstance(rows, list):
        anchors = [track.coverage[0] + entry.start for entry in decode_video_entries(rows)]
    elif ".video_item." in track.modality:
        if np.isin(np.array([e.start for e in read_video_entries(store, track)], np.uint64), gone).any():
            raise UnsupportedError(
                f"{track.modality} lists videos in pages; rows cannot be purged from these yet"
            )
        return track
    else:
        return track
    dead = np.isin(np.array(anchors, np.uint64), gone).tolist()
    if not any(dead):
        return track
    return replace(track, object_index=[row for row, is_dead in zip(rows, dead, strict=True) if not is_dead])


_ERASE: Final[Mapping[TrackForm, Callable[[Store, Batch, Track, U64, Cuts], Track]]] = MappingProxyType(
    {
        TrackForm.BTREE: _erase_btree,
        TrackForm.LIST: _erase_list,
        TrackForm.HOT: _erase_hot,
        TrackForm.FRAGMENTS: _erase_media,
        TrackForm.ARRAY: _erase_arrays,
        TrackForm.CELLS: _erase_cells,
        TrackForm.OTHER: _erase_items,
    }
)
