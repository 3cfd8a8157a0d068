"""Reach: the objects that a Track keeps alive. Specs 0007 and 0008.

What a collector must not remove: the pages of the index, and the payloads that its entries name. A page that was seen
before is not read again, so that many versions of one Track cost little more than one. Kinds of Tracks that are not known
exactly are refused: a guess would remove somebody's data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import ADDRESS_BYTES, BLAKE3_CODE, Address
from dreamdb_arrow.codec.address_set import AddressSet
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_index import ArrayEntries, decode_array_page, entries_of_pairs
from dreamdb_arrow.objects.btree_page import BtreeNode, decode_btree_page
from dreamdb_arrow.objects.index_entries import CELLS, MEDIA, IndexEntries, entries_of_lists
from dreamdb_arrow.objects.index_page import IndexNode, decode_index_page
from dreamdb_arrow.objects.media_items import decode_items
from dreamdb_arrow.objects.scalar_values import value_type_of
from dreamdb_arrow.objects.shape import expect_list
from dreamdb_arrow.objects.track import Track, decode_track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch, fetch_many
from dreamdb_arrow.tracks.arrays import TIME_BATCH, array_directory, storage_of
from dreamdb_arrow.tracks.blobs import MINUTE_NS
from dreamdb_arrow.tracks.btree import btree_of
from dreamdb_arrow.tracks.cells import SIDECAR, field_directory, sidecar_directory
from dreamdb_arrow.tracks.graph import page_directory
from dreamdb_arrow.tracks.hot import overlay_of
from dreamdb_arrow.tracks.kinds import TrackForm, form_of, scalar_type_of
from dreamdb_arrow.tracks.layout import (
    bucket_directory,
    constant_directory,
    index_directory,
    init_directory,
    items_directory,
    paths_in,
    payload_directory,
    track_directory,
)
from dreamdb_arrow.tracks.pages import paged_tree, shape_of

_FETCHED_TOGETHER: Final = 256
SHARDS: Final = "hot-shard"
VENDOR: Final = "org.dreamdb.arrow."  # stripes and what belongs to them
_REFERENCE_VENDOR: Final = "ai.dreamlake."  # items of video and geometry


@dataclass(slots=True)
class Reached:
    """Addresses that something leads to.

    live    all of them
    read    those whose contents were looked at
    beyond  versions that others name as their parents; they are live only if something else says so
    """

    live: AddressSet = field(default_factory=AddressSet)
    read: AddressSet = field(default_factory=AddressSet)
    beyond: AddressSet = field(default_factory=AddressSet)

    def add(
        self,
        directory: str,  # noqa: ARG002 - for who wants more than addresses
        addresses: Iterable[Address],
        *,
        outboards: bool = False,  # noqa: ARG002
    ) -> None:
        """Add objects of one directory; `outboards` says that they are payloads which have some."""
        self.live.update(addresses)

    def add_rows(
        self,
        directory: str | Iterable[str],  # noqa: ARG002
        rows: Any,
        *,
        outboards: bool = False,  # noqa: ARG002
    ) -> None:
        """Add objects by their addresses, uint8 (n, 33): of one directory, or each of its own."""
        self.live.update(addresses_of(rows))


def addresses_of(rows: Any) -> list[Address]:
    """Return addresses that lie in uint8 (n, 33)."""
    data = np.ascontiguousarray(rows).tobytes()
    return [Address(data[at : at + ADDRESS_BYTES]) for at in range(0, len(data), ADDRESS_BYTES)]


def reach_track(store: Store, path: str, address: Address, reached: Reached) -> None:
    """Add a Track, its pages and its payloads.

    Raises:
        NotFoundError, CorruptDataError: something on the way is missing or damaged.
        UnsupportedError: the Track is of a kind whose objects are not known exactly.
    """
    pending = [(path, address)]
    while pending:
        path, address = pending.pop()
        if address in reached.read:
            continue
        track = decode_track(fetch(store, path, address))
        reached.add(path.rpartition("/")[0], [address])
        reached.read.add(address)
        if track.init_segment is not None:
            reached.add(init_directory(track.timeline, track.modality), [track.init_segment])
        form = form_of(track)
        if form is TrackForm.HOT:
            pending.append(_reach_hot(track, reached))
        elif track.object_index != []:
            _REACH[form](store, track, reached)


def _reach_hot(track: Track, reached: Reached) -> tuple[str, Address]:
    """Add the buffer, and return the Track below it."""
    shard, base = overlay_of(track)
    reached.add(f"{track.timeline}/{track.modality}/{SHARDS}", [shard])
    return f"{track_directory(track.timeline, track.modality)}/{base}", base


# --- lists --------------------------------------------------------------------------------------------------


def _reach_categories(_: Store, track: Track, reached: Reached) -> None:
    reached.add(bucket_directory(track.timeline, track.modality), _listed(track), outboards=True)


def _reach_graph(_: Store, track: Track, reached: Reached) -> None:
    reached.add(page_directory(track.timeline, track.modality), _listed(track))


def _reach_constant(_: Store, track: Track, reached: Reached) -> None:
    reached.add(constant_directory(track.timeline, track.modality), _listed(track))


def _listed(track: Track) -> Iterator[Address]:
    """Yield every address in the entries of a list."""
    for row in expect_list(track.object_index, "object_index"):
        for item in row if isinstance(row, list) else [row]:
            if is_address(item):
                yield Address(item)


def is_address(value: Any) -> bool:
    """Whether a decoded value can be an address."""
    return isinstance(value, bytes) and len(value) == ADDRESS_BYTES and value[0] == BLAKE3_CODE


# --- trees --------------------------------------------------------------------------------------------------


def _reach_btree(store: Store, track: Track, reached: Reached) -> None:
    tree = btree_of(track)
    assert tree is not None
    kind = value_type_of(scalar_type_of(track.modality))
    for _, page in _new_pages(
        store, track, tree.root, tree.height, lambda data: decode_btree_page(data, kind), reached
    ):
        if not isinstance(page, BtreeNode):
            many = len(page) > _FETCHED_TOGETHER
            buckets = np.unique(page.buckets, axis=0) if many else page.buckets
            reached.add_rows(bucket_directory(track.timeline, track.modality), buckets, outboards=True)


def _reach_index(store: Store, track: Track, reached: Reached) -> None:
    """Add the payloads of a media or spatial index, and its pages if it has any."""
    shape = shape_of(track.modality)
    if isinstance(track.object_index, list):
        _reach_entries(store, track, entries_of_lists(shape, track.object_index), reached)
        return
    tree = paged_tree(track)

    def decode(data: bytes) -> Any:
        return decode_index_page(data, shape, track.modality)

    for _, page in _new_pages(store, track, tree.root, tree.height, decode, reached):
        if not isinstance(page, IndexNode):
            _reach_entries(store, track, page.entries, reached)


def _reach_arrays(store: Store, track: Track, reached: Reached) -> None:
    """Add the payloads of an array index, each in the directory of its anchor, and its pages if it has any."""
    if storage_of(track) == TIME_BATCH:  # its pages are those of media
        _reach_index(store, track, reached)
        return
    if isinstance(track.object_index, list):
        _reach_items(track, entries_of_pairs(track.object_index), reached)
        return
    tree = paged_tree(track)

    def decode(data: bytes) -> Any:
        return decode_array_page(data, track.modality)

    for _, page in _new_pages(store, track, tree.root, tree.height, decode, reached):
        if not isinstance(page, IndexNode):
            _reach_items(track, page, reached)


def _reach_items(track: Track, entries: ArrayEntries, reached: Reached) -> None:
    places = (array_directory(track, anchor) for anchor in entries.anchors.tolist())
    reached.add_rows(places, entries.addresses, outboards=True)


def _reach_entries(store: Store, track: Track, entries: IndexEntries, reached: Reached) -> None:
    if entries.shape is CELLS:
        _reach_cells(track, entries, reached)
        return
    assert entries.shape is MEDIA
    keys = _keys_of(track, entries)
    if keys is not None:
        reached.add_rows((array_directory(track, key) for key in keys), entries.addresses, outboards=True)
        return
    payloads = payload_directory(track.timeline, track.modality)
    chunked = entries.columns[4]
    reached.add_rows(payloads, entries.addresses[~chunked], outboards=_has_outboards(track))
    items = set(addresses_of(entries.addresses[chunked]))
    for part in _parts(items, reached):
        directory = items_directory(track.timeline, track.modality)
        reached.add(directory, part)
        for data in fetch_many(store, paths_in(directory, part)):
            reached.add(payloads, (chunk.address for chunk in decode_items(data).chunks))
        reached.read.update(part)


def _keys_of(track: Track, entries: IndexEntries) -> list[int] | None:
    """Return the numbers in the paths of payloads; None where all lie in one directory."""
    if (
        form_of(track) is TrackForm.ARRAY
    ):  # hand-made batches have the anchor of their payload in place of its size
        return entries.sizes.tolist()  # type: ignore[no-any-return]
    if track.init_segment is not None:
        return (entries.firsts // MINUTE_NS).tolist()  # type: ignore[no-any-return]
    return None


def _reach_cells(track: Track, entries: IndexEntries, reached: Reached) -> None:
    field = field_directory(track)
    reached.add_rows((f"{field}/{key}" for key in entries.keys), entries.addresses, outboards=True)
    sidecars = entries.columns[SIDECAR][entries.members > SIDECAR]
    reached.add_rows(sidecar_directory(track), sidecars, outboards=True)


def _has_outboards(track: Track) -> bool:
    """Whether payloads of media may have outboards: stripes have none."""
    return not track.modality.startswith(VENDOR)


def _new_pages(
    store: Store,
    track: Track,
    root: Address,
    height: int,
    decode: Callable[[bytes], Any],
    reached: Reached,
) -> Iterator[tuple[int, Any]]:
    """Yield height and contents of the pages of a tree that were not seen before; below others nothing is new."""
    directory = index_directory(track.timeline, track.modality)
    level = {root}
    for at in range(height - 1, -1, -1):
        below: set[Address] = set()
        for part in _parts(level, reached):
            for address, data in zip(part, fetch_many(store, paths_in(directory, part)), strict=True):
                page = decode(data)
                children = getattr(page, "children", None)
                if (children is None) != (at == 0):
                    raise LayoutError("an index has leaves at several levels")
                below.update(child.address for child in children or ())
                yield at, page
                reached.add(directory, [address])
                reached.read.add(address)
        level = below


def _parts(addresses: Iterable[Address], reached: Reached) -> Iterator[list[Address]]:
    """Yield those addresses whose contents were not looked at yet, some at a time."""
    ordered = sorted(address for address in addresses if address not in reached.read)
    for at in range(0, len(ordered), _FETCHED_TOGETHER):
        yield ordered[at : at + _FETCHED_TOGETHER]


def _reach_other(_: Store, track: Track, reached: Reached) -> None:
    """Add the addresses in a plain list of a user modality: whatever it holds, it names its objects there."""
    if not isinstance(track.object_index, list) or track.item_key_index is not None or _is_reserved(track):
        raise UnsupportedError(
            f"Tracks of {track.modality} name objects in a way that is not known exactly; collect with the SDK that wrote them"
        )
    reached.live.update(_listed(track))


def _is_reserved(track: Track) -> bool:
    """Whether a user modality is one of the reference's own, whose objects name further ones."""
    return track.modality.startswith(_REFERENCE_VENDOR)


_REACH: Final[Mapping[TrackForm, Callable[[Store, Track, Reached], None]]] = MappingProxyType(
    {
        TrackForm.BTREE: _reach_btree,
        TrackForm.LIST: _reach_categories,
        TrackForm.FRAGMENTS: _reach_index,
        TrackForm.CELLS: _reach_index,
        TrackForm.GRAPH: _reach_graph,
        TrackForm.ARRAY: _reach_arrays,
        TrackForm.CONSTANT: _reach_constant,
        TrackForm.OTHER: _reach_other,
    }
)
