"""Stripes: the rows of one commit as one Parquet object, sorted by anchor. Spec 0021.

Scalars and arrays are stored as themselves. A media value is stored as where its bytes lie (`MEDIA_REF`), an embedding not
at all: vectors have objects of their own (`columnar.vectors`), and are found by anchor.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from dreamdb_arrow.columnar.arrays import column_type
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.schema import Field

if TYPE_CHECKING:
    import pyarrow.dataset as pads

ANCHOR: Final = "_anchor"
TIME: Final = "_time"
MEDIA_KINDS: Final = ("image", "audio", "video")
BLOB_KINDS: Final = (*MEDIA_KINDS, "video_item", "geometry")  # whose values are bytes, fetched when looked at
ROW_GROUP_ROWS: Final = (
    61_440  # thirty of the vectors that DuckDB works on; a thread of its reads one at a time
)
GROUP_ROWS_MAX: Final = 1 << 20  # that a reader takes at once
ROWS_A_BYTE_MAX: Final = 32  # of distinct anchors, which take six bytes in a block of 128 at the very least

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
REPEATING_TYPES: Final = (pa.string(), pa.float64())
# Why these and no others: docs/adr/0016-parquet-settings-and-durability.md
ENCODINGS: Final[Mapping[pa.DataType, str]] = {
    **dict.fromkeys(DELTA_TYPES, "DELTA_BINARY_PACKED"),
    pa.string(): "DELTA_LENGTH_BYTE_ARRAY",
}
PAGE_BYTES: Final = (
    128 << 10
)  # who reads ten rows decodes a page of each column; a megabyte takes twice as long
ZSTD_LEVEL: Final = 3
SAMPLE_ROWS: Final = 4096
RAW_SHARE: Final = 0.9  # of its size, above which a float column is not worth undoing zstd in every scan


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
    with stripe_writer(sink, table) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return sink.getvalue()


def stripe_writer(sink: Any, sample: pa.Table, untold: Iterable[str] = ()) -> pq.ParquetWriter:
    """Return a writer of a stripe whose rows come in parts.

    `sample` are some of the rows, by which encodings are chosen. Of columns that are `untold`, the least and the largest
    values are not told, as for those of the sample that have NaN.
    """
    raw = [name for name in sample.column_names if _stays_raw(sample[name])]
    repeated = _dictionary_columns(sample.drop_columns(raw))
    rest = [f for f in sample.schema if f.name not in repeated]
    squeezed = [name for name in _leaves(sample.schema) if name not in raw]
    return pq.ParquetWriter(
        sink,
        sample.schema,
        compression={**dict.fromkeys(raw, "none"), **dict.fromkeys(squeezed, "zstd")},
        compression_level=dict.fromkeys(squeezed, ZSTD_LEVEL),
        use_dictionary=repeated,
        column_encoding={f.name: ENCODINGS[f.type] for f in rest if f.type in ENCODINGS},
        write_statistics=[name for name in _told_columns(sample) if name not in set(untold)],
        data_page_size=PAGE_BYTES,
        store_schema=False,
        write_page_index=False,
    )


def _dictionary_columns(table: pa.Table) -> list[str]:
    """Name the leaves worth a dictionary: addresses of packs, texts and floats that repeat (judged by a sample)."""
    leaves = []
    for field in table.schema:
        if field.type.equals(MEDIA_REF):
            leaves += [f"{field.name}.address", f"{field.name}.chunked"]
        elif field.type in REPEATING_TYPES and _repeats(table[field.name]):
            leaves.append(field.name)
    return leaves


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the Parquet paths of all leaves."""
    found, pending = [], [(f.name, f.type) for f in reversed(schema)]
    while pending:
        path, kind = pending.pop()
        if pa.types.is_struct(kind):
            pending += [(f"{path}.{f.name}", f.type) for f in kind]
        elif pa.types.is_nested(kind):
            pending.append((f"{path}.list.element", kind.value_type))
        else:
            found.append(path)
    return found


def _stays_raw(column: pa.ChunkedArray) -> bool:
    """Whether zstd has little to take: of what is packed by its differences, and of floats without a pattern."""
    if column.type in DELTA_TYPES:
        return True
    if column.type != pa.float64():
        return False
    sample = np.asarray(column.slice(0, SAMPLE_ROWS))
    small = pa.compress(sample.tobytes(), codec="zstd", asbytes=True)
    return len(small) > RAW_SHARE * sample.nbytes


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


def _repeats(column: pa.ChunkedArray) -> bool:
    head = column.slice(0, SAMPLE_ROWS // 2)
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
    _check_rows(file.metadata, _size_of(source), name)
    return file


def _size_of(source: Any) -> int:
    """Return the bytes of a path or a buffer."""
    if isinstance(source, str | os.PathLike):
        return Path(source).stat().st_size
    return source.size if isinstance(source, pa.Buffer) else int(source.size())


def _check_rows(metadata: pq.FileMetaData, size: int, name: str) -> None:
    """Raise LayoutError where a footer speaks of more rows than a reader can hold, or than there are bytes for.

    Nothing is asked about columns: pyarrow 26 lets what Arrow throws there end the process (a histogram of a wrong size does).
    """
    rows = [metadata.row_group(nth).num_rows for nth in range(metadata.num_row_groups)]
    if max(rows, default=0) > GROUP_ROWS_MAX or sum(rows) > ROWS_A_BYTE_MAX * size:  # 0021-R17
        raise LayoutError(f"not a stripe: {name} has {sum(rows)} rows in {size} bytes")


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


def stripe_fragment(path: Path) -> pads.ParquetFileFragment:
    """Return a verified stripe as a fragment of Arrow's datasets. Raises LayoutError when it is none."""
    fragment = _parquet().make_fragment(str(path), _FILES)
    try:
        fragment.ensure_complete_metadata()
    except (pa.ArrowException, OSError) as error:
        raise LayoutError(f"not a stripe: {path.name}: {str(error).splitlines()[0]}") from error
    if ANCHOR not in fragment.physical_schema.names:
        raise LayoutError(f"not a stripe: {path.name} has no column {ANCHOR}")
    _check_rows(fragment.metadata, path.stat().st_size, path.name)
    return fragment


@cache
def datasets() -> Any:
    """Return `pyarrow.dataset`, which imports pandas where that is installed: 0.2 s that opening a Space does without."""
    return import_module("pyarrow.dataset")


@cache
def _parquet() -> pads.ParquetFileFormat:
    return datasets().ParquetFileFormat()


_FILES: Final = pafs.LocalFileSystem()


def stripe_columns(path: Any) -> frozenset[str]:
    """Return the names of the columns that a stripe has."""
    return frozenset(open_stripe(path).schema_arrow.names)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give a table the columns and types of `schema`, in its order; what is missing becomes null.

    So does a column of another type: it is of an earlier field of that name.
    """
    return pa.Table.from_arrays([_conformed(table, f) for f in schema], schema=schema)


def _conformed(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    at = table.schema.get_field_index(field.name)
    if at < 0 or table.field(at).type.id != field.type.id:
        return pa.nulls(len(table), field.type)
    column = table.column(at)
    return column if column.type.equals(field.type) else column.cast(field.type)


def anchors_of(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the anchors of a stripe's table, int64 (n,)."""
    return np.asarray(table[ANCHOR].combine_chunks().to_numpy(zero_copy_only=False), dtype=np.int64)
