"""Schemas that nobody wrote in Python: inferred from columns, or declared in a line of text a field. Spec 0001."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.columnar.stripe import ANCHOR, MEDIA_KINDS, TIME
from dreamdb_arrow.dataset.schema import SCALAR_METHODS, Schema
from dreamdb_arrow.errors import InvalidInputError

Is = Callable[[pa.DataType], bool]

# What columns become, and the way out for those that are refused. docs/sql.md shows it in the types of SQL.
SCALARS_OF: Final[tuple[tuple[Is, str], ...]] = (
    (pa.types.is_boolean, "bool"),
    (pa.types.is_integer, "int"),
    (pa.types.is_floating, "float"),
    (pa.types.is_string, "string"),
    (pa.types.is_large_string, "string"),
    (pa.types.is_dictionary, "categorical"),
    (pa.types.is_timestamp, "timestamp"),
    (pa.types.is_date, "timestamp"),
)
DTYPES: Final[Mapping[pa.DataType, str]] = {
    pa.float32(): "f32",
    pa.float64(): "f64",
    **{
        pa.type_for_alias(f"{u}int{bits}"): f"{u or 'i'}{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)
    },
}
REFUSED: Final[tuple[tuple[Is, str], ...]] = (
    (pa.types.is_decimal, "cast it to DOUBLE, or to VARCHAR to keep each digit"),
    (pa.types.is_time, "cast it to VARCHAR, or add it to a date"),
    (pa.types.is_struct, "give each member a column of its own, or use to_json(...)::VARCHAR"),
    (pa.types.is_map, "use to_json(...)::VARCHAR"),
    (pa.types.is_binary, "declare an image, audio or video field first, with dreamdb_create"),
    (pa.types.is_null, "cast it to the type it should have"),
    (
        pa.types.is_list,
        "declare it first, with dreamdb_create: embedding[n] or f32[n] for n numbers each; or use to_json(...)::VARCHAR",
    ),
)
ANY_WAY_OUT: Final = "cast it to VARCHAR"
ARRAYS: Final = frozenset(DTYPES.values())
ANY_LENGTHS: Final = "*, *"
TYPES_TOLD: Final = (
    f"{', '.join(SCALAR_METHODS)}, embedding[n], image/jpeg (audio/wav, video/mp4), f32[n], or f32[*, *] for lists of lists of any length; "
    "a ? at the end where rows may be without"
)
_DECLARED: Final = re.compile(
    r"(?P<kind>[a-z]+\d*)(?:\[(?P<dim>\*, \*|\d{1,9})\]|/(?P<mime>[\w.+-]+))?(?P<optional>\??)"
)


def infer_schema(columns: pa.Schema) -> Schema:
    """Return the schema that holds columns as they are, `_anchor` and `_time` left out; no field is required.

    Raises InvalidInputError, with the way out, for a column of a type that no field has.
    """
    schema = Schema()
    for column in columns:
        if column.name not in (ANCHOR, TIME):
            _infer_field(schema, column.name, column.type)
    return schema


def _infer_field(schema: Schema, name: str, kind: pa.DataType) -> None:
    kind = kind.storage_type if kind == pa.json_() else kind
    for holds, value_type in SCALARS_OF:
        if holds(kind):
            SCALAR_METHODS[value_type](schema, name, required=False)
            return
    if pa.types.is_list(kind) and pa.types.is_list(kind.value_type) and kind.value_type.value_type in DTYPES:
        schema.add_ragged_array(name, DTYPES[kind.value_type.value_type], required=False)
        return
    way_out = next((way for holds, way in REFUSED if holds(kind)), ANY_WAY_OUT)
    raise InvalidInputError(f"column {name!r} of type {kind} is no field: {way_out}")


def declared_schema(fields: Any) -> Schema:
    """Return a schema out of names and what `describe` says of fields: `int`, `string?`, `embedding[384]`, `image/jpeg?`.

    A `?` at the end: rows may be without a value. Raises InvalidInputError for anything else.
    """
    if not isinstance(fields, Mapping):
        raise InvalidInputError(
            "schema must be a struct of names and types, such as {label: 'categorical', n: 'int?'}"
        )
    schema = Schema()
    for name, told in fields.items():
        _declare_field(schema, name, told)
    return schema


def _declare_field(schema: Schema, name: str, told: Any) -> None:
    found = _DECLARED.fullmatch(told) if isinstance(told, str) else None
    kind, dim, mime, optional = (
        found.group("kind", "dim", "mime", "optional") if found else ("", None, None, "")
    )
    required = not optional
    if kind in SCALAR_METHODS and dim is None and mime is None:
        SCALAR_METHODS[kind](schema, name, required=required)
    elif kind == "embedding" and dim not in (None, ANY_LENGTHS):
        schema.add_embedding(name, int(dim), required=required)
    elif kind in MEDIA_KINDS and dim is None:
        _MEDIA_METHODS[kind](schema, name, required=required, **({"mime": mime} if mime else {}))
    elif kind in ARRAYS and dim == ANY_LENGTHS:
        schema.add_ragged_array(name, kind, required=required)
    elif kind in ARRAYS and dim is not None:
        schema.add_array(name, kind, [int(dim)], required=required)
    else:
        raise InvalidInputError(f"field {name!r}: {told!r:.60} is no type; use {TYPES_TOLD}")


_MEDIA_METHODS: Final[Mapping[str, Callable[..., Schema]]] = {
    "image": Schema.add_image,
    "audio": Schema.add_audio,
    "video": Schema.add_video,
}
