"""Operations on scalar values, records, buckets and B-tree pages, and on media and cell indexes. Specs 0007 and 0011."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from metadata import Codec
from record_forms import decode_forms, encode_forms

from dreamdb_arrow.codec.cbor_rows import Spans
from dreamdb_arrow.codec.ragged import spread
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.btree_page import (
    WHOLE,
    BtreeChild,
    BtreeNode,
    ScalarEntries,
    decode_btree_page,
    encode_entries,
    encode_leaf,
    encode_node,
)
from dreamdb_arrow.objects.index_entries import CELLS, MEDIA, EntryShape, entries_of_lists, lists_of_entries
from dreamdb_arrow.objects.index_page import (
    IndexChild,
    IndexLeaf,
    IndexNode,
    decode_index_page,
    encode_index_leaf,
    encode_index_node,
)
from dreamdb_arrow.objects.scalar_bucket import decode_record, encode_records
from dreamdb_arrow.objects.scalar_records import decode_records
from dreamdb_arrow.objects.scalar_values import encode_key, value_type_of
from dreamdb_arrow.objects.shape import expect_address, expect_closed_map
from dreamdb_arrow.objects.track import Track, decode_track, encode_track
from dreamdb_arrow.tracks.btree import btree_of
from dreamdb_arrow.tracks.categories import read_list
from dreamdb_arrow.tracks.hot import is_overlay
from dreamdb_arrow.tracks.pages import paged_tree

# --- values -------------------------------------------------------------------------------------------------

_COLUMN: Final = {"int": np.int64, "timestamp": np.int64, "float": np.float64, "bool": np.bool_}
_TAGS: Final = {
    "i64": "int",
    "f64": "float",
    "str": "string",
    "cat": "categorical",
    "bool": "bool",
    "ts": "timestamp",
}


def _column(value_type: str, values: list[Any]) -> Any:
    return np.array(values, _COLUMN[value_type]) if value_type in _COLUMN else list(values)


def _plain(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _read_value(data: bytes, value_type: str) -> Any:
    spans = Spans(np.zeros(1, np.int64), np.array([len(data)], np.int64))
    return _plain(value_type_of(value_type).decode(np.frombuffer(data, np.uint8), spans))[0]


def _write_value(value: Any, value_type: str) -> bytes:
    kind = value_type_of(value_type)
    rows = np.array([value]) if value_type in _COLUMN else [value]
    distinct, _ = kind.distinct(rows)
    return kind.encode(distinct).tolist()[0]


def _key(value_type: str, value: Any) -> str:
    return encode_key(_column(value_type, [value])[0]).hex()


# --- records and buckets ------------------------------------------------------------------------------------


def as_ranges(anchors: np.ndarray) -> list[list[int]]:
    """Return ascending anchors, uint64 (n,), as [first, last] of each stretch without a gap."""
    cuts = np.flatnonzero(np.diff(anchors) != 1)
    firsts, lasts = anchors[np.r_[0, cuts + 1]], anchors[np.r_[cuts, len(anchors) - 1]]
    return [[first, last] for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]


def _of_ranges(ranges: list[list[int]]) -> np.ndarray:
    firsts, lasts = np.array(ranges, np.uint64).T
    counts = (lasts - firsts).astype(np.int64) + 1
    return np.repeat(firsts, counts) + spread(counts).astype(np.uint64)


def _read_record(data: bytes) -> Any:
    ranges = as_ranges(decode_record(data))
    runs = decode_forms(data)
    return {"anchors": ranges} if runs is None else {"anchors": ranges, "runs": runs}


def _write_record(value: Any) -> bytes:
    anchors = _of_ranges(value["anchors"])
    if "runs" in value:
        return encode_forms(anchors.tolist(), value["runs"])
    return encode_records(anchors, np.array([len(anchors)])).data.tobytes()


def _read_bucket(data: bytes, lengths: list[int]) -> Any:
    sizes = np.array(lengths, np.int64)
    if sizes.sum() != len(data):
        raise LayoutError("records do not fill their bucket")
    anchors, counts = decode_records(data, sizes.cumsum() - sizes, sizes)
    return [as_ranges(part) for part in np.split(anchors, counts.cumsum()[:-1])]


def _write_bucket(value: Any, **_: Any) -> bytes:
    parts = [_of_ranges(ranges) for ranges in value]
    return encode_records(np.concatenate(parts), np.array([len(p) for p in parts])).data.tobytes()


# --- B-tree pages -------------------------------------------------------------------------------------------


def _read_btree(data: bytes, value_type: str) -> Any:
    page = decode_btree_page(data, value_type_of(value_type))
    if isinstance(page, BtreeNode):
        children = [[child.low, child.high, child.address] for child in page.children]
        return {"level": page.level, "children": children}
    numbers = (page.firsts, page.stops, page.offsets, page.lengths)
    rows = zip(_plain(page.values), *(column.tolist() for column in numbers), page.buckets, strict=True)
    entries = [
        [value, first, stop, bucket.tobytes(), *([] if length == WHOLE else [offset, length])]
        for value, first, stop, offset, length, bucket in rows
    ]
    return {"level": 0, "entries": entries}


def _write_btree(value: Any, value_type: str) -> bytes:
    kind = value_type_of(value_type)
    if value["level"]:
        children = tuple(BtreeChild(*child) for child in value["children"])
        return encode_node(kind, BtreeNode(value["level"], children))
    rows = value["entries"]
    entries = ScalarEntries(
        _column(value_type, [row[0] for row in rows]),
        np.array([row[1] for row in rows], np.uint64),
        np.array([row[2] for row in rows], np.uint64),
        np.frombuffer(b"".join(row[3] for row in rows), np.uint8).reshape(-1, 33),
        np.array([row[4] if len(row) > 4 else 0 for row in rows], np.int64),
        np.array([row[5] if len(row) > 4 else WHOLE for row in rows], np.int64),
    )
    encoded = encode_entries(entries, kind.encode(entries.values))
    return encode_leaf(kind, encoded.data.tobytes(), len(rows))


# --- index pages of media and cells -------------------------------------------------------------------------


def _index_codec(shape: EntryShape) -> Codec:
    def read(data: bytes, modality: str) -> Any:
        page = decode_index_page(data, shape, modality)
        times = {"t_min": page.t_min, "t_max": page.t_max}
        if isinstance(page, IndexLeaf):
            return {**times, "entries": lists_of_entries(page.entries)}
        children = [[c.t_min, c.t_max, c.address, c.items, *(c.keys or ())] for c in page.children]
        return {**times, "children": children}

    def write(value: Any, modality: str) -> bytes:
        t_min, t_max = value["t_min"], value["t_max"]
        if "entries" in value:
            entries = entries_of_lists(shape, value["entries"])
            return encode_index_leaf(IndexLeaf(modality, t_min, t_max, entries))
        children = tuple(IndexChild(*row[:4], tuple(row[4:]) or None) for row in value["children"])
        return encode_index_node(IndexNode(modality, t_min, t_max, children))

    return read, write


# --- Tracks -------------------------------------------------------------------------------------------------


def check_index(track: Track) -> None:
    """Refuse a Track whose index is not what its modality asks for."""
    family, _, rest = track.modality.partition(".")
    if family == "scalar" and is_overlay(track):
        found = expect_closed_map(track.object_index, "overlay", {"form", "hot_shard", "base_track"})
        for key in ("hot_shard", "base_track"):
            expect_address(found[key], f"{key} of an overlay")
    elif family == "scalar":
        kind = value_type_of(_TAGS.get(rest.partition(".")[0], "unknown"))
        if kind.tree:
            btree_of(track)
        else:
            read_list(track, kind)
    elif family in {"image", "audio", "video"} or (family == "embedding" and ".bucketed" in rest):
        if isinstance(track.object_index, dict):
            paged_tree(track)
        else:
            entries_of_lists(CELLS if family == "embedding" else MEDIA, track.object_index)


def _read_track(data: bytes) -> Any:
    track = decode_track(data)
    check_index(track)
    return _track_value(track)


def _track_value(track: Track) -> dict[str, Any]:
    fields = {name: getattr(track, name) for name in _TRACK_FIELDS}
    optional = {name: item for name in _TRACK_OPTIONS if (item := getattr(track, name)) is not None}
    return {**fields, "coverage": list(track.coverage), **optional}


def _write_track(value: Any) -> bytes:
    return encode_track(Track(**{**value, "coverage": tuple(value["coverage"])}))


_TRACK_FIELDS: Final = ("coverage", "modality", "timeline", "object_index")
_TRACK_OPTIONS: Final = ("init_segment", "item_key_index")

CODECS: Final[dict[str, Codec]] = {
    "scalar_value": (_read_value, _write_value),
    "scalar_record": (_read_record, _write_record),
    "scalar_bucket": (_read_bucket, _write_bucket),
    "btree_page": (_read_btree, _write_btree),
    "media_page": _index_codec(MEDIA),
    "cell_page": _index_codec(CELLS),
    "track": (_read_track, _write_track),
}

FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {"scalar_key.encode": _key}
