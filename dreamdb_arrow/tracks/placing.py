"""Where the entries of a media or spatial index are kept: in the Track while it is small, in pages above. Spec 0007."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from dreamdb_arrow.objects.index_entries import CELLS, IndexEntries, lists_of_entries
from dreamdb_arrow.objects.track import Track, encode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.tracks.index_pages import sort_index_entries
from dreamdb_arrow.tracks.pages import build_index

INLINE_BYTES_MAX: Final = 1_042_000  # of a Track; the reference goes over to pages just above
_ENTRY_BYTES_MIN: Final = 40


def place_entries(batch: Batch, track: Track, entries: IndexEntries) -> Any:
    """Return the object_index of a Track with these entries, put in order; its pages, if any, are added to the batch."""
    ordered = sort_index_entries(entries)
    width = _ENTRY_BYTES_MIN + (len(entries.keys[0]) if entries.shape is CELLS and len(entries) else 0)
    if len(ordered) * width <= INLINE_BYTES_MAX:
        inline = lists_of_entries(ordered)
        if len(encode_track(replace(track, object_index=inline))) <= INLINE_BYTES_MAX:  # 0007-R1
            return inline
    return build_index(batch, track.timeline, track.modality, ordered)
