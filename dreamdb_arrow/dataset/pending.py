"""Pending rows: what stripes hold and the Tracks do not, as a flush takes it. Specs 0006 and 0021.

A stripe that no note lists may still hold rows or values that the Tracks have. A branch that was flushed or compacted was
united with one that was not; or `compact` put the values of a layer, which its Track has first, into stripes. What is there
is not written again: a vector would be there twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.cell_vectors import cell_vectors
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.dropped import drop_columns, dropped_from
from dreamdb_arrow.columnar.notes import read_notes, still_covered
from dreamdb_arrow.columnar.overlaps import drop_repeated, fold_tables, shared_anchors, widest_first
from dreamdb_arrow.columnar.projection import dim_of, project, row_entry
from dreamdb_arrow.columnar.rebirth import forget_reborn
from dreamdb_arrow.columnar.rows import space_stripes, vector_stripes
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, TIME, anchors_of, conform, decode_stripe, stripe_schema
from dreamdb_arrow.columnar.vectors import F32, I64, open_vectors
from dreamdb_arrow.columnar.vendor import STRIPE, has_columnar_layer
from dreamdb_arrow.objects.lineage import LAYER_PREFIX
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.store.interface import Store


def pending_stripes(store: Store, manifest: Manifest) -> list[Stripe]:
    """Return the stripes whose rows the Tracks do not hold yet, by first anchor."""
    if not has_columnar_layer(manifest):
        return []
    flushed = merge_notes(read_notes(store, manifest)).stripes
    return [s for s in space_stripes(store, manifest, STRIPE) if s.address not in flushed]


@dataclass(frozen=True, slots=True)
class Known:
    """What the notes of a version say, united; `changed` when something that they say is of fields that are no more."""

    note: CoverNote
    changed: bool


def read_known(store: Store, parent: Manifest) -> Known:
    """Return what notes say of a version, without what they say of earlier fields of the same names."""
    notes = read_notes(store, parent)
    before, newest = merge_notes(notes), still_covered(parent, merge_notes(notes[-1:]))
    others = [f for f in decode_schema(parent.registry) if f.name not in newest]
    note = forget_reborn(store, parent, others, before)
    return Known(note, note != before)


@dataclass(frozen=True, slots=True)
class Round:
    """What one commit of a flush works on: the version it follows, what notes say of it, and the stripes that it takes.

    `later` are pending stripes that a later round takes.
    """

    store: Store
    cache: LocalCache
    parent: Manifest
    known: Known
    stripes: Sequence[Stripe]
    later: Sequence[Stripe]
    hidden: I64

    def table(self, stripe: Stripe, schema: pa.Schema) -> pa.Table:
        """Return the columns of a stripe that count."""
        whole = decode_stripe(stripe.local(self.store, self.cache))
        dropped = dropped_from(stripe.address, self.known.note.dropped)
        return conform(drop_columns(whole, dropped), schema)

    def anchors(self, stripe: Stripe) -> I64:
        """Return the anchors of a stripe."""
        return anchors_of(decode_stripe(stripe.local(self.store, self.cache), [ANCHOR]))


def pending_rows(now: Round) -> pa.Table:
    """Return the live rows of a round, ascending by anchor."""
    schema = stripe_schema(decode_schema(now.parent.registry))
    ordered = [now.stripes[i] for i in widest_first(now.stripes)]
    tables = [now.table(s, schema) for s in ordered]
    shared = shared_anchors([anchors_of(t) for t in tables])  # as a merge of branches may have left them
    whole = fold_tables(tables, shared) if len(shared) else tables
    return _alive(pa.concat_tables(whole).combine_chunks().sort_by(ANCHOR).combine_chunks(), now.hidden)


def without_held(now: Round, table: pa.Table) -> pa.Table:
    """Return rows without those values that the Tracks hold already: of flushed stripes, and of layers."""
    for held in (_flushed_rows(now, table), _layer_rows(now, table)):  # 0021-R15
        table = leave_out_held(table, held)
    return table


def _flushed_rows(now: Round, table: pa.Table) -> pa.Table:
    """Return what flushed stripes hold of some rows, as after a union of branches of which one was flushed."""
    found = [table.slice(0, 0)]
    for stripe, anchors in _flushed_anchors(now, anchors_of(table)):
        rows = now.table(stripe, table.schema)
        found.append(rows.filter(pa.array(np.isin(anchors_of(rows), anchors))))
    shared = shared_anchors([anchors_of(t) for t in found])
    return pa.concat_tables(fold_tables(found, shared)).combine_chunks().sort_by(ANCHOR)


def _flushed_anchors(now: Round, wanted: I64) -> Iterator[tuple[Stripe, I64]]:
    """Yield flushed stripes that hold some of these ascending anchors, with those."""
    pending = {s.address for s in (*now.stripes, *now.later)}
    for stripe in space_stripes(now.store, now.parent, STRIPE) if len(wanted) else ():
        low, high = np.searchsorted(wanted, [stripe.t0, stripe.t1])
        if stripe.address in pending or low == high:
            continue
        held = np.isin(wanted[low:high], now.anchors(stripe), assume_unique=True)
        if held.any():
            yield stripe, wanted[low:high][held]


def _layer_rows(now: Round, table: pa.Table) -> pa.Table:
    """Return the values of layers that have some in these rows: `compact` puts them into stripes, the Track has them first."""
    layers = [
        f
        for f in decode_schema(now.parent.registry)
        if (entry := row_entry(now.parent, f.name)) is not None
        and entry.role.startswith(LAYER_PREFIX)
        and f.name in table.column_names
        and table[f.name].null_count < len(table)
    ]
    return project(now.store, now.parent, layers, CoverNote({}, {})).table


def leave_out_held(table: pa.Table, held: pa.Table) -> pa.Table:
    """Return a table without the values that `held` has at the same anchor; a scalar that differs stays.

    Both ascend by anchor; columns that `held` lacks stay as they are.
    """
    anchors, known = anchors_of(table), anchors_of(held)
    if len(known) == 0 or len(anchors) == 0:
        return table
    at = np.minimum(np.searchsorted(known, anchors), len(known) - 1)
    positions = pa.array(at, mask=known[at] != anchors)
    columns = []
    for name in table.column_names:
        values = table[name].combine_chunks()
        if name not in (ANCHOR, TIME) and name in held.column_names:
            values = _unless_held(values, held[name].combine_chunks().take(positions))
        columns.append(values)
    return pa.Table.from_arrays(columns, schema=table.schema)


def _unless_held(values: pa.Array, held: pa.Array) -> pa.Array:
    nested = pa.types.is_nested(values.type)
    there = held.is_valid() if nested else pc.fill_null(pc.equal(values, held), False)
    nothing = pa.scalar(None, values.type)
    return pc.if_else(there, nothing, values) if pc.any(there).as_py() else values


def _alive(table: pa.Table, hidden: I64) -> pa.Table:
    if len(hidden) == 0:
        return table
    return table.filter(pa.array(~np.isin(np.asarray(table[ANCHOR].combine_chunks()), hidden)))


def pending_vectors(now: Round, f: Field, wanted: I64) -> tuple[tuple[I64, F32], list[Address]]:
    """Return the vectors of the rows that are being flushed, and the vector stripes that are flushed with them."""
    anchors, vectors, used = [np.empty(0, np.int64)], [np.empty((0, dim_of(f)), np.float32)], []
    stripes, marked = vector_stripes(now.store, now.parent, f.name)
    for stripe in [stripes[i] for i in widest_first(stripes)]:
        if stripe.address in now.known.note.stripes or not any(stripe.meets(s.t0, s.t1) for s in now.stripes):
            continue
        held = open_vectors(stripe.local(now.store, now.cache), dim_of(f))
        ours = np.isin(held.anchors, wanted)
        if not _is_left(now, held.anchors[~ours]):
            used.append(stripe.address)
        anchors.append(held.anchors[ours])
        vectors.append(held.vectors[ours])
    there = np.concatenate(
        [_flushed_vectors(now, f, stripes, wanted), *([_in_cells(now, f, wanted)] if marked else [])]
    )
    kept = np.concatenate(drop_repeated(anchors, shared_anchors(anchors)))
    kept &= ~np.isin(np.concatenate(anchors), there)
    joined = np.concatenate(anchors)[kept]
    order = np.argsort(joined, kind="stable")
    return (joined[order], np.concatenate(vectors)[kept][order]), used


def _is_left(now: Round, anchors: I64) -> bool:
    """Whether some of these anchors are of rows that a later round flushes."""
    if len(anchors) == 0:
        return False
    low, high = int(anchors[0]), int(anchors[-1]) + 1
    return any(np.isin(anchors, now.anchors(s)).any() for s in now.later if s.meets(low, high))


def _flushed_vectors(now: Round, f: Field, stripes: Sequence[Stripe], wanted: I64) -> I64:
    """Return those of some anchors whose vectors are in flushed stripes."""
    found = [np.empty(0, np.int64)]
    for stripe in stripes if len(wanted) else ():
        if stripe.address in now.known.note.stripes and stripe.meets(int(wanted[0]), int(wanted[-1]) + 1):
            held = open_vectors(stripe.local(now.store, now.cache), dim_of(f)).anchors
            found.append(held[np.isin(held, wanted)])
    return np.concatenate(found)


def _in_cells(now: Round, f: Field, wanted: I64) -> I64:
    """Return those of some anchors whose vectors are in cells alone. They are looked for only if flushed rows have them."""
    anchors = [held for _, held in _flushed_anchors(now, wanted)]
    if not anchors:
        return np.empty(0, np.int64)
    asked = united(anchors)
    low, high = int(asked[0]), int(asked[-1]) + 1
    stripes = cell_vectors(now.store, now.cache, now.parent, f)
    held = [
        now.cache.vectors(now.store, s.path, s.address, dim_of(f)).anchors
        for s in stripes
        if s.meets(low, high)
    ]
    return asked[np.isin(asked, np.concatenate([np.empty(0, np.int64), *held]))]
