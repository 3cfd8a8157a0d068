"""Schemas: the fields of a Space, as its registry declares them. Spec 0001.

A Field keeps every option as it was decoded, known or not: a kind of field that we do not know makes that one
field unavailable, not the Space.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.codec.modality import check_modality
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_type import RAGGED, ItemType, decode_item_type, encode_item_type
from dreamdb_arrow.objects.shape import (
    expect_bool,
    expect_closed_map,
    expect_list,
    expect_map,
    expect_text,
    expect_uint,
)

SCHEMA_KEY: Final = "dreamdb.schema"
SCHEMA_VERSION: Final = 1
SPECS_VERSION: Final = 2  # the version that also carries `embedding_specs`
VALUE_TYPES: Final[Mapping[str, str]] = {
    "int": "i64",
    "float": "f64",
    "string": "str",
    "categorical": "cat",
    "bool": "bool",
    "timestamp": "ts",
}
MEDIA_KINDS: Final = ("image", "audio", "video")
ARRAY_STORAGE: Final[Mapping[str, str]] = {
    "event": "unbucketed",
    "continuous": "time-batch",
    "constant": "constant",
}
DEFAULT_ALGORITHM: Final = "dreamdb.lsh-cosine"
NAME_CHARACTERS_MAX: Final = 200

_COLUMN_NAME: Final = re.compile(r"[a-z0-9_]+")
_FIELD_KEYS: Final = frozenset({"kind", "name", "required"})


@dataclass(frozen=True, slots=True)
class Field:
    """A declared field; `options` holds what else the declaration says, as decoded."""

    kind: str
    name: str
    required: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def decode_schema(registry: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return the fields that a Manifest's registry declares, in its order.

    Raises LayoutError; UnsupportedError for a version of schemas that is not known.
    """
    if SCHEMA_KEY not in registry:  # 0001-R12
        raise LayoutError(f"registry has no {SCHEMA_KEY}")
    schema = expect_map(registry[SCHEMA_KEY], "schema")
    version = expect_uint(schema.get("v"), "version of a schema")
    if version not in (SCHEMA_VERSION, SPECS_VERSION):
        raise UnsupportedError(f"schemas of version {version} are not supported")
    keys = {"v", "fields"} if version == SCHEMA_VERSION else {"v", "fields", "embedding_specs"}
    declared = expect_list(expect_closed_map(schema, "schema", keys)["fields"], "fields of a schema")
    fields = tuple(map(_decode_field, declared))
    if repeated := _repeated(fields):  # 0001-R15
        raise LayoutError(f"schema declares field {repeated!r:.80} twice")
    return fields


def encode_schema(fields: Iterable[Field], embedding_specs: Any = None) -> dict[str, Any]:
    """Return what stands under `dreamdb.schema` in the registry: the fields, by name.

    Args:
        fields: all fields of the Space.
        embedding_specs: what the schema so far has under that key, if it has it.

    Raises:
        InvalidInputError: two fields have one name.
    """
    ordered = sorted(fields, key=lambda each: each.name)  # 0001-R15
    if repeated := _repeated(ordered):
        raise InvalidInputError(f"field {repeated!r:.80} is declared twice")
    values = [_field_value(each) for each in ordered]
    if embedding_specs is None:
        return {"v": SCHEMA_VERSION, "fields": values}
    return {"v": SPECS_VERSION, "fields": values, "embedding_specs": embedding_specs}


def check_new_field(new: Field) -> Field:
    """Return a field that may be declared. Raises InvalidInputError, saying what to mend.

    The name of a scalar becomes part of a path, which the reference keeps to lower-case ASCII; that of other
    fields stands in Manifests only, and may be any printable text.
    """
    if not new.name or len(new.name) > NAME_CHARACTERS_MAX or not new.name.isprintable():
        raise InvalidInputError(
            f"a field name must be 1 to {NAME_CHARACTERS_MAX} printable characters: {new.name!r:.80}"
        )
    if new.kind == "scalar" and not _COLUMN_NAME.fullmatch(new.name):  # 0001-R11
        raise InvalidInputError(f"a scalar field name may only have a-z, 0-9 and _: {new.name!r:.80}")
    try:
        modality_of(new)
    except (LayoutError, UnsupportedError) as error:
        raise InvalidInputError(f"field {new.name!r} cannot be declared: {error}") from error
    return new


def modality_of(of: Field, *, version: int = 1) -> str:
    """Return the modality of the Track of a field that is declared anew; one that exists has it in its entry.

    Args:
        of: the field.
        version: the first embedding field of a form has version 1, which goes unsaid, the next 2, 3 and so on.

    Raises:
        UnsupportedError: for a kind that is not known, or a modality that does not follow from the field.
        LayoutError: an option is missing or of the wrong type.
    """
    if of.kind not in _MODALITIES:  # 0000-R4
        raise UnsupportedError(f"fields of kind {of.kind!r:.80} are not supported")
    modality = _MODALITIES[of.kind](of)
    if of.kind == "embedding" and version > 1:
        modality += f".version={version}"
    return check_modality(modality)


def track_kind_of(of: Field) -> str:
    """Return the kind of the Track of a field: "event", "continuous" or "constant"."""
    if of.kind == "array":
        return expect_text(of.options.get("track_kind"), "track_kind of an array field")
    if of.kind not in _TRACK_KINDS:
        raise UnsupportedError(f"fields of kind {of.kind!r:.80} are not supported")
    return _TRACK_KINDS[of.kind]


def item_type_of(of: Field) -> ItemType:
    """Return what the items of an array field are. Raises as decode_item_type does."""
    return decode_item_type(of.options.get("item_type"))


def is_constant(of: Field) -> bool:
    """Whether a field has one value for the whole timeline, and so is no column."""
    return of.kind == "constant" or (of.kind == "array" and of.options.get("track_kind") == "constant")


# --- fields: values and back --------------------------------------------------------------------------------


def _decode_field(value: Any) -> Field:
    options = dict(expect_map(value, "field of a schema"))
    return Field(
        kind=expect_text(options.pop("kind", None), "kind of a field"),
        name=expect_text(options.pop("name", None), "name of a field"),
        required=expect_bool(options.pop("required", False), "required of a field"),
        options=options,
    )


def _field_value(of: Field) -> dict[str, Any]:
    if clash := _FIELD_KEYS & of.options.keys():
        raise InvalidInputError(f"options of field {of.name!r} take the place of {sorted(clash)}")
    return {**of.options, "kind": of.kind, "name": of.name, "required": of.required}


def _repeated(fields: Iterable[Field]) -> str | None:
    counts = Counter(each.name for each in fields)
    return next((name for name, count in counts.items() if count > 1), None)


# --- modalities by kind -------------------------------------------------------------------------------------


def _scalar_modality(of: Field) -> str:
    value_type = expect_text(of.options.get("value_type"), "value_type of a scalar field")
    if value_type not in VALUE_TYPES:
        raise UnsupportedError(f"scalar fields of type {value_type!r:.80} are not supported")
    return f"scalar.{VALUE_TYPES[value_type]}.field={of.name}"


def _media_modality(of: Field) -> str:
    return f"{of.kind}.{expect_text(of.options.get('mime'), f'mime of a field of kind {of.kind}')}"


def _embedding_modality(of: Field) -> str:
    dim = expect_uint(of.options.get("dim"), "dim of an embedding field")
    algorithm = expect_text(of.options.get("algorithm", DEFAULT_ALGORITHM), "algorithm of an embedding field")
    if "vamana" in algorithm:
        raise UnsupportedError("the modality of a graph field does not follow from its declaration")
    metric = ".metric=l2" if algorithm.endswith("-l2") else ""
    limit = ""
    if "bucket_max_bytes" in of.options:
        limit_bytes = expect_uint(of.options["bucket_max_bytes"], "bucket_max_bytes of an embedding field")
        limit = f".bucket_max_bytes={limit_bytes}"
    return f"embedding.f32.dim={dim}{metric}.bucketed{limit}"


def _array_modality(of: Field) -> str:
    item_type = item_type_of(of)
    object_kind = expect_text(of.options.get("object_kind"), "object_kind of an array field")
    if ARRAY_STORAGE.get(track_kind_of(of)) != object_kind:
        raise UnsupportedError(
            f"arrays of kind {track_kind_of(of)!r:.80} have no storage {object_kind!r:.80}; "
            f"there are {', '.join(f'{kind} with {storage}' for kind, storage in ARRAY_STORAGE.items())}"
        )
    item = address_of(encode_cbor(encode_item_type(item_type)))
    storage = object_kind.replace("-", "_")
    return (
        f"array.{item_type.dtype}.kind={track_kind_of(of)}.storage={storage}"
        f".shape={_shape_text(item_type)}.item={item}"
    )


def _shape_text(of: ItemType) -> str:
    """Return the shape as text: 2x3, 0d for a single number, r and rx2 for rows of any number."""
    sizes = [str(size) for size in of.shape]
    return "x".join(["r", *sizes] if of.family == RAGGED else sizes) or "0d"


def _constant_modality(of: Field) -> str:
    return expect_text(of.options.get("modality"), "modality of a constant field")


def _geometry_modality(of: Field) -> str:
    family = expect_text(of.options.get("geometry_family"), "geometry_family of a geometry field")
    return f"ai.dreamlake.spatial.geometry.{family}"


def _video_item_modality(of: Field) -> str:
    codec = expect_text(of.options.get("codec"), "codec of a video_item field")
    return f"ai.dreamlake.media.video_item.{codec}.version=1"


_MODALITIES: Final[Mapping[str, Callable[[Field], str]]] = {
    "scalar": _scalar_modality,
    "image": _media_modality,
    "audio": _media_modality,
    "video": _media_modality,
    "embedding": _embedding_modality,
    "array": _array_modality,
    "constant": _constant_modality,
    "geometry": _geometry_modality,
    "video_item": _video_item_modality,
}
_TRACK_KINDS: Final[Mapping[str, str]] = {
    "scalar": "event",
    "image": "continuous",
    "audio": "continuous",
    "video": "continuous",
    "embedding": "continuous",
    "constant": "constant",
    "geometry": "event",
    "video_item": "continuous",
}
