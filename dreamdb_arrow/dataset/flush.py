"""Flush: bring the Tracks, which every SDK reads, up to date with the stripes. Specs 0006 and 0021."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.columnar.arrays import items_of_arrow
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.deleted import read_hidden
from dreamdb_arrow.columnar.media_refs import items_of_refs
from dreamdb_arrow.columnar.notes import add_note, still_covered, write_note
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    MEDIA_KINDS,
    anchors_of,
    open_stripe,
)
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.columnar.vendor import (
    add_track,
    has_columnar_layer,
    read_track,
)
from dreamdb_arrow.dataset.first_cells import first_cells
from dreamdb_arrow.dataset.outgoing import Rows
from dreamdb_arrow.dataset.pending import (
    Known,
    Round,
    pending_rows,
    pending_stripes,
    pending_vectors,
    read_known,
    without_held,
)
from dreamdb_arrow.dataset.spatial import is_one_cell, load_spatial_index
from dreamdb_arrow.dataset.writable import check_cells, check_plain_media, check_unbound, index_address
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import Field, decode_schema, is_constant, item_type_of
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.arrays import write_arrays
from dreamdb_arrow.tracks.hot import fold_hot, is_overlay
from dreamdb_arrow.tracks.layout import Written
from dreamdb_arrow.tracks.media import write_media
from dreamdb_arrow.tracks.scalars import write_scalars
from dreamdb_arrow.tracks.vectors import write_vectors

FLUSH_ROWS_MAX: Final = 1_000_000  # in one commit: what a flush holds in memory
BUCKET_MAX_BYTES: Final = 100 << 20
BUCKETED: Final = (
    "scalar.",
    "embedding.",
)  # payloads of other Tracks tell nothing, and are as many as rows; 0021-R10

Progress = Callable[[int, int], None]


def flush(
    store: Store,
    cache: LocalCache,
    name: str,
    progress: Progress | None = None,
    clock: Clock = time.time_ns,
) -> int:
    """Write the rows of stripes that no flush has seen into the Tracks; return how many stripes that were.

    Each round is one commit of at most a million rows (or one stripe); a kill between two loses nothing.
    """
    done = 0
    while True:
        seen: list[int] = []

        def build(parent: Manifest, _: Address, batch: Batch, seen: list[int] = seen) -> Change:
            pending = pending_stripes(store, parent)
            count = _next_round(store, cache, pending)
            seen[:] = [count, len(pending)]
            if not count:
                return Change("flush")
            return flush_stripes(store, cache, parent, batch, pending[:count], pending[count:])

        commit(store, name, build, clock=clock)
        done += seen[0]
        if progress is not None:
            progress(done, done + seen[1] - seen[0])
        if seen[0] == seen[1]:
            return done


def _next_round(store: Store, cache: LocalCache, pending: Sequence[Stripe]) -> int:
    """Return how many of the pending stripes to flush now."""
    rows = 0
    for nth, stripe in enumerate(pending):
        rows += open_stripe(stripe.local(store, cache)).metadata.num_rows
        if nth and rows > FLUSH_ROWS_MAX:
            return nth
    return len(pending)


def flush_stripes(
    store: Store,
    cache: LocalCache,
    parent: Manifest,
    batch: Batch,
    stripes: Sequence[Stripe],
    later: Sequence[Stripe] = (),
) -> Change:
    """Return the change that brings these stripes into the Tracks, but for rows deleted since and what is there already."""
    known = read_known(store, parent)
    now = Round(store, cache, parent, known, stripes, later, read_hidden(store, parent, cache=cache))
    table = pending_rows(now)
    rows = Rows(without_held(now, table))
    names = [s.address for s in stripes]
    for f in decode_schema(parent.registry):
        if f.kind == "embedding":
            vectors, used = pending_vectors(now, f, anchors_of(table))
            names += used
            if len(vectors[0]):
                rows.vectors[f.name] = vectors
    return flush_rows(store, parent, batch, rows, frozenset(names), known)


# ---------------------------------------------------------------- rows -> Tracks


def flush_rows(
    store: Store,
    parent: Manifest,
    batch: Batch,
    rows: Rows,
    stripes: frozenset[Address] = frozenset(),
    known: Known | None = None,
) -> Change:
    """Return the change that appends rows to the Tracks of their fields, with a cover note if there are stripes.

    `known` is what notes say of the parent, if somebody has read them.
    """
    written: dict[str, Written] = {}
    registry: dict[str, Any] = {}
    for f in decode_schema(parent.registry):
        entry = row_entry(parent, f.name)
        if entry is not None and not is_constant(f) and _has_values(f, rows):
            spatial = parent.registry.get(entry.modality, {})
            done = write_column(store, batch, f, read_track(store, entry), rows, spatial, registry)
            written[f.name] = done
    entries = [_new_entry(batch, row_entry(parent, name), done.track) for name, done in written.items()]
    if has_columnar_layer(parent):
        known = known or read_known(store, parent)
        entries.append(_write_note(store, parent, batch, written, entries, stripes, known))
    return Change("flush", tuple(entries), registry)


def _has_values(f: Field, rows: Rows) -> bool:
    if f.kind == "embedding":
        return f.name in rows.vectors
    return f.name in rows.table.column_names and rows.table[f.name].null_count < len(rows.table)  # 0006-R5


def write_column(
    store: Store,
    batch: Batch,
    f: Field,
    track: Track,
    rows: Rows,
    spatial: Mapping[str, Any],
    registry: dict[str, Any],
) -> Written:
    """Append the values of one field to its Track.

    Args:
        store: where the pages of the Track are.
        batch: what is new goes there.
        f: the field.
        track: as it was.
        rows: at least one of them has a value.
        spatial: the registry's entry of the modality.
        registry: gets that entry anew when the field's cells are trained on these rows, or hot rows go with them.
    """
    if f.kind == "embedding":
        return _write_vectors(store, batch, f, track, rows.vectors[f.name], spatial, registry)
    column = rows.table[f.name].combine_chunks()
    present = np.asarray(column.is_valid())
    anchors = np.asarray(rows.table[ANCHOR].combine_chunks())[present]
    held_values = column.filter(column.is_valid())
    if f.kind in MEDIA_KINDS:
        check_plain_media(f, track)
        return write_media(store, batch, track, items_of_refs(held_values, anchors))
    if f.kind == "array":
        of = item_type_of(f)
        return write_arrays(store, batch, track, of, anchors, items_of_arrow(of, held_values))
    value_type = str(f.options["value_type"])
    values = scalar_values(held_values)
    if is_overlay(track):
        track, anchors, values = fold_hot(store, track, value_type, anchors, values)  # 0016-R2
        registry[track.modality] = {key: value for key, value in spatial.items() if key != "hot_shard"}
        # No stripe has the hot rows: their bucket must not be taken for one whose rows stripes hold.
        return replace(write_scalars(store, batch, track, f.name, value_type, anchors, values), payloads=())
    return write_scalars(store, batch, track, f.name, value_type, anchors, values)


def scalar_values(column: pa.Array) -> Any:
    """Return an Arrow column without nulls as what Tracks take: numbers as an ndarray, texts as a list."""
    if pa.types.is_string(column.type):
        return column.to_pylist()
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.to_numpy(zero_copy_only=False)


def _write_vectors(
    store: Store,
    batch: Batch,
    f: Field,
    track: Track,
    held: tuple[I64, F32],
    spatial: Mapping[str, Any],
    registry: dict[str, Any],
) -> Written:
    check_cells(f, track.modality, spatial)
    address = index_address(f, spatial)
    index = load_spatial_index(store, address)
    check_unbound(f, index)
    most = int(f.options.get("bucket_max_bytes") or BUCKET_MAX_BYTES)
    if f.options.get("spatial_index") is None and is_one_cell(index):
        trained = first_cells(store, batch, track, spatial, index, held[1], most)
        if trained is not None:
            track, index, address = trained
            registry[track.modality] = {**spatial, "spatial_index": [bytes(address)]}  # 0004-R4
    coder = spatial.get("vector_compressor")
    return write_vectors(
        store,
        batch,
        track,
        index,
        address,
        held[0],
        held[1],
        rerank=bool(f.options.get("rerank")),
        compressor=None if coder is None else as_address(coder),
        bucket_max_bytes=most,
    )


def _new_entry(batch: Batch, entry: TrackEntry | None, track: Any) -> TrackEntry:
    assert entry is not None
    return replace(entry, address=add_track(batch, track), coverage=tuple(track.coverage))


# ---------------------------------------------------------------- cover notes


def _write_note(
    store: Store,
    parent: Manifest,
    batch: Batch,
    written: Mapping[str, Written],
    entries: Sequence[TrackEntry],
    stripes: frozenset[Address],
    known: Known,
) -> TrackEntry:
    """Write what this flush brought together, and return the new entry of the Track of cover notes."""
    covered = still_covered(parent, known.note)
    covered |= {e.field: e.address for e in entries if e.field in covered}  # 0021-R9
    payloads = {
        name: frozenset(done.payloads)
        for name, done in written.items()
        if done.track.modality.startswith(BUCKETED)
    }
    note = CoverNote(covered, payloads, stripes, known.note.dropped)
    if known.changed:
        note = replace(merge_notes([known.note, note]), tracks=covered)
        return write_note(batch, parent.timeline, note, [], parent.ts)
    return add_note(store, batch, [parent], note, parent.ts)
