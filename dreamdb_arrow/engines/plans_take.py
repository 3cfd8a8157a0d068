"""Plans of a take: rows by anchor as DuckDB SQL, each column a function of `_anchor`.

A condition `_anchor IN (...)` makes DuckDB decode every row group that may hold one of the anchors. Here the planner looks
the anchors up, and the columns that are looked at come out of the row groups that were decoded before.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Final

import pyarrow as pa

from dreamdb_arrow.columnar.arrays import column_type
from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS, SCALAR_TYPES, TIME
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.delete import check_anchors
from dreamdb_arrow.dataset.scan import TIME_MAX, plan_scan
from dreamdb_arrow.dataset.schema import row_fields
from dreamdb_arrow.dataset.take import take_rows
from dreamdb_arrow.engines.plans import SCALAR_SQL, arrow_type_sql, identifier, literal
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field

ASKED: Final = "__dreamdb_asked"  # what sql/dreamdb_search.sql calls the query and the anchors of a search
FEW_ROWS: Final = (
    256  # whose values are taken for all columns at once: the next column is likely to be asked for
)
VALUE_TYPES: Final[Mapping[str, pa.DataType]] = {
    **{SCALAR_SQL[name]: kind for name, kind in SCALAR_TYPES.items()},
    "BLOB": pa.binary(),
}


def value_function(kind: str) -> str:
    """Return the name, behind the prefix, of the function that gives values of a SQL type in VALUE_TYPES."""
    return f"value_{kind.lower()}"


def take_sql(
    rows: RowSet,
    anchors: str | None,
    prefix: str,
    dims: Collection[int] = (),
    within: tuple[int, int] = (0, TIME_MAX),
) -> str:
    """Return the SELECT of the live rows of these anchors, a list as JSON, in their order, as far as they lie within a range.

    Raises InvalidInputError for anything that is no list of anchors.
    """
    wanted = json.loads(anchors or "null")
    if not isinstance(wanted, list):
        raise InvalidInputError(f"anchors must be a list of integers, not {anchors!s:.60}")
    found = take_rows(plan_scan(rows, (ANCHOR,), *within), check_anchors(wanted))
    held = f"SELECT unnest('{found[ANCHOR].to_pylist()}'::BIGINT[]) AS {ANCHOR}"
    return f"SELECT {_columns_sql(rows, prefix, dims)} FROM ({held})"


def search_sql(rows: RowSet, key: str, prefix: str, dims: Collection[int] = ()) -> str:
    """Return the SELECT of the rows that a search finds, nearest first; `key` is the text that `Knn.hits` takes."""
    columns = rows.once(("search columns", prefix, len(dims)), lambda: _columns_sql(rows, prefix, dims))
    found = f"SELECT {prefix}hits({literal(key)}, __query, __anchors) AS f FROM {ASKED}"
    anchors = "unnest(CASE WHEN f.error IS NULL THEN f.anchors ELSE error(f.error) END)"
    hits = f"SELECT {anchors} AS {ANCHOR}, unnest(f.distances) AS _distance FROM ({found})"
    return f"SELECT {columns}, _distance FROM ({hits})"


def _columns_sql(rows: RowSet, prefix: str, dims: Collection[int]) -> str:
    fields = row_fields(rows.fields, rows.unavailable)
    version = literal(str(rows.address))
    columns = [f"{_column_sql(f, prefix, version, dims)} AS {identifier(f.name)}" for f in fields]
    return ", ".join([ANCHOR, f"make_timestamp_ns({ANCHOR}) AS {TIME}", *columns])


def _column_sql(f: Field, prefix: str, version: str, dims: Collection[int]) -> str:
    arguments = f"({version}, {literal(f.name)}, {ANCHOR})"
    if f.kind == "embedding":
        dim = dim_of(f)
        return (
            f"{prefix}vector_{dim}{arguments}" if dim in dims else f"{prefix}vector{arguments}::FLOAT[{dim}]"
        )
    if f.kind == "array":
        return f"{prefix}{value_function('VARCHAR')}{arguments}::{arrow_type_sql(column_type(f))}"
    kind = "BLOB" if f.kind in BLOB_KINDS else SCALAR_SQL[str(f.options["value_type"])]
    return f"{prefix}{value_function(kind)}{arguments}"


def taken_values(rows: RowSet, name: str, anchors: I64, kind: pa.DataType) -> pa.Array:
    """Return the values of a field at anchors that all have a live row, in their order; arrays as text that SQL can cast."""
    values = _taken(rows, name, anchors)[name].combine_chunks()
    if pa.types.is_nested(values.type) or (kind == pa.string() and values.type != kind):
        return pa.array([None if value is None else str(value) for value in values.to_pylist()], kind)
    return values if values.type == kind else values.cast(kind)


def _taken(rows: RowSet, name: str, anchors: I64) -> pa.Table:
    scalars = rows.once(
        "scalars", lambda: tuple(f.name for f in row_fields(rows.fields, rows.unavailable) if _is_scalar(f))
    )
    if len(anchors) > FEW_ROWS or name not in scalars:
        return take_rows(plan_scan(rows, (ANCHOR, name)), anchors)
    plan = rows.once("plan of scalars", lambda: plan_scan(rows, (ANCHOR, *scalars)))
    return rows.recently("taken", anchors.tobytes(), lambda: take_rows(plan, anchors))


def _is_scalar(f: Field) -> bool:
    return f.kind == "scalar"
