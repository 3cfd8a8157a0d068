"""Tables of rows on their way in: from anything tabular, and from dicts. Spec 0006."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.arrays import column_type, nested_lists
from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.stripe import ANCHOR, MEDIA_KINDS, SCALAR_TYPES, TIME
from dreamdb_arrow.dataset.array_values import sample_arrays
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field


def as_table(data: Any) -> pa.Table:
    """Return anything with an Arrow stream, an Arrow table or batch, or a dict of columns, as a table.

    Raises InvalidInputError for anything else.
    """
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, Mapping):
        return _table_of_columns(data)
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if hasattr(data, "__arrow_c_stream__"):
        return _without_index(pa.RecordBatchReader.from_stream(data).read_all())
    if hasattr(data, "__arrow_c_array__"):
        return pa.Table.from_batches([pa.record_batch(data)])
    raise InvalidInputError(
        f"cannot append {type(data).__name__}: give an Arrow, Polars or pandas table, a DuckDB relation, "
        "a dict of columns, or use append_many for a list of dicts"
    )


def as_rows(data: Any) -> pa.Table | pa.RecordBatchReader:
    """Return the same as a table or, of what may be larger than memory, as a stream. Raises as `as_table` does."""
    if hasattr(data, "collect_batches"):  # a lazy frame of Polars
        return _stream_of_frames(data)
    if isinstance(data, pa.RecordBatchReader) or not hasattr(data, "__arrow_c_stream__"):
        return data if isinstance(data, pa.RecordBatchReader) else as_table(data)
    if isinstance(data, pa.Table):
        return data
    stream = pa.RecordBatchReader.from_stream(data)
    pandas = any(_INDEX.fullmatch(name) for name in stream.schema.names)
    return _without_index(stream.read_all()) if pandas else stream


def _stream_of_frames(lazy: Any) -> pa.Table | pa.RecordBatchReader:
    frames = iter(lazy.collect_batches())
    first = next(frames, None)
    if first is None:
        return as_table(lazy.collect())
    head = pa.table(first)
    batches = (b for frame in chain([head], frames) for b in pa.table(frame).cast(head.schema).to_batches())
    return pa.RecordBatchReader.from_batches(head.schema, batches)


def _without_index(table: pa.Table) -> pa.Table:
    """Drop what pandas makes of an index that has no name: the numbers of rows somewhere else."""
    return table.select([name for name in table.column_names if not _INDEX.fullmatch(name)])


_INDEX: Final = re.compile(r"__index_level_\d+__")


def _table_of_columns(columns: Mapping[str, Any]) -> pa.Table:
    arrays = {}
    for name, values in columns.items():
        array = _native(values) if isinstance(values, np.ndarray) else None
        if array is not None and array.ndim > 1 and (array.ndim > 2 or not array.shape[1]):
            arrays[name] = nested_lists(array, array.shape[1:], len(array))
        elif array is not None and array.ndim == 2:
            flat = pa.array(np.ascontiguousarray(array).reshape(-1))
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
        else:
            given = values if array is None else array
            arrays[name] = given if isinstance(given, pa.Array | pa.ChunkedArray) else _array(name, given)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise InvalidInputError(f"the columns have different numbers of rows: {told}")
    return pa.table(arrays)


def _native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array in this machine's byte order, which is all that Arrow takes."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _array(name: str, values: Any, kind: pa.DataType | None = None) -> pa.Array:
    """Return Python values as an Arrow array. Raises InvalidInputError, with the row that does not fit."""
    try:
        return pa.array(values, type=kind)
    except _REFUSALS as error:
        listed = values if isinstance(values, list | tuple) else []
        row = next((i for i, value in enumerate(listed) if not _fits(value, kind)), None)
        where = f"field {name!r}" if row is None else f"field {name!r}, row {row}"
        raise InvalidInputError(f"{where}: {str(error).splitlines()[0]}") from None


# ArrowInvalid and UnicodeEncodeError are ValueErrors, ArrowTypeError is a TypeError.
_REFUSALS: Final = (ValueError, TypeError, OverflowError, pa.ArrowNotImplementedError)


def _fits(value: Any, kind: pa.DataType | None) -> bool:
    try:
        pa.array([value], type=kind)
    except _REFUSALS:
        return False
    return True


def table_of_pairs(samples: Any, f: Field, what: str = "value") -> pa.Table:
    """Return pairs of anchor and value, or what `as_table` takes, as a table of `_anchor` and the field.

    Raises InvalidInputError for what is no pair, and as table_of_samples and as_table do.
    """
    if not isinstance(samples, list | tuple | Iterator):
        return as_table(samples)
    rows = []
    for nth, pair in enumerate(samples):
        try:
            anchor, value = pair
        except (TypeError, ValueError):
            raise InvalidInputError(f"sample {nth} is no pair of anchor and {what}: {pair!r:.60}") from None
        rows.append({ANCHOR: anchor, f.name: value})
    return table_of_samples(rows, (f,))


def table_of_samples(samples: Iterable[Mapping[str, Any]], fields: Sequence[Field]) -> pa.Table:
    """Return a list of dicts, one a row, as a table; a missing key is a missing value.

    Raises InvalidInputError for a key that is no field, and for anchors that only some rows have.
    """
    rows = list(samples)
    names = {f.name: f for f in fields}
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidInputError(f"row {i} is {type(row).__name__}, not a dict")
        if unknown := set(row) - set(names) - {ANCHOR, TIME}:
            raise InvalidInputError(f"row {i} has unknown field {min(unknown)!r}; fields: {', '.join(names)}")
    columns: dict[str, Any] = {}
    for name in (ANCHOR, TIME):
        given = [row.get(name) for row in rows]
        if any(v is not None for v in given):
            if any(v is None for v in given):
                raise InvalidInputError(
                    f"either all rows have {name!r}, or none; row {_first_none(given)} has none"
                )
            columns[name] = _array(name, given)
    for name, f in names.items():
        columns[name] = _sample_column(f, [row.get(name) for row in rows])
    return pa.table(columns) if columns else pa.table({})


def _first_none(values: Sequence[Any]) -> int:
    return next(i for i, v in enumerate(values) if v is None)


def _sample_column(f: Field, values: list[Any]) -> pa.Array:
    if f.kind == "embedding":
        return _sample_vectors(f, values)
    if f.kind == "array" and column_type(f) is not None:
        return sample_arrays(f, values)
    kind = pa.large_binary() if f.kind in MEDIA_KINDS else SCALAR_TYPES.get(str(f.options.get("value_type")))
    wanted = (
        (bytes | bytearray | memoryview)
        if f.kind in MEDIA_KINDS
        else _PYTHON_TYPES.get(str(f.options.get("value_type")))
    )
    for i, value in enumerate(values):
        wrong_bool = isinstance(value, bool | np.bool_) and f.options.get("value_type") != "bool"
        if value is not None and wanted is not None and (wrong_bool or not isinstance(value, wanted)):
            raise InvalidInputError(f"field {f.name!r}, row {i}: {value!r:.60} is no {_type_name(f)}")
        if isinstance(value, np.datetime64):  # Arrow takes no two units in one list
            values[i] = _nanoseconds(f, i, value)
    return _array(f.name, values, kind)


def _nanoseconds(f: Field, row: int, time: np.datetime64) -> int:
    exact = time.astype("M8[ns]")
    if exact.astype(time.dtype) != time:  # NumPy wraps around, and NaT equals nothing
        raise InvalidInputError(f"field {f.name!r}, row {row}: {time!r:.60} is no timestamp in nanoseconds")
    return int(exact.astype(np.int64))


_PYTHON_TYPES: Final[Mapping[str, Any]] = {
    "int": int | np.integer,
    "float": int | float | np.integer | np.floating,
    "string": str,
    "categorical": str,
    "bool": bool | np.bool_,
    "timestamp": int | np.integer | datetime | np.datetime64,
}


def _type_name(f: Field) -> str:
    return str(f.options.get("value_type", f"{f.kind} (bytes)"))


def _sample_vectors(f: Field, values: list[Any]) -> pa.Array:
    dim = dim_of(f)
    present = np.array([v is not None for v in values], dtype=bool)
    out = np.zeros((len(values), dim), dtype=np.float32)
    for i in np.flatnonzero(present):
        try:
            with np.errstate(over="ignore"):  # what is too large becomes an infinity, and is refused as such
                row = np.asarray(values[i], dtype=np.float32)
        except (TypeError, ValueError):
            raise InvalidInputError(f"field {f.name!r}, row {i}: not a vector: {values[i]!r:.60}") from None
        if row.shape != (dim,):
            raise InvalidInputError(f"field {f.name!r}, row {i}: shape {row.shape}, expected ({dim},)")
        out[i] = row
    return pa.FixedSizeListArray.from_arrays(pa.array(out.reshape(-1)), dim, mask=pa.array(~present))
