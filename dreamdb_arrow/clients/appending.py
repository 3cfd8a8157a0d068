"""INSERT through SQLAlchemy: its rows are appended to a Ref as one commit. ADR 0047."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.errors import UnsupportedError

VALUES: Final = re.compile(r"VALUES \(\?(, \?)*\)$")  # one row, of parameters alone
HOW: Final = "only rows of values go in by INSERT; SELECT them, then append what came"


def rows_of(context: Any, parameters: Sequence[Sequence[Any]]) -> tuple[str, pa.Table]:
    """Return the Ref and the rows that a compiled INSERT puts into it.

    Args:
        context: SQLAlchemy's, of a statement made by `insert()`.
        parameters: the values of each row, in the order of the statement's parameters.

    Raises UnsupportedError for what is no list of values: INSERT from SELECT, expressions, RETURNING.
    """
    table, names = context.compiled.statement.table, context.compiled.positiontup or []
    if not VALUES.search(context.compiled.string) or not set(names) <= {
        column.key for column in table.columns
    }:
        raise UnsupportedError(HOW)
    columns = zip(*parameters, strict=True)
    return table.name, pa.table(dict(zip(names, (pa.array(c) for c in columns), strict=True)))
