"""Stripes: the rows of one commit as one Parquet object, sorted by anchor. Spec 0021.

Scalars and arrays are stored as themselves. A media value is stored as where its bytes lie (`MEDIA_REF`), an embedding not
at all: vectors have objects of their own (`columnar.vectors`), and are found by anchor.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dreamdb_arrow.columnar.arrays import column_type
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.schema import Field

ANCHOR: Final = "_anchor"
TIME: Final = "_time"
MEDIA_KINDS: Final = ("image", "audio", "video")
BLOB_KINDS: Final = (*MEDIA_KINDS, "video_item", "geometry")  # whose values are bytes, fetched when looked at
ROW_GROUP_ROWS: Final = (
    122_880  # the vector size of DuckDB's row groups; 1M-row groups prune three times worse
)

MEDIA_REF: Final = pa.struct(
    [
        pa.field("address", pa.binary(33)),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("chunked", pa.bool_()),
    ]
)
SCALAR_TYPES: Final[Mapping[str, pa.DataType]] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "categorical": pa.string(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("ns"),
}
DELTA_TYPES: Final = (pa.int64(), pa.timestamp("ns"))


def field_id(name: str) -> int:
    """Return the Parquet field id of a column: 31 bits of its name's CRC-32, the same in every stripe. [0021-R5].

    A reader that is told ids and names needs no footer to know that a stripe lacks a column. DuckDB is not told, since it
    then takes every scan for one row; see `engines.plans.source_of`.
    """
    return zlib.crc32(name.encode()) & 0x7FFF_FFFF


def find_clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two columns that an engine could not tell apart: equal but for case, or of one field id."""
    seen: dict[str | int, str] = {ANCHOR: ANCHOR, TIME: TIME}
    for name in names:
        for key in (name.lower(), field_id(name)):
            if key in seen:
                return seen[key], name
            seen[key] = name
    return None


def stored_type(field: Field) -> pa.DataType | None:
    """Return the type of a field's column in a stripe, or None when stripes do not hold the field."""
    if field.kind == "scalar":
        return SCALAR_TYPES.get(str(field.options.get("value_type")))
    if field.kind == "array":
        return column_type(field)
    return MEDIA_REF if field.kind in BLOB_KINDS else None


def stripe_schema(fields: Iterable[Field]) -> pa.Schema:
    """Return the Arrow schema of a stripe: `_anchor`, `_time`, then the fields that stripes hold."""
    columns = [(ANCHOR, pa.int64()), (TIME, pa.timestamp("ns"))]
    columns += [(f.name, t) for f in fields if (t := stored_type(f)) is not None]
    return pa.schema([_with_id(name, kind) for name, kind in columns])


def _with_id(name: str, kind: pa.DataType, path: str = "") -> pa.Field:
    full = f"{path}{name}"
    if pa.types.is_struct(kind):
        kind = pa.struct([_with_id(f.name, f.type, f"{full}.") for f in kind])
    return pa.field(name, kind, metadata={"PARQUET:field_id": str(field_id(full))})


def encode_stripe(table: pa.Table) -> pa.Buffer:
    """Return the Parquet bytes of a table that has the columns of `stripe_schema`, sorted by anchor."""
    sink = pa.BufferOutputStream()
    delta = [f.name for f in table.schema if f.type in DELTA_TYPES]
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        use_dictionary=_dictionary_columns(table),
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        write_statistics=_told_columns(table),
        store_schema=False,
        write_page_index=False,
    )
    return sink.getvalue()


def _dictionary_columns(table: pa.Table) -> list[str]:
    """Name the leaves worth a dictionary: addresses of packs, and texts that repeat (judged by a sample)."""
    leaves = []
    for field in table.schema:
        if field.type.equals(MEDIA_REF):
            leaves += [f"{field.name}.address", f"{field.name}.chunked"]
        elif pa.types.is_string(field.type) and _repeats(table[field.name]):
            leaves.append(field.name)
    return leaves


def _told_columns(table: pa.Table) -> list[str]:
    """Name the leaves whose least and largest values are told.

    Of numbers with NaN among them, which only arrays hold, Parquet tells them as if it were not there, and DuckDB then
    finds no NaN. Of lists they help nobody.
    """
    leaves = []
    for field in table.schema:
        if field.type.equals(MEDIA_REF):
            leaves += [f"{field.name}.{part.name}" for part in MEDIA_REF]
        elif not pa.types.is_nested(field.type) and not _has_nan(table[field.name]):
            leaves.append(field.name)
    return leaves


def _has_nan(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py())


def _repeats(column: pa.ChunkedArray, sample: int = 4096) -> bool:
    head = column.slice(0, sample)
    return bool(pc.count_distinct(head).as_py() * 2 <= len(head))


def open_stripe(source: Any) -> pq.ParquetFile:
    """Open a verified stripe, a path or a buffer. Raises LayoutError when it is none."""
    name = getattr(source, "name", "a buffer")
    try:
        file = pq.ParquetFile(source)
        columns = file.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LayoutError(f"not a stripe: {name}: {str(error).splitlines()[0]}") from error
    if ANCHOR not in columns:
        raise LayoutError(f"not a stripe: {name} has no column {ANCHOR}")
    return file


def decode_stripe(source: Any, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a stripe, or some of its columns, from a path or a buffer; columns that it lacks are left out.

    Raises LayoutError when it is none.
    """
    file = open_stripe(source)
    names = set(file.schema_arrow.names)
    held = None if columns is None else [c for c in columns if c in names]
    try:
        return file.read(columns=held)
    except (pa.ArrowException, OSError) as error:
        name = getattr(source, "name", "a buffer")
        raise LayoutError(f"not a stripe: {name}: {str(error).splitlines()[0]}") from error


def stripe_columns(path: Any) -> frozenset[str]:
    """Return the names of the columns that a stripe has."""
    return frozenset(open_stripe(path).schema_arrow.names)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give a table the columns and types of `schema`, in its order; what is missing becomes null.

    So does a column of another type: it is of an earlier field of that name.
    """
    columns = [
        table[f.name].cast(f.type)
        if f.name in table.column_names and table[f.name].type.id == f.type.id
        else pa.nulls(len(table), f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def anchors_of(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the anchors of a stripe's table, int64 (n,)."""
    return np.asarray(table[ANCHOR].combine_chunks().to_numpy(zero_copy_only=False), dtype=np.int64)
