"""The vendor Tracks behind which the columnar layer lives in a Space. Spec 0021.

Four user modalities, all of kind `continuous` with object kind `fragment`: the one combination that the
reference SDK keeps through its commits, protects from its gc (0001-R14), and unites in a union merge (0008-R10).
The registry says the same on every branch for ever (0008-R9, 0021-R1); whatever changes from commit to commit
lies inside the fragments (0021-R2).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, address_of
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.index_entries import MEDIA as MEDIA_ENTRIES
from dreamdb_arrow.objects.index_entries import IndexEntries, entries_of_lists
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, find_entry
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track, decode_track, encode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.index_insertion import swap_in_index
from dreamdb_arrow.tracks.layout import payload_directory, track_directory
from dreamdb_arrow.tracks.pages import build_index, iterate_index

STRIPE = "org.dreamdb.arrow.stripe.v1"
VECTORS = "org.dreamdb.arrow.vectors.v1"
MEDIA = "org.dreamdb.arrow.media.v1"
COVER = "org.dreamdb.arrow.cover.v1"
VENDOR_MODALITIES = (STRIPE, VECTORS, MEDIA, COVER)

MARK = b"cells"  # in the place of vector stripes: what no other has lies in the cells of the field
MARK_ADDRESS = address_of(MARK)

FLUSH_MODES = ("manual", "commit")
PLACE = attrgetter("t0", "t1", "address")  # of a fragment among others
_NONE = entries_of_lists(MEDIA_ENTRIES, [])
INLINE_ENTRIES_MAX = 128  # 0021-R8: paged early, so that a commit rewrites one leaf and not the list


@dataclass(frozen=True, slots=True)
class Fragment:
    """One object of a vendor Track: the half-open range of anchors it holds, its size and its address."""

    t0: int
    t1: int
    size: int
    address: Address


def registry_entries(flush: str) -> dict[str, dict[str, str]]:
    """Return what the registry of a Space with a columnar layer says, from its first Manifest on."""
    plain = {"kind": "continuous", "object_kind": "fragment"}
    # 0001-R13, 0021-R1
    return {m: {**plain, "flush": flush} if m == STRIPE else dict(plain) for m in VENDOR_MODALITIES}


def has_columnar_layer(manifest: Manifest) -> bool:
    """Tell whether stripes may be written: a Space made elsewhere says nothing of them, and stays so."""
    return STRIPE in manifest.registry  # 0021-R3, 0006-R10


def flush_mode(manifest: Manifest) -> str:
    """Return `manual` or `commit`; Spaces without a columnar layer have only their Tracks, so `commit`."""
    entry: Mapping[str, Any] = manifest.registry.get(STRIPE, {"flush": "commit"})
    mode = str(entry.get("flush", "manual"))
    return mode if mode in FLUSH_MODES else "manual"


def vendor_field(modality: str, field: str = "") -> str:
    """Return the name under which a vendor Track is listed; Tracks of vectors exist once an embedding."""
    return f"{modality}:{field}" if field else modality


def vendor_entry(manifest: Manifest, modality: str, field: str = "") -> TrackEntry | None:
    """Return the active entry of one vendor Track, or None."""
    return find_entry(manifest.tracks, vendor_field(modality, field))


class VendorTrack:
    """One vendor Track of a version, read once, when it is first needed, for all that a commit asks of it."""

    __slots__ = ("_held", "_store", "_timeline", "_track", "entry", "field", "modality")

    def __init__(self, store: Store, manifest: Manifest, modality: str, field: str = "") -> None:
        self.modality, self.field = modality, field
        self.entry = vendor_entry(manifest, modality, field)
        self._store, self._timeline = store, manifest.timeline
        self._track: Track | None = None
        self._held: list[Fragment] | None = None

    def fragments(self, near: tuple[int, int] | None = None) -> list[Fragment]:
        """Return its fragments in the order of their first anchor, as read_fragments does."""
        if self.entry is None:
            return []
        track = self._load(self.entry)
        if near is not None and _is_paged(track):
            return self._read(track, near)
        if self._held is None:
            self._held = self._read(track, None)
        return list(self._held)

    def read_ahead(self) -> None:
        """Read what a swap begins with."""
        if self.entry is not None and not _is_paged(self._load(self.entry)):
            self.fragments()

    def _load(self, entry: TrackEntry) -> Track:
        if self._track is None:
            self._track = read_track(self._store, entry)
        return self._track

    def _read(self, track: Track, near: tuple[int, int] | None) -> list[Fragment]:
        leaves = iterate_index(self._store, track, near)
        return sorted(chain.from_iterable(map(_fragments_of, leaves)), key=PLACE)

    def swap(self, batch: Batch, added: Iterable[Fragment], removed: Collection[Fragment] = ()) -> TrackEntry:
        """Return the entry of the Track with fragments more, and others gone.

        Of a paged one only the pages that change are read and written.
        """
        new, gone = list(dict.fromkeys(added)), frozenset(removed)
        track = None if self.entry is None else self._load(self.entry)
        if track is not None and _is_paged(track) and (new or gone):  # 0021-R8
            swapped = swap_in_index(self._store, batch, track, _entries(new), _entries(gone))
            if swapped is not None:
                return _publish(batch, swapped, self.field)
        held = [f for f in self.fragments() if f not in gone] if gone else self.fragments()
        return write_fragments(batch, self._timeline, self.modality, [*held, *new], self.field)


def read_fragments(
    store: Store, manifest: Manifest, modality: str, field: str = "", near: tuple[int, int] | None = None
) -> list[Fragment]:
    """Return the fragments of one vendor Track, in the order of their first anchor.

    With `near`, at least those that meet [t0, t1) and what lies beside them in the index; with later and later anchors
    that is the last page of it, however long the whole is.
    """
    return VendorTrack(store, manifest, modality, field).fragments(near)


def read_track(store: Store, entry: TrackEntry) -> Track:
    """Fetch and decode the Track behind an entry. Raises LayoutError unless both tell one modality and timeline."""
    track = decode_track(fetch(store, track_path(entry), entry.address))
    if (track.modality, track.timeline) != (entry.modality, entry.timeline):  # 0001-R9
        raise LayoutError(
            f"the Track of field {entry.field!r} is {track.modality} on {track.timeline}, "
            f"its entry says {entry.modality} on {entry.timeline}"
        )
    return track


def track_path(entry: TrackEntry) -> str:
    """Return the path of the Track object behind an entry."""
    return f"{track_directory(entry.timeline, entry.modality)}/{entry.address}"


def add_track(batch: Batch, track: Track) -> Address:
    """Add a Track object to the batch and return its address."""
    return batch.add(track_directory(track.timeline, track.modality), encode_track(track))


def fragment_path(timeline: Address, modality: str, address: Address) -> str:
    """Return the path of one fragment."""
    return f"{payload_directory(timeline, modality)}/{address}"


def write_fragments(
    batch: Batch, timeline: Address, modality: str, fragments: Iterable[Fragment], field: str = ""
) -> TrackEntry:
    """Add the Track object of these fragments to the batch and return its active entry."""
    ordered = sorted(dict.fromkeys(fragments), key=PLACE)  # 0007-R5
    few = len(ordered) <= INLINE_ENTRIES_MAX
    index = _lists(ordered) if few else build_index(batch, timeline, modality, _entries(ordered))
    coverage = (ordered[0].t0, max(f.t1 for f in ordered)) if ordered else EMPTY_COVERAGE
    return _publish(batch, Track(coverage, modality, timeline, index), field)


def _publish(batch: Batch, track: Track, field: str) -> TrackEntry:
    return TrackEntry(
        kind="continuous",
        role="base",
        field=vendor_field(track.modality, field),
        address=add_track(batch, track),
        coverage=track.coverage,
        modality=track.modality,
        timeline=track.timeline,
    )


def _is_paged(track: Track) -> bool:
    """Whether fragments are listed in pages; a short list is in the Track itself."""
    return isinstance(track.object_index, dict)


def _entries(fragments: Collection[Fragment]) -> IndexEntries:
    return entries_of_lists(MEDIA_ENTRIES, _lists(sorted(fragments, key=PLACE))) if fragments else _NONE


def _lists(fragments: Iterable[Fragment]) -> list[list[Any]]:
    """Return the entries of fragments: neither packed nor chunked."""
    return [[f.t0, f.t1, f.size, f.address] for f in fragments]


def _fragments_of(entries: IndexEntries) -> Iterator[Fragment]:
    if np.any(entries.members != MEDIA_ENTRIES.required):
        raise LayoutError("an entry of a vendor track has four items")
    columns = (c.tolist() for c in (entries.firsts, entries.stops, entries.sizes))
    names = np.ascontiguousarray(entries.addresses).view(f"V{ADDRESS_BYTES}").reshape(-1).tolist()
    return map(Fragment, *columns, map(Address, names))
