"""Parquet files as rows of one commit. Spec 0006."""

from __future__ import annotations

import time
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from dreamdb_arrow.dataset.adopt import adopt_file
from dreamdb_arrow.dataset.create import create_dataset
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.inferred import infer_schema
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.refs import delete_ref
from dreamdb_arrow.store.interface import Absent
from dreamdb_arrow.store.names import check_ref_name

BATCH_ROWS: Final = 1 << 16


def check_target(ref: str) -> str:
    """Return the name of a Ref that rows can be appended to. Raises InvalidInputError."""
    if "@" in check_ref_name(ref):
        raise InvalidInputError(
            f"{ref!r} is a snapshot, which does not change; append to {ref.partition('@')[0]!r}"
        )
    return ref


def append_file(space: Space, ref: str, data: pa.Buffer | None, file: pq.ParquetFile) -> bool:
    """Append a Parquet file to a Ref, which is made, with the columns' types, when there is none; return whether it was.

    `data` are the file's bytes, where they lie in memory. Raises what `Dataset.append` raises, and InvalidInputError for columns
    of types that no field has; no Ref is left then.
    """
    columns = pa.schema([_stored(column) for column in file.schema_arrow])
    if not isinstance(space.store.read_ref(ref), Absent):
        _append(Dataset(space, ref, space.resolve(ref)), data, file, columns)
        return False
    version = create_dataset(space.store, ref, infer_schema(columns).fields, "manual", time.time_ns)
    try:
        _append(Dataset(space, ref, version), data, file, columns)
    except BaseException:
        if space.resolve(ref) == version:
            delete_ref(space.store, ref)
        raise
    return True


def _stored(column: pa.Field) -> pa.Field:
    """Return a column as it is stored: JSON is text."""
    return column.with_type(column.type.storage_type) if column.type == pa.json_() else column


def _append(ds: Dataset, data: pa.Buffer | None, file: pq.ParquetFile, columns: pa.Schema) -> None:
    if data is not None and adopt_file(ds, data, file):
        return
    batches = (batch.cast(columns) for batch in file.iter_batches(BATCH_ROWS))
    ds.append(pa.RecordBatchReader.from_batches(columns, batches))
