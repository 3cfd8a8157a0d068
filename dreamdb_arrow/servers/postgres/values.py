"""Values on the PostgreSQL wire: which type a column or parameter has there, and how Arrow's values become it. ADR 0048."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pyarrow as pa
from pg_mimic import ResultColumn, types
from pg_mimic.arrays import ARRAY_OID

from dreamdb_arrow.errors import InvalidInputError

OF_ARROW: Final[Mapping[Any, int]] = {
    pa.bool_(): types.BOOL,
    pa.int8(): types.INT2,
    pa.uint8(): types.INT2,
    pa.int16(): types.INT2,
    pa.uint16(): types.INT4,
    pa.int32(): types.INT4,
    pa.uint32(): types.INT8,
    pa.int64(): types.INT8,
    pa.uint64(): types.NUMERIC,
    pa.float32(): types.FLOAT4,
    pa.float64(): types.FLOAT8,
    pa.binary(): types.BYTEA,
    pa.large_binary(): types.BYTEA,
    pa.date32(): types.DATE,
}
OF_SQL: Final[Mapping[str, int]] = {  # of what a statement casts a parameter to, and of columns
    "BOOLEAN": types.BOOL,
    "BOOL": types.BOOL,
    "TINYINT": types.INT2,
    "SMALLINT": types.INT2,
    "INT2": types.INT2,
    "INTEGER": types.INT4,
    "INT": types.INT4,
    "INT4": types.INT4,
    "BIGINT": types.INT8,
    "INT8": types.INT8,
    "UINTEGER": types.INT8,
    "HUGEINT": types.NUMERIC,
    "UBIGINT": types.NUMERIC,
    "DECIMAL": types.NUMERIC,
    "NUMERIC": types.NUMERIC,
    "FLOAT": types.FLOAT4,
    "REAL": types.FLOAT4,
    "DOUBLE": types.FLOAT8,
    "BLOB": types.BYTEA,
    "DATE": types.DATE,
    "TIME": types.TIME,
    "TIMESTAMP": types.TIMESTAMP,
    "TIMESTAMP_NS": types.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": types.TIMESTAMPTZ,
    "UUID": types.UUID,
}
FROM_TEXT: Final[Mapping[int, Callable[[str], Any]]] = {
    types.BOOL: lambda text: text.lower() in {"t", "true", "1", "on", "yes"},
    types.INT2: int,
    types.INT4: int,
    types.INT8: int,
    types.OID: int,
    types.FLOAT4: float,
    types.FLOAT8: float,
    types.NUMERIC: Decimal,
    types.BYTEA: lambda text: bytes.fromhex(text.removeprefix("\\x")),
    types.DATE: date.fromisoformat,
    types.TIME: time.fromisoformat,
    types.TIMESTAMP: datetime.fromisoformat,
    types.TIMESTAMPTZ: datetime.fromisoformat,
    types.UUID: UUID,
}


def oid_of(kind: pa.DataType) -> int:
    """Return the number of the PostgreSQL type that an Arrow type goes out as; text where there is none like it."""
    return int(_number(kind))


def _number(kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind):
        return types.TIMESTAMP if kind.tz is None else types.TIMESTAMPTZ
    if pa.types.is_decimal(kind):
        return types.NUMERIC
    if pa.types.is_time(kind):
        return types.TIME
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        return ARRAY_OID.get(_number(kind.value_type), types.JSONB)
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return types.JSONB
    return OF_ARROW.get(kind, types.TEXT)


def result_columns(schema: pa.Schema) -> list[ResultColumn]:
    """Return the columns of a result."""
    return [ResultColumn(field.name, oid_of(field.type)) for field in schema]


def rows_of(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Return rows as pg-mimic encodes them."""
    return list(zip(*(_column(column) for column in batch.columns), strict=True))


def _column(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":  # PostgreSQL has microseconds
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    values: list[Any] = column.to_pylist()
    if oid_of(kind) == types.JSONB:
        return [None if v is None else json.dumps(_plain(v), default=str) for v in values]
    if pa.types.is_interval(kind):
        return [None if v is None else _interval(v) for v in values]
    return values


def _plain(value: Any) -> Any:
    """Return a value as JSON says it: maps, which Arrow gives as pairs, as objects."""
    if isinstance(value, list) and value and all(isinstance(v, tuple) for v in value):
        return {str(key): _plain(v) for key, v in value}
    return value


def _interval(value: Any) -> str:
    return f"{value.months} mons {value.days} days {value.nanoseconds / 1e9:f} secs"


def arguments_of(texts: Sequence[Any], oids: Sequence[int | None]) -> list[Any]:
    """Return parameters, which come as texts, as values. Raises InvalidInputError for a text that is none of its type."""
    try:
        return [_value(t, o) for t, o in zip(texts, oids, strict=True)]
    except (ValueError, ArithmeticError) as error:
        raise InvalidInputError(f"a parameter is not of its type: {error}") from None


def _value(text: Any, oid: int | None) -> Any:
    reader = FROM_TEXT.get(oid or types.TEXT)
    return reader(text) if reader is not None and isinstance(text, str) else text
