"""Create: the first version of a dataset. Spec 0006."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.notes import write_note
from dreamdb_arrow.columnar.vendor import (
    FLUSH_MODES,
    MEDIA,
    STRIPE,
    VECTORS,
    add_track,
    registry_entries,
    vendor_field,
    write_fragments,
)
from dreamdb_arrow.dataset.spatial import registry_of_new_field
from dreamdb_arrow.errors import InvalidInputError, RefExistsError, UnsupportedError
from dreamdb_arrow.history.bundle import bundled
from dreamdb_arrow.history.commit import Build, Change, Clock
from dreamdb_arrow.history.manifests import MANIFESTS
from dreamdb_arrow.history.refs import swap_settled
from dreamdb_arrow.history.writer import writer_tag
from dreamdb_arrow.objects.genesis import Genesis, encode_genesis
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, encode_manifest, order_tracks
from dreamdb_arrow.objects.scalar_index import encode_scalar_index, scalar_index_of
from dreamdb_arrow.objects.schema import (
    MEDIA_KINDS,
    SCHEMA_KEY,
    Field,
    encode_schema,
    modality_of,
    track_kind_of,
)
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Absent, Store
from dreamdb_arrow.store.names import check_ref_name


def create_dataset(
    store: Store,
    name: str,
    fields: Sequence[Field],
    flush: str,
    clock: Clock,
    rows: Build | None = None,
) -> Address:
    """Write the first version of a dataset and make its Ref; return the version.

    Args:
        store: where the Space lives.
        name: the Ref.
        fields: the schema.
        flush: `manual` or `commit`.
        clock: nanoseconds since 1970.
        rows: appends the first rows, to a version without any Track, which is never in the store; for `manual`.

    Raises RefExistsError when the name is taken, InvalidInputError for fields that cannot be.
    """
    if "@" in check_ref_name(name):
        raise InvalidInputError(f"not a dataset: {name!r}; '@' stands in names of snapshots only")
    if flush not in FLUSH_MODES:
        raise InvalidInputError(f"flush must be one of {', '.join(FLUSH_MODES)}, not {flush!r}")
    found = store.read_ref(name)
    if not isinstance(found, Absent):  # 0006-R4
        raise RefExistsError(name, str(found))
    batch = Batch(store)
    timeline = batch.add("genesis", encode_genesis(Genesis(os.urandom(16))))  # 0001-R1
    registry: dict[str, Any] = {SCHEMA_KEY: encode_schema(fields), **registry_entries(flush)}  # 0021-R1
    entries = new_fields(store, batch, name, timeline, fields, registry, {})
    now = clock()
    manifest = Manifest(now, order_tracks([]), writer_tag("create"), (), registry, (timeline,))
    change = (
        Change("create") if rows is None else rows(manifest, address_of(encode_manifest(manifest)), batch)
    )
    entries.append(_cover_note(batch, timeline, entries, now))
    entries += [*change.entries, *_empty_tracks(batch, timeline, fields, change.entries)]
    manifest = replace(manifest, tracks=order_tracks(entries))
    if change.entries:
        manifest = bundled(store, batch, manifest)
    address = batch.add(MANIFESTS, encode_manifest(manifest))
    batch.flush()
    if not swap_settled(store, name, Absent(), address):  # 0006-R4
        raise RefExistsError(name, str(store.read_ref(name)))
    return address


def new_fields(
    store: Store,
    batch: Batch,
    dataset_name: str,
    timeline: Address,
    fields: Sequence[Field],
    registry: dict[str, Any],
    taken: dict[str, int],
) -> list[TrackEntry]:
    """Put the empty Tracks of new fields into the batch, and what they need in the registry; return their entries.

    `taken` counts, by modality, the embedding fields that are there already.
    """
    entries = []
    for f in fields:
        if f.kind not in (*MEDIA_KINDS, "scalar", "embedding", "array"):
            raise UnsupportedError(f"field {f.name!r} of kind {f.kind!r} cannot be created yet")
        modality = modality_of(f)
        if f.kind == "embedding":
            taken[modality] = taken.get(modality, 0) + 1
            modality = modality_of(f, version=taken[modality])
            registry[modality] = registry_of_new_field(store, batch, dataset_name, f)  # 0001-R12
        elif f.kind == "scalar":
            data = encode_scalar_index(scalar_index_of(f.name, f.options["value_type"]))
            # 0001-R12, 0011-R1
            registry[modality] = {"scalar_index_hash": bytes(batch.add("scalar-index", data))}
        elif f.kind == "array":
            registry[modality] = {"item_type": f.options["item_type"]}  # 0001-R12
        entries.append(_empty_entry(batch, f, modality, timeline))
    return entries


def _empty_entry(batch: Batch, f: Field, modality: str, timeline: Address) -> TrackEntry:
    track = Track(EMPTY_COVERAGE, modality, timeline, [])
    address = add_track(batch, track)
    return TrackEntry(track_kind_of(f), "base", f.name, address, EMPTY_COVERAGE, modality, timeline)


def _cover_note(batch: Batch, timeline: Address, entries: Sequence[TrackEntry], now_ns: int) -> TrackEntry:
    """Note what stripes stand for: of empty Tracks, all rows."""
    return write_note(batch, timeline, CoverNote({e.field: e.address for e in entries}, {}), [], now_ns)


def _empty_tracks(
    batch: Batch, timeline: Address, fields: Sequence[Field], there: Sequence[TrackEntry]
) -> list[TrackEntry]:
    """Make the vendor Tracks that are not there yet, all empty."""
    wanted = [(STRIPE, ""), (MEDIA, ""), *((VECTORS, f.name) for f in fields if f.kind == "embedding")]
    held = {e.field for e in there}
    missing = [key for key in wanted if vendor_field(*key) not in held]
    return [write_fragments(batch, timeline, modality, [], field) for modality, field in missing]
