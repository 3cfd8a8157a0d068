"""Media Tracks: images, audio and video, one payload each, packed together, or cut into chunks. Spec 0007.

A *pack* is the plain concatenation of several items of one append. A *chunked* item has an items object that lists its
chunks. Either way an index entry says where the bytes of one anchor are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.ragged import Bytes, Ints
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.index_entries import MEDIA, IndexEntries, join_index_entries
from dreamdb_arrow.objects.media_items import Chunk, encode_items, items_object_of
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.index_insertion import addresses_of, insert_in_index
from dreamdb_arrow.tracks.index_pages import sort_index_entries
from dreamdb_arrow.tracks.layout import (
    VISIBLE_ANCHOR_MAX,
    Written,
    items_directory,
    payload_directory,
    widen,
)
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.placing import place_entries

if TYPE_CHECKING:
    from typing_extensions import Buffer

Bools = NDArray[np.bool_]

_SIZE_MAX: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class MediaItems:
    """n items as columns.

    anchors    int64 (n,)
    stops      int64 (n,), anchor + 1 but for CMAF fragments, which last
    sizes      int64 (n,), bytes
    addresses  uint8 (n, 33), of the payload, the pack, or the items object; bytes(row) is one
    offsets    int64 (n,), where the item lies in its pack, else 0
    packed     bool (n,)
    chunked    bool (n,)
    """

    anchors: Ints
    stops: Ints
    sizes: Ints
    addresses: Bytes
    offsets: Ints
    packed: Bools
    chunked: Bools

    def __len__(self) -> int:
        return len(self.anchors)

    def take(self, which: NDArray[Any]) -> MediaItems:
        """Return the items at these positions, int64 (m,), or where this is true, bool (n,)."""
        columns = (
            self.anchors,
            self.stops,
            self.sizes,
            self.addresses,
            self.offsets,
            self.packed,
            self.chunked,
        )
        return MediaItems(*(column[which] for column in columns))


# --- reading ------------------------------------------------------------------------------------------------


def read_media_items(store: Store, track: Track, *, known: frozenset[Address] = frozenset()) -> MediaItems:
    """Return the items of a media Track, ascending by anchor; of several at one anchor the last entry's.

    Items whose payload (pack, items object) is `known` are left out, and anchors that nobody can see. Raises
    CorruptDataError, UnsupportedError.
    """
    items = _visible_items(read_index(store, track))
    order = np.argsort(items.anchors, kind="stable")
    ordered = items.anchors[order]
    items = items.take(order[np.r_[ordered[1:] != ordered[:-1], True][: len(order)]])  # 0001-R17, 0007-R3
    if not known:
        return items
    return items.take(np.array([bytes(address) not in known for address in items.addresses], np.bool_))


def _visible_items(entries: IndexEntries) -> MediaItems:
    firsts, stops, sizes, addresses, chunked, offsets = entries.columns
    packed = entries.members == len(MEDIA.items)
    if np.any(packed & chunked):
        raise UnsupportedError("items that are both packed and chunked cannot be read yet")
    if np.any(np.maximum(sizes, offsets) >= np.uint64(_SIZE_MAX)):
        raise LayoutError("an item lies outside any payload")
    visible = np.flatnonzero(firsts <= np.uint64(VISIBLE_ANCHOR_MAX))
    signed = (column[visible].astype(np.int64) for column in (firsts, _clip(stops), sizes))
    anchors, ends, lengths = signed
    placed = offsets[visible].astype(np.int64)
    return MediaItems(anchors, ends, lengths, addresses[visible], placed, packed[visible], chunked[visible])


def _clip(times: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.minimum(times, np.uint64(VISIBLE_ANCHOR_MAX + 1))


# --- writing ------------------------------------------------------------------------------------------------


def pack_media(
    batch: Batch,
    timeline: Address,
    modality: str,
    anchors: Ints,
    blobs: Sequence[Buffer],
    *,
    pack_items: int | None = None,
    chunk_size: int | None = None,
) -> MediaItems:
    """Add media to the batch and return where they are, in the order given.

    Args:
        batch: what they are added to.
        timeline: of the Track they are for.
        modality: of that Track.
        anchors: int64 (n,).
        blobs: n byte strings or other buffers.
        pack_items: put up to so many, if more than one, into a payload.
        chunk_size: cut each into chunks of so many bytes instead.

    Raises:
        InvalidInputError: both ways at once.
    """
    assert len(anchors) == len(blobs)
    sizes = np.fromiter((memoryview(blob).nbytes for blob in blobs), np.int64, len(blobs))
    per_pack = pack_items or 1
    if chunk_size is not None and per_pack > 1:
        raise InvalidInputError("media can be packed or chunked, not both")
    if chunk_size is not None:
        names = [_add_chunked(batch, timeline, modality, blob, chunk_size) for blob in blobs]
    else:
        directory = payload_directory(timeline, modality)
        packs = [blobs[at : at + per_pack] for at in range(0, len(blobs), per_pack)]
        added = [batch.add_payload(directory, pack[0] if per_pack == 1 else b"".join(pack)) for pack in packs]
        names = [address for address in added for _ in range(per_pack)][: len(blobs)]
    packed = np.full(len(blobs), per_pack > 1)
    ends = sizes.cumsum()
    starts_pack = ends[: len(blobs)] - sizes
    offsets = starts_pack - starts_pack[np.arange(len(blobs)) // per_pack * per_pack]
    addresses = np.frombuffer(b"".join(names), np.uint8).reshape(-1, 33)
    stops = np.asarray(anchors) + 1
    return MediaItems(
        anchors,
        stops,
        sizes,
        addresses,
        offsets * packed,
        packed,
        np.full(len(blobs), chunk_size is not None),
    )


def write_media(store: Store, batch: Batch, track: Track, items: MediaItems) -> Written:
    """Return the Track that also has these items, whose payloads are added already.

    It lists them inline until it would pass a megabyte, then in pages, of which only those that change are read and
    written. Raises as read_media_items does.
    """
    if len(items) == 0:
        return Written(track)
    new = sort_index_entries(_as_entries(items))
    first, stop = int(items.anchors.min()), int(items.stops.max())
    held = replace(track, coverage=widen(track.coverage, first, stop, empty=track.object_index == []))
    if isinstance(track.object_index, dict):
        written = replace(held, object_index=insert_in_index(store, batch, track, new))
    else:
        joined = join_index_entries(MEDIA, [read_index(store, track), new])
        written = replace(held, object_index=place_entries(batch, held, joined))
    return Written(written, addresses_of(new))


def _add_chunked(batch: Batch, timeline: Address, modality: str, blob: Buffer, chunk_size: int) -> Address:
    data = memoryview(blob).cast("B")
    parts = [data[at : at + chunk_size] for at in range(0, len(data), chunk_size)] or [data]
    directory = payload_directory(timeline, modality)
    chunks = tuple(Chunk(batch.add(directory, part), len(part)) for part in parts)
    return batch.add(items_directory(timeline, modality), encode_items(items_object_of(chunks)))


def _as_entries(items: MediaItems) -> IndexEntries:
    members = np.where(items.packed, 6, np.where(items.chunked, 5, 4)).astype(np.int64)
    unsigned = [
        column.astype(np.uint64) for column in (items.anchors, items.stops, items.sizes, items.offsets)
    ]
    return IndexEntries(MEDIA, (*unsigned[:3], items.addresses, items.chunked, unsigned[3]), members)
