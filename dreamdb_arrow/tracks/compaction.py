"""Compaction: what many appends have left of a Track becomes one bucket again. Specs 0007, 0011 and 0021.

Of a scalar column all records go into one new bucket, of a cell of vectors all rows, by anchor. No row comes or goes. Old
buckets stay for the versions that name them. Cells are taken a group at a time, so that few of them are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.ragged import Ints, spread
from dreamdb_arrow.errors import AnchorConflict, LayoutError
from dreamdb_arrow.objects.btree_page import WHOLE, ScalarEntries
from dreamdb_arrow.objects.index_entries import (
    CELLS,
    IndexEntries,
    entries_of_lists,
    join_index_entries,
)
from dreamdb_arrow.objects.scalar_bucket import encode_records
from dreamdb_arrow.objects.scalar_records import decode_records
from dreamdb_arrow.objects.scalar_values import ValueType, byte_order, value_type_of
from dreamdb_arrow.objects.spatial_bucket import ANCHOR_BYTES
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.btree import insert_entries, read_btree
from dreamdb_arrow.tracks.categories import insert_in_list, read_list
from dreamdb_arrow.tracks.cell_rows import CellRows, add_rows, fetch_rows
from dreamdb_arrow.tracks.cells import TABLE, check_keys
from dreamdb_arrow.tracks.layout import bucket_directory, paths_in
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.placing import place_entries
from dreamdb_arrow.tracks.scalars import number_addresses

_FETCHED_BYTES: Final = 64 << 20
_FETCHED_BUCKETS: Final = 1024


@dataclass(frozen=True, slots=True)
class Compacted:
    """What compacting a Track came to.

    track      the new one; None when there was nothing to do
    examined   how many values or cells it has
    compacted  how many of these were written anew
    collapsed  how many entries these had before
    replaced   for each new bucket, those whose rows it has
    """

    track: Track | None
    examined: int
    compacted: int = 0
    collapsed: int = 0
    replaced: tuple[tuple[Address, frozenset[Address]], ...] = ()


# --- scalars ------------------------------------------------------------------------------------------------


def compact_scalars(
    store: Store, batch: Batch, track: Track, value_type: str, threshold: int = 1
) -> Compacted:
    """Write the column into one bucket, if it has more than `threshold`. Raises as read_scalars does."""
    kind = value_type_of(value_type)
    entries = read_btree(store, track, kind) if kind.tree else read_list(track, kind)
    if entries is None:
        return Compacted(None, 0)
    values, codes = kind.distinct(entries.values)
    buckets, bucket_of = number_addresses(entries.buckets)
    if len(buckets) <= threshold:
        return Compacted(None, len(values))
    anchors, counts = group_anchors(*_all_rows(store, track, entries, codes, buckets, bucket_of), len(values))
    new = replace(track, object_index=[])
    fresh, bucket = add_bucket(batch, track, kind, values, anchors, counts)
    index: Any = _index_scalars(store, batch, new, kind, fresh)
    done = replace(new, object_index=index)
    return Compacted(done, len(values), len(values), len(entries), ((bucket, frozenset(buckets)),))


def _all_rows(
    store: Store, track: Track, entries: ScalarEntries, codes: Ints, buckets: list[Address], bucket_of: Ints
) -> tuple[NDArray[np.uint64], Ints]:
    """Return the anchors of all entries, and the code of each."""
    directory = bucket_directory(track.timeline, track.modality)
    order = np.argsort(bucket_of, kind="stable")
    stops = np.searchsorted(bucket_of[order], np.arange(len(buckets)), side="right").tolist()
    anchors, of_rows, start = [], [], 0
    for bucket, stop in zip(buckets, stops, strict=True):
        (data,) = fetch_many(store, paths_in(directory, [bucket]))
        part = order[start:stop]
        held, counts = read_records(data, entries.offsets[part], entries.lengths[part])
        anchors.append(held)
        of_rows.append(np.repeat(codes[part], counts))
        start = stop
    return np.concatenate(anchors), np.concatenate(of_rows)


def read_records(data: bytes, offsets: Ints, lengths: Ints) -> tuple[NDArray[np.uint64], Ints]:
    """Return the anchors of records of a bucket, one after another, and how many each has. Values may share a record."""
    sizes = np.where(lengths == WHOLE, len(data), lengths)
    order = np.lexsort((sizes, offsets))
    fresh = np.r_[True, (np.diff(offsets[order]) != 0) | (np.diff(sizes[order]) != 0)]
    record = np.empty(len(order), np.int64)
    record[order] = fresh.cumsum() - 1
    held, counts = decode_records(data, offsets[order][fresh], sizes[order][fresh])
    starts = counts.cumsum() - counts
    return held[np.repeat(starts[record], counts[record]) + spread(counts[record])], counts[record]


def group_anchors(anchors: NDArray[np.uint64], codes: Ints, size: int) -> tuple[NDArray[np.uint64], Ints]:
    """Return the anchors of the first value, of the second, ..., ascending and distinct; and how many each has."""
    order = np.lexsort((anchors, codes))
    anchors, codes = anchors[order], codes[order]
    fresh = np.r_[True, (codes[1:] != codes[:-1]) | (anchors[1:] != anchors[:-1])]
    return anchors[fresh], np.bincount(codes[fresh], minlength=size)


def add_bucket(
    batch: Batch, track: Track, kind: ValueType, values: Any, anchors: NDArray[np.uint64], counts: Ints
) -> tuple[ScalarEntries, Address]:
    """Add one bucket of all values; return an entry for each, in the order of values."""
    order = byte_order(values, kind.encode(values))
    starts = counts.cumsum() - counts
    rows = np.repeat(starts[order], counts[order]) + spread(counts[order])
    records = encode_records(anchors[rows], counts[order])
    bucket = batch.add_payload(bucket_directory(track.timeline, track.modality), records.data.tobytes())
    offsets, lengths = np.empty_like(counts), np.empty_like(counts)
    offsets[order], lengths[order] = records.starts, records.lengths
    names = np.broadcast_to(np.frombuffer(bucket, np.uint8), (len(counts), len(bucket)))
    firsts, stops = anchors[starts], anchors[starts + counts - 1] + np.uint64(1)
    return ScalarEntries(values, firsts, stops, names, offsets, lengths), bucket


def _index_scalars(store: Store, batch: Batch, empty: Track, kind: ValueType, entries: ScalarEntries) -> Any:
    encoded = kind.encode(entries.values)
    if kind.tree:
        return insert_entries(store, batch, empty, kind, entries, encoded)
    return insert_in_list(empty, kind, entries, encoded)


# --- cells --------------------------------------------------------------------------------------------------


def compact_cells(
    store: Store, batch: Batch, track: Track, threshold: int = 1, bucket_max_bytes: int = 100 << 20
) -> Compacted:
    """Write each cell that has more than `threshold` buckets into as few as its rows need.

    Raises:
        AnchorConflict: a cell has two vectors at one anchor, as after a merge of branches that gave both.
        CorruptDataError: as read_vectors.
    """
    entries = check_keys(read_index(store, track))
    cells = _cells_of(entries)
    crowded = [rows for rows in cells if len(rows) > threshold]
    made: list[list[Any]] = []
    gone: list[Ints] = []
    replaced: list[tuple[Address, frozenset[Address]]] = []
    for group in groups(entries, crowded):
        for rows, lists in _compact_group(store, batch, track, entries, group, bucket_max_bytes):
            made += lists
            gone.append(rows)
            before = frozenset(Address(entries.addresses[at].tobytes()) for at in rows.tolist())
            replaced += [(Address(row[4]), before) for row in lists]
    if not gone:
        return Compacted(None, len(cells))
    kept = np.setdiff1d(np.arange(len(entries)), np.concatenate(gone))
    after = join_index_entries(CELLS, [entries.take(kept), entries_of_lists(CELLS, made)])
    done = replace(track, object_index=place_entries(batch, track, after))
    return Compacted(done, len(cells), len(gone), sum(map(len, gone)), tuple(replaced))


def _cells_of(entries: IndexEntries) -> list[Ints]:
    """Return the positions of the entries of each cell; each table has cells of its own."""
    held: dict[tuple[str, int], list[int]] = {}
    for at, cell in enumerate(zip(entries.keys, entries.columns[TABLE].tolist(), strict=True)):
        held.setdefault(cell, []).append(at)
    return [np.array(rows, np.int64) for rows in held.values()]


def groups(entries: IndexEntries, cells: list[Ints]) -> Iterator[list[Ints]]:
    """Gather cells until their buckets are as much as should be in memory."""
    group: list[Ints] = []
    size = count = 0
    for rows in cells:
        group.append(rows)
        size, count = size + int(entries.sizes[rows].sum()), count + len(rows)
        if size >= _FETCHED_BYTES or count >= _FETCHED_BUCKETS:
            yield group
            group, size, count = [], 0, 0
    if group:
        yield group


def _compact_group(
    store: Store, batch: Batch, track: Track, entries: IndexEntries, cells: list[Ints], most_bytes: int
) -> Iterator[tuple[Ints, list[list[Any]]]]:
    """Yield for each cell that needs fewer buckets than it has: its entries, and those that take their place."""
    buckets = iter(fetch_rows(store, track, entries, np.concatenate(cells).tolist()))
    for at in cells:
        key, table = entries.keys[int(at[0])], int(entries.columns[TABLE][at[0]])
        held = [next(buckets) for _ in at]
        if len({rows.exact is None for rows in held}) > 1:
            continue  # exact vectors of some rows only
        joined = _join(track, key, held)
        most = max(1, most_bytes // (ANCHOR_BYTES + joined.payload[:1].nbytes))
        if -(-len(joined.anchors) // most) < len(at):
            members = int(entries.members[at].max())
            yield at, [add_rows(batch, track, key, part, members, table) for part in _parts(joined, most)]


def _join(track: Track, key: str, held: list[CellRows]) -> CellRows:
    """Return the rows of a cell by anchor; a row that is there twice comes once."""
    first = held[0]
    if len({(rows.like.index, rows.like.compressor, rows.payload.shape[1:]) for rows in held}) > 1:
        raise LayoutError(f"buckets of cell {key!r} of {track.modality} were written in several ways")
    exact = [rows.exact for rows in held if rows.exact is not None]
    joined = CellRows(
        first.like,
        np.concatenate([rows.anchors for rows in held]),
        np.concatenate([rows.payload for rows in held]),
        np.concatenate(exact) if exact else None,
    )
    return _distinct(track, key, joined.take(np.argsort(joined.anchors.view(np.uint64), kind="stable")))


def _distinct(track: Track, key: str, rows: CellRows) -> CellRows:
    again = np.flatnonzero(rows.anchors[1:] == rows.anchors[:-1]) + 1
    if len(again) == 0:
        return rows
    differing = again[np.any(rows.bytes_of(again) != rows.bytes_of(again - 1), axis=1)]
    if len(differing):
        anchor = int(rows.anchors[differing[0]])
        raise AnchorConflict(  # 0008-R15
            anchor,
            f"anchor {anchor} has two vectors in cell {key!r} of {track.modality}, so it cannot be compacted",
        )
    first = np.ones(len(rows.anchors), np.bool_)
    first[again] = False
    return rows.take(first)


def _parts(rows: CellRows, most: int) -> Iterator[CellRows]:
    for start in range(0, len(rows.anchors), most):  # 0007-R10
        yield rows.take(np.arange(start, min(start + most, len(rows.anchors))))
