"""Cells: Arrow columns as plain values, and plain values as what fits a table, JSON or CSV."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.cli.words import printable

LIST_SHOWN: Final = 4  # longer lists show their first two items and their length
TEXT_MAX: Final = 10_000  # of one cell of a table
_NULL: Final = "NULL"
_SIGNATURES: Final = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
)


def plain_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; times become ISO 8601 texts, which keep their nanoseconds."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_float32(column.type):  # as short as a float32 can be told apart
        return [None if v is None else float(str(np.float32(v))) for v in column.to_pylist()]
    target = _textual(column.type)
    if target is column.type:
        listed: list[Any] = column.to_pylist()
        return listed
    listed = column.cast(target).to_pylist()
    if pa.types.is_timestamp(column.type):
        return [None if text is None else _trim_time(text) for text in listed]
    return listed


def _textual(kind: pa.DataType) -> pa.DataType:
    """Return a type with texts in the place of times; the same object when it has none."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return pa.string()
    if pa.types.is_map(kind):
        parts = [kind.key_type, kind.item_type]
    elif pa.types.is_nested(kind) and not pa.types.is_union(kind):
        parts = [kind.field(i).type for i in range(kind.num_fields)]
    else:
        return kind
    made = [_textual(part) for part in parts]
    if all(new is old for new, old in zip(made, parts, strict=True)):
        return kind
    return _rebuilt(kind, made)


def _rebuilt(kind: pa.DataType, parts: list[pa.DataType]) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(i).with_type(part) for i, part in enumerate(parts)])
    if pa.types.is_map(kind):
        return pa.map_(*parts)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(parts[0], kind.list_size)
    return pa.list_(parts[0])


def _trim_time(text: str) -> str:
    """Return a time without the zeros that its fraction ends with."""
    head, point, tail = text.partition(".")
    digits = tail.rstrip("Z")
    zone = tail[len(digits) :]
    kept = digits.rstrip("0")
    return f"{head}{point if kept else ''}{kept}{zone}"


def time_text(time_ns: int) -> str:
    """Return nanoseconds since 1970 as text."""
    if time_ns >= 2**63:
        return str(time_ns)
    return _trim_time(str(np.datetime64(time_ns, "ns")).replace("T", " "))


# ---------------------------------------------------------------- tables


def cell(value: Any) -> str:
    """Return a value as one line: long lists and bytes in brief, other values whole."""
    for kinds, shown in _SHOWN:
        if isinstance(value, kinds):
            return shown(value)
    return printable(str(value))


def _list_cell(value: list[Any]) -> str:
    if value and all(isinstance(v, tuple) for v in value):  # a map
        return _mapping_cell(dict(value))
    if len(value) <= LIST_SHOWN:
        return f"[{', '.join(_item(v) for v in value)}]"
    return f"[{', '.join(_item(v) for v in value[:2])}, … {len(value)}]"


def _item(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else cell(value)


def _mapping_cell(value: Mapping[Any, Any]) -> str:
    return f"{{{', '.join(f'{cell(k)}: {_item(v)}' for k, v in value.items())}}}"


def _bytes_cell(value: bytes) -> str:
    mime = next((m for at, magic, m in _SIGNATURES if value[at : at + len(magic)] == magic), "")
    return f"<{size_text(len(value))}{mime and ' '}{mime}>"


def size_text(size_bytes: int) -> str:
    """Return a size as people read it."""
    size, units = float(size_bytes), iter(("B", "KB", "MB", "GB"))
    for unit in units:
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


_SHOWN: Final = 4  # longer lists show their first two items and their length
TEXT_MAX: Final = 10_000  # of one cell of a table
_NULL: Final = "NULL"
_SIGNATURES: Final = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
)


def plain_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; times become ISO 8601 texts, which keep their nanoseconds."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_float32(column.type):  # as short as a float32 can be told apart
        return [None if v is None else float(str(np.float32(v))) for v in column.to_pylist()]
    target = _textual(column.type)
    if target is column.type:
        listed: list[Any] = column.to_pylist()
        return listed
    listed = column.cast(target).to_pylist()
    if pa.types.is_timestamp(column.type):
        return [None if text is None else _trim_time(text) for text in listed]
    return listed


def _textual(kind: pa.DataType) -> pa.DataType:
    """Return a type with texts in the place of times; the same object when it has none."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return pa.string()
    if pa.types.is_map(kind):
        parts = [kind.key_type, kind.item_type]
    elif pa.types.is_nested(kind) and not pa.types.is_union(kind):
        parts = [kind.field(i).type for i in range(kind.num_fields)]
    else:
        return kind
    made = [_textual(part) for part in parts]
    if all(new is old for new, old in zip(made, parts, strict=True)):
        return kind
    return _rebuilt(kind, made)


def _rebuilt(kind: pa.DataType, parts: list[pa.DataType]) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(i).with_type(part) for i, part in enumerate(parts)])
    if pa.types.is_map(kind):
        return pa.map_(*parts)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(parts[0], kind.list_size)
    return pa.list_(parts[0])


def _trim_time(text: str) -> str:
    """Return a time without the zeros that its fraction ends with."""
    head, point, tail = text.partition(".")
    digits = tail.rstrip("Z")
    zone = tail[len(digits) :]
    kept = digits.rstrip("0")
    return f"{head}{point if kept else ''}{kept}{zone}"


def time_text(time_ns: int) -> str:
    """Return nanoseconds since 1970 as text."""
    if time_ns >= 2**63:
        return str(time_ns)
    return _trim_time(str(np.datetime64(time_ns, "ns")).replace("T", " "))


# ---------------------------------------------------------------- tables


def cell(value: Any) -> str:
    """Return a value as one line: long lists and bytes in brief, other values whole."""
    for kinds, shown in _SHOWN:
        if isinstance(value, kinds):
            return shown(value)
    return printable(str(value))


def _list_cell(value: list[Any]) -> str:
    if value and all(isinstance(v, tuple) for v in value):  # a map
        return _mapping_cell(dict(value))
    if len(value) <= LIST_SHOWN:
        return f"[{', '.join(_item(v) for v in value)}]"
    return f"[{', '.join(_item(v) for v in value[:2])}, … {len(value)}]"


def _item(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else cell(value)


def _mapping_cell(value: Mapping[Any, Any]) -> str:
    return f"{{{', '.join(f'{cell(k)}: {_item(v)}' for k, v in value.items())}}}"


def _bytes_cell(value: bytes) -> str:
    mime = next((m for at, magic, m in _SIGNATURES if value[at : at + len(magic)] == magic), "")
    return f"<{size_text(len(value))}{mime and ' '}{mime}>"


def size_text(size_bytes: int) -> str:
    """Return a size as people read it."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    power = min(int(math.log10(size_bytes)) // 3, 4)
    return f"{size_bytes / 1000**power:.3g} {'kMGT'[power - 1].replace('k', 'K')}B"


_SHOWN: Final[tuple[tuple[Any, Callable[[Any], str]], ...]] = (
    (type(None), lambda _: _NULL),
    (bool, lambda value: str(value).lower()),
    (str, lambda value: printable(value if len(value) <= TEXT_MAX else f"{value[:TEXT_MAX]}…")),
    (bytes, _bytes_cell),
    (list, _list_cell),
    (dict, _mapping_cell),
)


# ---------------------------------------------------------------- JSON and CSV


def jsonable(value: Any) -> Any:
    """Return a value as JSON has it: bytes as base64, numbers that JSON has not as null."""
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list):
        is_map = bool(value) and all(isinstance(v, tuple) for v in value)
        return jsonable(dict(value)) if is_map else [jsonable(v) for v in value]
    return str(value)


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
    found = jsonable(value)
    return None if found is None else str(found)
