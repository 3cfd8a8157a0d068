"""Layers: fields that are computed later, over the rows of another field. Specs 0006 and 0017.

A layer goes to its Track at once, in the commit that declares it: its role names the Track that it was made from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.stripe import ANCHOR
from dreamdb_arrow.columnar.vendor import VECTORS, add_track, has_columnar_layer, read_track, write_fragments
from dreamdb_arrow.dataset.evolve import check_beside, drop_column, place_field, schema_with
from dreamdb_arrow.dataset.flush import write_column
from dreamdb_arrow.dataset.incoming import check_rows
from dreamdb_arrow.dataset.outgoing import Rows, store_rows
from dreamdb_arrow.dataset.tables import table_of_pairs
from dreamdb_arrow.dataset.token_search import MULTIVEC
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.lineage import LAYER_PREFIX
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import MEDIA_KINDS, SCHEMA_KEY, Field, decode_schema
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store

OPERATIONS: Final = {"scalar": "add_scalar_layer", "embedding": "add_embedding_layer"}


def add_layer(store: Store, name: str, new: Field, over: str, samples: Any, clock: Clock) -> Address:
    """Add a field with its values, as a layer over another; return the new version.

    Args:
        store: where the Space lives.
        name: the Ref.
        new: the field. A layer of media that is there is made anew, as the reference does.
        over: the field that the values were computed from.
        samples: pairs (anchor, value), or anything tabular with `_anchor` and the field.
        clock: nanoseconds since 1970.

    Raises InvalidInputError when there is no such field below, the name is taken, or a value does not fit.
    """
    table = table_of_pairs(samples, new)

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        role = f"{LAYER_PREFIX}{_entry_of(parent, over).address}"
        base = _without_old(parent, new)
        check_beside(base, new)
        entries, registry = place_field(store, batch, name, base, new)
        batch.flush()  # the empty Track and the cells of the field are read back below
        layer = _write_layer(store, batch, new, entries[0], table, registry)
        registry[SCHEMA_KEY] = schema_with(base, [_bound(new, registry.get(layer.modality))])
        columnar = _columnar_entries(store, parent, batch, new) if has_columnar_layer(parent) else ()
        return Change(
            OPERATIONS.get(new.kind, "add_image_layer"), (replace(layer, role=role), *columnar), registry
        )

    return commit(store, name, build, clock=clock)[0]


def _bound(new: Field, spatial: Any) -> Field:
    """Return a field of vectors with the SpatialIndex that its cells follow: the reference appends to no other layer."""
    if new.kind != "embedding":
        return new
    return replace(new, options={**new.options, "spatial_index": spatial["spatial_index"][0]})


def append_layer(store: Store, name: str, field: str, samples: Any, clock: Clock) -> Address:
    """Add values to a layer; return the new version. Raises InvalidInputError when the field is no layer."""

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        entry = _entry_of(parent, field)
        if not entry.role.startswith(LAYER_PREFIX):
            raise InvalidInputError(f"field {field!r} is no layer; append rows instead")
        if MULTIVEC in entry.modality:
            raise InvalidInputError(
                f"field {field!r} has a vector a token; add another with add_multi_vector_index"
            )
        held = next(f for f in decode_schema(parent.registry) if f.name == field)
        registry = {entry.modality: parent.registry.get(entry.modality)}
        layer = _write_layer(store, batch, held, entry, table_of_pairs(samples, held), registry)
        changed = {k: v for k, v in registry.items() if v != parent.registry.get(k)}
        return Change(f"append_{held.kind}_layer", () if layer == entry else (layer,), changed)

    return commit(store, name, build, clock=clock)[0]


def _entry_of(parent: Manifest, field: str) -> TrackEntry:
    names = [f.name for f in decode_schema(parent.registry)]
    entry = row_entry(parent, field) if field in names else None
    if entry is None:
        raise InvalidInputError(f"no field {field!r}; fields: {', '.join(names) or 'none'}")
    return entry


def _without_old(parent: Manifest, new: Field) -> Manifest:
    """Return the Manifest without the layer of media that is about to be made anew."""
    entry = row_entry(parent, new.name)
    if new.kind not in MEDIA_KINDS or entry is None or not entry.role.startswith(LAYER_PREFIX):
        return parent
    return replace(
        parent, registry={**parent.registry, SCHEMA_KEY: schema_with(parent, [], without=new.name)}
    )


def _write_layer(
    store: Store, batch: Batch, f: Field, entry: TrackEntry, table: pa.Table, registry: dict[str, Any]
) -> TrackEntry:
    """Return the entry after the values of a table are in its Track."""
    rows = _rows_of(table, f, entry.timeline, batch)
    if not len(rows.table):
        return entry
    spatial = registry.get(entry.modality) or {}
    track = write_column(store, batch, f, read_track(store, entry), rows, spatial, registry).track
    return replace(entry, address=add_track(batch, track), coverage=track.coverage)


def _rows_of(table: pa.Table, f: Field, timeline: Address, batch: Batch) -> Rows:
    if len(table) == 0:
        return Rows(pa.table({}))
    checked = check_rows(table, (replace(f, required=True),))
    if checked.anchors is None:
        raise InvalidInputError(f"the values of layer {f.name!r} need the column {ANCHOR!r}")
    return store_rows(checked, checked.anchors, (f,), timeline, batch)


def _columnar_entries(store: Store, parent: Manifest, batch: Batch, new: Field) -> list[TrackEntry]:
    """Return what the columnar layer needs: an own Track of vectors; for media made anew, a note that drops the old."""
    entries = []
    if new.kind == "embedding":
        entries.append(write_fragments(batch, parent.timeline, VECTORS, [], new.name))
    said = merge_notes(read_notes(store, parent))
    if row_entry(parent, new.name) is not None or new.name in said.tracks or new.name in said.payloads:
        entries.append(drop_column(store, parent, batch, new.name, said))
    return entries
