"""Parquet files as rows of one commit. Spec 0006."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from dreamdb_arrow.dataset.adopt import Adoption, adopt_file
from dreamdb_arrow.dataset.append import Append
from dreamdb_arrow.dataset.chunks import BUFFER_BYTES, Source
from dreamdb_arrow.dataset.create import create_dataset
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.inferred import infer_schema
from dreamdb_arrow.dataset.parquet_values import LongWayError
from dreamdb_arrow.dataset.pieces import Pieces
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.dataset.tables import as_rows
from dreamdb_arrow.errors import RefExistsError
from dreamdb_arrow.store.interface import Absent

BATCH_ROWS: Final = 1 << 16


def append_file(space: Space, ref: str, data: Pieces | None, file: pq.ParquetFile) -> bool:
    """Append a Parquet file to a Ref, which is made, with the columns' types, when there is none; return whether there was none.

    `data` are the file's bytes, where they lie in memory. Raises what `Dataset.append` raises, and InvalidInputError for columns
    of types that no field has; nothing is published then.
    """
    columns = pa.schema([_stored(column) for column in file.schema_arrow])
    new = isinstance(space.store.read_ref(ref), Absent)
    if new:
        with suppress(RefExistsError):  # somebody else was faster
            _create(space, ref, data, file, columns)
            return True
    ds = Dataset(space, ref, space.resolve(ref))
    if data is None or not adopt_file(ds, data, file):
        ds.append(_batches(file, columns))
    return new


def _create(space: Space, ref: str, data: Pieces | None, file: pq.ParquetFile, columns: pa.Schema) -> None:
    fields, clock = infer_schema(columns).fields, time.time_ns
    if data is not None:
        with suppress(LongWayError):
            create_dataset(space.store, ref, fields, "manual", clock, Adoption(space, data, file).build)
            return
    source = Source(lambda _: as_rows(_batches(file, columns)), BUFFER_BYTES)
    rows = Append(space.store, space.cache, source, None, clock)
    create_dataset(space.store, ref, fields, "manual", clock, rows.build)


def _batches(file: pq.ParquetFile, columns: pa.Schema) -> pa.RecordBatchReader:
    batches = (batch.cast(columns) for batch in file.iter_batches(BATCH_ROWS))
    return pa.RecordBatchReader.from_batches(columns, batches)


def _stored(column: pa.Field) -> pa.Field:
    """Return a column as it is stored: JSON is text."""
    return column.with_type(column.type.storage_type) if column.type == pa.json_() else column
