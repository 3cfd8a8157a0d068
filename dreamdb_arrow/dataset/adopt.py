"""Adopt: a Parquet file whose columns are nearly those of a stripe becomes one, without being encoded again. Specs 0006, 0021.

What is looked at is what an append looks at (`parquet_values`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.apart import remember_new
from dreamdb_arrow.columnar.grafting import TAIL, footer_size, graft
from dreamdb_arrow.columnar.rows import resolve_rows
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    GROUP_ROWS_MAX,
    ROW_GROUP_ROWS,
    SCALAR_TYPES,
    TIME,
    stripe_schema,
)
from dreamdb_arrow.columnar.ticks import as_ticks
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.columnar.vendor import STRIPE, Fragment, VendorTrack, flush_mode, has_columnar_layer
from dreamdb_arrow.dataset.anchors import assign_ticks, settle_anchors
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.incoming import Incoming, check_rows
from dreamdb_arrow.dataset.parquet_values import LongWayError, check_values
from dreamdb_arrow.dataset.pieces import Pieces
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.dataset.writable import check_appendable
from dreamdb_arrow.errors import RefConflictError
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.tracks.layout import payload_directory

ROWS_MIN: Final = ROW_GROUP_ROWS  # of fewer rows, stripes are small, and become one as they come
ROWS_MAX: Final = 4 << 20  # of which some columns are in memory at once


def adopt_file(ds: Dataset, data: Pieces, file: pq.ParquetFile) -> bool:
    """Append a Parquet file as one stripe and one commit; return False, with nothing done, when it cannot be one.

    Raises as `Dataset.append` does for rows that no append takes.
    """
    adoption = Adoption(ds.space, data, file)
    try:
        commit(ds.space.store, ds.ref_name(), adoption.build, expect=ds.version)
    except (LongWayError, RefConflictError):  # the long way sorts, and looks again
        return False
    return True


def _can_be_adopted(file: pq.ParquetFile, manifest: Manifest, taken: Sequence[Field]) -> bool:
    told, names = file.metadata, file.schema_arrow.names
    groups = [told.row_group(i).num_rows for i in range(told.num_row_groups)]
    return (
        ROWS_MIN <= told.num_rows <= ROWS_MAX
        and max(groups) <= GROUP_ROWS_MAX  # 0021-R17
        and has_columnar_layer(manifest)
        and flush_mode(manifest) != "commit"
        and len({*names}) == len(names) == len(taken) + len({*names} & {ANCHOR, TIME})
        and all(f.kind == "scalar" and f.options["value_type"] in SCALAR_TYPES for f in taken)
        and any(_as_stored(file, f) for f in taken)
    )


def _as_stored(file: pq.ParquetFile, f: Field) -> bool:
    return bool(file.schema_arrow.field(f.name).type == SCALAR_TYPES[f.options["value_type"]])


class Adoption:
    """A Parquet file on its way to be a stripe."""

    def __init__(self, space: Space, data: Pieces, file: pq.ParquetFile) -> None:
        self._space, self._data, self._file = space, data, file

    def build(self, parent: Manifest, address: Address, batch: Batch) -> Change:
        """Return the change that names the file, with anchors beside its columns, as a stripe.

        Raises LongWayError when the file cannot be one.
        """
        cache, fields = self._space.cache, decode_schema(parent.registry)
        taken = [f for f in fields if f.name in self._file.schema_arrow.names]
        if not _can_be_adopted(self._file, parent, taken):
            raise LongWayError
        kept = [f for f in taken if _as_stored(self._file, f)]
        rows = check_rows(self._read([f.name for f in kept]), [f for f in fields if f not in kept])
        check_appendable(self._space.store, parent, taken)
        anchors = self._settle(rows, parent, address)
        parts = self._graft(rows, anchors, taken, kept)
        looks = partial(check_values, self._data, self._file, kept)
        made = self._add(batch, payload_directory(parent.timeline, STRIPE), parts, looks)
        size = sum(part.nbytes for part in parts)
        fragment = Fragment(int(anchors[0]), int(anchors[-1]) + 1, size, made)
        track = VendorTrack(self._space.store, parent, STRIPE, "")
        entry = track.swap(batch, [fragment], [])
        remember_new(cache, track, fragment)
        return Change("commit", (entry,))

    def _settle(self, rows: Incoming, parent: Manifest, address: Address) -> range | I64:
        """Return the anchors of the rows, ascending. Raises LongWayError where those that are given do not."""
        store, cache = self._space.store, self._space.cache
        now, resolve = max(time.time_ns(), parent.ts), partial(resolve_rows, store, cache, parent, address)
        if rows.anchors is None:
            return assign_ticks(rows.n, store, parent, resolve, now)
        anchors = settle_anchors(rows, store, parent, resolve, now)
        if not (anchors[1:] > anchors[:-1]).all():  # 0021-R4
            raise LongWayError
        return anchors

    def _graft(
        self, rows: Incoming, anchors: range | I64, taken: Sequence[Field], kept: Sequence[Field]
    ) -> list[memoryview]:
        """Return the parts of the stripe."""
        columns = {f.name: rows.scalars[f.name] for f in taken if f not in kept}
        ticks = anchors if isinstance(anchors, range) else as_ticks(anchors)
        if ticks is None:
            held = pa.array(anchors)
            columns = {ANCHOR: held, TIME: held.view(pa.timestamp("ns")), **columns}
        data, order = self._data, stripe_schema(taken).names
        behind = data.size - TAIL
        start = behind - footer_size(data.whole(behind, data.size))
        # What was taken for columns too early is of no use there, and no harm.
        end = start if data.growing is None else max(start, data.growing.size)
        added = graft(data.whole(start, behind), end, [f.name for f in kept], pa.table(columns), order, ticks)
        return [*data.between(0, end), *added]

    def _add(
        self, batch: Batch, directory: str, parts: Sequence[memoryview], meanwhile: Callable[[], None]
    ) -> Address:
        """Add the stripe to a batch, and do something else while the disk is busy; return its address."""
        growing, self._data.growing = self._data.growing, None
        if growing is None:
            meanwhile()
            return batch.add(directory, *parts)
        there = growing.size
        for part in parts:
            growing.write(part[there:])
            there = max(0, there - len(part))
        meanwhile()
        return batch.add_growing(directory, growing)

    def _read(self, left_out: Sequence[str]) -> pa.Table:
        """Return the columns of the file less some."""
        names = [name for name in self._file.schema_arrow.names if name not in left_out]
        if not names:  # rows without any column
            return pa.table({"": pa.nulls(self._file.metadata.num_rows)}).select([])
        return pq.read_table(self._data, columns=names)
