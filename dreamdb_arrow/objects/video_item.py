"""Video items: one video with an init segment of its own, in fragments, and the index entries of many. Spec 0007.

Times within an item are relative to its start. In the index of a Track they are relative to the Track's coverage, in a
page of such an index to the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.modality import check_modality
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.shape import (
    expect_address,
    expect_closed_map,
    expect_list,
    expect_text,
    expect_uint,
)

VERSION: Final = 1
_ITEM_KEYS: Final = frozenset({"v", "init", "duration", "modality", "fragments"})
_PAGE_KEYS: Final = frozenset({"type", "t_min", "t_max", "entries", "modality"})
_STANDALONE, _PACKED = 4, 6


@dataclass(frozen=True, slots=True)
class VideoFragment:
    """A part of a video: when it starts, how long it lasts, in ns, and where its bytes lie; `offset` is in a pack."""

    start: int
    duration: int
    size: int
    address: Address
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class VideoItem:
    """A video: the bytes that begin it, how long it is in ns, and its fragments in the order of time."""

    init: Address
    duration: int
    modality: str
    fragments: tuple[VideoFragment, ...]


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """A video in the index of a Track."""

    start: int
    duration: int
    key: bytes
    item: Address


@dataclass(frozen=True, slots=True)
class VideoChild:
    """A page below a page of the index: the times it covers, and how many entries lie below."""

    t_min: int
    t_max: int
    address: Address
    count: int


@dataclass(frozen=True, slots=True)
class VideoNode:
    """An internal page of the index."""

    t_min: int
    t_max: int
    children: tuple[VideoChild, ...]


@dataclass(frozen=True, slots=True)
class VideoLeaf:
    """A leaf of the index; its entries have times as those of a Track have them."""

    t_min: int
    t_max: int
    entries: tuple[VideoEntry, ...]


def encode_video_item(item: VideoItem) -> bytes:
    """Return the canonical bytes."""
    fragments = [
        [f.start, f.duration, f.size, f.address, *([] if f.offset is None else [False, f.offset])]
        for f in item.fragments
    ]
    return encode_cbor(
        {
            "v": VERSION,
            "init": item.init,
            "duration": item.duration,
            "modality": item.modality,
            "fragments": fragments,
        }
    )


def decode_video_item(data: bytes) -> VideoItem:
    """Return the video item of these bytes; its fragments follow one another within its duration.

    Raises CanonicalError or LayoutError.
    """
    fields = expect_closed_map(decode_cbor(data), "video item", _ITEM_KEYS)
    if type(fields["v"]) is not int or fields["v"] != VERSION:  # neither 1.0 nor true is 1
        raise LayoutError(f"version of a video item is {fields['v']!r:.20}, not {VERSION}")
    item = VideoItem(
        expect_address(fields["init"], "init of a video item"),
        expect_uint(fields["duration"], "duration of a video item"),
        check_modality(expect_text(fields["modality"], "modality of a video item")),
        tuple(map(_decode_fragment, expect_list(fields["fragments"], "fragments of a video item"))),
    )
    at = 0
    for fragment in item.fragments:
        if fragment.start < at or fragment.start + fragment.duration > item.duration:
            raise LayoutError("the fragments of a video item overlap, or last longer than it does")
        at = fragment.start + fragment.duration
    return item


def _decode_fragment(value: Any) -> VideoFragment:
    row = expect_list(value, "fragment of a video item")
    packed = row[_STANDALONE : _STANDALONE + 1]
    if len(row) not in (_STANDALONE, _PACKED) or any(flag is not False for flag in packed):
        raise LayoutError("a fragment of a video item has four items, or six, of which the fifth is false")
    start, duration, size = (expect_uint(n, "fragment of a video item") for n in row[:3])
    offset = expect_uint(row[5], "offset of a fragment") if len(row) == _PACKED else None
    return VideoFragment(start, duration, size, expect_address(row[3], "address of a fragment"), offset)


# --- the index of a Track -----------------------------------------------------------------------------------


def decode_video_entries(value: Any, origin: int = 0) -> tuple[VideoEntry, ...]:
    """Return the entries of a list, their times moved on by `origin`. Raises LayoutError unless they follow one another."""
    entries = tuple(_decode_entry(row, origin) for row in expect_list(value, "entries of video items"))
    at = origin
    for entry in entries:
        if entry.start < at or entry.duration == 0:
            raise LayoutError("the video items of a Track overlap, or are not in order")
        at = entry.start + entry.duration
    return entries


def _decode_entry(value: Any, origin: int) -> VideoEntry:
    row = expect_list(value, "entry of a video item")
    if len(row) != 4 or not isinstance(row[2], bytes):
        raise LayoutError("the entry of a video item has four items, of which the third is a key in bytes")
    start, duration = (expect_uint(n, "entry of a video item") for n in row[:2])
    return VideoEntry(origin + start, duration, row[2], expect_address(row[3], "address of a video item"))


def decode_video_page(data: bytes, modality: str) -> VideoLeaf | VideoNode:
    """Return a page of the index of video items. Raises CanonicalError or LayoutError."""
    fields = expect_closed_map(decode_cbor(data), "page of video items", _PAGE_KEYS)
    t_min, t_max = (expect_uint(fields[key], f"{key} of a page of video items") for key in ("t_min", "t_max"))
    if fields["modality"] != modality:
        raise LayoutError(f"a page of {modality} says it is of {fields['modality']!r:.80}")
    if fields["type"] == "leaf":
        return VideoLeaf(t_min, t_max, decode_video_entries(fields["entries"], t_min))
    if fields["type"] != "internal":
        raise LayoutError(f"a page of video items is {fields['type']!r:.20}, neither leaf nor internal")
    children = tuple(map(_decode_child, expect_list(fields["entries"], "children of a page")))
    return VideoNode(t_min, t_max, children)


def _decode_child(value: Any) -> VideoChild:
    row = expect_list(value, "child of a page")
    if len(row) != 4:
        raise LayoutError("the child of a page of video items has four items")
    t_min, t_max, count = (expect_uint(row[at], "child of a page") for at in (0, 1, 3))
    return VideoChild(t_min, t_max, expect_address(row[2], "address of a page"), count)
