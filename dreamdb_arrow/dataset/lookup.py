"""Lookup: which anchors satisfy conditions on scalar fields, in the reference's words. Spec 0011."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import ANCHOR
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.dataset.scan import plan_scan, scan_batches
from dreamdb_arrow.errors import InvalidInputError

OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "in": lambda column, values: pc.is_in(column, value_set=values),
}

Conditions = Sequence[tuple[str, str, Any]]


def where_anchors(
    rows: RowSet, where_eq: Mapping[str, Any] | None = None, where: Conditions | None = None
) -> I64 | None:
    """Return the anchors of live rows that satisfy all conditions, ascending; None when there are no conditions.

    Raises InvalidInputError for a field that is no scalar, an unknown operator, or a value of another type.
    """
    conditions: list[Any] = [
        *((name, "==", value) for name, value in (where_eq or {}).items()),
        *(where or ()),
    ]
    if not conditions:
        return None
    for condition in conditions:
        if not isinstance(condition, tuple | list) or len(condition) != 3:
            raise InvalidInputError(f"a condition is (field, op, value), not {condition!r:.60}")
        name, op, _ = condition
        find_field(rows, name, ("scalar",))
        if op not in OPERATORS:
            raise InvalidInputError(f"unknown operator {op!r}; use one of {' '.join(OPERATORS)}")
    return rows.recently("where", repr([tuple(c) for c in conditions]), lambda: _scan(rows, conditions))


def _scan(rows: RowSet, conditions: Conditions) -> I64:
    columns = [ANCHOR, *dict.fromkeys(name for name, _, _ in conditions)]
    found = [_matching(batch, conditions) for batch in scan_batches(plan_scan(rows, columns))]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _matching(batch: pa.RecordBatch, conditions: Conditions) -> I64:
    keep = np.ones(batch.num_rows, dtype=bool)
    for name, op, value in conditions:
        column = batch.column(name)
        try:
            wanted = pa.array(value, column.type) if op == "in" else pa.scalar(value, column.type)
        except (ValueError, TypeError, OverflowError, pa.ArrowNotImplementedError):
            raise InvalidInputError(
                f"field {name!r} is {column.type}, not comparable with {value!r:.60}"
            ) from None
        keep &= np.asarray(pc.fill_null(OPERATORS[op](column, wanted), False))
    return np.asarray(batch.column(ANCHOR))[keep]
