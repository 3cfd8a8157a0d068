"""Array Tracks: one payload an anchor, read as columns of numbers and written from them. Spec 0007.

A payload lies in the directory of its anchor, so that equal arrays at two anchors are two files of one Address. The
index of an array of kind `event` has a form of its own, that of kind `continuous` the form of media.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address
from dreamdb_arrow.codec.modality import modality_param, parse_modality
from dreamdb_arrow.codec.ragged import Bytes, Ints
from dreamdb_arrow.codec.time_key import encode_time_key
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_index import (
    ArrayEntries,
    decode_array_page,
    encode_array_leaf,
    entries_of_pairs,
    join_array_entries,
    pairs_of_entries,
    split_array_leaves,
)
from dreamdb_arrow.objects.array_item import Items, decode_items_of, encode_items_of, join_items_of
from dreamdb_arrow.objects.array_type import ItemType
from dreamdb_arrow.objects.index_entries import MEDIA, IndexEntries, lists_of_entries
from dreamdb_arrow.objects.index_page import IndexChild, IndexNode, encode_index_node, index_node
from dreamdb_arrow.objects.track import Track, encode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX, Written, index_directory, widen
from dreamdb_arrow.tracks.pages import (
    FORM,
    build_index,
    paged_tree,
    read_index,
    split_evenly,
    walk_tree,
)

Placed: TypeAlias = tuple[ArrayEntries, np.ndarray[Any, np.dtype[np.uint64]]]  # and the anchors in paths

INLINE_TRACK_BYTES_MAX: Final = 1 << 20
UNBUCKETED: Final = "unbucketed"
TIME_BATCH: Final = "time_batch"
_ENTRY_BYTES_MIN: Final = 37  # array head, address, anchor
_CHILDREN_MAX: Final = 256
_FETCHED_TOGETHER: Final = 4096  # payloads in memory at once, beside the numbers they become,
_FETCHED_BYTES: Final = 64 << 20  # but of large dense ones not more than this


@dataclass(frozen=True, slots=True)
class ArrayItems:
    """n items, ascending by anchor.

    anchors    int64 (n,)
    keys       int64 (n,), the anchor in the payload's path; the same, but for hand-made batches
    addresses  uint8 (n, 33), of the payloads
    """

    anchors: Ints
    keys: Ints
    addresses: Bytes

    def __len__(self) -> int:
        return len(self.anchors)

    def take(self, which: Any) -> ArrayItems:
        """Return the items at these positions, or where this is true."""
        return ArrayItems(self.anchors[which], self.keys[which], self.addresses[which])


# --- reading ------------------------------------------------------------------------------------------------


def read_array_items(store: Store, track: Track) -> ArrayItems:
    """Return the items of an array Track, ascending by anchor; of several at one anchor the last entry's.

    Anchors that nobody can see are left out. Raises CorruptDataError, UnsupportedError.
    """
    entries, keys = read_array_entries(store, track)
    visible = np.flatnonzero((entries.anchors <= VISIBLE_ANCHOR_MAX) & (keys <= VISIBLE_ANCHOR_MAX))
    anchors = entries.anchors[visible].astype(np.int64)
    order = np.argsort(anchors, kind="stable")
    ordered = anchors[order]
    last = order[np.r_[ordered[1:] != ordered[:-1], True][: len(order)]]  # 0001-R17
    at = visible[last]
    return ArrayItems(anchors[last], keys[at].astype(np.int64), entries.addresses[at])


def fetch_arrays(store: Store, track: Track, of: ItemType, items: ArrayItems) -> Items:
    """Return the numbers of these items of a Track, in that order. Raises CorruptDataError, UnsupportedError."""
    return join_items_of(of, list(fetch_array_parts(store, track, of, items)))


def fetch_array_parts(store: Store, track: Track, of: ItemType, items: ArrayItems) -> Iterator[Items]:
    """Yield these items in order, so many at a time that their payloads fit in memory."""
    size = prod(of.shape) * of.stored.itemsize
    together = max(1, min(_FETCHED_TOGETHER, _FETCHED_BYTES // max(1, size)))
    for start in range(0, len(items), together):
        part = items.take(slice(start, start + together))
        wanted = [
            (f"{array_directory(track, key)}/{address}", address)
            for key, address in zip(part.keys.tolist(), map(Address, map(bytes, part.addresses)), strict=True)
        ]
        yield decode_items_of(of, fetch_many(store, wanted))


def array_directory(track: Track, anchor: int) -> str:
    """Return where the payload of an anchor lies."""
    return f"{track.timeline}/{track.modality}/{encode_time_key(anchor)}"


def has_items(modality: str) -> bool:
    """Whether arrays of this modality are items at anchors; a constant's are not."""
    return modality_param(parse_modality(modality), "storage") in (UNBUCKETED, TIME_BATCH)


def storage_of(track: Track) -> str:
    """Return how the items of an array Track are stored. Raises UnsupportedError for what has no items."""
    if not has_items(track.modality):
        raise UnsupportedError(f"arrays of modality {track.modality!r:.80} have no items that can be read")
    return str(modality_param(parse_modality(track.modality), "storage"))


def read_array_entries(
    store: Store, track: Track
) -> tuple[ArrayEntries, np.ndarray[Any, np.dtype[np.uint64]]]:
    """Return the entries of a Track, and the anchor in the path of each."""
    if storage_of(track) == TIME_BATCH:
        listed = read_index(store, track)
        if np.any(listed.members != MEDIA.required):
            raise LayoutError("an entry of an index of arrays has more than its four items")
        return ArrayEntries(listed.firsts, listed.addresses), listed.sizes
    entries = join_array_entries(list(_iterate_events(store, track)))
    return entries, entries.anchors


def _iterate_events(store: Store, track: Track) -> Iterator[ArrayEntries]:
    if not isinstance(track.object_index, dict):
        yield entries_of_pairs(track.object_index)
        return
    directory = index_directory(track.timeline, track.modality)

    def decode(pages: list[bytes]) -> list[ArrayEntries | IndexNode]:
        return [decode_array_page(data, track.modality) for data in pages]

    yield from walk_tree(store, directory, paged_tree(track), decode, _check_page)


def _check_page(page: ArrayEntries | IndexNode, height: int, claim: IndexChild | None) -> int:
    if isinstance(page, IndexNode) != (height > 0):
        raise LayoutError("an index has leaves at several levels")
    count = sum(c.items for c in page.children) if isinstance(page, IndexNode) else len(page)
    if claim is not None and claim.items != count:  # 0007-R4
        raise LayoutError(f"an index page has {count} entries below it, its parent says {claim.items}")
    return count


def have_rival_arrays(store: Store, ours: Track, theirs: Track) -> bool:
    """Whether two Tracks have different payloads at one anchor."""
    (first, _), (second, _) = read_array_entries(store, ours), read_array_entries(store, theirs)
    shared, left, right = np.intersect1d(first.anchors, second.anchors, return_indices=True)
    return len(shared) > 0 and bool(np.any(first.addresses[left] != second.addresses[right]))


# --- writing ------------------------------------------------------------------------------------------------


def write_arrays(
    store: Store, batch: Batch, track: Track, of: ItemType, anchors: Ints, items: Items
) -> Written:
    """Return the Track that also has these items, whose payloads are put into the batch.

    The reference refuses a Track with two items at one anchor: where the Track has one already, the new one takes its
    place. Raises as read_array_items does.
    """
    held, keys = read_array_entries(store, track)
    if len(items) == 0:
        return Written(track)
    added = [
        batch.add_payload(array_directory(track, anchor), payload)
        for anchor, payload in zip(anchors.tolist(), encode_items_of(of, items), strict=True)
    ]
    addresses = np.frombuffer(b"".join(added), np.uint8).reshape(-1, ADDRESS_BYTES)
    new = ArrayEntries(anchors.astype(np.uint64), addresses)
    first, stop = int(anchors.min()), int(anchors.max()) + 1
    coverage = widen(track.coverage, first, stop, empty=len(held) == 0)
    placed = replace(track, coverage=coverage)
    joined = place_array_entries(batch, placed, *_joined((held, keys), (new, new.anchors)))
    return Written(joined, tuple(dict.fromkeys(added)))


def unite_arrays(store: Store, batch: Batch, tracks: Sequence[Track]) -> Any:
    """Return the object_index of several, and add its pages to the batch; of items at one anchor the last one's stays.

    The others must go: the reference refuses a Track that has two.
    """
    joined = reduce(_joined, (read_array_entries(store, track) for track in tracks))
    return place_array_entries(batch, tracks[0], *joined).object_index


def _joined(old: Placed, new: Placed) -> Placed:
    """Return entries and the anchors in their paths, ascending; of two at one anchor the new one."""
    kept = np.flatnonzero(~np.isin(old[0].anchors, new[0].anchors))
    entries, keys = join_array_entries([old[0].take(kept), new[0]]), np.r_[old[1][kept], new[1]]
    order = np.argsort(entries.anchors, kind="stable")
    return entries.take(order), keys[order]


def place_array_entries(batch: Batch, track: Track, entries: ArrayEntries, keys: Any) -> Track:
    """Return a Track with these entries, ascending by anchor: inline, or in pages where that is too large.

    `keys` has the anchor in the path of each payload, uint64 (n,).
    """
    if storage_of(track) == TIME_BATCH:
        listed = _as_media(entries, keys)
        return _inline(track, lists_of_entries(listed)) or replace(
            track, object_index=build_index(batch, track.timeline, track.modality, listed)
        )
    return _inline(track, pairs_of_entries(entries)) or replace(
        track, object_index=_build_pages(batch, track, entries)
    )


def _inline(track: Track, listed: list[list[Any]]) -> Track | None:
    """Return the Track with its entries inline, None when it is too large for that."""
    if len(listed) * _ENTRY_BYTES_MIN > INLINE_TRACK_BYTES_MAX:
        return None
    inline = replace(track, object_index=listed)
    return inline if len(encode_track(inline)) <= INLINE_TRACK_BYTES_MAX else None  # 0007-R1


def _as_media(entries: ArrayEntries, keys: Any) -> IndexEntries:
    n = len(entries)
    times = (entries.anchors, entries.anchors + np.uint64(1), np.asarray(keys, np.uint64))
    columns = (*times, entries.addresses, np.zeros(n, np.bool_), np.zeros(n, np.uint64))
    return IndexEntries(MEDIA, columns, np.full(n, MEDIA.required, np.int64))


def _build_pages(batch: Batch, track: Track, entries: ArrayEntries) -> dict[str, Any]:
    """Add the pages of event entries to the batch and return the map that stands for them in the Track."""
    directory = index_directory(track.timeline, track.modality)
    children = []
    for leaf in split_array_leaves(track.modality, entries):
        address = batch.add(directory, encode_array_leaf(track.modality, leaf))
        t_min, t_max = int(leaf.anchors[0]), int(leaf.anchors[-1]) + 1
        children.append(IndexChild(t_min, t_max, address, len(leaf)))
    pages, height, fanout = len(children), 1, 1
    while len(children) > 1:
        groups = split_evenly(children, -(-len(children) // _CHILDREN_MAX))
        children = [_add_node(batch, directory, track.modality, group) for group in groups]
        pages, height = pages + len(groups), height + 1
        fanout = max(fanout, *map(len, groups))
    counts = {"page_count": pages, "total_items": len(entries), "tree_height": height}  # 0007-R4
    return {"form": FORM, "root": children[0].address, "fanout": fanout, **counts}


def _add_node(batch: Batch, directory: str, modality: str, group: list[IndexChild]) -> IndexChild:
    node = index_node(modality, group)
    address = batch.add(directory, encode_index_node(node))
    return IndexChild(node.t_min, node.t_max, address, sum(child.items for child in group))
