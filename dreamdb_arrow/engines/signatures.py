"""Signatures of the functions that macros call, as `result_types` says types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dreamdb_arrow.engines.plans import MEDIA_REF
from dreamdb_arrow.engines.plans_take import VALUE_TYPES, value_function
from dreamdb_arrow.engines.result_types import DONE, FILES, FOUND, HITS

TEXT: Final = "VARCHAR"
KEYED: Final = (TEXT, TEXT, "BIGINT")  # version, field, anchor

# Of our functions, by what follows the prefix: arguments and result, as `sql_type` takes them.
SIGNATURES: Final[Mapping[str, tuple[Sequence[Any], Any]]] = {
    "plan": ([*[TEXT] * 6, "UBIGINT", TEXT], TEXT),
    "files": ([TEXT], FILES),
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
