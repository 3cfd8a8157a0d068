"""Items: what is known of the values of a media, video_item or geometry field besides their bytes. Spec 0006.

When they end, how large they are, which bytes must come before them; the keys of videos; the grids of geometry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.media_refs import items_of_refs
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    BLOB_KINDS,
    anchors_of,
    conform,
    decode_stripe,
    stripe_schema,
)
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.manifest import TrackEntry
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.blobs import GEOMETRY, VIDEO_ITEM, read_blobs
from dreamdb_arrow.tracks.geometry import read_geometry_item
from dreamdb_arrow.tracks.layout import init_directory
from dreamdb_arrow.tracks.video_items import read_video_entries, read_video_item

ITEMS: Final = pa.schema(
    [
        pa.field(ANCHOR, pa.int64(), nullable=False),
        pa.field("t1", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("object", pa.string()),
        pa.field("init", pa.string()),
        pa.field("key", pa.binary()),
        pa.field("detail", pa.string()),
    ]
)


def list_items(rows: RowSet, name: str) -> pa.Table:
    """Return one row for each live value of a field, by anchor, with the columns of ITEMS.

    _anchor, t1  where it starts, and where it ends, in ns: an item without a length ends 1 ns later
    size         bytes of the value
    object       the address of what holds it: the payload, pack or chunk list, the video item or the geometry item
    init         the address of the init segment that goes before it, of a CMAF fragment or a video item
    key          of a video item
    detail       of a geometry item: its grid and its cells or levels, as JSON

    Raises InvalidInputError for a field of another kind, CorruptDataError.
    """
    f = find_field(rows, name, BLOB_KINDS)
    entry = row_entry(rows.manifest, name)
    assert entry is not None
    anchors, columns = _stored_items(rows, name)
    columns["t1"] = _ends(rows, entry, f.kind, anchors, columns["object"])
    columns |= _DETAILS.get(f.kind, _media_details)(rows, entry, anchors, columns["object"])
    names = [None if a is None else str(a) for a in columns["object"]]
    columns |= {ANCHOR: anchors, "object": names}
    missing = [None] * len(anchors)
    arrays = [pa.array(columns.get(c.name, missing), c.type) for c in ITEMS]
    return pa.Table.from_arrays(arrays, schema=ITEMS)


def init_segment(rows: RowSet, name: str, anchor: int | None = None) -> bytes | None:
    """Return the bytes that go before the fragments of a CMAF field, or before a video item; None when there are none.

    Args:
        rows: the version.
        name: the field, of kind video or video_item.
        anchor: which video item; one of CMAF fragments has one init segment for all.

    Raises InvalidInputError for a field of another kind, and for an anchor without a video; CorruptDataError.
    """
    f = find_field(rows, name, ("video", VIDEO_ITEM))
    entry = row_entry(rows.manifest, name)
    assert entry is not None
    track = read_track(rows.store, entry)
    address = track.init_segment
    if f.kind == VIDEO_ITEM:
        found = [e for e in read_video_entries(rows.store, track) if e.start == anchor]
        if not found:
            raise InvalidInputError(f"field {name!r} has no video at anchor {anchor}; see its items")
        address = read_video_item(rows.store, entry.timeline, entry.modality, found[0].item).init
    if address is None:
        return None
    return fetch(rows.store, f"{init_directory(entry.timeline, entry.modality)}/{address}", address)


def _stored_items(rows: RowSet, name: str) -> tuple[I64, dict[str, Any]]:
    """Return the anchors of live values, ascending, and of each its size and what holds it, as stripes say."""
    schema = stripe_schema(f for f in rows.fields if f.name == name)
    held = [decode_stripe(s.local(rows.store, rows.cache), schema.names) for s in rows.stripes]
    tables = [conform(t, schema).filter(pa.array(_live(rows, t))) for t in held]
    table = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks().sort_by(ANCHOR)
    table = table.filter(table[name].is_valid()).combine_chunks()
    items = items_of_refs(
        pa.concat_arrays(table[name].chunks or [pa.array([], schema.field(name).type)]), anchors_of(table)
    )
    addresses = [Address(row.tobytes()) for row in items.addresses]
    return items.anchors, {"size": items.sizes, "object": addresses}


def _live(rows: RowSet, table: pa.Table) -> Any:
    return ~np.isin(anchors_of(table), rows.hidden)


def _ends(rows: RowSet, entry: TrackEntry, kind: str, anchors: I64, names: list[Address]) -> I64:
    """Return where each item ends: as the Track says, if it holds that very item."""
    held = read_blobs(rows.store, read_track(rows.store, entry), kind)
    ends = anchors + 1
    if len(held) and len(anchors):
        at = np.minimum(np.searchsorted(held.anchors, anchors), len(held) - 1)
        ours = np.frombuffer(b"".join(names), np.uint8).reshape(-1, 33)
        same = (held.anchors[at] == anchors) & (held.addresses[at] == ours).all(axis=1)
        ends = np.where(same, held.stops[at], ends)
    return ends


# --- what each kind has of its own --------------------------------------------------------------------------


def _media_details(rows: RowSet, entry: TrackEntry, anchors: I64, _: list[Address]) -> dict[str, Any]:
    init = read_track(rows.store, entry).init_segment
    return {} if init is None else {"init": [str(init)] * len(anchors)}


def _video_details(rows: RowSet, entry: TrackEntry, anchors: I64, names: list[Address]) -> dict[str, Any]:
    track = read_track(rows.store, entry)
    keys = {e.start: e.key for e in read_video_entries(rows.store, track)}
    items = [read_video_item(rows.store, entry.timeline, entry.modality, name) for name in names]
    directory = init_directory(entry.timeline, entry.modality)
    inits = {item.init: rows.store.size(f"{directory}/{item.init}") for item in items}
    return {
        "size": [inits[item.init] + sum(part.size for part in item.fragments) for item in items],
        "init": [str(item.init) for item in items],
        "key": [keys.get(anchor) for anchor in anchors.tolist()],
    }


def _geometry_details(rows: RowSet, _: TrackEntry, __: I64, names: list[Address]) -> dict[str, Any]:
    items = [read_geometry_item(rows.store, name) for name in names]
    told = [asdict(item) for item in items]
    for item in told:
        parts = item.pop("parts")
        item["parts"] = [{"name": p["name"], "counts": p["counts"], "size": p["size"]} for p in parts]
    return {
        "size": [sum(part.size for part in item.parts) for item in items],
        "detail": [json.dumps(item) for item in told],
    }


_DETAILS: Final[Mapping[str, Callable[[RowSet, TrackEntry, I64, list[Address]], dict[str, Any]]]] = (
    MappingProxyType({VIDEO_ITEM: _video_details, GEOMETRY: _geometry_details})
)
