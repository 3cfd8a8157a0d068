"""Rows on their way in: anything tabular to checked columns, before a byte is written. Spec 0006.

A batch is checked as a whole: names, types, dimensions, NaN, missing required values, anchors. The first thing that
is wrong is named with its field and its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.stripe import ANCHOR, MEDIA_KINDS, SCALAR_TYPES, TIME
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.errors import AnchorConflict, InvalidInputError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX

STRING_BYTES_MAX: Final = 8192  # 0011: what a B-tree key may have

Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(slots=True)
class Incoming:
    """Checked rows, column by column, in the order they were given.

    anchors   (n,) int64, or None when they are to be assigned
    spread    whether anchors are ticks that may repeat, to be spread by one nanosecond each
    scalars   name -> Arrow array of the stored type
    media     name -> Arrow binary array
    vectors   name -> (present (n,) bool, vectors (m, d) float32 of the rows that are present)
    """

    n: int
    anchors: I64 | None
    spread: bool = False
    scalars: dict[str, pa.Array] = field(default_factory=dict)
    media: dict[str, pa.Array] = field(default_factory=dict)
    vectors: dict[str, tuple[Bools, F32]] = field(default_factory=dict)


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
        return pa.RecordBatchReader.from_stream(data).read_all()
    if hasattr(data, "__arrow_c_array__"):
        return pa.Table.from_batches([pa.record_batch(data)])
    raise InvalidInputError(
        f"cannot append {type(data).__name__}: give an Arrow, Polars or pandas table, a DuckDB relation, "
        "a dict of columns, or use append_many for a list of dicts"
    )


def _table_of_columns(columns: Mapping[str, Any]) -> pa.Table:
    arrays = {}
    for name, values in columns.items():
        array = np.asarray(values) if isinstance(values, np.ndarray) else None
        if array is not None and array.ndim == 2:
            flat = pa.array(np.ascontiguousarray(array).reshape(-1))
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
        else:
            arrays[name] = values if isinstance(values, pa.Array | pa.ChunkedArray) else _array(name, values)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise InvalidInputError(f"the columns have different numbers of rows: {told}")
    return pa.table(arrays)


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
    return _array(f.name, values, kind)


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


def check_rows(table: pa.Table, fields: Sequence[Field], time: str | None = None) -> Incoming:
    """Check a table against a schema and return its columns in the stored types.

    Args:
        table: the rows.
        fields: the schema.
        time: a column whose times become the anchors, spread where they coincide.

    Raises InvalidInputError that names the field and the row; AnchorConflict for an anchor given twice.
    """
    table = table.combine_chunks()
    _check_names(table, fields, time)
    rows = Incoming(len(table), *_anchors(table, time))
    for f in fields:
        column = _column(table, f, rows.n)
        if column is None:
            continue
        _check_required(f, column)
        if f.kind == "scalar":
            rows.scalars[f.name] = _check_scalar(f, column)
            _check_required(f, rows.scalars[f.name])  # a dictionary may hold a null
        elif f.kind in MEDIA_KINDS:
            rows.media[f.name] = _check_media(f, column)
        else:
            rows.vectors[f.name] = _check_vectors(f, column)
    return rows


def _check_names(table: pa.Table, fields: Sequence[Field], time: str | None) -> None:
    names = [f.name for f in fields]
    if len(set(table.column_names)) != len(table.column_names):
        raise InvalidInputError("the rows have two columns of one name")
    unknown = [c for c in table.column_names if c not in names and c not in (ANCHOR, TIME, time)]
    if unknown:
        raise InvalidInputError(f"unknown field {unknown[0]!r}; fields: {', '.join(names) or 'none'}")
    if time is not None and time not in table.column_names:
        raise InvalidInputError(
            f"no column {time!r} to take the time from; columns: {', '.join(table.column_names)}"
        )


def _column(table: pa.Table, f: Field, n: int) -> pa.Array | None:
    if f.kind == "constant":
        return None
    if f.kind not in (*MEDIA_KINDS, "scalar", "embedding"):
        if f.name in table.column_names or f.required:
            raise InvalidInputError(f"field {f.name!r} of kind {f.kind!r} cannot be written yet")
        return None
    if f.name not in table.column_names:
        return pa.nulls(n)
    return table[f.name].combine_chunks()


def _check_required(f: Field, column: pa.Array) -> None:
    if f.required and column.null_count:
        row = int(np.flatnonzero(np.asarray(column.is_null()))[0])
        raise InvalidInputError(f"field {f.name!r} is required, row {row} has none")


# ---------------------------------------------------------------- anchors


def _anchors(table: pa.Table, time: str | None) -> tuple[I64 | None, bool]:
    given = [name for name in (ANCHOR, TIME) if name in table.column_names]
    if time is not None:
        if rival := next((name for name in given if name != time), None):
            raise InvalidInputError(
                f"anchors come from time={time!r} or from {rival!r}, not from both: drop one"
            )
        return _ticks(table[time].combine_chunks(), time), True
    if not given:
        return None, False
    ticks = [_ticks(table[name].combine_chunks(), name) for name in given]
    differ = np.flatnonzero(ticks[0] != ticks[-1])
    if len(differ):
        raise InvalidInputError(
            f"row {differ[0]}: {ANCHOR!r} and {TIME!r} are different times; drop one of them"
        )
    _check_distinct(ticks[0])
    return ticks[0], False


def _ticks(column: pa.Array, name: str) -> I64:
    """Return times as int64 nanoseconds since 1970."""
    kind = column.type
    if column.null_count:
        raise InvalidInputError(f"{name!r} gives the anchors: row {_first_null(column)} has none")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        column = _cast(column, pa.timestamp("ns", getattr(kind, "tz", None)), repr(name)).cast(pa.int64())
    elif not pa.types.is_integer(kind):
        raise InvalidInputError(
            f"{name!r} gives the anchors: it must be int64 nanoseconds or a timestamp, not {kind}"
        )
    ticks = np.asarray(_cast(column, pa.int64(), repr(name)))
    bad = np.flatnonzero((ticks < 0) | (ticks > VISIBLE_ANCHOR_MAX))
    if len(bad):
        raise InvalidInputError(
            f"{name!r}, row {bad[0]}: {ticks[bad[0]]} is outside 0 .. {VISIBLE_ANCHOR_MAX}"
        )
    return ticks


def _first_null(column: pa.Array) -> int:
    return int(np.flatnonzero(np.asarray(column.is_null()))[0])


def _check_distinct(anchors: I64) -> None:
    if len(anchors) < 2 or bool((anchors[1:] > anchors[:-1]).all()):
        return
    order = np.argsort(anchors, kind="stable")
    twice = np.flatnonzero(anchors[order][1:] == anchors[order][:-1])
    if len(twice):
        first, second = int(order[twice[0]]), int(order[twice[0] + 1])
        anchor = int(anchors[first])
        raise AnchorConflict(anchor, f"anchor {anchor} is given twice, in rows {first} and {second}")


# ---------------------------------------------------------------- values


def _check_scalar(f: Field, column: pa.Array) -> pa.Array:
    value_type = str(f.options["value_type"])
    kind = SCALAR_TYPES[value_type]
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind)
    if not _ACCEPTED[value_type](column.type):
        raise InvalidInputError(f"field {f.name!r}: a column of {column.type} is no {value_type}")
    if pa.types.is_timestamp(column.type) and column.type.tz:  # the same instant, told without a zone
        column = _cast(column, pa.timestamp("ns", column.type.tz), f"field {f.name!r}").cast(pa.int64())
    if _is_text(column.type):
        _check_unicode(f, column)
    values = _cast(column, kind, f"field {f.name!r}")
    if value_type == "float":
        _refuse(f, pc.invert(pc.is_finite(values)), values, "is not a finite number")
    elif value_type == "string":
        _refuse(
            f,
            pc.greater(pc.binary_length(values), STRING_BYTES_MAX),
            values,
            f"has over {STRING_BYTES_MAX} bytes",
        )
    return values


def _check_unicode(f: Field, column: pa.Array) -> None:
    """Refuse text that is no UTF-8: Arrow hands on what another library put there, engines then stumble over it."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        row = next(i for i in range(len(column)) if not _is_valid(column.slice(i, 1)))
        raise InvalidInputError(f"field {f.name!r}, row {row}: {str(error).splitlines()[0]}") from None


def _is_valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


_ACCEPTED: Final[Mapping[str, Callable[[pa.DataType], bool]]] = {
    "int": _is_number,  # a float column of whole numbers is what pandas makes of integers with gaps
    "float": _is_number,
    "string": _is_text,
    "categorical": _is_text,
    "bool": pa.types.is_boolean,
    "timestamp": lambda k: bool(pa.types.is_timestamp(k) or pa.types.is_date(k) or pa.types.is_integer(k)),
}


def _cast(column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = _first_failing(column, kind)
        where = f"{name}, row {row}" if row is not None else name
        raise InvalidInputError(f"{where}: {str(error).splitlines()[0]}") from None


def _first_failing(column: pa.Array, kind: pa.DataType) -> int | None:
    """Find the first row that cannot be cast, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            column.slice(low, middle - low).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
        else:
            low = middle
    return low if high > low else None


def _refuse(f: Field, wrong: pa.Array, values: pa.Array, why: str) -> None:
    rows = np.flatnonzero(np.asarray(pc.fill_null(wrong, False)))
    if len(rows):
        raise InvalidInputError(f"field {f.name!r}, row {rows[0]}: {values[rows[0]].as_py()!r:.60} {why}")


def _check_media(f: Field, column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.large_binary())
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)):
        raise InvalidInputError(f"field {f.name!r}: a column of {kind} is no {f.kind}; give bytes")
    return column.cast(pa.large_binary())


def _check_vectors(f: Field, column: pa.Array) -> tuple[Bools, F32]:
    dim = dim_of(f)
    if pa.types.is_null(column.type):
        return np.zeros(len(column), dtype=bool), np.empty((0, dim), dtype=np.float32)
    kind = column.type
    fixed = pa.types.is_fixed_size_list(kind)
    if not (fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not _is_number(
        kind.value_type
    ):
        raise InvalidInputError(f"field {f.name!r}: a column of {kind} holds no vectors")
    if fixed and kind.list_size != dim:
        raise InvalidInputError(f"field {f.name!r} has {dim} dimensions, the rows have {kind.list_size}")
    if not fixed:
        _refuse_lengths(f, column, dim)
    present = np.asarray(column.is_valid())
    held = column.filter(column.is_valid()) if column.null_count else column
    flat = held.flatten()
    if flat.null_count:
        raise InvalidInputError(
            f"field {f.name!r}, row {_row_of(present, _first_null(flat) // dim)}: a number is missing"
        )
    vectors = np.asarray(flat.cast(pa.float32(), safe=False)).reshape(-1, dim)
    _check_numbers(f, vectors, present)
    return present, vectors


def _refuse_lengths(f: Field, column: pa.Array, dim: int) -> None:
    lengths = pc.list_value_length(column)
    wrong = np.flatnonzero(np.asarray(pc.fill_null(pc.not_equal(lengths, dim), False)))
    if len(wrong):
        row = int(wrong[0])
        raise InvalidInputError(
            f"field {f.name!r}, row {row}: {lengths[row].as_py()} dimensions, expected {dim}"
        )


def _check_numbers(f: Field, vectors: F32, present: Bools) -> None:
    """Refuse NaN, infinities and (for cosine) vectors without a direction."""
    # One pass with BLAS: the squared length is finite and positive for every good vector, or nearly so.
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    for at in np.flatnonzero(~(np.isfinite(squares) & (squares > 0))):
        row = _row_of(present, int(at))
        if not np.isfinite(vectors[at]).all():
            raise InvalidInputError(f"field {f.name!r}, row {row}: the vector holds NaN or an infinity")
        if not np.isfinite(np.linalg.norm(vectors[at])):
            raise InvalidInputError(f"field {f.name!r}, row {row}: the vector is too long for 32-bit floats")
        if f.options.get("algorithm") != "dreamdb.lsh-l2" and not vectors[at].any():
            raise InvalidInputError(
                f"field {f.name!r}, row {row}: the vector is all zeros and has no direction"
            )


def _row_of(present: Bools, at: int) -> int:
    return int(np.flatnonzero(present)[at])
