"""Resolving: from a Manifest to the rows of its version. Spec 0021.

Rows = stripes, plus what only the Tracks hold, less tombstones. `resolve_rows` turns a Manifest into a `RowSet`:
a list of Parquet stripes whose anchors are disjoint, vector stripes by field, and the deleted anchors. It depends
on the Manifest alone, so whoever asks may keep it as long as it likes.
"""

from __future__ import annotations

from collections.abc import Iterable

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.cell_vectors import add_cell_vectors
from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.deleted import read_hidden
from dreamdb_arrow.columnar.dropped import leave_out_dropped
from dreamdb_arrow.columnar.folding import add_track_rows, uncovered
from dreamdb_arrow.columnar.notes import newest_note, read_notes
from dreamdb_arrow.columnar.overlaps import (
    settle_overlaps,
)
from dreamdb_arrow.columnar.rebirth import drop_mistyped, forget_reborn
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.vendor import (
    MARK_ADDRESS,
    STRIPE,
    VECTORS,
    Fragment,
    read_fragments,
)
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.layout import payload_directory

REGISTERED_KINDS = ("scalar", "embedding", "array")


def resolve_rows(store: Store, cache: LocalCache, manifest: Manifest, address: Address) -> RowSet:
    """Find the files and the hidden anchors of a version.

    Raises CorruptDataError when an object on the way is damaged; a field of a kind that cannot be read is listed
    in `unavailable` with the reason, and its column is left out.
    """
    fields = decode_schema(manifest.registry)
    _check_entries(manifest, fields)
    stripes = space_stripes(store, manifest, STRIPE)
    embeddings = [f.name for f in fields if f.kind == "embedding"]
    held = {name: vector_stripes(store, manifest, name) for name in embeddings}
    vectors = {name: stripes for name, (stripes, _) in held.items()}
    marked = [name for name, (_, is_marked) in held.items() if is_marked]
    rows = RowSet(
        store,
        cache,
        manifest,
        address,
        fields,
        tuple(stripes),
        vectors,
        read_hidden(store, manifest, cache=cache),
    )
    note = newest_note(store, manifest)
    open_fields = uncovered(rows, note)
    if open_fields:
        known = merge_notes(read_notes(store, manifest))
        note = forget_reborn(store, manifest, open_fields, drop_mistyped(rows, open_fields, known))
    settled = settle_overlaps(leave_out_dropped(rows, note))
    if not open_fields or note is None:
        return add_cell_vectors(settled, settled, marked)
    return add_cell_vectors(settled, add_track_rows(settled, open_fields, note, marked), marked)


def _check_entries(manifest: Manifest, fields: Iterable[Field]) -> None:
    entries = {entry.field: entry for entry in manifest.tracks.active}
    for f in fields:
        if f.name not in entries:  # 0001-R6
            raise LayoutError(f"the manifest names no Track of field {f.name!r}")
        modality = entries[f.name].modality
        if f.kind in REGISTERED_KINDS and modality not in manifest.registry:  # 0001-R12
            raise LayoutError(f"the registry has no entry {modality!r}, of field {f.name!r}")


def space_stripes(store: Store, manifest: Manifest, modality: str, name: str = "") -> tuple[Stripe, ...]:
    """Return the stripes that a vendor Track lists, by first anchor."""
    return _stripes(manifest, modality, read_fragments(store, manifest, modality, name))


def vector_stripes(store: Store, manifest: Manifest, name: str) -> tuple[tuple[Stripe, ...], bool]:
    """Return the vector stripes of a field, and whether what none of them has lies in its cells."""
    held = read_fragments(store, manifest, VECTORS, name)
    stripes = _stripes(manifest, VECTORS, held)
    return stripes, len(stripes) < len(held)


def _stripes(manifest: Manifest, modality: str, held: Iterable[Fragment]) -> tuple[Stripe, ...]:
    directory = payload_directory(manifest.timeline, modality)
    return tuple(Stripe(f.address, f.t0, f.t1, directory, f.size) for f in held if f.address != MARK_ADDRESS)
