"""Parquet files as rows of one commit. Spec 0006."""

from __future__ import annotations

import time
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

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


def append_file(space: Space, ref: str, file: pq.ParquetFile) -> bool:
    """Append a Parquet file to a Ref, which is made, with the columns' types, when there is none; return whether it was.

    Raises what `Dataset.append` raises, and InvalidInputError for columns of types that no field has; no Ref is left then.
    """
    columns = pa.schema([_stored(column) for column in file.schema_arrow])
    batches = (batch.cast(columns) for batch in file.iter_batches(BATCH_ROWS))
    rows = pa.RecordBatchReader.from_batches(columns, batches)
    if not isinstance(space.store.read_ref(ref), Absent):
        Dataset(space, ref, space.resolve(ref)).append(rows)
        return False
    version = create_dataset(space.store, ref, infer_schema(columns).fields, "manual", time.time_ns)
    try:
        Dataset(space, ref, version).append(rows)
    except BaseException:
        if space.resolve(ref) == version:
            delete_ref(space.store, ref)
        raise
    return True


def _stored(column: pa.Field) -> pa.Field:
    """Return a column as it is stored: JSON is text."""
    return column.with_type(column.type.storage_type) if column.type == pa.json_() else column
