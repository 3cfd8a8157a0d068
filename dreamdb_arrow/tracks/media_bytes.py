"""Media bytes: what media items name, checked, and read end to end into one array. Spec 0007.

The parts that are wanted are sorted by the payload that they lie in, so that each payload is checked and opened once. Of
a payload that lies in a file, and was checked as it is now, only the parts themselves are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address
from dreamdb_arrow.codec.ragged import Bytes, Ints, Ragged
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.media_items import decode_items
from dreamdb_arrow.store.ahead import fetch_ahead
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import Part, Verifier, call_each, fetch
from dreamdb_arrow.tracks.layout import items_directory, paths_in, payload_directory
from dreamdb_arrow.tracks.media import MediaItems

TRUSTED_BYTES: Final = 1 << 30  # for more, sizes of payloads are looked at before room is made


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
    payloads = _payloads_of(_parts_of(store, timeline, modality, chosen))
    source = _Source(store, payload_directory(timeline, modality), verifier or Verifier())
    return Ragged(source.read_all(payloads, int(chosen.sizes.sum())), chosen.sizes)


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
    lists = call_each(
        lambda item: decode_items(fetch(store, *item)).chunks, wanted, together=store.concurrency
    )
    held = dict(zip(dict.fromkeys(names), lists, strict=True))
    found = []
    for row, name in zip(at, names, strict=True):
        sizes = np.array([chunk.size for chunk in held[name]], np.int64)
        if sum(sizes.tolist()) != items.sizes[row]:  # 0007-R2
            raise LayoutError(
                f"media item in {name} has another size than listed: {sum(sizes.tolist())} bytes"
            )
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

    address: Address
    parts: list[tuple[int, int, int, bool]]

    def cut(self, size: int, out: memoryview) -> list[Part]:
        """Return the parts of a payload of this size, as Verifier.read_parts takes them."""
        for start, length, _, whole in self.parts:
            if (start + length != size) if whole else (start < 0 or start + length > size):  # 0007-R2
                raise LayoutError(
                    f"media item in {self.address} has another size than listed: {length} bytes from {start} on, of {size}"
                )
        return [(start, out[place : place + length]) for start, length, place, _ in self.parts]


def _payloads_of(parts: _Parts) -> list[_Payload]:
    """Group parts by payload, each payload's by where they begin."""
    raw = np.ascontiguousarray(parts.addresses).view(f"V{ADDRESS_BYTES}").reshape(-1)
    names, owners = np.unique(raw, return_inverse=True)
    order = np.lexsort((parts.starts, owners))
    columns = (parts.starts, parts.sizes, parts.places, parts.whole)
    rows = list(zip(*(column[order].tolist() for column in columns), strict=True))
    stops = np.bincount(owners, minlength=len(names)).cumsum().tolist()
    spans = zip(names.tolist(), [0, *stops], stops, strict=False)
    return [_Payload(Address(name), rows[start:stop]) for name, start, stop in spans]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where payloads lie: a directory of a store, whose files a verifier has checked."""

    store: Store
    directory: str
    verifier: Verifier

    def read(self, payload: _Payload, out: memoryview) -> None:
        """Put the parts of a payload where they belong."""
        cut = partial(payload.cut, out=out)
        if self.verifier.read_parts(self.store, self.directory, payload.address, cut):
            return
        held = memoryview(fetch(self.store, self._path(payload), payload.address))
        for start, buffer in cut(len(held)):
            buffer[:] = held[start : start + len(buffer)]

    def read_all(self, payloads: list[_Payload], total: int) -> Bytes:
        """Return the parts of payloads, `total` bytes; those whose files were never read go to threads if that pays."""
        if total > TRUSTED_BYTES:
            for payload in payloads:
                payload.cut(self.store.size(self._path(payload)), memoryview(b""))
        data = np.empty(total, np.uint8)
        out = data.data
        new = []
        for payload in payloads:
            if self.verifier.has_read(self.store, self.directory, payload.address):
                self.read(payload, out)
            else:
                new.append(payload)
        fetch_ahead(self.store, [self._path(payload) for payload in new])
        call_each(lambda payload: self.read(payload, out), new)
        return data

    def _path(self, payload: _Payload) -> str:
        return f"{self.directory}/{payload.address}"
