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
from dreamdb_arrow.columnar.dropped import drop_columns, dropped_from
from dreamdb_arrow.columnar.media_refs import items_of_refs
from dreamdb_arrow.columnar.notes import read_notes, write_note
from dreamdb_arrow.columnar.overlaps import drop_repeated, fold_tables, shared_anchors
from dreamdb_arrow.columnar.projection import dim_of, row_entry
from dreamdb_arrow.columnar.rebirth import forget_reborn
from dreamdb_arrow.columnar.rows import read_hidden, space_stripes
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    MEDIA_KINDS,
    anchors_of,
    conform,
    decode_stripe,
    stripe_schema,
)
from dreamdb_arrow.columnar.vectors import F32, I64, open_vectors
from dreamdb_arrow.columnar.vendor import (
    COVER,
    STRIPE,
    VECTORS,
    add_track,
    has_columnar_layer,
    read_fragments,
    read_track,
)
from dreamdb_arrow.dataset.outgoing import Rows
from dreamdb_arrow.dataset.spatial import load_spatial_index, publish_spatial_index, trained_index
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
NOTES_MAX: Final = 16  # cover notes beyond this are united into one
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
            chosen = _next_round(store, cache, pending)
            seen[:] = [len(chosen), len(pending)]
            return flush_stripes(store, cache, parent, batch, chosen) if chosen else Change("flush")

        commit(store, name, build, clock=clock)
        done += seen[0]
        if progress is not None:
            progress(done, done + seen[1] - seen[0])
        if seen[0] == seen[1]:
            return done


def pending_stripes(store: Store, manifest: Manifest) -> list[Stripe]:
    """Return the stripes whose rows the Tracks do not hold yet, by first anchor."""
    if not has_columnar_layer(manifest):
        return []
    flushed = merge_notes(read_notes(store, manifest)).stripes
    return [s for s in space_stripes(store, manifest, STRIPE) if s.address not in flushed]


def _next_round(store: Store, cache: LocalCache, pending: Sequence[Stripe]) -> list[Stripe]:
    chosen: list[Stripe] = []
    rows = 0
    for stripe in pending:
        rows += len(decode_stripe(stripe.local(store, cache), [ANCHOR]))
        if chosen and rows > FLUSH_ROWS_MAX:
            break
        chosen.append(stripe)
    return chosen


def flush_stripes(
    store: Store, cache: LocalCache, parent: Manifest, batch: Batch, stripes: Sequence[Stripe]
) -> Change:
    """Return the change that brings these stripes into the Tracks, but for rows deleted since."""
    fields = decode_schema(parent.registry)
    schema = stripe_schema(fields)
    hidden = read_hidden(store, parent)
    notes = merge_notes(read_notes(store, parent))
    dropped = forget_reborn(store, parent, fields, notes).dropped
    tables = [
        conform(drop_columns(decode_stripe(s.local(store, cache)), dropped_from(s.address, dropped)), schema)
        for s in stripes
    ]
    shared = shared_anchors(
        [anchors_of(t) for t in tables]
    )  # branches that a merge brought together may share some
    whole = fold_tables(tables, shared) if len(shared) else tables
    table = pa.concat_tables(whole).combine_chunks().sort_by(ANCHOR)
    rows = Rows(_alive(table, hidden))
    names = [s.address for s in stripes]
    for f in fields:
        if f.kind == "embedding":
            vectors, used = _pending_vectors(store, cache, parent, f, table, hidden)
            names += used
            if len(vectors[0]):
                rows.vectors[f.name] = vectors
    return flush_rows(store, parent, batch, rows, frozenset(names))


def _alive(table: pa.Table, hidden: I64) -> pa.Table:
    if len(hidden) == 0:
        return table
    return table.filter(pa.array(~np.isin(np.asarray(table[ANCHOR].combine_chunks()), hidden)))


def _pending_vectors(
    store: Store, cache: LocalCache, parent: Manifest, f: Field, table: pa.Table, hidden: I64
) -> tuple[tuple[I64, F32], list[Address]]:
    """Return the vectors of the rows that are being flushed, and the vector stripes they came from."""
    wanted = np.asarray(table[ANCHOR].combine_chunks())
    anchors, vectors, used = [np.empty(0, np.int64)], [np.empty((0, dim_of(f)), np.float32)], []
    for stripe in space_stripes(store, parent, VECTORS, f.name):
        if len(wanted) == 0 or not stripe.meets(int(wanted[0]), int(wanted[-1]) + 1):
            continue
        held = open_vectors(stripe.local(store, cache), dim_of(f))
        ours = np.isin(held.anchors, wanted)
        if ours.any():
            used.append(stripe.address)
            alive = ours & ~np.isin(held.anchors, hidden)
            anchors.append(held.anchors[alive])
            vectors.append(held.vectors[alive])
    first = np.concatenate(drop_repeated(anchors, shared_anchors(anchors)))
    joined = np.concatenate(anchors)[first]
    order = np.argsort(joined, kind="stable")
    return (joined[order], np.concatenate(vectors)[first][order]), used


# ---------------------------------------------------------------- rows -> Tracks


def flush_rows(
    store: Store, parent: Manifest, batch: Batch, rows: Rows, stripes: frozenset[Address] = frozenset()
) -> Change:
    """Return the change that appends rows to the Tracks of their fields, with a cover note if there are stripes."""
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
        entries.append(_write_note(store, parent, batch, written, entries, stripes))
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
    if not track.object_index and f.options.get("spatial_index") is None:
        fresh = trained_index(index, held[1])
        if fresh is not index:
            index, address = fresh, publish_spatial_index(batch, fresh)
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
        bucket_max_bytes=int(f.options.get("bucket_max_bytes") or BUCKET_MAX_BYTES),
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
) -> TrackEntry:
    """Write what this flush brought together, and return the new entry of the Track of cover notes."""
    before = merge_notes(read_notes(store, parent))
    merged = forget_reborn(store, parent, decode_schema(parent.registry), before)
    new_tracks = {e.field: e.address for e in entries}
    covered = {
        name: new_tracks.get(name, address)
        for name, address in merged.tracks.items()
        if (entry := row_entry(parent, name)) is not None and entry.address == address  # 0021-R9
    }
    payloads = {
        name: frozenset(done.payloads)
        for name, done in written.items()
        if done.track.modality.startswith(BUCKETED)
    }
    note = CoverNote(covered, payloads, stripes, merged.dropped)  # 0021-R9
    kept = read_fragments(store, parent, COVER)
    if len(kept) >= NOTES_MAX or merged != before:
        note, kept = replace(merge_notes([merged, note]), tracks=covered), []
    return write_note(batch, parent.timeline, note, kept, parent.ts)
