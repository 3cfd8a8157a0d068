"""Contents: whether payloads hold what the entries of a Track say of them. Specs 0004, 0007 and 0011.

Readers check what they decode; these checks ask for all that an index tells beside it: first and last anchors, sizes,
where a record or an item ends. Pages, a leaf at a time, are checked by the walks themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.btree_page import WHOLE, ScalarEntries
from dreamdb_arrow.objects.index_entries import CELLS, IndexEntries
from dreamdb_arrow.objects.media_items import ItemsObject, decode_items
from dreamdb_arrow.objects.scalar_records import decode_records
from dreamdb_arrow.objects.scalar_values import value_type_of
from dreamdb_arrow.objects.shape import U64_MAX
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import call_each, fetch, fetch_many
from dreamdb_arrow.tracks.btree import iterate_btree
from dreamdb_arrow.tracks.categories import read_list
from dreamdb_arrow.tracks.cell_rows import fetch_rows
from dreamdb_arrow.tracks.cells import check_keys
from dreamdb_arrow.tracks.constants import place_of
from dreamdb_arrow.tracks.graph import iterate_pages
from dreamdb_arrow.tracks.hot import base_of, overlay_of, read_hot_shard
from dreamdb_arrow.tracks.kinds import TrackForm, form_of, scalar_type_of
from dreamdb_arrow.tracks.layout import (
    bucket_directory,
    items_directory,
    paths_in,
    payload_directory,
)
from dreamdb_arrow.tracks.pages import iterate_index
from dreamdb_arrow.tracks.scalars import number_addresses

_BUCKETS_TOGETHER: Final = 16
_ITEM_SIZE, _ITEM_CHUNKED, _ITEM_OFFSET = 2, 4, 5  # columns of entries of media


def check_contents(store: Store, track: Track) -> None:
    """Check all that a Track leads to, a leaf of its index at a time.

    Raises:
        NotFoundError, CorruptDataError: the first thing that is missing, damaged, or not as an index says.
        UnsupportedError: the Track is of a kind that cannot be looked into.
    """
    if track.object_index != []:
        _CHECKS[form_of(track)](store, track)


def _check_hot(store: Store, track: Track) -> None:
    shard, _ = overlay_of(track)
    read_hot_shard(store, track, shard)
    check_contents(store, base_of(store, track))


# --- scalars ------------------------------------------------------------------------------------------------


def _check_btree(store: Store, track: Track) -> None:
    for leaf in iterate_btree(store, track, value_type_of(scalar_type_of(track.modality))):
        _check_records(store, track, leaf)


def _check_list(store: Store, track: Track) -> None:
    entries = read_list(track, value_type_of(scalar_type_of(track.modality)))
    if entries is not None:
        _check_records(store, track, entries)


def _check_records(store: Store, track: Track, entries: ScalarEntries) -> None:
    """Check the records of some entries: they are there, and their anchors lie in the ranges told."""
    buckets, bucket_of = number_addresses(entries.buckets)
    directory = bucket_directory(track.timeline, track.modality)
    for start in range(0, len(buckets), _BUCKETS_TOGETHER):
        names = buckets[start : start + _BUCKETS_TOGETHER]
        for nth, data in enumerate(fetch_many(store, paths_in(directory, names)), start):
            _check_bucket(f"{directory}/{buckets[nth]}", data, entries.take(np.flatnonzero(bucket_of == nth)))


def _check_bucket(path: str, data: bytes, entries: ScalarEntries) -> None:
    lengths = np.where(entries.lengths == WHOLE, len(data), entries.lengths)
    order = np.lexsort((lengths, entries.offsets))
    at, sizes = entries.offsets[order], lengths[order]
    fresh = np.r_[True, (np.diff(at) != 0) | (np.diff(sizes) != 0)][: len(order)]  # values may share a record
    anchors, counts = decode_records(data, at[fresh], sizes[fresh])
    if not counts.all():
        raise LayoutError(f"{path} has an empty record")
    stops = counts.cumsum()
    record = fresh.cumsum() - 1
    firsts, lasts = anchors[stops - counts][record], anchors[stops - 1][record]
    told = entries.take(order)
    if np.any(firsts != told.firsts) or np.any(lasts != told.stops - np.uint64(1)):
        raise LayoutError(f"{path} has records with other first or last anchors than their entries say")


# --- media and cells ----------------------------------------------------------------------------------------


def _check_index(store: Store, track: Track) -> None:
    for leaf in iterate_index(store, track):
        if leaf.shape is CELLS:
            _check_cells(store, track, check_keys(leaf))
        else:
            _check_media(store, track, leaf)


def _check_media(store: Store, track: Track, entries: IndexEntries) -> None:
    """Check that payloads are as long as their items need; whole ones exactly as long."""
    sizes = entries.columns[_ITEM_SIZE].astype(np.int64)
    chunked = entries.columns[_ITEM_CHUNKED]
    packed = entries.members > _ITEM_OFFSET
    names, number = number_addresses(entries.addresses)
    _check_chunked(store, track, entries, np.flatnonzero(chunked))
    plain = np.flatnonzero(~chunked)
    directory = payload_directory(track.timeline, track.modality)
    wanted = [f"{directory}/{names[nth]}" for nth in np.unique(number[plain]).tolist()]
    held = np.zeros(len(names), np.int64)
    held[np.unique(number[plain])] = call_each(store.size, wanted)
    ends = np.where(packed, entries.columns[_ITEM_OFFSET].astype(np.int64), 0) + sizes
    there = held[number]
    wrong = np.flatnonzero(~chunked & np.where(packed, ends > there, ends != there))
    if len(wrong):
        at = int(wrong[0])
        raise LayoutError(
            f"{directory}/{names[int(number[at])]} has {there[at]} bytes, an item of it ends at {ends[at]}"
        )


def _check_chunked(store: Store, track: Track, entries: IndexEntries, at: Ints) -> None:
    directory = items_directory(track.timeline, track.modality)
    names = [Address(entries.addresses[row].tobytes()) for row in at]
    for row, (path, address) in zip(at.tolist(), paths_in(directory, names), strict=True):
        items = decode_items(fetch(store, path, address))
        told = int(entries.columns[_ITEM_SIZE][row])
        if items.total_size != told:
            raise LayoutError(f"{path} has {items.total_size} bytes, its entry says {told}")
        _check_chunks(store, payload_directory(track.timeline, track.modality), items)


def _check_chunks(store: Store, directory: str, items: ItemsObject) -> None:
    paths = [f"{directory}/{chunk.address}" for chunk in items.chunks]
    for path, chunk, size in zip(paths, items.chunks, call_each(store.size, paths), strict=True):
        if size != chunk.size:
            raise LayoutError(f"{path} has {size} bytes, its item says {chunk.size}")


def _check_cells(store: Store, track: Track, entries: IndexEntries) -> None:
    """Check buckets, a few in memory: their anchors lie in the ranges told, a sidecar has as many rows."""
    firsts, stops = entries.firsts, entries.stops
    for start in range(0, len(entries), _BUCKETS_TOGETHER):
        rows = range(start, min(start + _BUCKETS_TOGETHER, len(entries)))
        for row, held in zip(rows, fetch_rows(store, track, entries, rows), strict=True):
            times = held.anchors.view(np.uint64)
            last = min(int(times.max()) + 1, U64_MAX) if len(times) else 0
            if not len(times) or (int(times.min()), last) != (int(firsts[row]), int(stops[row])):
                raise LayoutError(
                    f"bucket {Address(entries.addresses[row].tobytes())} of cell {entries.keys[row]} has other first or last "
                    "anchors than its entry says"
                )


# --- others -------------------------------------------------------------------------------------------------


def _check_graph(store: Store, track: Track) -> None:
    for _ in iterate_pages(store, track):
        pass


def _check_constant(store: Store, track: Track) -> None:
    fetch(store, *place_of(track))


def _skip(_: Store, __: Track) -> None:
    """Items of arrays are for those who know their type; of other kinds nothing is known."""


_CHECKS: Final[Mapping[TrackForm, Callable[[Store, Track], None]]] = MappingProxyType(
    {
        TrackForm.BTREE: _check_btree,
        TrackForm.LIST: _check_list,
        TrackForm.FRAGMENTS: _check_index,
        TrackForm.CELLS: _check_index,
        TrackForm.GRAPH: _check_graph,
        TrackForm.ARRAY: _skip,
        TrackForm.CONSTANT: _check_constant,
        TrackForm.HOT: _check_hot,
        TrackForm.OTHER: _skip,
    }
)
