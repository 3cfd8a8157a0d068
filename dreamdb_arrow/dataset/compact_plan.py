"""What a compaction of the columnar layer has to do: which stripes come together, and what of the Tracks goes in. Spec 0021.

Stripes whose rows are in the Tracks, and those whose rows are not yet, never come together: a flush must know them apart.
Rows that only Tracks hold count among the first. Values of a layer go where the rows are; a flush leaves them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.deleted import read_hidden
from dreamdb_arrow.columnar.dropped import dropped_from
from dreamdb_arrow.columnar.folding import uncovered, without_cells
from dreamdb_arrow.columnar.hidden import held_anchors
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import hot_shard_address, project, row_entry
from dreamdb_arrow.columnar.rebirth import drop_mistyped, forget_reborn
from dreamdb_arrow.columnar.rows import space_stripes, vector_stripes
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    TIME,
    anchors_of,
    conform,
    decode_stripe,
    open_stripe,
    stripe_schema,
)
from dreamdb_arrow.columnar.units import Unit, plan_units
from dreamdb_arrow.columnar.vectors import F32, I64, VectorStripe
from dreamdb_arrow.columnar.vendor import STRIPE, VECTORS, read_track
from dreamdb_arrow.dataset.compact_vectors import track_instead
from dreamdb_arrow.objects.lineage import LAYER_PREFIX
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cells import iterate_cells
from dreamdb_arrow.tracks.kinds import TrackForm, form_of
from dreamdb_arrow.tracks.scalars import bucket_addresses

STRIPE_ROWS: Final = 1_000_000
STRIPE_BYTES: Final = 256 << 20
VECTORS_BYTES: Final = 128 << 20
BUCKETS_LISTED_MAX: Final = 4096  # of a field: what more there are is read again when its Track grows

NO_NOTE: Final = CoverNote({}, {})


@dataclass(frozen=True, slots=True)
class Job:
    """A unit of one vendor Track. `flushed` says whether its rows are in the Tracks.

    `home` is the Track whose cells hold all that the unit's vector stripes do, so that nothing is written in their place.
    """

    modality: str
    field: str
    flushed: bool
    unit: Unit
    home: Address | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do for one version.

    rows      its stripes as they are listed
    marked    the fields whose vectors may lie in cells alone already
    schema    of the stripes to write
    note      what cover notes say, without what they say of earlier fields
    listed    `dropped` of that note, before columns of another type were added
    extra     by whether they are flushed: rows and values that only Tracks hold, with the columns of `schema`
    vectors   the same by embedding field: anchors int64 (n,), vectors float32 (n, d)
    claims    what a note is to say when all jobs are done
    """

    rows: RowSet
    marked: frozenset[str]
    schema: pa.Schema
    note: CoverNote
    listed: Mapping[str, frozenset[Address]]
    extra: Mapping[bool, pa.Table]
    vectors: Mapping[str, tuple[I64, F32]]
    claims: CoverNote
    jobs: tuple[Job, ...]


def find_work(store: Store, cache: LocalCache, manifest: Manifest, address: Address) -> Work:
    """Return what there is to do for a version that has a columnar layer.

    Raises CorruptDataError when an object on the way is damaged.
    """
    rows, marked = _listed_rows(store, cache, manifest, address)
    notes = read_notes(store, manifest)
    note = merge_notes(notes)
    listed = note.dropped
    open_fields = uncovered(rows, notes[-1] if notes else None)
    if open_fields:
        reborn = forget_reborn(store, manifest, open_fields, note)
        note, listed = drop_mistyped(rows, open_fields, reborn), reborn.dropped
    readable = [f for f in open_fields if _is_cold(manifest, f)]
    projection = without_cells(manifest, project(store, manifest, readable, note), marked)
    schema = stripe_schema(f for f in rows.fields if f.name not in projection.unavailable)
    extra = _split(rows, note, conform(projection.table, schema))
    found = {name: _fresh(rows, note, name, *held) for name, held in projection.vectors.items()}
    vectors = {name: held for name, held in found.items() if len(held[0])}
    jobs = (*_stripe_jobs(rows, note, schema, extra), *_vector_jobs(rows, note, vectors))
    claims = _claims(store, manifest, [f for f in readable if f.name not in projection.unavailable])
    return Work(rows, marked, schema, note, listed, extra, vectors, claims, jobs)


def _listed_rows(
    store: Store, cache: LocalCache, manifest: Manifest, address: Address
) -> tuple[RowSet, frozenset[str]]:
    """Return the stripes of a version as they are listed, and the fields whose vectors may lie in cells alone."""
    fields = decode_schema(manifest.registry)
    stripes = space_stripes(store, manifest, STRIPE)
    held = {f.name: vector_stripes(store, manifest, f.name) for f in fields if f.kind == "embedding"}
    vectors = {name: listed for name, (listed, _) in held.items()}
    hidden = read_hidden(store, manifest, cache=cache)
    rows = RowSet(store, cache, manifest, address, fields, stripes, vectors, hidden)
    return rows, frozenset(name for name, (_, marked) in held.items() if marked)


def _is_cold(manifest: Manifest, f: Field) -> bool:
    """Whether all of a field is in its Track. Rows in a hot buffer come and go as the reference likes."""
    entry = row_entry(manifest, f.name)
    return entry is not None and hot_shard_address(manifest, entry) is None


# --- what only Tracks hold ----------------------------------------------------------------------------------


def _split(rows: RowSet, note: CoverNote, found: pa.Table) -> dict[bool, pa.Table]:
    """Return rows out of Tracks by whether they go to flushed stripes: all but layers of rows that are not flushed."""
    anchors = anchors_of(found)
    found = found.filter(pa.array(~np.isin(anchors, rows.hidden)))
    anchors = anchors_of(found)
    held = {flushed: _are_held(rows, note, anchors, flushed) for flushed in (True, False)}
    layers = [e.field for e in rows.manifest.tracks.active if e.role.startswith(LAYER_PREFIX)]
    others = [name for name in found.column_names if name not in layers]
    above = _blank(found, others, held[False])
    below = _blank(found, layers, held[False])
    return {
        True: below.filter(pa.array(_has_values(below) | ~(held[True] | held[False]))),
        False: above.filter(pa.array(_has_values(above) & held[False])),
    }


def _are_held(
    rows: RowSet, note: CoverNote, anchors: I64, flushed: bool
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell of ascending anchors which of them are in the stripes that are flushed, or in those that are not."""
    held = np.zeros(len(anchors), np.bool_)
    for stripe in rows.stripes:
        low, high = np.searchsorted(anchors, [stripe.t0, stripe.t1])
        if low < high and (stripe.address in note.stripes) == flushed:
            file = stripe.local(rows.store, rows.cache)
            held[low:high] |= np.isin(anchors[low:high], anchors_of(decode_stripe(file, [ANCHOR])))
    return held


def _blank(table: pa.Table, names: Sequence[str], where: Any) -> pa.Table:
    """Return a table without the values of some columns in some rows."""
    for name in set(names) - {ANCHOR, TIME}:
        at = table.schema.get_field_index(name)
        if at >= 0 and table[name].null_count < len(table):
            column = table[name].combine_chunks()
            column = pc.if_else(pa.array(where), pa.scalar(None, column.type), column)
            table = table.set_column(at, table.schema.field(at), column)
    return table


def _has_values(table: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    found = np.zeros(len(table), np.bool_)
    for name in table.column_names:
        if name not in (ANCHOR, TIME):
            found |= np.asarray(table[name].is_valid())
    return found


def _fresh(rows: RowSet, note: CoverNote, name: str, anchors: I64, vectors: F32) -> tuple[I64, F32]:
    """Return those of a field's vectors that no vector stripe has and that are not deleted."""
    known = np.isin(anchors, rows.hidden)
    for stripe in rows.vectors[name]:
        low, high = np.searchsorted(anchors, [stripe.t0, stripe.t1])
        if low < high and not _is_dropped(note, name, stripe):
            known[low:high] |= np.isin(anchors[low:high], vector_anchors(rows, stripe))
    return anchors[~known], vectors[~known]


def _claims(store: Store, manifest: Manifest, fields: Sequence[Field]) -> CoverNote:
    """Return what a note says once all rows of these fields' Tracks are in stripes."""
    tracks, payloads = {}, {}
    for f in fields:
        entry = row_entry(manifest, f.name)
        assert entry is not None
        tracks[f.name] = entry.address
        track = read_track(store, entry)
        buckets: frozenset[Address] = frozenset()
        if f.kind == "scalar":
            buckets = bucket_addresses(store, track, str(f.options["value_type"]))
        elif form_of(track) is TrackForm.CELLS:
            buckets = frozenset(cell.bucket for cell in iterate_cells(store, track))
        if buckets:
            payloads[f.name] = frozenset(sorted(buckets)[:BUCKETS_LISTED_MAX])
    return CoverNote(tracks, payloads)


# --- what comes together ------------------------------------------------------------------------------------


def _stripe_jobs(
    rows: RowSet, note: CoverNote, schema: pa.Schema, extra: Mapping[bool, pa.Table]
) -> list[Job]:
    weights, due = {}, set()
    for stripe in rows.stripes:
        file = open_stripe(stripe.local(rows.store, rows.cache))
        weights[stripe.address] = max(file.metadata.num_rows / STRIPE_ROWS, stripe.size / STRIPE_BYTES)
        if _is_due(rows, note, stripe, file, schema):
            due.add(stripe.address)
    jobs = []
    for flushed in (True, False):
        alike = [s for s in rows.stripes if (s.address in note.stripes) == flushed]
        units = plan_units(alike, weights, due, anchors_of(extra[flushed]), 1 / STRIPE_ROWS)
        jobs += [Job(STRIPE, "", flushed, unit) for unit in units]
    return jobs


def _is_due(rows: RowSet, note: CoverNote, stripe: Stripe, file: pq.ParquetFile, schema: pa.Schema) -> bool:
    """Whether a stripe has other columns than its version, or deleted rows."""
    held, wanted = ({f.name: f.type.id for f in s} for s in (file.schema_arrow, schema))
    if held != wanted or held.keys() & set(dropped_from(stripe.address, note.dropped)):
        return True
    hidden = rows.hidden_between(stripe.t0, stripe.t1)
    return len(hidden) > 0 and len(held_anchors(stripe.local(rows.store, rows.cache), hidden)) > 0


def _vector_jobs(rows: RowSet, note: CoverNote, extra: Mapping[str, tuple[I64, F32]]) -> list[Job]:
    jobs = []
    for name, stripes in rows.vectors.items():
        instead = _in_cells(rows, note, name, extra.get(name))
        if instead is not None:
            jobs.append(instead)
        weights = {s.address: s.size / VECTORS_BYTES for s in stripes}
        due = {s.address for s in stripes if _is_dropped(note, name, s) or _has_deleted(rows, s)}
        for flushed in (False,) if instead is not None else (True, False):
            alike = [s for s in stripes if (s.address in note.stripes) == flushed]
            more = extra[name] if flushed and name in extra else None
            anchors = np.empty(0, np.int64) if more is None else more[0]
            weight = 0.0 if more is None else more[1][0].nbytes / VECTORS_BYTES
            units = plan_units(alike, weights, due, anchors, weight)
            jobs += [Job(VECTORS, name, flushed, unit) for unit in units]
    return sorted(jobs, key=lambda job: job.home is not None)  # those stand only when all others do


def _in_cells(rows: RowSet, note: CoverNote, name: str, extra: tuple[I64, F32] | None) -> Job | None:
    """Return the job that takes the flushed vector stripes of a field away, as its cells hold what they hold."""
    field = next(f for f in rows.fields if f.name == name)
    flushed = [s for s in rows.vectors[name] if s.address in note.stripes]
    if not flushed and extra is None:
        return None
    kept, others = (
        [s for s in rows.vectors[name] if (s in flushed) == which and not _is_dropped(note, name, s)]
        for which in (True, False)
    )
    more = None if extra is None else VectorStripe(*extra)
    home = track_instead(rows, field, kept, others, more)
    if home is None:
        return None
    low = min([s.t0 for s in flushed] + ([] if extra is None else [int(extra[0][0])]))
    high = max([s.t1 for s in flushed] + ([] if extra is None else [int(extra[0][-1]) + 1]))
    return Job(VECTORS, name, True, Unit(tuple(flushed), low, high, 0), home)


def _is_dropped(note: CoverNote, name: str, stripe: Stripe) -> bool:
    """Whether a vector stripe is of an earlier field of that name."""
    return stripe.address in note.dropped.get(name, ())


def _has_deleted(rows: RowSet, stripe: Stripe) -> bool:
    hidden = rows.hidden_between(stripe.t0, stripe.t1)
    return len(hidden) > 0 and bool(np.isin(hidden, vector_anchors(rows, stripe)).any())


def vector_anchors(rows: RowSet, stripe: Stripe) -> I64:
    """Return the anchors of a vector stripe, int64 (n,); its vectors are not looked at."""
    file: Path = stripe.local(rows.store, rows.cache)
    batch = pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0)
    return np.asarray(batch.column(0), dtype=np.int64)
