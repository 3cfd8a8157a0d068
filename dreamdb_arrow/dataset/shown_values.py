"""Shown values: whether a Track that is said to be in stripes says what these show. Spec 0021.

Of two values at one anchor readers show the larger one, so that stripes are compared as they are read, not one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.notes import newest_note, still_covered
from dreamdb_arrow.columnar.projection import project
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import ANCHOR, anchors_of
from dreamdb_arrow.dataset.scan import plan_scan, scan_batches
from dreamdb_arrow.objects.schema import Field


def other_values(rows: RowSet) -> Iterator[tuple[str, str]]:
    """Yield each scalar field whose Track has another value than a scan shows, and what is wrong in words.

    Raises as a scan does.
    """
    note = newest_note(rows.store, rows.manifest)
    covered = {} if note is None else still_covered(rows.manifest, note)
    for f in rows.fields:
        if f.kind == "scalar" and f.name in covered and f.name not in rows.unavailable:
            anchor = _first_difference(rows, f)
            if anchor is not None:
                yield f.name, f"field {f.name!r}: the Track has another value than the stripes at {anchor}"


def _first_difference(rows: RowSet, f: Field) -> int | None:
    table = project(rows.store, rows.manifest, [f], CoverNote({}, {})).table
    held, values = anchors_of(table), table[f.name].combine_chunks()
    for batch in scan_batches(plan_scan(rows, [ANCHOR, f.name])):
        anchors = np.asarray(batch[ANCHOR])
        at, there = np.searchsorted(held, anchors), np.isin(anchors, held)
        known = values.take(pa.array(at, mask=~there))
        differ = np.asarray(pc.fill_null(pc.not_equal(known, batch[f.name].cast(known.type)), False))
        if differ.any():
            return int(anchors[differ.argmax()])
    return None
