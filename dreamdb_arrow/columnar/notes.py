"""Cover notes in a store: read and written as the vendor Track lists them. Spec 0021.

Each flush adds a note. When they are many they become one, which leaves out the flushed stripes that are not in the version
any more. A branch that still has such a stripe may bring it back by a union: it then looks as if it had not been flushed,
and a flush finds that the Tracks hold its rows. What is said of dropped columns stays for ever, as nothing else tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote, decode_cover_note, encode_cover_note, merge_notes
from dreamdb_arrow.columnar.vendor import (
    COVER,
    STRIPE,
    VECTORS,
    Fragment,
    fragment_path,
    read_fragments,
    write_fragments,
)
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch, fetch_many
from dreamdb_arrow.tracks.layout import payload_directory

NOTES_MAX: Final = 16  # notes beyond this are united into one


def read_notes(store: Store, manifest: Manifest) -> list[CoverNote]:
    """Return the cover notes of a version, oldest first."""
    held = read_fragments(store, manifest, COVER)
    timeline = manifest.timeline
    paths = [(fragment_path(timeline, COVER, f.address), f.address) for f in held]
    return [decode_cover_note(data) for data in fetch_many(store, paths)]


def newest_note(store: Store, manifest: Manifest) -> CoverNote | None:
    """Return the cover note of the last flush, or None."""
    held = read_fragments(store, manifest, COVER)
    if not held:
        return None
    last = held[-1]
    return decode_cover_note(
        fetch(store, fragment_path(manifest.timeline, COVER, last.address), last.address)
    )


def still_covered(manifest: Manifest, note: CoverNote) -> dict[str, Address]:
    """Return, by field, those active Tracks of a version that a note names."""
    active = {entry.field: entry.address for entry in manifest.tracks.active}
    return {name: address for name, address in note.tracks.items() if active.get(name) == address}  # 0021-R9


def held_stripes(store: Store, manifest: Manifest) -> frozenset[Address]:
    """Return the addresses of all stripes and vector stripes of a version."""
    names = [e.field.partition(":") for e in manifest.tracks.active if e.modality in (STRIPE, VECTORS)]
    tracks = [(modality, field) for modality, _, field in names]
    return frozenset(f.address for track in tracks for f in read_fragments(store, manifest, *track))


def add_note(
    store: Store, batch: Batch, versions: Sequence[Manifest], note: CoverNote, after_ns: int
) -> TrackEntry:
    """Put a note into the batch as the newest after all those of some versions; when they are many, in their place."""
    kept = list(dict.fromkeys(f for version in versions for f in read_fragments(store, version, COVER)))
    if len(kept) >= NOTES_MAX:
        before = merge_notes(held for version in versions for held in read_notes(store, version))
        there = frozenset[Address]().union(*(held_stripes(store, version) for version in versions))
        before = replace(before, stripes=before.stripes & there)
        note, kept = replace(merge_notes([before, note]), tracks=note.tracks), []
    return write_note(batch, versions[0].timeline, note, kept, after_ns)


def write_note(
    batch: Batch, timeline: Address, note: CoverNote, kept: Sequence[Fragment], after_ns: int
) -> TrackEntry:
    """Put a cover note into the batch, as the newest after those kept, and return the Track's entry.

    Notes are ordered by when they were written: each begins after all that came before, and not before `after_ns`.
    """
    data = encode_cover_note(note)
    address = batch.add(payload_directory(timeline, COVER), data)
    at = max([after_ns, *(f.t1 for f in kept)])
    return write_fragments(batch, timeline, COVER, [*kept, Fragment(at, at + 1, len(data), address)])
