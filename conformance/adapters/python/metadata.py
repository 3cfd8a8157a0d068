"""Operations on addresses, CBOR, times, tags and the metadata Objects. Specs 0001, 0002, 0003, 0005, 0020 and 0021."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Final

from notation import expand_hex

from dreamdb_arrow.codec.address import Address, address_of, parse_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.modality import Modality, check_modality, parse_modality
from dreamdb_arrow.codec.outboard import encode_outboard
from dreamdb_arrow.codec.time_key import decode_time_key, encode_time_key
from dreamdb_arrow.columnar.cover_note import decode_cover_note, encode_cover_note
from dreamdb_arrow.columnar.stripe import field_id
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.genesis import decode_genesis, encode_genesis
from dreamdb_arrow.objects.manifest import Manifest, decode_manifest, encode_manifest
from dreamdb_arrow.objects.media_items import decode_items, encode_items
from dreamdb_arrow.objects.scalar_index import decode_scalar_index, encode_scalar_index
from dreamdb_arrow.objects.schema import decode_schema, encode_schema, modality_of, track_kind_of
from dreamdb_arrow.objects.shape import expect_range
from dreamdb_arrow.objects.tombstone_tree import build_pages
from dreamdb_arrow.objects.tombstones import (
    Tombstone,
    decode_index,
    decode_page,
    encode_index,
    encode_page,
)
from dreamdb_arrow.store.names import check_object_path, check_ref_name

Codec = tuple[Callable[..., Any], Callable[..., bytes]]


def object_codec(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Codec:
    """Return the codec of a metadata Object, whose value is its CBOR as the Object's own encoder has it."""

    def read(data: bytes) -> Any:
        return decode_cbor(encode(decode(data)))

    def write(value: Any) -> bytes:
        return encode(decode(encode_cbor(value)))

    return read, write


def _read_manifest(data: bytes) -> Manifest:
    """Return a Manifest that says nothing twice: the value of a pair that is repeated is that pair."""
    return replace(decode_manifest(data), repeated={})


def payload(hex: Any = None, length: int | None = None) -> bytes:  # noqa: A002 - the name in the vectors
    """Return bytes as given, or the pattern of so many bytes: byte i is i mod 251."""
    if length is None:
        return expand_hex(hex)
    return (bytes(range(251)) * (length // 251 + 1))[:length]


@cache
def _outboard(length: int) -> bytes:
    return encode_outboard(payload(length=length))


def _read_outboard(data: bytes, payload_length: int) -> Any:
    if _outboard(payload_length) != data:
        raise LayoutError("not the outboard of this payload")
    return {"length": payload_length}


def _write_outboard(_: Any, payload_length: int) -> bytes:
    return _outboard(payload_length)


def _time_key(time: int) -> str:
    return encode_time_key(time)


def _modality_parts(text: str) -> Any:
    tag = parse_modality(text)
    params = [[name, value] for name, value in tag.params]
    return {"vendor": tag.vendor, "class": tag.class_name, "codec": tag.codec, "params": params}


def _modality_text(vendor: str, codec: str, params: list[list[Any]], **rest: str) -> str:
    tag = Modality(rest["class"], codec, tuple((name, value) for name, value in params), vendor)
    return check_modality(str(tag))


def _schema_of(registry: dict[str, Any]) -> Any:
    fields = decode_schema(registry)
    specs = registry["dreamdb.schema"].get("embedding_specs")
    written = encode_schema(fields, specs)
    return {
        "schema": written,
        "fields": [{"name": f.name, "kind": f.kind, "required": f.required} for f in fields],
    }


def _field_tag(field: dict[str, Any], version: int = 1) -> Any:
    (of,) = decode_schema({"dreamdb.schema": {"v": 1, "fields": [field]}})
    return {"modality": modality_of(of, version=version), "kind": track_kind_of(of)}


def _tombstone_tree(first: int, step: int, count: int, deleted_at: int, reason: str | None = None) -> Any:
    anchors = [first + step * nth for nth in range(count)]
    root, pages = build_pages([Tombstone(anchor, deleted_at, reason) for anchor in anchors])
    levels: dict[int, list[int]] = {}
    for page in map(decode_page, pages):
        levels.setdefault(page.level, []).append(len(page.children or page.entries))
    shape = [levels[level] for level in sorted(levels)]
    return {"root": None if root is None else str(root.address), "levels": shape}


CODECS: Final[dict[str, Codec]] = {
    "cbor": (decode_cbor, encode_cbor),
    "address": (lambda data: str(Address(data)), lambda value: bytes(parse_address(value))),
    "outboard": (_read_outboard, _write_outboard),
    "genesis": object_codec(decode_genesis, encode_genesis),
    "manifest": object_codec(_read_manifest, encode_manifest),
    "items": object_codec(decode_items, encode_items),
    "scalar_index": object_codec(decode_scalar_index, encode_scalar_index),
    "tombstone_page": object_codec(decode_page, encode_page),
    "tombstone_index": object_codec(decode_index, encode_index),
    "cover_note": object_codec(decode_cover_note, encode_cover_note),
    "ref": (lambda data: str(Address(data)), lambda value: bytes(parse_address(value))),
}

FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "address.hash": lambda **given: str(address_of(payload(**given))),
    "time_key.encode": _time_key,
    "time_key.decode": decode_time_key,
    "range.check": lambda range: list(expect_range(range, "range")),  # noqa: A006 - the name in the vectors
    "modality.parse": _modality_parts,
    "modality.format": _modality_text,
    "schema.decode": _schema_of,
    "field.modality": _field_tag,
    "ref_name.check": check_ref_name,
    "object_path.check": check_object_path,
    "tombstone_tree.build": _tombstone_tree,
    "field_id": field_id,
}
