"""Plans: what a table function becomes, as DuckDB SQL over Parquet files. Pure but for opening files.

This is the only place where SQL text is put together. Names and paths go in quoted, by `identifier` and `literal`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.arrays import column_type
from dreamdb_arrow.columnar.projection import dim_of, row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS, TIME, find_clash
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.dataset.schema import public_type, row_fields
from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.objects.schema import Field

SCALAR_SQL: Final[Mapping[str, str]] = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "string": "VARCHAR",
    "categorical": "VARCHAR",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMP_NS",
}
NUMBER_SQL: Final[Mapping[str, str]] = {
    "float": "FLOAT",
    "double": "DOUBLE",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
}
MEDIA_REF_SQL: Final = 'STRUCT("address" BLOB, "offset" BIGINT, "size" BIGINT, "chunked" BOOLEAN)'
LITERALS_MAX: Final = 8  # deleted anchors that a plain condition names; more are asked of a function
INTERVALS_MAX: Final = 16
FILE: Final = "stripe file"  # no scalar can have this name


_NOTHING: Final = (
    f'(SELECT NULL::BIGINT AS {ANCHOR}, NULL::TIMESTAMP_NS AS {TIME}, NULL::VARCHAR AS "{FILE}" WHERE false)'
)


def identifier(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a quoted SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def scan_sql(rows: RowSet, prefix: str, t0: int, t1: int) -> str:
    """Return the SELECT of a scan of [t0, t1): Parquet columns as they are, the others as late functions."""
    source = source_of(rows, t0, t1)
    version = literal(str(rows.address))
    fields = row_fields(rows.fields, rows.unavailable)
    columns = [ANCHOR, TIME, *(_column_sql(f, prefix, version, source) for f in fields)]
    return f"SELECT {', '.join(columns)} FROM {source.table}{where_sql(rows, prefix, t0, t1)}"


def _column_sql(f: Field, prefix: str, version: str, source: Source) -> str:
    name = identifier(f.name)
    value = _value_sql(f, prefix, version, source)
    return value if value == name else f"{value} AS {name}"


def _value_sql(f: Field, prefix: str, version: str, source: Source) -> str:
    if f.kind == "embedding":
        return f"{prefix}vector({version}, {literal(f.name)}, {ANCHOR})::FLOAT[{dim_of(f)}]"
    stored = _stored_sql(f, source)
    return f"{prefix}media({version}, {literal(f.name)}, {stored})" if f.kind in BLOB_KINDS else stored


def _stored_sql(f: Field, source: Source) -> str:
    """Return the column of a field in stripes, or a null of its type when none of them has it."""
    if f.name in source.held:
        return identifier(f.name)
    return f"NULL::{_type_sql(f)}"


def _type_sql(f: Field) -> str:
    """Return the type of a field's column in stripes."""
    if f.kind == "array":
        return arrow_type_sql(column_type(f))
    return MEDIA_REF_SQL if f.kind in BLOB_KINDS else SCALAR_SQL[str(f.options["value_type"])]


def arrow_type_sql(kind: Any) -> str:
    """Return the SQL type of an array's Arrow type: numbers, lists of them, structs of lists."""
    if pa.types.is_list(kind):
        return f"{arrow_type_sql(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{identifier(f.name)} {arrow_type_sql(f.type)}' for f in kind)})"
    return NUMBER_SQL[str(kind)]


@dataclass(frozen=True, slots=True)
class Source:
    """What a scan reads: a table in SQL, and which columns it has; fields that no stripe has are null."""

    table: str
    held: frozenset[str]


def source_of(rows: RowSet, t0: int, t1: int, *, name_files: bool = False) -> Source:
    """Return the stripes that meet a range as one table.

    Stripes of one schema are read as they are. When fields came later, columns are matched by name. (Telling DuckDB the
    schema would spare it that, but then it takes every scan for one row, and plans joins accordingly.)
    """
    names = [f.name for f in row_fields(rows.fields, rows.unavailable)]
    if clash := find_clash(names):
        raise UnsupportedError(f"SQL cannot tell field {clash[1]!r} from {clash[0]!r}; read them with Python")
    stripes = [s for s in rows.stripes if s.meets(t0, t1)]
    files = [s.local(rows.store, rows.cache) for s in stripes]
    if not files:
        return Source(_NOTHING, frozenset())
    columns = [rows.cache.columns(file, s.address) for file, s in zip(files, stripes, strict=True)]
    same = all(held == columns[0] for held in columns)
    # A directory called `label=x` above the Space is no partition.
    options = ", hive_partitioning = false" + ("" if same else ", union_by_name = true")
    options += f", filename = {literal(FILE)}" if name_files else ""
    return Source(f"read_parquet({files_sql(files)}{options})", frozenset().union(*columns))


def files_sql(files: Iterable[Path]) -> str:
    """Return a list of files as a SQL list; what DuckDB would take for a pattern is put in brackets."""
    names = (_PATTERN.sub(r"[\g<0>]", str(file)) for file in files)
    return f"[{', '.join(map(literal, names))}]"


_PATTERN: Final = re.compile(r"[*?\[]")


def where_sql(rows: RowSet, prefix: str, t0: int, t1: int) -> str:
    """Return the condition that a scan of [t0, t1) needs: the range, where stripes stick out, and live anchors."""
    met = [s for s in rows.stripes if s.meets(t0, t1)]
    conditions = []
    if any(s.t0 < t0 for s in met):
        conditions.append(f"{ANCHOR} >= {t0}")
    if any(s.t1 > t1 for s in met):
        conditions.append(f"{ANCHOR} < {t1}")
    parts = [rows.hidden_between(max(s.t0, t0), min(s.t1, t1)) for s in met] if len(rows.hidden) else []
    hidden = np.unique(np.concatenate(parts)) if parts else rows.hidden
    if len(hidden):
        conditions.append(_alive_sql(hidden, prefix, str(rows.address)))
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _alive_sql(hidden: I64, prefix: str, version: str) -> str:
    """Return the condition that a row is not deleted.

    A join would be faster on its own, but DuckDB fetches late columns for the rows of a top-N only when nothing
    stands between it and the scan but filters. The function is called where anchors are near deleted ones.
    """
    if len(hidden) <= LITERALS_MAX:
        return f"{ANCHOR} NOT IN ({', '.join(str(a) for a in hidden)})"
    near = " OR ".join(f"{ANCHOR} BETWEEN {low} AND {high}" for low, high in intervals(hidden, INTERVALS_MAX))
    return f"CASE WHEN {near} THEN {prefix}alive({literal(version)}, {ANCHOR}) ELSE true END"


def intervals(values: I64, most: int) -> list[tuple[int, int]]:
    """Cover ascending values with at most `most` closed intervals, leaving out the widest gaps."""
    gaps = np.diff(values)
    widest = np.argsort(gaps, kind="stable")[::-1][: most - 1]
    cuts = np.sort(widest[gaps[widest] > 1])
    starts = np.r_[0, cuts + 1]
    ends = np.r_[cuts, len(values) - 1]
    return [(int(values[a]), int(values[b])) for a, b in zip(starts, ends, strict=True)]


def track_sql(rows: RowSet, prefix: str, name: str, t0: int, t1: int) -> str:
    """Return the SELECT of one field: `_anchor`, `value`, and the address of the object that holds it."""
    f = find_field(rows, name)
    if public_type(f) is None:
        raise UnsupportedError(f"field {name!r} of kind {f.kind!r} is no column; see dreamdb_constants")
    stored = f.kind in ("scalar", "array")
    version, source = literal(str(rows.address)), source_of(rows, t0, t1, name_files=stored)
    if f.kind == "embedding":
        holder = f"{prefix}holder({version}, {literal(name)}, {ANCHOR})"
    elif stored:
        holder = _stripe_sql(rows, name)
    else:
        holder = f"{prefix}address(struct_extract({_stored_sql(f, source)}, 'address'))"
    inner = f"SELECT {ANCHOR}, {_value_sql(f, prefix, version, source)} AS value, {holder} AS object"
    return f"FROM ({inner} FROM {source.table}{where_sql(rows, prefix, t0, t1)}) WHERE value IS NOT NULL"


def _stripe_sql(rows: RowSet, name: str) -> str:
    """Return an expression for the stripe of a row: its file's name is its address, but for local projections."""
    if not rows.stripes:
        return "NULL::VARCHAR"
    local = [literal(str(s.address)) for s in rows.stripes if not s.path]
    file = f"parse_filename({identifier(FILE)})"
    entry = row_entry(rows.manifest, name)
    if not local or entry is None:
        return file
    return f"CASE WHEN {file} IN ({', '.join(local)}) THEN {literal(str(entry.address))} ELSE {file} END"
