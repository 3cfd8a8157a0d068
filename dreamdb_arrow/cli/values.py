"""Values: Arrow columns as plain Python values, and those as JSON and CSV have them."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def plain_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; times become ISO 8601 texts, which keep their nanoseconds."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_float32(column.type):  # in as few digits as tell one float32 from the next
        return [None if text is None else float(text) for text in column.cast(pa.string()).to_pylist()]
    if _is_list(column.type) and pa.types.is_float32(column.type.value_type):
        items = iter(plain_values(column.flatten()))
        return [None if n is None else list(islice(items, n)) for n in column.value_lengths().to_pylist()]
    values: list[Any] = column.cast(_textual(column.type)).to_pylist()
    say = _SAID.get(column.type.id)
    return [None if value is None else say(value) for value in values] if say else values


def _textual(kind: pa.DataType) -> pa.DataType:
    """Return a type with texts in the place of times."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return pa.string()
    if pa.types.is_map(kind):
        return pa.map_(_textual(kind.key_type), _textual(kind.item_type))
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([f.with_type(_textual(f.type)) for f in fields])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_textual(kind.value_type), kind.list_size)
    return pa.list_(_textual(kind.value_type)) if pa.types.is_list(kind) else kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def trim_time(text: str) -> str:
    """Return a time without the zeros that its fraction ends with."""
    return re.sub(r"(\.\d*?)0+(?!\d)", lambda found: found[1].rstrip("."), text)


def interval_text(value: pa.MonthDayNano) -> str:
    """Return an interval as months, days and seconds, those that are not zero."""
    parts = zip(value, ("months", "days", "s"), (1, 1, 1_000_000_000), strict=True)
    return " ".join(f"{n / per:.9g} {unit}" for n, unit, per in parts if n) or "0 s"


def time_text(time_ns: int) -> str:
    """Return nanoseconds since 1970 as text."""
    if time_ns >= 2**63:
        return str(time_ns)
    return trim_time(str(np.datetime64(time_ns, "ns")).replace("T", " "))


_SAID: Final[Mapping[int, Callable[[Any], str]]] = {
    pa.timestamp("ns").id: trim_time,
    pa.time64("us").id: trim_time,
    pa.month_day_nano_interval().id: interval_text,
}


def is_map(value: list[Any]) -> bool:
    """Whether a list is what Arrow makes of a map: pairs."""
    return bool(value) and all(type(item) is tuple and len(item) == 2 for item in value)


def jsonable(value: Any) -> Any:
    """Return a value as JSON has it: bytes as base64, whole decimals as integers, NaN and infinities as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list):
        return jsonable(dict(value)) if is_map(value) else [jsonable(v) for v in value]
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    return value if value is None or isinstance(value, str | int) else str(value)


def json_text(value: Any) -> str:
    """Return a value as one line of JSON."""
    return json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False)


def csv_column(column: pa.Array) -> pa.Array:
    """Return a column that CSV can hold: times as text, bytes as base64, lists and structs as JSON."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column
    if pa.types.is_string(kind) or pa.types.is_decimal(kind):
        return pc.cast(column, pa.string())
    return pa.array([_csv_text(v) for v in plain_values(column)], pa.string())


def _csv_text(value: Any) -> str | None:
    if isinstance(value, list | dict):
        return json_text(value)
    return None if value is None else str(jsonable(value))
