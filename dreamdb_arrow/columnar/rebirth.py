"""Fields that were decommissioned and declared again under their name by somebody who knows nothing of stripes. Spec 0021.

What is flushed lies in the Tracks. So a Track that has nothing of what the notes list of its field, and does not descend
from the Track they list, is that of a new field: what stripes hold under the name is dropped, as if our own
decommission had said so. A new field's Track may also be the one that an older note lists, as long as both are empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.projection import old_items, row_entry, without_old
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import BLOB_KINDS, open_stripe, stored_type
from dreamdb_arrow.columnar.vendor import read_track, track_path
from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.blobs import read_blobs
from dreamdb_arrow.tracks.cells import iterate_cells
from dreamdb_arrow.tracks.hot import base_of
from dreamdb_arrow.tracks.scalars import bucket_addresses, holds_any


def forget_reborn(store: Store, manifest: Manifest, fields: Iterable[Field], note: CoverNote) -> CoverNote:
    """Return what notes say, united, without what they say of earlier fields of the same names.

    The fields are some of those whose Tracks the newest note does not list.
    """
    reborn = [f.name for f in fields if _is_reborn(store, manifest, f, note)]
    for name in reborn:  # 0021-R13
        note = drop_field(note, name, note.stripes)
    return note


def drop_mistyped(rows: RowSet, fields: Iterable[Field], note: CoverNote) -> CoverNote:
    """Return a note that also drops columns of another type than the field's: those of an earlier one, not flushed yet.

    Stripes are looked into only where the Track that the notes list does not lie among the field's.
    """
    for f in fields:
        entry, base = row_entry(rows.manifest, f.name), note.tracks.get(f.name)
        kind = stored_type(f)
        if entry is None or base is None or kind is None or entry.address == base:
            continue
        if not rows.store.exists(track_path(replace(entry, address=base))):
            other = {s.address for s in rows.stripes if _has_other_type(rows, s, f.name, kind)}
            note = drop_field(note, f.name, frozenset(other)) if other else note
    return note


def _has_other_type(rows: RowSet, stripe: Stripe, name: str, kind: pa.DataType) -> bool:
    schema = open_stripe(stripe.local(rows.store, rows.cache)).schema_arrow
    return name in schema.names and schema.field(name).type.id != kind.id


def drop_field(note: CoverNote, name: str, stripes: frozenset[Address]) -> CoverNote:
    """Return a note that says nothing of a field but that these stripes hold nothing of it."""
    dropped = {**note.dropped, name: note.dropped.get(name, frozenset()) | stripes}
    return replace(
        note,
        tracks={field: address for field, address in note.tracks.items() if field != name},
        payloads={field: listed for field, listed in note.payloads.items() if field != name},
        dropped={field: listed for field, listed in dropped.items() if listed},
    )


def _is_reborn(store: Store, manifest: Manifest, f: Field, note: CoverNote) -> bool:
    entry, base = row_entry(manifest, f.name), note.tracks.get(f.name)
    if entry is None or _descends(manifest, f.name, base):
        return False
    known = note.payloads.get(f.name, frozenset())
    try:
        if entry.address == base:
            return _is_empty(store, f, entry)
        if f.kind in BLOB_KINDS:
            return bool(known) or _has_other_items(store, f, entry, base)
        return bool(known) and not _holds_any(store, f, entry, known)
    except UnsupportedError:
        return False


def _descends(manifest: Manifest, name: str, base: Address | None) -> bool:
    return any(e.field == name and e.address == base for e in manifest.tracks.lineage)


def _is_empty(store: Store, f: Field, entry: TrackEntry) -> bool:
    track = read_track(store, entry)
    if f.kind == "scalar":
        return not bucket_addresses(store, base_of(store, track), str(f.options["value_type"]))
    return f.kind in BLOB_KINDS and len(read_blobs(store, track, f.kind)) == 0


def _holds_any(store: Store, f: Field, entry: TrackEntry, known: frozenset[Address]) -> bool:
    track = read_track(store, entry)
    if f.kind == "scalar":
        return holds_any(store, base_of(store, track), str(f.options["value_type"]), known)
    return f.kind == "embedding" and any(cell.bucket in known for cell in iterate_cells(store, track))


def _has_other_items(store: Store, f: Field, entry: TrackEntry, base: Address | None) -> bool:
    """Whether a Track of media has none of the items that the listed one had."""
    old = None if base is None else old_items(store, replace(entry, address=base), f.kind)
    if old is None or len(old) == 0:
        return False
    return len(without_old(old, read_blobs(store, read_track(store, entry), f.kind))) == len(old)
