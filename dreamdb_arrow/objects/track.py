"""Tracks: the index of one field's data within one version. Spec 0001.

`object_index` stays the decoded value: its shape goes with the modality, and belongs to `tracks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.modality import check_modality
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.shape import (
    NO_KEYS,
    expect_address,
    expect_closed_map,
    expect_map,
    expect_range,
    expect_text,
)

EMPTY_COVERAGE: Final = (0, 1)
WHOLE_COVERAGE: Final = (0, (1 << 64) - 1)
_REQUIRED: Final = frozenset({"coverage", "modality", "timeline"})
_OPTIONAL: Final = frozenset({"init_segment", "item_key_index"})
INDEX_KEY: Final = "object_index"
GEOMETRY_KEY: Final = "items"  # how Tracks of geometry items call their index


@dataclass(frozen=True, slots=True)
class Track:
    """The times that are covered, [first, last + 1], and where the data is.

    `init_segment` names the initialization bytes of CMAF fragments; `item_key_index` (video items) is kept as
    it was decoded. `index_key` is how the stored map calls `object_index`: "items" in Tracks of geometry.
    """

    coverage: tuple[int, int]
    modality: str
    timeline: Address
    object_index: Any
    init_segment: Address | None = None
    item_key_index: Any = None
    index_key: str = INDEX_KEY


def encode_track(track: Track) -> bytes:
    """Return the canonical bytes."""
    fields: dict[str, Any] = {
        "coverage": track.coverage,
        "modality": track.modality,
        "timeline": track.timeline,
        track.index_key: track.object_index,
    }
    if track.init_segment is not None:
        fields["init_segment"] = track.init_segment
    if track.item_key_index is not None:
        fields["item_key_index"] = track.item_key_index
    return encode_cbor(fields)


def decode_track(data: bytes) -> Track:
    """Return the Track of these bytes.

    Raises CanonicalError or LayoutError.
    """
    fields = expect_map(decode_cbor(data), "track")
    index_key = GEOMETRY_KEY if GEOMETRY_KEY in fields else INDEX_KEY
    optional = _OPTIONAL if index_key == INDEX_KEY else NO_KEYS
    expect_closed_map(fields, "track", _REQUIRED | {index_key}, optional)
    if fields.get("item_key_index", []) is None:
        raise LayoutError("item_key_index of a track may be absent, but not null")
    return Track(
        coverage=expect_range(fields["coverage"], "coverage of a track"),
        modality=check_modality(expect_text(fields["modality"], "modality of a track")),  # 0001-R10
        timeline=expect_address(fields["timeline"], "timeline of a track"),
        object_index=fields[index_key],
        init_segment=expect_address(fields["init_segment"], "init_segment")
        if "init_segment" in fields
        else None,
        item_key_index=fields.get("item_key_index"),
        index_key=index_key,
    )
