"""Array fields: declared in the reference's words. Specs 0001 and 0007."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dreamdb_arrow.errors import DreamDBError, InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_type import CODECS, CSR, RAGGED, ItemType, check_item_type, encode_item_type
from dreamdb_arrow.objects.schema import ARRAY_STORAGE, Field, item_type_of
from dreamdb_arrow.objects.shape import U64_MAX

TEXT_MAX: Final = 1024
_FREE_TEXTS: Final = ("semantic_type", "units", "frame", "axis_order")


def array_field(
    name: str,
    dtype: str,
    shape: Sequence[int],
    *,
    family: str,
    track_kind: str,
    object_kind: str,
    required: bool,
    **options: str,
) -> Field:
    """Return an array field that may be declared. Raises InvalidInputError, saying what to mend."""
    if ARRAY_STORAGE.get(track_kind) != object_kind:
        pairs = ", ".join(f"{kind!r} with {storage!r}" for kind, storage in ARRAY_STORAGE.items())
        raise InvalidInputError(
            f"field {name!r}: track_kind {track_kind!r} has no object_kind {object_kind!r}; there are {pairs}"
        )
    item_type = encode_item_type(made_item_type(name, dtype, shape, family, options))
    told = {"item_type": item_type, "track_kind": track_kind, "object_kind": object_kind}
    return Field("array", name, required, told)


def made_item_type(name: str, dtype: Any, shape: Any, family: Any, options: Mapping[str, Any]) -> ItemType:
    """Return a checked item type. Raises InvalidInputError, naming the field."""
    if family not in CODECS:
        raise InvalidInputError(
            f"field {name!r}: unknown family {family!r:.80}; use one of {', '.join(CODECS)}"
        )
    for word, text in {"dtype": dtype, **options}.items():
        if not isinstance(text, str) or len(text) > TEXT_MAX:
            raise InvalidInputError(
                f"field {name!r}: {word} must be a text of at most {TEXT_MAX} characters, not {text!r:.80}"
            )
    try:
        return check_item_type(ItemType(family, dtype, _sizes(name, shape), **options))
    except (UnsupportedError, LayoutError) as error:
        raise InvalidInputError(f"field {name!r}: {error}") from None


def _sizes(name: str, shape: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(shape)
        good = not isinstance(shape, str) and all(
            not isinstance(n, bool) and 0 <= n <= U64_MAX and n == int(n) for n in sizes
        )
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InvalidInputError(
            f"field {name!r}: a shape is a list of sizes, such as [2, 3], not {shape!r:.80}"
        )
    return tuple(map(int, sizes))


def describe_array(f: Field) -> str:
    """Return an array field's type in a few characters: `f32[2, 3]`, `u8[*, ...]`, `sparse f32[3, 4]`."""
    try:
        of = item_type_of(f)
    except DreamDBError:
        return "array"
    sizes = ", ".join([*(["*", "*"] if of.family == RAGGED else []), *map(str, of.shape)])
    return f"{'sparse ' if of.family == CSR else ''}{of.dtype}[{sizes}]"


def array_metadata(f: Field) -> dict[str, str]:
    """Return what an Arrow schema says of an array field's items: words as they are, the shape as JSON."""
    found: Any = f.options.get("item_type", {})
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}
