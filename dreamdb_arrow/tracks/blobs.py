"""Blobs: what media, video items and geometry have in common: an anchor, an end, and bytes somewhere. Spec 0007.

All three are read as MediaItems. What an address names goes by the kind of the field: a payload, a pack or a chunk list;
a video item; a geometry item.

CMAF fragments lie in directories by minute, all other media in one. An offset below zero, which no pack has, says so: -m
stands for the whole of a payload that lies in the directory of minute m since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.ragged import Ragged
from dreamdb_arrow.codec.time_key import encode_time_key
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import Verifier, fetch_many
from dreamdb_arrow.tracks.geometry import fetch_geometry, read_geometry_entries
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX
from dreamdb_arrow.tracks.media import MediaItems, read_media_items
from dreamdb_arrow.tracks.media_bytes import fetch_media
from dreamdb_arrow.tracks.video_items import fetch_video, read_video_entries

MINUTE_NS: Final = 60 * 10**9
VIDEO_ITEM: Final = "video_item"
GEOMETRY: Final = "geometry"


def read_blobs(store: Store, track: Track, kind: str) -> MediaItems:
    """Return the items of a Track of a field of this kind, ascending by anchor.

    Sizes of video items are not in the index, and given as 0. Raises CorruptDataError, UnsupportedError.
    """
    return _READERS.get(kind, _read_media)(store, track)


def fetch_blobs(
    store: Store,
    timeline: Address,
    modality: str,
    kind: str,
    items: MediaItems,
    rows: NDArray[np.int64],
    verifier: Verifier | None = None,
) -> Ragged:
    """Return the bytes of the items at these rows, in that order; `verifier` as in fetch_media. Raises CorruptDataError."""
    fetcher = _FETCHERS.get(kind)
    if fetcher is None:
        return _fetch_media(store, timeline, modality, items.take(rows), verifier)
    wanted = [Address(bytes(address)) for address in items.addresses[rows]]
    held = {address: fetcher(store, timeline, modality, address) for address in dict.fromkeys(wanted)}
    return Ragged.of([held[address] for address in wanted])


def _read_media(store: Store, track: Track) -> MediaItems:
    items = read_media_items(store, track)
    # The reference's append to a Track of fragments forgets their init segment; but only fragments last.
    fragments = (items.stops > items.anchors + 1) | (track.init_segment is not None)
    fragments &= ~(items.packed | items.chunked)
    return replace(items, offsets=np.where(fragments, -(items.anchors // MINUTE_NS), items.offsets))


def _fetch_media(
    store: Store, timeline: Address, modality: str, items: MediaItems, verifier: Verifier | None
) -> Ragged:
    timed, others = np.flatnonzero(items.offsets < 0), np.flatnonzero(items.offsets >= 0)
    media = fetch_media(store, timeline, modality, items, others, verifier)
    if len(timed) == 0:
        return media
    fragments = _fetch_fragments(store, timeline, modality, items.take(timed))
    order = np.argsort(np.concatenate([others, timed]))
    return Ragged.of([*media.tolist(), *fragments]).take(order)


def _fetch_fragments(store: Store, timeline: Address, modality: str, items: MediaItems) -> list[bytes]:
    names = [Address(row.tobytes()) for row in items.addresses]
    keys = [encode_time_key(minute) for minute in (-items.offsets).tolist()]
    paths = [(f"{timeline}/{modality}/{key}/{name}", name) for key, name in zip(keys, names, strict=True)]
    unique = list(dict.fromkeys(paths))
    held = dict(zip(unique, fetch_many(store, unique), strict=True))
    for path, size in zip(paths, items.sizes.tolist(), strict=True):
        if len(held[path]) != size:  # 0007-R2
            raise LayoutError(f"fragment {path[1]} has {len(held[path])} bytes, its index says {size}")
    return [held[path] for path in paths]


def _read_videos(store: Store, track: Track) -> MediaItems:
    entries = read_video_entries(store, track)
    rows = [(e.start, min(e.start + e.duration, VISIBLE_ANCHOR_MAX + 1), 0, e.item) for e in entries]
    return _whole_items(rows)


def _read_geometry(_: Store, track: Track) -> MediaItems:
    return _whole_items([(e.anchor, e.anchor + 1, e.size, e.item) for e in read_geometry_entries(track)])


def _whole_items(rows: list[tuple[int, int, int, Address]]) -> MediaItems:
    """Return items of which each has an object of its own."""
    anchors, stops, sizes = (np.array([row[at] for row in rows], np.int64) for at in range(3))
    addresses = np.frombuffer(b"".join(row[3] for row in rows), np.uint8).reshape(-1, 33)
    plain = np.zeros(len(rows), np.bool_)
    return MediaItems(anchors, stops, sizes, addresses, np.zeros(len(rows), np.int64), plain, plain)


def _fetch_geometry(store: Store, _timeline: Address, _modality: str, address: Address) -> bytes:
    return fetch_geometry(store, address)


_READERS: Final[Mapping[str, Callable[[Store, Track], MediaItems]]] = MappingProxyType(
    {VIDEO_ITEM: _read_videos, GEOMETRY: _read_geometry}
)
_FETCHERS: Final[Mapping[str, Callable[[Store, Address, str, Address], bytes]]] = MappingProxyType(
    {VIDEO_ITEM: fetch_video, GEOMETRY: _fetch_geometry}
)
