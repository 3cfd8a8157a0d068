"""Cover notes in a store: read as the vendor Track lists them. Spec 1000."""

from __future__ import annotations

from dreamdb_arrow.columnar.cover_note import CoverNote, decode_cover_note
from dreamdb_arrow.columnar.vendor import (
    COVER,
    fragment_path,
    read_fragments,
)
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch, fetch_many


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
