"""Agreement: whether stripes hold what their fragments say, and the same rows as the Tracks that notes speak of. Spec 0021.

Of a flushed stripe each live value must be at its anchor in the field's Track; of a covered Track each live anchor must be
in a stripe. Anchors of one field are in memory at a time, eight bytes each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.distinct import distinct, united
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.deleted import read_hidden
from dreamdb_arrow.columnar.notes import newest_note, read_notes, still_covered
from dreamdb_arrow.columnar.projection import GRAPH, dim_of, has_cells, row_entry
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS, open_stripe
from dreamdb_arrow.columnar.vectors import I64, check_ascending, decode_vectors, only_batch
from dreamdb_arrow.columnar.vendor import (
    COVER,
    MARK_ADDRESS,
    MEDIA,
    STRIPE,
    VECTORS,
    Fragment,
    has_columnar_layer,
    read_fragments,
    read_track,
)
from dreamdb_arrow.errors import DreamDBError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import Field, decode_schema, is_constant
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.arrays import read_array_items
from dreamdb_arrow.tracks.blobs import read_blobs
from dreamdb_arrow.tracks.hot import read_hot_scalars
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX, payload_directory
from dreamdb_arrow.tracks.vectors import read_cell_anchors

Wrong = tuple[str, DreamDBError]  # the name of a field or Track, and what is wrong with it
_NONE: I64 = np.empty(0, np.int64)


def check_layer(store: Store, manifest: Manifest) -> Iterator[Wrong]:
    """Yield what is wrong with the columnar layer of a version: with one stripe, one field or one Track at a time."""
    if not has_columnar_layer(manifest):
        return
    fields = [f for f in decode_schema(manifest.registry) if not is_constant(f)]
    tracks = [
        (STRIPE, ""),
        (MEDIA, ""),
        (COVER, ""),
        *((VECTORS, f.name) for f in fields if f.kind == "embedding"),
    ]
    sound = True
    for modality, name in tracks:
        for wrong in _check_fragments(store, manifest, modality, name):
            sound = False
            yield f"{modality}{name and ':'}{name}", wrong
    if sound:
        yield from _check_notes(store, manifest, fields)


# --- fragments ----------------------------------------------------------------------------------------------


def _check_fragments(store: Store, manifest: Manifest, modality: str, name: str) -> Iterator[DreamDBError]:
    try:
        fragments = read_fragments(store, manifest, modality, name)
    except DreamDBError as error:
        yield error
        return
    for fragment in fragments:
        try:
            _check_fragment(store, manifest, modality, fragment)
        except DreamDBError as error:
            yield error


def _check_fragment(store: Store, manifest: Manifest, modality: str, fragment: Fragment) -> None:
    """Check the size that a fragment tells, and of stripes the order of rows and their range."""
    if modality == MEDIA or fragment.address == MARK_ADDRESS:
        return  # media lie in the directories of their fields: rows lead there
    path = f"{payload_directory(manifest.timeline, modality)}/{fragment.address}"
    data = fetch(store, path, fragment.address)
    if len(data) != fragment.size:
        raise LayoutError(f"{path} has {len(data)} bytes, its entry says {fragment.size}")
    if modality == COVER:
        return
    anchors = _anchors_of(data, modality)
    check_ascending(anchors, path)
    if not len(anchors) or anchors[0] < fragment.t0 or anchors[-1] >= fragment.t1:
        raise LayoutError(f"{path} has no rows, or some outside of [{fragment.t0}, {fragment.t1})")


def _anchors_of(data: bytes, modality: str) -> I64:
    if modality == STRIPE:
        return np.asarray(open_stripe(pa.py_buffer(data)).read([ANCHOR])[ANCHOR].combine_chunks())
    batch = only_batch(pa.BufferReader(data))
    return np.empty(0, np.int64) if batch is None else np.asarray(batch[ANCHOR])


# --- notes --------------------------------------------------------------------------------------------------


def _check_notes(store: Store, manifest: Manifest, fields: Sequence[Field]) -> Iterator[Wrong]:
    newest = newest_note(store, manifest)
    if newest is None:
        return
    note = merge_notes(read_notes(store, manifest))
    hidden = read_hidden(store, manifest)
    covered = still_covered(manifest, newest)
    for f in fields:
        entry = row_entry(manifest, f.name)
        if entry is None:
            continue
        try:
            _check_field(store, manifest, f, entry, note, hidden, is_covered=f.name in covered)
        except UnsupportedError:
            continue
        except DreamDBError as error:
            yield f.name, error


def _check_field(
    store: Store,
    manifest: Manifest,
    f: Field,
    entry: TrackEntry,
    note: CoverNote,
    hidden: I64,
    *,
    is_covered: bool,
) -> None:
    track = _track_anchors(store, f, entry)
    flushed, others = _stripe_anchors(store, manifest, f, note)
    missing = np.setdiff1d(np.setdiff1d(flushed, track, True), hidden, True)
    if len(missing):  # 0021-R9
        raise LayoutError(
            f"a cover note calls stripes flushed whose values of field {f.name!r} at {len(missing)} anchors, the first "
            f"{missing[0]}, are not in its Track"
        )
    if is_covered and not _lies_in_cells(store, manifest, f):
        held = united([flushed, others])
        more = np.setdiff1d(np.setdiff1d(track, held, True), hidden, True)
        if len(more):  # 0021-R9
            raise LayoutError(
                f"a cover note says that stripes hold all rows of the Track of field {f.name!r}; {len(more)} anchors, the "
                f"first {more[0]}, are in none"
            )


def _lies_in_cells(store: Store, manifest: Manifest, f: Field) -> bool:
    """Whether vectors of a field lie in its cells alone, so that stripes need not hold them."""
    held = read_fragments(store, manifest, VECTORS, f.name) if f.kind == "embedding" else []
    return any(fragment.address == MARK_ADDRESS for fragment in held)


def _track_anchors(store: Store, f: Field, entry: TrackEntry) -> I64:
    """Return the anchors at which the Track of a field has a value."""
    track = read_track(store, entry)
    if f.kind == "scalar":
        return read_hot_scalars(store, track, str(f.options["value_type"])).anchors
    if f.kind in BLOB_KINDS:
        return read_blobs(store, track, f.kind).anchors
    if f.kind == "array":
        return read_array_items(store, track).anchors
    if f.kind == "embedding" and GRAPH not in entry.modality and has_cells(entry):
        return distinct(read_cell_anchors(store, track))
    raise UnsupportedError(f"field {f.name!r} has no rows to compare")


def _stripe_anchors(store: Store, manifest: Manifest, f: Field, note: CoverNote) -> tuple[I64, I64]:
    """Return the anchors at which flushed stripes, and others, have a value of a field; ascending."""
    modality, name = (VECTORS, f.name) if f.kind == "embedding" else (STRIPE, "")
    dropped = note.dropped.get(f.name, frozenset[Address]())
    parts: tuple[list[I64], list[I64]] = ([_NONE], [_NONE])
    for fragment in read_fragments(store, manifest, modality, name):
        if fragment.address not in dropped and fragment.address != MARK_ADDRESS:
            path = f"{payload_directory(manifest.timeline, modality)}/{fragment.address}"
            data = fetch(store, path, fragment.address)
            anchors = _value_anchors(data, f)
            parts[fragment.address not in note.stripes].append(anchors)
    flushed, others = map(united, parts)
    return flushed[flushed <= VISIBLE_ANCHOR_MAX], others


def _value_anchors(data: bytes, f: Field) -> I64:
    if f.kind == "embedding":
        return decode_vectors(data, dim_of(f)).anchors
    stripe = open_stripe(pa.py_buffer(data))
    if f.name not in stripe.schema_arrow.names:
        return _NONE
    table = stripe.read([ANCHOR, f.name])
    return np.asarray(table[ANCHOR].filter(table[f.name].is_valid()).combine_chunks())
