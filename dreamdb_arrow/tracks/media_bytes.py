"""Media bytes: what media items name, checked, and read end to end into one array. Spec 0007.

The parts that are wanted are sorted by the payload that they lie in, so that each payload is checked and opened once. Of
a payload that lies in a file, and was checked as it is now, only the parts themselves are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address
from dreamdb_arrow.codec.ragged import Bytes, Ints, Ragged
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.media_items import decode_items
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import Part, Verifier, call_each, fetch
from dreamdb_arrow.tracks.layout import items_directory, paths_in, payload_directory
from dreamdb_arrow.tracks.media import MediaItems

TRUSTED_BYTES: Final = 1 << 30  # what an index may ask room for before the sizes of payloads are compared with it


def fetch_media(
    store: Store,
    timeline: Address,
    modality: str,
    items: MediaItems,
    rows: Ints,
    verifier: Verifier | None = None,
) -> Ragged:
    """Return the bytes of the items at these rows, in that order; every payload is verified, and opened once.

    `verifier` knows which files were checked before. Raises LayoutError for an item that is not as large as its entry
    says, and as fetch does.
    """
    chosen = items.take(rows)
    payloads = _payloads_of(_parts_of(store, timeline, modality, chosen), timeline, modality)
    return Ragged(_read(store, payloads, int(chosen.sizes.sum()), verifier or Verifier()), chosen.sizes)


@dataclass(frozen=True, slots=True)
class _Parts:
    """n parts of payloads, as columns.

    addresses  uint8 (n, 33), of the payload
    starts     int64 (n,), where the part begins in it
    sizes      int64 (n,)
    places     int64 (n,), where it goes to
    whole      bool (n,), whether it is all of its payload
    """

    addresses: Bytes
    starts: Ints
    sizes: Ints
    places: Ints
    whole: NDArray[np.bool_]

    @classmethod
    def join(cls, tables: list[Self]) -> Self:
        if len(tables) == 1:
            return tables[0]
        columns = ("addresses", "starts", "sizes", "places", "whole")
        return cls(*(np.concatenate([getattr(table, name) for table in tables]) for name in columns))


def _parts_of(store: Store, timeline: Address, modality: str, items: MediaItems) -> _Parts:
    if np.any(items.sizes < 0):
        raise LayoutError("a media item has less than no bytes")
    places = items.sizes.cumsum() - items.sizes
    plain = ~items.chunked
    starts = np.where(items.packed, items.offsets, 0)
    whole = _Parts(
        items.addresses[plain], starts[plain], items.sizes[plain], places[plain], ~items.packed[plain]
    )
    if plain.all():
        return whole
    return _Parts.join([whole, *_chunks_of(store, timeline, modality, items, places)])


def _chunks_of(
    store: Store, timeline: Address, modality: str, items: MediaItems, places: Ints
) -> list[_Parts]:
    at = np.flatnonzero(items.chunked).tolist()
    names = [Address(items.addresses[row].tobytes()) for row in at]
    wanted = paths_in(items_directory(timeline, modality), dict.fromkeys(names))
    lists = call_each(lambda item: decode_items(fetch(store, *item)).chunks, wanted)
    held = dict(zip(dict.fromkeys(names), lists, strict=True))
    found = []
    for row, name in zip(at, names, strict=True):
        sizes = np.array([chunk.size for chunk in held[name]], np.int64)
        if sum(sizes.tolist()) != items.sizes[row]:  # 0007-R2
            raise LayoutError(f"media item in {name} has another size than its index says")
        addresses = np.frombuffer(b"".join(chunk.address for chunk in held[name]), np.uint8)
        ends = places[row] + sizes.cumsum()
        found.append(
            _Parts(
                addresses.reshape(-1, ADDRESS_BYTES),
                np.zeros_like(sizes),
                sizes,
                ends - sizes,
                np.ones(len(sizes), np.bool_),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Payload:
    """A payload, and the parts of it that are wanted: (start, size, place, whether it is all there is)."""

    path: str
    address: Address
    parts: tuple[tuple[int, int, int, bool], ...]

    def cut(self, size: int, out: memoryview) -> list[Part]:
        """Return the parts of a payload of this size, as Verifier.read_parts takes them."""
        for start, length, _, whole in self.parts:
            if (start + length != size) if whole else (start < 0 or start + length > size):  # 0007-R2
                raise LayoutError(
                    f"media item in {self.address} is {length} bytes from {start} on, by its index, of {size}"
                )
        return [(start, out[place : place + length]) for start, length, place, _ in self.parts]


def _payloads_of(parts: _Parts, timeline: Address, modality: str) -> list[_Payload]:
    """Group parts by payload, each payload's by where they begin."""
    directory = payload_directory(timeline, modality)
    raw = np.ascontiguousarray(parts.addresses).view(f"V{ADDRESS_BYTES}").reshape(-1)
    _, firsts, owners = np.unique(raw, return_index=True, return_inverse=True)
    order = np.lexsort((parts.starts, owners))
    columns = (parts.starts, parts.sizes, parts.places, parts.whole)
    rows = list(zip(*(column[order].tolist() for column in columns), strict=True))
    stops = np.bincount(owners, minlength=len(firsts)).cumsum().tolist()
    payloads, start = [], 0
    for first, stop in zip(firsts.tolist(), stops, strict=True):
        address = Address(parts.addresses[first].tobytes())
        payloads.append(_Payload(f"{directory}/{address}", address, tuple(rows[start:stop])))
        start = stop
    return payloads


def _read(store: Store, payloads: list[_Payload], total: int, verifier: Verifier) -> Bytes:
    if total > TRUSTED_BYTES:
        for payload in payloads:
            payload.cut(store.size(payload.path), memoryview(b""))
    data = np.empty(total, np.uint8)
    out = memoryview(data)

    def read(payload: _Payload) -> None:
        if verifier.read_parts(store, payload.path, payload.address, lambda size: payload.cut(size, out)):
            return
        held = memoryview(fetch(store, payload.path, payload.address))
        for start, buffer in payload.cut(len(held), out):
            buffer[:] = held[start : start + len(buffer)]

    call_each(read, payloads)
    return data
