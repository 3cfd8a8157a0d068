"""Tracks of geometry items: points, splats and meshes. Spec 0007.

The value of a row is the records of its cells, or the levels of its mesh, one after another in the order of its index.
"""

from __future__ import annotations

from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.geometry_item import (
    GeometryEntry,
    GeometryItem,
    GeometryPart,
    decode_geometry_entries,
    decode_geometry_item,
)
from dreamdb_arrow.objects.track import GEOMETRY_KEY, Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch, fetch_many
from dreamdb_arrow.tracks.layout import VALUE_BYTES_MAX, VISIBLE_ANCHOR_MAX, paths_in

ITEMS: Final = "geometry-item"  # below the root of the store: geometry has no timeline in its paths
DATA: Final = "geometry-data"


def read_geometry_entries(track: Track) -> list[GeometryEntry]:
    """Return the items of a Track, by anchor, those that can be seen. Raises LayoutError."""
    if track.index_key != GEOMETRY_KEY:
        raise LayoutError(f"a Track of {track.modality} has no {GEOMETRY_KEY!r}")
    entries = decode_geometry_entries(track.object_index)
    return [entry for entry in entries if entry.anchor <= VISIBLE_ANCHOR_MAX]


def read_geometry_item(store: Store, address: Address) -> GeometryItem:
    """Fetch and decode a geometry item. Raises CorruptDataError."""
    return decode_geometry_item(fetch(store, f"{ITEMS}/{address}", address))


def fetch_geometry(store: Store, address: Address) -> bytes:
    """Return the bytes of all cells or levels of a geometry item. Raises CorruptDataError."""
    item = read_geometry_item(store, address)
    if (size := sum(part.size for part in item.parts)) > VALUE_BYTES_MAX:  # 0000-R2
        raise LayoutError(f"the parts of geometry item {address} have {size} bytes together")
    names = dict.fromkeys(part.address for part in item.parts)
    held = dict(zip(names, fetch_many(store, paths_in(DATA, names)), strict=True))
    return b"".join(_cut(part, held[part.address]) for part in item.parts)


def _cut(part: GeometryPart, data: bytes) -> bytes:
    found = data[part.offset : part.offset + part.size]
    if len(found) != part.size:
        raise LayoutError(f"a part of a geometry item reaches beyond its data {part.address}")
    return found
