"""Tracks: the index of one field's data within one version. Spec 0001.

`object_index` stays the decoded value: its shape goes with the modality, and belongs to `tracks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.modality import check_modality
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.shape import (
    expect_address,
    expect_closed_map,
    expect_map,
    expect_range,
    expect_text,
)

EMPTY_COVERAGE: Final = (0, 1)
WHOLE_COVERAGE: Final = (0, (1 << 64) - 1)
_REQUIRED: Final = frozenset({"coverage", "modality", "timeline", "object_index"})
_OPTIONAL: Final = frozenset({"init_segment", "item_key_index"})
_GEOMETRY_ITEMS: Final = "items"


@dataclass(frozen=True, slots=True)
class Track:
    """The times that are covered, [first, last + 1], and where the data is.

    `init_segment` names the initialization bytes of CMAF fragments; `item_key_index` (video items) is kept as
    it was decoded.
    """

    coverage: tuple[int, int]
    modality: str
    timeline: Address
    object_index: Any
    init_segment: Address | None = None
    item_key_index: Any = None


def encode_track(track: Track) -> bytes:
    """Return the canonical bytes."""
    fields: dict[str, Any] = {
        "coverage": track.coverage,
        "modality": track.modality,
        "timeline": track.timeline,
        "object_index": track.object_index,
    }
    if track.init_segment is not None:
        fields["init_segment"] = track.init_segment
    if track.item_key_index is not None:
        fields["item_key_index"] = track.item_key_index
    return encode_cbor(fields)


def decode_track(data: bytes) -> Track:
    """Return the Track of these bytes.

    Raises CanonicalError or LayoutError; UnsupportedError for a Track of geometry items.
    """
    fields = expect_map(decode_cbor(data), "track")
    if _GEOMETRY_ITEMS in fields:
        raise UnsupportedError("tracks of geometry items are not supported")
    expect_closed_map(fields, "track", _REQUIRED, _OPTIONAL)
    if fields.get("item_key_index", []) is None:
        raise LayoutError("item_key_index of a track may be absent, but not null")
    return Track(
        coverage=expect_range(fields["coverage"], "coverage of a track"),
        modality=check_modality(expect_text(fields["modality"], "modality of a track")),  # 0001-R10
        timeline=expect_address(fields["timeline"], "timeline of a track"),
        object_index=fields["object_index"],
        init_segment=expect_address(fields["init_segment"], "init_segment")
        if "init_segment" in fields
        else None,
        item_key_index=fields.get("item_key_index"),
    )
