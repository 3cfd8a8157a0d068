"""Adopt: a Parquet file whose columns are nearly those of a stripe becomes one, without being encoded again. Specs 0006, 0021.

What is looked at is what an append looks at; where a check needs the values, they are decoded, and that is all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.apart import remember_new
from dreamdb_arrow.columnar.grafting import graft
from dreamdb_arrow.columnar.rows import resolve_rows
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    GROUP_ROWS_MAX,
    ROW_GROUP_ROWS,
    SCALAR_TYPES,
    TIME,
    stripe_schema,
)
from dreamdb_arrow.columnar.vendor import STRIPE, Fragment, VendorTrack, flush_mode, has_columnar_layer
from dreamdb_arrow.dataset.anchors import settle_anchors
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.incoming import check_rows
from dreamdb_arrow.dataset.outgoing import store_rows
from dreamdb_arrow.dataset.writable import check_appendable
from dreamdb_arrow.errors import RefConflictError
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.scalar_values import STRING_BYTES_MAX
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.tracks.layout import payload_directory

ROWS_MIN: Final = ROW_GROUP_ROWS  # of fewer rows, stripes are small, and become one as they come
ROWS_MAX: Final = 4 << 20  # of which some columns are in memory at once
LOOKED_AT: Final = ("float", "string")  # values that an append may refuse though their type is right


def adopt_file(ds: Dataset, data: pa.Buffer, file: pq.ParquetFile) -> bool:
    """Append a Parquet file as one stripe and one commit; return False, with nothing done, when it cannot be one.

    Raises as `Dataset.append` does for rows that no append takes.
    """
    manifest, fields = ds.manifest, ds.schema.fields
    taken = [f for f in fields if f.name in file.schema_arrow.names]
    if not _can_be_adopted(file, manifest, taken):
        return False
    try:
        commit(
            ds.space.store, ds.ref_name(), _Adoption(ds, data, file, fields, taken).build, expect=ds.version
        )
    except (_LongWayError, RefConflictError):  # the long way sorts, and looks again
        return False
    return True


class _LongWayError(Exception):
    """A file is no stripe after all: what it is, an append finds out."""


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


class _Adoption:
    def __init__(
        self,
        ds: Dataset,
        data: pa.Buffer,
        file: pq.ParquetFile,
        fields: Sequence[Field],
        taken: Sequence[Field],
    ) -> None:
        self._ds, self._data, self._file, self._fields, self._taken = ds, data, file, fields, taken

    def build(self, parent: Manifest, address: Address, batch: Batch) -> Change:
        """Return the change that names the file, with anchors beside its columns, as a stripe."""
        store, cache, timeline = self._ds.space.store, self._ds.space.cache, parent.timeline
        kept = [f for f in self._taken if _as_stored(self._file, f)]
        with ThreadPoolExecutor(1) as beside:  # looks at values while this thread encodes others
            looked = beside.submit(self._look_at, kept)
            rows = check_rows(self._read([f.name for f in kept]), [f for f in self._fields if f not in kept])
            check_appendable(store, parent, self._taken)
            now = max(time.time_ns(), parent.ts)
            anchors = settle_anchors(
                rows, store, parent, lambda: resolve_rows(store, cache, parent, address), now
            )
            if not (anchors[1:] > anchors[:-1]).all():  # 0021-R4
                raise _LongWayError
            changed = [f for f in self._taken if f not in kept]
            table = store_rows(rows, anchors, changed, timeline, batch).table
            order = stripe_schema(f for f in self._fields if f in self._taken).names
            parts = graft(memoryview(self._data).cast("B"), [f.name for f in kept], table, order)
            looked.result()
        made = batch.add(payload_directory(timeline, STRIPE), *parts)
        size = sum(part.nbytes for part in parts)
        fragment = Fragment(int(anchors[0]), int(anchors[-1]) + 1, size, made)
        track = VendorTrack(store, parent, STRIPE, "")
        entry = track.swap(batch, [fragment], [])
        remember_new(cache, track, fragment)
        return Change("commit", (entry,))

    def _read(self, left_out: Sequence[str]) -> pa.Table:
        """Return the columns of the file less some."""
        names = [name for name in self._file.schema_arrow.names if name not in left_out]
        if not names:  # rows without any column
            return pa.table({"": pa.nulls(self._file.metadata.num_rows)}).select([])
        return pq.read_table(self._data, columns=names)

    def _look_at(self, kept: Sequence[Field]) -> None:
        """Check the values of columns that are taken over, as far as their type does not say all."""
        repeated = [f for f in kept if not f.required and _repeats(self._file, f.name)]
        self._check_repeated([f for f in repeated if f.options["value_type"] == "string"])
        rest = [f for f in kept if f not in repeated]
        seen = [f for f in rest if f.required or f.options["value_type"] in LOOKED_AT]
        if seen:
            check_rows(pq.read_table(self._data, columns=[f.name for f in seen]), seen)

    def _check_repeated(self, fields: Sequence[Field]) -> None:
        """Look at each text that repeats once. Raises _LongWayError where one is too long, which an append tells of."""
        names = [f.name for f in fields]
        for column in (
            pq.read_table(self._data, columns=names, read_dictionary=names).columns if names else ()
        ):
            longest = (pc.max(pc.binary_length(chunk.dictionary)).as_py() for chunk in column.chunks)
            if max((length or 0 for length in longest), default=0) > STRING_BYTES_MAX:
                raise _LongWayError


def _repeats(file: pq.ParquetFile, name: str) -> bool:
    """Whether a column of texts has most of its values in dictionaries."""
    at, told = file.schema_arrow.get_field_index(name), file.metadata
    chunks = [told.row_group(i).column(at) for i in range(told.num_row_groups)]
    text = pa.types.is_string(file.schema_arrow.field(at).type)
    return text and 2 * sum(bool(chunk.has_dictionary_page) for chunk in chunks) > len(chunks)
