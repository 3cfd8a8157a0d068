"""Manifests: one version of a Space. Spec 0001."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor, skim_cbor
from dreamdb_arrow.codec.cbor_columns import encode_heads
from dreamdb_arrow.errors import CanonicalError, InvalidInputError, LayoutError
from dreamdb_arrow.objects.lineage import (
    ENTITY_FORM,
    LINEAGE_FORM,
    LIST_FORM,
    Edge,
    EdgeEnd,
    TrackEntry,
    Tracks,
    check_tracks,
    decode_tracks,
    find_entry,
    order_tracks,
    tracks_value,
)
from dreamdb_arrow.objects.schema import decode_schema
from dreamdb_arrow.objects.shape import expect_addresses, expect_map, expect_text, expect_uint

__all__ = [
    "ENTITY_FORM",
    "LINEAGE_FORM",
    "LIST_FORM",
    "Edge",
    "EdgeEnd",
    "Manifest",
    "TrackEntry",
    "Tracks",
    "decode_manifest",
    "encode_manifest",
    "find_entry",
    "order_tracks",
    "skim_registry",
]

TRACKS_BYTES_MAX: Final = 1 << 20
ARRAY_PREFIX: Final = "array."
ENTITY_KEYS_KEY: Final = "dreamdb.entity_keys"  # in the registry of a Space whose rows have entity keys
_KEYS: Final = ("ts", "tracks", "writer", "parents", "registry", "timelines")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version: when, what, by whom, from which versions; `extra` holds keys of others, as decoded.

    `repeated` says of registry keys of array types how often their pair is there, where that is more than once: the
    reference writes it once a field. No version of ours says anything twice.
    """

    ts: int
    tracks: Tracks
    writer: str
    parents: tuple[Address, ...]
    registry: Mapping[str, Any]
    timelines: tuple[Address, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    repeated: Mapping[str, int] = field(default_factory=dict)

    @property
    def timeline(self) -> Address:
        """The timeline that rows lie on: that of the schema's fields, which have one, or else the first."""
        if len(self.timelines) == 1:
            return self.timelines[0]
        names = {declared.name for declared in decode_schema(self.registry)}
        return next((e.timeline for e in self.tracks.active if e.field in names), self.timelines[0])


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the canonical bytes. Raises InvalidInputError for what decode_manifest would refuse."""
    try:
        check_tracks(manifest.tracks)  # 0000-R5
    except LayoutError as error:
        raise InvalidInputError(f"manifest cannot be written: {error}") from error
    if clash := set(_KEYS) & manifest.extra.keys():
        raise InvalidInputError(f"extra manifest keys take the place of known ones: {sorted(clash)}")
    tracks = tracks_value(manifest.tracks)
    known = {
        "ts": manifest.ts,
        "tracks": tracks,
        "writer": manifest.writer,
        "parents": manifest.parents,
        "registry": dict(manifest.registry),
        "timelines": manifest.timelines,
    }
    data = encode_cbor(known | dict(manifest.extra))
    if len(data) > TRACKS_BYTES_MAX and (size := len(encode_cbor(tracks))) > TRACKS_BYTES_MAX:  # 0001-R7
        raise InvalidInputError(f"tracks of a manifest take {size} bytes, at most {TRACKS_BYTES_MAX} may be")
    return _with_repeats(data, manifest) if manifest.repeated else data


def _with_repeats(data: bytes, manifest: Manifest) -> bytes:
    """Return the bytes of a Manifest with pairs of its registry as often as it says they are there."""
    if extra := manifest.repeated.keys() - manifest.registry.keys():
        raise InvalidInputError(f"the registry has no {sorted(extra)} to repeat")
    registry, size = encode_cbor(dict(manifest.registry)), len(manifest.registry)
    body = registry[len(_map_head(size)) :]
    for key, times in manifest.repeated.items():
        pair = _pair(key, manifest.registry[key])
        body = body.replace(pair, pair * times, 1)
        size += times - 1
    name = encode_cbor("registry")
    return data.replace(name + registry, name + _map_head(size) + body, 1)


def _map_head(size: int) -> bytes:
    return encode_heads(5, np.array([size], np.uint64)).data.tobytes()


def _pair(key: str, value: Any) -> bytes:
    return encode_cbor(key) + encode_cbor(value)


def decode_manifest(data: bytes) -> Manifest:
    """Return the Manifest of these bytes; its Tracks are in order, unique, and closed under edges.

    Raises CanonicalError or LayoutError; UnsupportedError for a form of Tracks that is not known.
    """
    # The reference SDK writes the registry entry of an array type once for each field that has the type.
    fields = expect_map(decode_cbor(data, repeated_prefix=ARRAY_PREFIX), "manifest")
    if missing := set(_KEYS) - fields.keys():  # 0001-R2
        raise LayoutError(f"manifest lacks {sorted(missing)}")
    timelines = expect_addresses(fields["timelines"], "timeline of a manifest")
    if not timelines:  # 0001-R2
        raise LayoutError("manifest has no timeline")
    tracks = decode_tracks(fields["tracks"])
    check_tracks(tracks)
    registry = expect_map(fields["registry"], "registry of a manifest")
    if (tracks.form == ENTITY_FORM) != (ENTITY_KEYS_KEY in registry):
        raise LayoutError(f"tracks of form {tracks.form!r} do not go with the registry: {ENTITY_KEYS_KEY}")
    arrays = {key: value for key, value in registry.items() if key.startswith(ARRAY_PREFIX)}
    found = {key: data.count(_pair(key, value)) for key, value in arrays.items()}
    manifest = Manifest(
        ts=expect_uint(fields["ts"], "ts of a manifest"),
        tracks=tracks,
        writer=expect_text(fields["writer"], "writer of a manifest"),
        parents=expect_addresses(fields["parents"], "parent of a manifest"),
        registry=registry,
        timelines=timelines,
        extra={key: value for key, value in fields.items() if key not in _KEYS},  # 0000-R3
        repeated={key: times for key, times in found.items() if times > 1},
    )
    if ARRAY_PREFIX.encode() in data and encode_manifest(manifest) != data:  # 0002-R8
        raise CanonicalError("a pair is repeated outside of the registry", 0)
    return manifest


def skim_registry(data: bytes) -> dict[str, Any]:
    """Return the registry of a Manifest of which nothing else is checked: a tenth of the work of decode_manifest.

    Raises CanonicalError or LayoutError.
    """
    fields = expect_map(skim_cbor(data, repeated_prefix=ARRAY_PREFIX), "manifest")
    return expect_map(fields.get("registry"), "registry of a manifest")
