"""Tracks of video items: videos that each begin with bytes of their own. Spec 0007.

The value of a row is the whole video: its init segment and its fragments, one after another, which players take as it
is. The anchor is where the video starts on the timeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.objects.video_item import (
    VideoChild,
    VideoEntry,
    VideoFragment,
    VideoItem,
    VideoLeaf,
    VideoNode,
    decode_video_entries,
    decode_video_item,
    decode_video_page,
)
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch, fetch_many
from dreamdb_arrow.tracks.layout import (
    VALUE_BYTES_MAX,
    VISIBLE_ANCHOR_MAX,
    index_directory,
    init_directory,
    paths_in,
    payload_directory,
)
from dreamdb_arrow.tracks.pages import paged_tree, walk_tree


def read_video_entries(store: Store, track: Track) -> list[VideoEntry]:
    """Return the videos of a Track, by start, those that can be seen.

    Raises CorruptDataError; UnsupportedError for a form of index that is not known.
    """
    origin = track.coverage[0]
    entries = [
        VideoEntry(origin + entry.start, entry.duration, entry.key, entry.item)
        for leaf in _iterate_leaves(store, track)
        for entry in leaf
    ]
    if any(a.start + a.duration > b.start for a, b in pairwise(entries)):
        raise LayoutError("the video items of a Track overlap, or are not in order")
    return [entry for entry in entries if entry.start <= VISIBLE_ANCHOR_MAX]


def _iterate_leaves(store: Store, track: Track) -> Iterator[tuple[VideoEntry, ...]]:
    if not isinstance(track.object_index, dict):
        yield decode_video_entries(track.object_index)
        return
    tree = paged_tree(track)
    directory = index_directory(track.timeline, track.modality)

    def decode(pages: list[bytes]) -> list[VideoLeaf | VideoNode]:
        return [decode_video_page(data, track.modality) for data in pages]

    for leaf in walk_tree(store, directory, tree, decode, _check_page):
        yield leaf.entries


def _check_page(page: VideoLeaf | VideoNode, height: int, claim: VideoChild | None) -> int:
    """Return how many entries a page has. Raises LayoutError when it is not what its parent says."""
    if isinstance(page, VideoNode) != (height > 0):
        raise LayoutError("an index of video items has leaves at several levels")
    count = len(page.entries) if isinstance(page, VideoLeaf) else sum(c.count for c in page.children)
    if claim is not None and (claim.t_min, claim.t_max, claim.count) != (page.t_min, page.t_max, count):
        raise LayoutError("a page of video items is not what its parent says")
    return count


def read_video_item(store: Store, timeline: Address, modality: str, address: Address) -> VideoItem:
    """Fetch and decode a video item. Raises CorruptDataError."""
    item = decode_video_item(fetch(store, f"{timeline}/{modality}/video-item/{address}", address))
    if item.modality != modality:
        raise LayoutError(f"video item {address} of a Track of {modality} says it is {item.modality}")
    return item


def fetch_video(store: Store, timeline: Address, modality: str, address: Address) -> bytes:
    """Return the bytes of a video: its init segment, then its fragments. Raises CorruptDataError."""
    item = read_video_item(store, timeline, modality, address)
    if (size := sum(fragment.size for fragment in item.fragments)) > VALUE_BYTES_MAX:  # 0000-R2
        raise LayoutError(f"the fragments of video item {address} have {size} bytes together")
    init = fetch(store, f"{init_directory(timeline, modality)}/{item.init}", item.init)
    names = dict.fromkeys(fragment.address for fragment in item.fragments)
    directory = payload_directory(timeline, modality)
    held = dict(zip(names, fetch_many(store, paths_in(directory, names)), strict=True))
    return b"".join([init, *(_cut(fragment, held[fragment.address]) for fragment in item.fragments)])


def _cut(fragment: VideoFragment, data: bytes) -> bytes:
    start = fragment.offset or 0
    part = data if fragment.offset is None else data[start : start + fragment.size]
    if len(part) != fragment.size:  # 0007-R2
        raise LayoutError(f"a fragment in {fragment.address} has {len(part)} bytes, not {fragment.size}")
    return part
