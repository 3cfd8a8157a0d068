"""Types of what our functions answer: a name is a type of DuckDB, a dict a STRUCT, a list one of its element.

They are said once, and are DuckDB's for who declares a function (`duckdb.sql_type`), Arrow's for who answers.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

FILES: Final = [{"filename": "VARCHAR", "file_size": "BIGINT", "validate_external_file_cache": "BOOLEAN"}]
REPORT: Final = {
    "strategy": "VARCHAR",
    "nprobe": "BIGINT",
    "cells": "BIGINT",
    "segments": "BIGINT",
    "rows_scored": "BIGINT",
    "milliseconds": "DOUBLE",
}
FOUND: Final = {
    "hits": [{"_anchor": "BIGINT", "_distance": "DOUBLE"}],
    "report": REPORT,
    "error": "VARCHAR",
}
HITS: Final = {"anchors": ["BIGINT"], "distances": ["DOUBLE"], "error": "VARCHAR"}
DONE: Final = {"ref": "VARCHAR", "version": "VARCHAR", "rows": "BIGINT", "error": "VARCHAR"}
_ARROW: Final = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "DOUBLE": pa.float64(),
}


def arrow_type(of: Any) -> pa.DataType:
    """Return the Arrow type of what is said as above."""
    if isinstance(of, list):
        return pa.list_(arrow_type(of[0]))
    if isinstance(of, dict):
        return pa.struct([(name, arrow_type(kind)) for name, kind in of.items()])
    return _ARROW[of]
