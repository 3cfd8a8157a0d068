"""Agreement: what the two faces of a version say of the same rows, compared. Spec 0021.

A stripe must be as its fragment says: so many bytes, anchors that ascend within its range. And where a cover note says that the
rows of a Track are in stripes, they must be: the Track is read as if there were no stripes, column by column.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.notes import newest_note, still_covered
from dreamdb_arrow.columnar.projection import dim_of, project
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, anchors_of, decode_stripe
from dreamdb_arrow.columnar.vectors import I64, open_vectors
from dreamdb_arrow.columnar.vendor import track_path
from dreamdb_arrow.dataset.scan import plan_scan, scan_batches
from dreamdb_arrow.errors import DreamDBError
from dreamdb_arrow.history.damage import Finding
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.objects.schema import Field, is_constant


def check_rows(rows: RowSet) -> Iterator[Finding]:
    """Yield where the stripes and the Tracks of a version are not what they say, or do not agree."""
    for stripe in rows.stripes:
        yield from _told(stripe.path, lambda s=stripe: _check_stripe(rows, s))
    for f in rows.fields:
        for stripe in rows.stored_vectors(f.name) if f.kind == "embedding" else ():
            yield from _told(stripe.path, lambda s=stripe, f=f: _check_vectors(rows, s, f))
    note = newest_note(rows.store, rows.manifest)
    covered = {} if note is None else still_covered(rows.manifest, note)
    for f in rows.fields:
        entry = find_entry(rows.manifest.tracks, f.name)
        if f.name in covered and entry is not None and not is_constant(f):
            yield from _told(track_path(entry), lambda f=f: _check_covered(rows, f))


def _told(path: str, check: Any) -> Iterator[Finding]:
    """Yield what a check finds, and what it fails at, as findings at a path."""
    try:
        for problem in check():
            yield Finding(path, problem)
    except DreamDBError as error:
        yield Finding(getattr(error, "path", path), str(error))


def _check_stripe(rows: RowSet, stripe: Stripe) -> Iterator[str]:
    if not stripe.path:
        return
    yield from _check_size(rows, stripe)
    held = anchors_of(decode_stripe(stripe.local(rows.store, rows.cache), [ANCHOR]))
    yield from _check_range(stripe, held)


def _check_vectors(rows: RowSet, stripe: Stripe, f: Field) -> Iterator[str]:
    yield from _check_size(rows, stripe)
    yield from _check_range(stripe, open_vectors(stripe.local(rows.store, rows.cache), dim_of(f)).anchors)


def _check_size(rows: RowSet, stripe: Stripe) -> Iterator[str]:
    found = rows.store.size(stripe.path)
    if stripe.size and found != stripe.size:
        yield f"has {found} bytes, and its Track says {stripe.size}"


def _check_range(stripe: Stripe, anchors: I64) -> Iterator[str]:
    if len(anchors) > 1 and not (anchors[1:] > anchors[:-1]).all():
        yield "its anchors do not ascend"
    elif len(anchors) and (anchors[0] < stripe.t0 or anchors[-1] >= stripe.t1):
        yield f"has anchors {anchors[0]} to {anchors[-1]}, and its Track says [{stripe.t0}, {stripe.t1})"


def _check_covered(rows: RowSet, f: Field) -> Iterator[str]:
    """Compare what the Track of a field holds with the stripes, for the rows that are alive."""
    held = project(rows.store, rows.manifest, [f], CoverNote({}, {}))
    table, vectors = held.table, held.vectors.get(f.name)
    anchors = anchors_of(table) if vectors is None else vectors[0]
    alive = anchors[~np.isin(anchors, rows.hidden)]
    missing = alive[~np.isin(alive, _anchors_with(rows, f, vectors is not None))]
    if len(missing):
        yield f"has {len(missing)} rows that no stripe has, the first at {missing[0]}"
    if f.kind == "scalar" and not len(missing):
        yield from _compare(rows, f, table)


def _anchors_with(rows: RowSet, f: Field, is_vector: bool) -> I64:
    """Return the anchors of the rows that stripes have, int64, or of the vectors of a field."""
    if is_vector:
        found = [stripe.anchors for stripe in rows.vector_stripes(f.name, 0, 2**63 - 1)]
    else:
        found = [anchors_of(decode_stripe(s.local(rows.store, rows.cache), [ANCHOR])) for s in rows.stripes]
    return np.concatenate([np.empty(0, np.int64), *found])


def _compare(rows: RowSet, f: Field, table: pa.Table) -> Iterator[str]:
    """Yield whether a column of the Track has another value than the stripes show."""
    held, values = anchors_of(table), table[f.name].combine_chunks()
    for batch in scan_batches(plan_scan(rows, [ANCHOR, f.name])):
        anchors = np.asarray(batch[ANCHOR])
        at, there = np.searchsorted(held, anchors), np.isin(anchors, held)
        known = values.take(pa.array(at, mask=~there))
        differ = np.asarray(pc.fill_null(pc.not_equal(known, batch[f.name].cast(known.type)), False))
        if differ.any():
            yield f"has another value than the stripes at {anchors[differ.argmax()]}"
            return
