"""ScalarIndex: which kind of index a scalar field has. Spec 0011."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.shape import expect_closed_map, expect_text

BITMAP_ALGORITHM: Final = "dreamdb.bitmap-categorical"
ALGORITHMS: Final[Mapping[str, str]] = {
    "int": "dreamdb.btree-int64",
    "timestamp": "dreamdb.btree-int64",
    "float": "dreamdb.btree-float64",
    "string": "dreamdb.btree-string",
    "categorical": BITMAP_ALGORITHM,
    "bool": BITMAP_ALGORITHM,
}
_BTREE_PARAMS: Final = {"version": 1, "leaf_fanout": 4096, "internal_fanout": 256}
_BITMAP_PARAMS: Final = {"version": 1, "cardinality_limit": 65536}
_KEYS: Final = frozenset({"metric", "params", "algorithm", "field_name"})


@dataclass(frozen=True, slots=True)
class ScalarIndex:
    """The index of one field. Value types that share an algorithm (int and timestamp) share the Object."""

    field_name: str
    algorithm: str


def scalar_index_of(field_name: str, value_type: str) -> ScalarIndex:
    """Return the ScalarIndex of a field of this value type. Raises UnsupportedError for an unknown one."""
    if value_type not in ALGORITHMS:
        raise UnsupportedError(f"scalar fields of type {value_type!r:.80} are not supported")
    return ScalarIndex(field_name, ALGORITHMS[value_type])


def encode_scalar_index(index: ScalarIndex) -> bytes:
    """Return the canonical bytes."""
    metric, params = _form_of(index.algorithm)
    fields = {
        "metric": metric,
        "params": params,
        "algorithm": index.algorithm,
        "field_name": index.field_name,
    }
    return encode_cbor(fields)


def decode_scalar_index(data: bytes) -> ScalarIndex:
    """Return the ScalarIndex of these bytes.

    Raises CanonicalError or LayoutError; UnsupportedError for an algorithm or params that are not known.
    """
    fields = expect_closed_map(decode_cbor(data), "scalar index", _KEYS)
    algorithm = expect_text(fields["algorithm"], "algorithm of a scalar index")
    metric, params = _form_of(algorithm)
    if fields["metric"] != metric:
        raise LayoutError(f"metric of a scalar index must be {metric!r} with {algorithm}")
    if not _same(fields["params"], params):
        raise UnsupportedError(f"params of a scalar index are not supported: {fields['params']!r:.200}")
    return ScalarIndex(expect_text(fields["field_name"], "field_name of a scalar index"), algorithm)


def _form_of(algorithm: str) -> tuple[str, dict[str, int]]:
    if algorithm not in ALGORITHMS.values():
        raise UnsupportedError(f"scalar indexes of algorithm {algorithm!r:.80} are not supported")
    if algorithm == BITMAP_ALGORITHM:
        return "categorical", _BITMAP_PARAMS
    return "ordinal", _BTREE_PARAMS


def _same(found: Any, expected: dict[str, int]) -> bool:
    # Compared as bytes: in Python 1 equals 1.0 and true.
    return encode_cbor(found) == encode_cbor(expected)
