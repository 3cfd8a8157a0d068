"""Plans: what a table function becomes, as DuckDB SQL over Parquet files. Pure but for opening files.

This is the only place where SQL text is put together. Names and paths go in quoted, by `identifier` and `literal`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.arrays import column_type
from dreamdb_arrow.columnar.buffers import numbers, texts
from dreamdb_arrow.columnar.cache import Files
from dreamdb_arrow.columnar.columns import columns_of
from dreamdb_arrow.columnar.hidden import SHARE, live_stripes
from dreamdb_arrow.columnar.projection import dim_of, row_entry
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS, TIME, find_clash
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.dataset.schema import public_type, row_fields
from dreamdb_arrow.engines.result_types import FILES, arrow_type
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
MEDIA_REF: Final = {"address": "BLOB", "offset": "BIGINT", "size": "BIGINT", "chunked": "BOOLEAN"}
MEDIA_REF_SQL: Final = "STRUCT({})".format(", ".join(f'"{name}" {kind}' for name, kind in MEDIA_REF.items()))
FILES_TYPE: Final = arrow_type(FILES)
LITERALS_MAX: Final = 128  # deleted anchors that a plain condition names; more are asked of a function
INTERVALS_MAX: Final = 16
WRITTEN_MAX: Final = 2  # files that stand in the text of a plan
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


def error_sql(message: object) -> str:
    """Return a query that cannot be bound, with an error of one line. `SELECT error(..)` would be bound."""
    return f"FROM query(error({literal(' '.join(f'dreamdb: {message}'.split()))}))"


def shape_sql(fields: Iterable[Field]) -> str:
    """Return a SELECT without rows that has the columns of a scan."""
    shown = [(f.name, _shown_sql(f)) for f in row_fields(fields, {})]
    columns = [f"NULL::{kind} AS {identifier(name)}" for name, kind in (*_KEYS, *shown)]
    return f"SELECT {', '.join(columns)} WHERE false"


_KEYS: Final = ((ANCHOR, "BIGINT"), (TIME, "TIMESTAMP_NS"))


def _shown_sql(f: Field) -> str:
    if f.kind == "embedding":
        return f"FLOAT[{dim_of(f)}]"
    return "BLOB" if f.kind in BLOB_KINDS else _type_sql(f)


def scan_sql(rows: RowSet, source: Source, prefix: str, dims: Collection[int] = ()) -> str:
    """Return the SELECT of a scan: Parquet columns as they are, the others as late functions.

    `dims`: for vectors of which dimensions there are functions of their own.
    """
    version = literal(str(rows.address))
    fields = row_fields(rows.fields, rows.unavailable)
    columns = [ANCHOR, TIME, *(_column_sql(f, prefix, version, source, dims) for f in fields)]
    return f"SELECT {', '.join(columns)} FROM {source.table(prefix)}{where_sql(rows, source, prefix)}"


def _column_sql(f: Field, prefix: str, version: str, source: Source, dims: Collection[int]) -> str:
    name = identifier(f.name)
    value = _value_sql(f, prefix, version, source, dims)
    return value if value == name else f"{value} AS {name}"


def _value_sql(f: Field, prefix: str, version: str, source: Source, dims: Collection[int]) -> str:
    if f.kind == "embedding":
        dim, arguments = dim_of(f), f"({version}, {literal(f.name)}, {ANCHOR})"
        return (
            f"{prefix}vector_{dim}{arguments}" if dim in dims else f"{prefix}vector{arguments}::FLOAT[{dim}]"
        )
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


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a scan of [t0, t1) reads: verified files, and which columns they have; fields that no stripe has are null.

    `stripes` are what is read, `originals` what they are copies of (columnar.hidden); `hidden` are deleted anchors that
    are still in these files. `key` tells a function of the engine which source is meant.
    """

    key: str
    t0: int
    t1: int
    originals: tuple[Stripe, ...]
    stripes: tuple[Stripe, ...]
    files: Files
    columns: tuple[frozenset[str], ...]
    hidden: I64

    @property
    def held(self) -> frozenset[str]:
        """The columns that at least one file has."""
        return frozenset().union(*self.columns)

    def table(self, prefix: str, *, name_files: bool = False) -> str:
        """Return the files as a table in SQL.

        The names of many come out of a function, since DuckDB would take a millisecond to parse a hundred; to call it takes as
        long as to parse three. Files of one schema are read as they are. When fields came later, columns are matched by name. (Telling DuckDB the schema would spare
        it that, but then it takes every scan for one row, and plans joins accordingly.)
        """
        if not self.stripes:
            return _NOTHING
        # A directory called `label=x` above the Space is no partition.
        options = ", hive_partitioning = false"
        options += "" if len(set(self.columns)) == 1 else ", union_by_name = true"
        options += f", filename = {literal(FILE)}" if name_files else ""
        few = len(self.stripes) <= WRITTEN_MAX
        files = self._written() if few else f"{prefix}files({literal(self.key)})"
        return f"read_parquet({files}{options})"

    def _written(self) -> str:
        """Return the files as a literal of FILES."""
        named = zip(self.files.paths, self.files.sizes, strict=True)
        return f"[{', '.join(_file_sql(name, size) for name, size in named)}]"

    def listing(self) -> pa.Array:
        """Return the files as one row of FILES. DuckDB need not look whether they changed: their names tell."""
        count = len(self.files.paths)
        columns = [
            texts([*map(str, self.files.paths)]),
            numbers(np.array(self.files.sizes, np.int64)),
            numbers(np.zeros(count, np.int8)).cast(pa.bool_()),
        ]
        files = pa.StructArray.from_arrays(columns, fields=list(FILES_TYPE.value_type))
        return pa.ListArray.from_arrays(numbers(np.array([0, count], np.int32)), files)


def _file_sql(name: str, size: int) -> str:
    return (
        f"{{'filename': {literal(name)}, 'file_size': {size}::BIGINT, 'validate_external_file_cache': false}}"
    )


def source_of(rows: RowSet, t0: int, t1: int, *, share: int = SHARE) -> Source:
    """Return the stripes that meet a range, checked, in the place of some their local copies; `share` as there."""
    names = [f.name for f in row_fields(rows.fields, rows.unavailable)]
    if clash := find_clash(names):
        raise UnsupportedError(f"SQL cannot tell field {clash[1]!r} from {clash[0]!r}; read them with Python")
    originals = tuple(s for s in rows.stripes if s.meets(t0, t1))
    live = live_stripes(rows, t0, t1, share=share)
    stripes = tuple(stripe for stripe, _ in live)
    files = rows.cache.hold_all(rows.store, [(s.path, s.address) for s in stripes])
    columns = columns_of(rows.cache, files, [s.address for s in stripes])
    hidden = united(left for _, left in live)
    low, high = np.searchsorted(hidden, [t0, t1])
    key = f"{rows.address} {t0} {t1}"
    return Source(key, t0, t1, originals, stripes, files, columns, hidden[low:high])


def files_sql(files: Iterable[Path]) -> str:
    """Return a list of files as a SQL list; what DuckDB would take for a pattern is put in brackets."""
    names = (_PATTERN.sub(r"[\g<0>]", str(file)) for file in files)
    return f"[{', '.join(map(literal, names))}]"


_PATTERN: Final = re.compile(r"[*?\[]")


def where_sql(rows: RowSet, source: Source, prefix: str) -> str:
    """Return the condition that a scan needs: the range, where stripes stick out, and live anchors."""
    conditions = []
    if any(s.t0 < source.t0 for s in source.originals):
        conditions.append(f"{ANCHOR} >= {source.t0}")
    if any(s.t1 > source.t1 for s in source.originals):
        conditions.append(f"{ANCHOR} < {source.t1}")
    if len(source.hidden):
        conditions.append(_alive_sql(source.hidden, prefix, str(rows.address)))
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


def track_sql(rows: RowSet, source: Source, prefix: str, name: str, dims: Collection[int] = ()) -> str:
    """Return the SELECT of one field: `_anchor`, `value`, and the address of the object that holds it; `dims` as there."""
    f = find_field(rows, name)
    if public_type(f) is None:
        raise UnsupportedError(f"field {name!r} of kind {f.kind!r} is no column; see dreamdb_constants")
    stored = f.kind in ("scalar", "array")
    version = literal(str(rows.address))
    if f.kind == "embedding":
        holder = f"{prefix}holder({version}, {literal(name)}, {ANCHOR})"
    elif stored:
        holder = _stripe_sql(source, prefix, name)
    else:
        holder = f"{prefix}address(struct_extract({_stored_sql(f, source)}, 'address'))"
    inner = f"SELECT {ANCHOR}, {_value_sql(f, prefix, version, source, dims)} AS value, {holder} AS object"
    table = source.table(prefix, name_files=stored)
    return f"FROM ({inner} FROM {table}{where_sql(rows, source, prefix)}) WHERE value IS NOT NULL"


def _stripe_sql(source: Source, prefix: str, name: str) -> str:
    """Return an expression for the object that holds a row: its file's name is its address, but for local files."""
    file = f"parse_filename({identifier(FILE)})"
    if all(s.directory for s in source.stripes):
        return file
    return f"{prefix}origin({literal(source.key)}, {literal(name)}, {file})"


def origins(rows: RowSet, source: Source, name: str) -> dict[str, str]:
    """Return by file name which object holds a field's values: a stripe, or the Track of what only Tracks hold."""
    entry = row_entry(rows.manifest, name)
    track = None if entry is None else str(entry.address)
    return {
        Path(file).name: str(s.address) if s.directory or track is None else track
        for file, s in zip(source.files.paths, source.originals, strict=True)
    }
