"""Erasing: the vendor Tracks of a version without its rows at some anchors. Spec 0022.

Stripes lose rows, and learn where the media of the others lie now. A stripe that is left without a row goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote, decode_cover_note, encode_cover_note
from dreamdb_arrow.columnar.media_refs import items_of_refs, refs_of_items
from dreamdb_arrow.columnar.stripe import MEDIA_REF, anchors_of, decode_stripe, encode_stripe
from dreamdb_arrow.columnar.vectors import I64, decode_vectors, encode_vectors
from dreamdb_arrow.columnar.vendor import (
    COVER,
    MARK_ADDRESS,
    MEDIA,
    STRIPE,
    VECTORS,
    Fragment,
    VendorTrack,
    fragment_path,
    write_fragments,
)
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.cuts import Cut, Seen
from dreamdb_arrow.tracks.layout import payload_directory

Renamed = Callable[[Address], Address]  # of a Track: what took its place


@dataclass(slots=True)
class Stripes:
    """What becomes of stripes, by their addresses, for all versions of a Space: others, or None when no row is left.

    gone  the anchors to be erased, ascending, int64 (n,)
    cuts  what becomes of payloads of media
    """

    store: Store
    batch: Batch
    gone: I64
    cuts: Mapping[Address, Cut]
    anew: dict[Address, Fragment | None] = field(default_factory=dict)

    def entry(self, manifest: Manifest, entry: TrackEntry) -> TrackEntry:
        """Return the entry of a vendor Track of stripes or of media without the rows."""
        modality, _, name = entry.field.partition(":")
        held = self._fragments(manifest, entry)
        erase = {STRIPE: self._stripe, VECTORS: self._vectors, MEDIA: self._payload}[modality]
        left = [new for fragment in held if (new := erase(manifest.timeline, fragment)) is not None]
        return entry if left == held else write_fragments(self.batch, entry.timeline, modality, left, name)

    def note(self, manifest: Manifest, entry: TrackEntry, renamed: Renamed) -> TrackEntry:
        """Return the entry of the cover notes, which name Tracks and stripes by their new addresses."""
        held = self._fragments(manifest, entry)
        left = []
        for fragment in held:
            data = fetch(
                self.store, fragment_path(manifest.timeline, COVER, fragment.address), fragment.address
            )
            new = encode_cover_note(self._renamed(decode_cover_note(data), renamed))
            address = self.batch.add(payload_directory(manifest.timeline, COVER), new)
            left.append(Fragment(fragment.t0, fragment.t1, len(new), address))
        return entry if left == held else write_fragments(self.batch, entry.timeline, COVER, left)

    def _fragments(self, manifest: Manifest, entry: TrackEntry) -> list[Fragment]:
        modality, _, name = entry.field.partition(":")
        track = VendorTrack(self.store, manifest, modality, name)
        track.entry = entry  # which may be one that others descend from
        return track.fragments()

    def _renamed(self, note: CoverNote, renamed: Renamed) -> CoverNote:
        return CoverNote(
            {name: renamed(address) for name, address in note.tracks.items()},
            note.payloads,
            self._renamed_stripes(note.stripes),
            {name: self._renamed_stripes(held) for name, held in note.dropped.items()},
        )

    def _renamed_stripes(self, stripes: frozenset[Address]) -> frozenset[Address]:
        new = (self.anew.get(address, Fragment(0, 0, 0, address)) for address in stripes)
        return frozenset(fragment.address for fragment in new if fragment is not None)

    # ---------------------------------------------------------------- one object

    def _stripe(self, timeline: Address, fragment: Fragment) -> Fragment | None:
        return self._once(timeline, STRIPE, fragment, self._erase_stripe)

    def _vectors(self, timeline: Address, fragment: Fragment) -> Fragment | None:
        if fragment.address == MARK_ADDRESS or not self._meets(fragment):
            return fragment
        return self._once(timeline, VECTORS, fragment, self._erase_vectors)

    def _payload(self, _: Address, fragment: Fragment) -> Fragment | None:
        """Return the fragment that keeps a payload of media alive: not for one row that goes."""
        if fragment.t1 == fragment.t0 + 1 and self._meets(fragment):
            return None
        cut = self.cuts.get(fragment.address)
        if cut is None:
            return fragment
        return None if cut.address is None else Fragment(fragment.t0, fragment.t1, cut.size, cut.address)

    def _meets(self, fragment: Fragment) -> bool:
        low, high = np.searchsorted(self.gone, [fragment.t0, fragment.t1])
        return bool(low < high)

    def _once(
        self, timeline: Address, modality: str, fragment: Fragment, erase: Callable[[bytes], bytes | None]
    ) -> Fragment | None:
        if fragment.address not in self.anew:
            data = fetch(self.store, fragment_path(timeline, modality, fragment.address), fragment.address)
            new = erase(data)
            if new is None:
                self.anew[fragment.address] = None
            elif new is data:
                self.anew[fragment.address] = fragment
            else:
                address = self.batch.add(payload_directory(timeline, modality), new)
                self.anew[fragment.address] = Fragment(fragment.t0, fragment.t1, len(new), address)
        return self.anew[fragment.address]

    def _erase_stripe(self, data: bytes) -> bytes | None:
        table = decode_stripe(pa.BufferReader(data))
        alive = ~np.isin(anchors_of(table), self.gone)
        left = table if alive.all() else table.filter(pa.array(alive))
        if not len(left):
            return None
        moved = self._moved(left)
        return data if moved is table else bytes(encode_stripe(moved))

    def _moved(self, table: pa.Table) -> pa.Table:
        """Return a stripe whose media references say where things lie after the cuts; the very table when none moved."""
        for at, column in enumerate(table.schema):
            if column.type != MEDIA_REF or not self.cuts:
                continue
            refs = table[column.name].combine_chunks()
            moved = self._moved_refs(refs, anchors_of(table))
            if moved is not None:
                table = table.set_column(at, column, moved)
        return table

    def _moved_refs(self, refs: pa.Array, anchors: I64) -> pa.Array | None:
        rows = np.flatnonzero(np.asarray(refs.is_valid()))
        items = items_of_refs(refs.take(pa.array(rows)), anchors[rows])
        names = [Address(row.tobytes()) for row in items.addresses]
        cut = [at for at, name in enumerate(names) if name in self.cuts and not items.chunked[at]]
        if not cut:
            return None
        addresses, offsets = items.addresses.copy(), items.offsets.copy()
        for at in cut:
            new = self.cuts[names[at]]
            if new.address is None:
                raise LayoutError(
                    f"a row that stays names media in {names[at]}, of which nothing was to be left"
                )
            addresses[at] = np.frombuffer(new.address, np.uint8)
            offsets[at] = new.moved(offsets[at : at + 1])[0]
        where = np.full(len(refs), -1, np.int64)
        where[rows] = np.arange(len(rows))
        moved = type(items)(
            items.anchors, items.stops, items.sizes, addresses, offsets, items.packed, items.chunked
        )
        return refs_of_items(moved).take(pa.array(where, mask=where < 0))

    def _erase_vectors(self, data: bytes) -> bytes | None:
        dim = pa.ipc.open_file(pa.BufferReader(data)).schema.field(1).type.list_size
        held = decode_vectors(data, dim)
        alive = ~np.isin(held.anchors, self.gone)
        if alive.all():
            return data
        return bytes(encode_vectors(held.anchors[alive], held.vectors[alive])) if alive.any() else None


def see_stripe(store: Store, timeline: Address, fragment: Fragment, gone: I64, seen: Seen) -> None:
    """Note which payloads the media columns of a stripe name, but for chunked items, which share none in part."""
    data = fetch(store, fragment_path(timeline, STRIPE, fragment.address), fragment.address)
    table = decode_stripe(pa.BufferReader(data))
    anchors = anchors_of(table)
    for column in table.schema:
        if column.type == MEDIA_REF:
            refs = table[column.name].combine_chunks()
            rows = np.flatnonzero(np.asarray(refs.is_valid()))
            items = items_of_refs(refs.take(pa.array(rows)), anchors[rows])
            plain = items.take(~items.chunked)
            seen.add(plain.addresses, plain.offsets, plain.sizes, np.isin(plain.anchors, gone))
