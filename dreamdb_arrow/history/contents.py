"""Contents of a version: whether all that it leads to fits together. Specs 0001, 0007 and 0021."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.agreement import check_layer
from dreamdb_arrow.columnar.vendor import VENDOR_MODALITIES, read_track, track_path
from dreamdb_arrow.errors import DreamDBError, LayoutError, ObjectNotFoundError
from dreamdb_arrow.history.manifests import manifest_path
from dreamdb_arrow.history.marking import GRAPH_INDEXES
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, find_entry
from dreamdb_arrow.objects.schema import Field, decode_schema, item_type_of
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.arrays import fetch_array_parts, has_items, read_array_items
from dreamdb_arrow.tracks.blobs import GEOMETRY, VIDEO_ITEM, fetch_blobs, read_blobs
from dreamdb_arrow.tracks.contents import check_contents
from dreamdb_arrow.tracks.layout import init_directory
from dreamdb_arrow.tracks.reach import is_address
from dreamdb_arrow.tracks.vectors import COMPRESSORS

REGISTERED: Final = MappingProxyType(
    {
        "scalar_index_hash": "scalar-index",
        "spatial_index": "spatial-index",
        "vector_compressor": COMPRESSORS,
        "graph_index": GRAPH_INDEXES,
    }
)

Looked = tuple[str, DreamDBError | None]  # a path, and what is wrong with what lies there or behind


def check_version(store: Store, address: Address, manifest: Manifest) -> Iterator[Looked]:
    """Yield what was looked at in a version: Tracks of fields with their payloads, then stripes and cover notes."""
    try:
        fields = {f.name: f for f in decode_schema(manifest.registry)}
    except DreamDBError as error:
        yield manifest_path(address), error
        return
    for entry in manifest.tracks.active:
        if entry.modality not in VENDOR_MODALITIES:
            yield track_path(entry), _wrong_with(store, manifest, entry, fields.get(entry.field))
    for name in fields:
        if find_entry(manifest.tracks, name) is None:  # 0001-R6
            yield manifest_path(address), LayoutError(f"it names no Track of field {name!r}")
    try:
        for name, wrong in check_layer(store, manifest):
            found = find_entry(manifest.tracks, name)
            yield manifest_path(address) if found is None else track_path(found), wrong
    except DreamDBError as error:  # of notes or tombstones, without which rows cannot be compared
        yield manifest_path(address), error


def _wrong_with(store: Store, manifest: Manifest, entry: TrackEntry, f: Field | None) -> DreamDBError | None:
    try:
        track = read_track(store, entry)
        if f is not None and f.kind == "array" and has_items(entry.modality):
            _check_arrays(store, track, f)
        elif f is not None and (f.kind in (VIDEO_ITEM, GEOMETRY) or track.init_segment is not None):
            _check_init(store, track)
            _check_blobs(store, track, f.kind)
        else:
            check_contents(store, track)
        _check_registered(store, manifest, entry)
    except DreamDBError as error:
        return error
    return None


def _check_arrays(store: Store, track: Track, f: Field) -> None:
    for _ in fetch_array_parts(store, track, item_type_of(f), read_array_items(store, track)):
        pass


def _check_init(store: Store, track: Track) -> None:
    """Check that the initialization bytes of CMAF fragments are there; these lie in the directories of their minutes."""
    if track.init_segment is not None:
        path = f"{init_directory(track.timeline, track.modality)}/{track.init_segment}"
        fetch(store, path, track.init_segment)


def _check_blobs(store: Store, track: Track, kind: str) -> None:
    """Read items of video or geometry, one at a time: all that they name is checked on the way."""
    items = read_blobs(store, track, kind)
    for row in range(len(items)):
        fetch_blobs(store, track.timeline, track.modality, kind, items, np.array([row]))


def _check_registered(store: Store, manifest: Manifest, entry: TrackEntry) -> None:
    """Check that what the registry names for a field is there; readers may have no use for it."""
    registered = manifest.registry.get(entry.modality)
    if not isinstance(registered, dict):
        return
    for key, directory in REGISTERED.items():
        named = registered.get(key)
        for address in named if isinstance(named, list) else [named]:
            if isinstance(address, bytes) and is_address(address):
                path = f"{directory}/{Address(address)}"
                if not store.exists(path):  # 0001-R12
                    raise ObjectNotFoundError(path)
