"""Forms of Tracks: which kind of index a Track has, by its modality and its object_index. Specs 0001 and 0007.

What unites, compacts or collects Tracks goes by this table, and refuses what is not in it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from dreamdb_arrow.codec.modality import parse_modality
from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.objects.schema import VALUE_TYPES
from dreamdb_arrow.objects.track import WHOLE_COVERAGE, Track
from dreamdb_arrow.tracks.btree import FORM as BTREE_FORM
from dreamdb_arrow.tracks.btree import HOT_FORM
from dreamdb_arrow.tracks.pages import FORM as PAGED_FORM

_VALUE_TYPES: Final = {tag: name for name, tag in VALUE_TYPES.items()}
_REFERENCE_VENDOR: Final = "ai.dreamlake."  # items of video and geometry, which are no fragments
_LISTED: Final = frozenset({"categorical", "bool"})
_MEDIA: Final = frozenset({"image", "audio", "video"})
_CONSTANTS: Final = frozenset({"title", "author", "license", "description", "source"})


class TrackForm(Enum):
    """What the entries of an index are, and how they are kept."""

    BTREE = "scalars by value, in a B-tree"
    LIST = "categories or booleans, in a list"
    FRAGMENTS = "fragments by time, in a list or in pages"
    CELLS = "buckets of vectors by cell, in a list or in pages"
    GRAPH = "pages of a graph"
    ARRAY = "arrays by anchor, in a list or in pages"
    CONSTANT = "one value"
    HOT = "a hot buffer over another Track"
    OTHER = "unknown"


def form_of(track: Track) -> TrackForm:
    """Return the form of a Track; OTHER when no rule here fits."""
    index = track.object_index
    if isinstance(index, dict) and index.get("form") == HOT_FORM:
        return TrackForm.HOT
    if track.item_key_index is not None:
        return TrackForm.OTHER
    modality = parse_modality(track.modality)
    form = _vendor_form(track) if modality.vendor else _built_in_form(track)
    return form if _keeps(form, index) else TrackForm.OTHER


def _built_in_form(track: Track) -> TrackForm:
    name = parse_modality(track.modality).class_name
    if name == "scalar":
        return TrackForm.LIST if scalar_type_of(track.modality) in _LISTED else TrackForm.BTREE
    if name in _MEDIA:
        return TrackForm.FRAGMENTS
    if name == "embedding":
        return TrackForm.CELLS if ".bucketed" in track.modality else TrackForm.GRAPH
    if name == "array":
        return TrackForm.CONSTANT if track.coverage == WHOLE_COVERAGE else TrackForm.ARRAY
    return TrackForm.CONSTANT if name in _CONSTANTS else TrackForm.OTHER


def _vendor_form(track: Track) -> TrackForm:
    """Tell the form of a user modality by its entries: the registry names its kind, the entries show it."""
    index = track.object_index
    if track.modality.startswith(_REFERENCE_VENDOR):
        return TrackForm.OTHER
    if isinstance(index, dict):
        return TrackForm.FRAGMENTS
    if isinstance(index, list) and all(isinstance(row, list) and 4 <= len(row) <= 6 for row in index):
        return TrackForm.FRAGMENTS
    return TrackForm.OTHER


def _keeps(form: TrackForm, index: object) -> bool:
    """Whether an index of this form may be kept like that."""
    if isinstance(index, list):
        return form is not TrackForm.BTREE or not index
    if not isinstance(index, dict):
        return False
    if form is TrackForm.BTREE:
        return index.get("form") == BTREE_FORM
    paged = (TrackForm.FRAGMENTS, TrackForm.CELLS, TrackForm.ARRAY)
    return form in paged and index.get("form") == PAGED_FORM


def scalar_type_of(modality: str) -> str:
    """Return the value type of a scalar modality. Raises UnsupportedError."""
    tag = parse_modality(modality).codec
    if tag not in _VALUE_TYPES:
        raise UnsupportedError(f"scalars of modality {modality!r:.80} are not supported")
    return _VALUE_TYPES[tag]
