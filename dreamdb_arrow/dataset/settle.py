"""Settle: a version of a merge without those of its values that a policy lets go. Specs 0008 and 0021.

Nobody sees this version: what it holds goes into the union. Its stripes get a null in the place of each such value, so that the
other side's shows; its Tracks are the base's with its own rows but for these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.projection import bucket_origin, dim_of, project, row_entry
from dreamdb_arrow.columnar.rows import space_stripes
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, anchors_of, decode_stripe, encode_stripe
from dreamdb_arrow.columnar.vectors import I64, decode_vectors, encode_vectors
from dreamdb_arrow.columnar.vendor import (
    STRIPE,
    VECTORS,
    Fragment,
    VendorTrack,
    add_track,
    has_columnar_layer,
    read_track,
)
from dreamdb_arrow.dataset.conflicts import Conflicts
from dreamdb_arrow.dataset.flush import write_column
from dreamdb_arrow.dataset.outgoing import Rows
from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.layout import payload_directory
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.scalars import bucket_addresses, number_addresses

_EMPTY: Final[I64] = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Settled:
    """A version without some values; `anew` tells by its stripes' old addresses the new ones."""

    version: Manifest
    anew: Mapping[Address, Address]


def settle(
    store: Store, batch: Batch, loser: Manifest, base: Manifest | None, conflicts: Conflicts
) -> Settled:
    """Return a version without its values at these anchors, by field; what is new is in the batch, and flushed.

    Raises UnsupportedError for a field whose Track keeps only codes: its vectors cannot be written again as they were.
    """
    fields = {f.name: f for f in decode_schema(loser.registry)}
    entries: list[TrackEntry] = []
    anew: dict[Address, Address] = {}
    if has_columnar_layer(loser):
        entries += _settle_stripes(store, batch, loser, conflicts, anew)
        for name, anchors in conflicts.items():
            entries += _settle_vectors(store, batch, loser, fields[name], anchors, anew)
    for name, anchors in conflicts.items():
        entries += _settle_track(store, batch, loser, base, fields[name], anchors)
    batch.flush()  # the union reads it back
    placed = {entry.field: entry for entry in entries}
    active = tuple(placed.get(entry.field, entry) for entry in loser.tracks.active)
    return Settled(replace(loser, tracks=replace(loser.tracks, active=active)), anew)


# --- stripes ------------------------------------------------------------------------------------------------


def _settle_stripes(
    store: Store, batch: Batch, loser: Manifest, conflicts: Conflicts, anew: dict[Address, Address]
) -> list[TrackEntry]:
    swaps = []
    for stripe in space_stripes(store, loser, STRIPE):
        if not any(len(_within(stripe, anchors)) for anchors in conflicts.values()):
            continue
        table = decode_stripe(pa.BufferReader(fetch(store, stripe.path, stripe.address)))
        blanked = _blank(table, conflicts)
        if blanked is not table:
            swaps.append((stripe, bytes(encode_stripe(blanked))))
    return _swap(store, batch, loser, STRIPE, "", swaps, anew)


def _within(stripe: Stripe, anchors: I64) -> I64:
    low, high = np.searchsorted(anchors, [stripe.t0, stripe.t1])
    return anchors[low:high]


def _blank(table: pa.Table, conflicts: Conflicts) -> pa.Table:
    """Return a table with nulls at some anchors of some columns; the very table when there is nothing to blank."""
    held = anchors_of(table)
    for name, anchors in conflicts.items():
        if name not in table.column_names:
            continue
        column = table[name].combine_chunks()
        gone = np.isin(held, anchors) & np.asarray(column.is_valid())
        if gone.any():
            at = pa.array(np.arange(len(held)), mask=gone)
            table = table.set_column(
                table.schema.get_field_index(name), table.schema.field(name), pc.take(column, at)
            )
    return table


def _settle_vectors(
    store: Store, batch: Batch, loser: Manifest, f: Field, anchors: I64, anew: dict[Address, Address]
) -> list[TrackEntry]:
    if f.kind != "embedding":
        return []
    swaps = []
    for stripe in space_stripes(store, loser, VECTORS, f.name):
        if not len(_within(stripe, anchors)):
            continue
        held = decode_vectors(fetch(store, stripe.path, stripe.address), dim_of(f))
        kept = ~np.isin(held.anchors, anchors)
        if not kept.all():
            swaps.append((stripe, bytes(encode_vectors(held.anchors[kept], held.vectors[kept]))))
    return _swap(store, batch, loser, VECTORS, f.name, swaps, anew)


def _swap(
    store: Store,
    batch: Batch,
    loser: Manifest,
    modality: str,
    name: str,
    swaps: list[tuple[Stripe, bytes]],
    anew: dict[Address, Address],
) -> list[TrackEntry]:
    """Put stripes in the place of others, with the range of these; return the entry of their Track, if it changes."""
    directory = payload_directory(loser.timeline, modality)
    added, removed = [], []
    for stripe, data in swaps:
        address = batch.add_payload(directory, data)
        anew[stripe.address] = address
        added.append(Fragment(stripe.t0, stripe.t1, len(data), address))
        removed.append(Fragment(stripe.t0, stripe.t1, stripe.size, stripe.address))
    track = VendorTrack(store, loser, modality, name)
    return [track.swap(batch, added, removed)] if swaps else []


# --- Tracks -------------------------------------------------------------------------------------------------


def _settle_track(
    store: Store, batch: Batch, loser: Manifest, base: Manifest | None, f: Field, anchors: I64
) -> list[TrackEntry]:
    """Return the entry of a field whose Track is the base's with the loser's rows but for some; none if it has none."""
    entry = row_entry(loser, f.name)
    old = None if base is None else row_entry(base, f.name)
    assert entry is not None
    if old is not None and old.address == entry.address:
        return []
    if (
        f.kind == "embedding"
        and bucket_origin(loser, entry.modality).compressor
        and not f.options.get("rerank")
    ):
        raise UnsupportedError(
            f"field {f.name!r} keeps codes of its vectors only, which cannot be written again without some of them; "
            "make the vectors equal on both sides, or decommission the field on one, then merge"
        )
    track = (
        Track(EMPTY_COVERAGE, entry.modality, entry.timeline, []) if old is None else read_track(store, old)
    )
    rows = _own_rows(store, loser, f, old, track, anchors)
    registry: dict[str, Any] = {}
    spatial = loser.registry.get(entry.modality, {})
    if rows is not None:
        track = write_column(store, batch, f, track, rows, spatial, registry).track
    return [replace(entry, address=add_track(batch, track), coverage=track.coverage)]


def _own_rows(
    store: Store, loser: Manifest, f: Field, old: TrackEntry | None, track: Track, anchors: I64
) -> Rows | None:
    """Return what the loser's Track of a field holds beside the base's, but for some anchors; None when that is nothing."""
    tracks = {} if old is None else {f.name: old.address}
    note = CoverNote(tracks, {f.name: _payloads(store, f, track)}, frozenset())
    found = project(store, loser, [f], note)
    if f.kind == "embedding":
        held, vectors = found.vectors[f.name]
        kept = ~np.isin(held, anchors)
        table = pa.table({ANCHOR: pa.array(held[kept], pa.int64())})
        return Rows(table, {f.name: (held[kept], vectors[kept])}) if kept.any() else None
    table = found.table.filter(pa.array(~np.isin(anchors_of(found.table), anchors)))
    return Rows(table, {}) if len(table) else None


def _payloads(store: Store, f: Field, track: Track) -> frozenset[Address]:
    """Return the addresses of the buckets of a field's Track, where it has buckets."""
    if f.kind == "scalar":
        return bucket_addresses(store, track, str(f.options["value_type"]))
    if f.kind == "embedding":
        return frozenset(number_addresses(read_index(store, track).addresses)[0])
    return frozenset()
