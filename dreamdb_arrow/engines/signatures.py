"""Signatures of the functions that macros call: a name is a type of DuckDB, a dict a STRUCT, a list one of its element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dreamdb_arrow.engines.plans import MEDIA_REF
from dreamdb_arrow.engines.plans_take import VALUE_TYPES, value_function

TEXT: Final = "VARCHAR"
KEYED: Final = (TEXT, TEXT, "BIGINT")  # version, field, anchor
FILES_OF: Final = [{"filename": "VARCHAR", "file_size": "BIGINT", "validate_external_file_cache": "BOOLEAN"}]
DONE: Final = {"ref": "VARCHAR", "version": "VARCHAR", "rows": "BIGINT", "error": "VARCHAR"}
HITS: Final = {"anchors": ["BIGINT"], "distances": ["DOUBLE"], "error": "VARCHAR"}
FOUND: Final = {
    "hits": [{"_anchor": "BIGINT", "_distance": "DOUBLE"}],
    "report": {
        "strategy": "VARCHAR",
        "nprobe": "BIGINT",
        "cells": "BIGINT",
        "segments": "BIGINT",
        "rows_scored": "BIGINT",
        "milliseconds": "DOUBLE",
    },
    "error": "VARCHAR",
}

# Of our functions, by what follows the prefix: arguments and result, as `sql_type` takes them.
SIGNATURES: Final[Mapping[str, tuple[Sequence[Any], Any]]] = {
    "plan": ([*[TEXT] * 6, "UBIGINT", TEXT], TEXT),
    "files": ([TEXT], FILES_OF),
    "knn": ([TEXT, TEXT, ["FLOAT"], TEXT, "UBIGINT", TEXT], FOUND),
    "effect": ([TEXT, [TEXT]], DONE),
    "hits": ([TEXT, ["FLOAT"], ["BIGINT"]], HITS),
    "vector": (KEYED, ["FLOAT"]),
    "media": ([TEXT, TEXT, MEDIA_REF], "BLOB"),
    "alive": ([TEXT, "BIGINT"], "BOOLEAN"),
    "holder": (KEYED, TEXT),
    "origin": ([TEXT, TEXT, TEXT], TEXT),
    "address": (["BLOB"], TEXT),
    **{value_function(sql): (KEYED, sql) for sql in VALUE_TYPES},
}
