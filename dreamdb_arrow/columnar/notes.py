"""Cover notes in a store: read and written as the vendor Track lists them. Spec 0021."""

from __future__ import annotations

from collections.abc import Sequence

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote, decode_cover_note, encode_cover_note
from dreamdb_arrow.columnar.vendor import (
    COVER,
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


def read_notes(store: Store, manifest: Manifest) -> list[CoverNote]:
    """Return the cover notes of a version, oldest first."""
    held = read_fragments(store, manifest, COVER)
    timeline = manifest.timelines[0]
    paths = [(fragment_path(timeline, COVER, f.address), f.address) for f in held]
    return [decode_cover_note(data) for data in fetch_many(store, paths)]


def newest_note(store: Store, manifest: Manifest) -> CoverNote | None:
    """Return the cover note of the last flush, or None."""
    held = read_fragments(store, manifest, COVER)
    if not held:
        return None
    last = held[-1]
    return decode_cover_note(
        fetch(store, fragment_path(manifest.timelines[0], COVER, last.address), last.address)
    )


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
