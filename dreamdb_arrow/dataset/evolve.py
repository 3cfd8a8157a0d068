"""Schema evolution: fields, constants and metadata that come and go in later versions. Specs 0006 and 0017.

Each verb is one commit. Old versions keep the schema they had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.notes import add_note, read_notes, still_covered, write_note
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.rebirth import drop_field
from dreamdb_arrow.columnar.rows import space_stripes
from dreamdb_arrow.columnar.vendor import (
    STRIPE,
    VECTORS,
    add_track,
    has_columnar_layer,
    vendor_field,
    write_fragments,
)
from dreamdb_arrow.dataset.create import new_fields
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import SCHEMA_KEY, Field, decode_schema, encode_schema
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.constants import write_constant

META_PREFIX: Final = "dreamdb."
META_TEXT_MAX: Final = 65_536  # characters; what belongs to the rows belongs in a field
STRUCTURAL_KEYS: Final = frozenset({SCHEMA_KEY, "dreamdb.tombstones", "dreamdb.entity_keys"})


def add_field(store: Store, name: str, new: Field, clock: Clock) -> Address:
    """Add a field to the schema; return the new version.

    Raises InvalidInputError when the name is taken or the field cannot be.
    """

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        check_beside(parent, new)
        entries, registry = place_field(store, batch, name, parent, new)
        if has_columnar_layer(parent):
            entries.append(cover_new(store, parent, batch, entries))
            if new.kind == "embedding":
                entries.append(write_fragments(batch, parent.timeline, VECTORS, [], new.name))
        return Change("add_field", tuple(entries), registry)

    return commit(store, name, build, clock=clock)[0]


def check_beside(parent: Manifest, new: Field) -> None:
    """Raise InvalidInputError unless a field can stand beside those of a version."""
    Schema(list(decode_schema(parent.registry))).add(new)


def place_field(
    store: Store, batch: Batch, dataset_name: str, parent: Manifest, new: Field
) -> tuple[list[TrackEntry], dict[str, Any]]:
    """Put the empty Track of a field into the batch; return its entry and the registry keys that it needs."""
    registry: dict[str, Any] = {}
    taken = versions_taken(parent)
    entries = new_fields(store, batch, dataset_name, parent.timeline, [new], registry, taken)
    return entries, {**registry, SCHEMA_KEY: schema_with(parent, [new])}


def schema_with(parent: Manifest, new: Sequence[Field], without: str | None = None) -> dict[str, Any]:
    """Return the schema of a Manifest with fields more, and one less."""
    kept = [f for f in decode_schema(parent.registry) if f.name != without]
    return encode_schema([*kept, *new], parent.registry[SCHEMA_KEY].get("embedding_specs"))


def versions_taken(parent: Manifest) -> dict[str, int]:
    """Return for each modality of embeddings the highest version in use; the first goes unsaid."""
    taken: dict[str, int] = {}
    for entry in parent.tracks.active:
        base, _, version = entry.modality.partition(".version=")
        taken[base] = max(taken.get(base, 0), int(version) if version.isdigit() else 1)
    return taken


def cover_new(store: Store, parent: Manifest, batch: Batch, entries: Sequence[TrackEntry]) -> TrackEntry:
    """Write a cover note which says that stripes hold every row of these Tracks too: they are empty."""
    before = merge_notes(read_notes(store, parent))
    merged = _without_gone(store, parent, before)
    covered = {**still_covered(parent, merged), **{e.field: e.address for e in entries}}
    if merged != before:
        return write_note(batch, parent.timeline, replace(merged, tracks=covered), [], parent.ts)
    note = CoverNote(covered, {}, frozenset(), merged.dropped)
    return add_note(store, batch, [parent], note, parent.ts)


def _without_gone(store: Store, parent: Manifest, note: CoverNote) -> CoverNote:
    """Return a note that drops the columns of fields that somebody else took away: their names may come back."""
    there = {f.name for f in decode_schema(parent.registry)}
    for name in sorted({*note.tracks, *note.payloads} - there):
        note = drop_field(note, name, _stripes(store, parent))
    return note


def _stripes(store: Store, parent: Manifest) -> frozenset[Address]:
    return frozenset(s.address for s in space_stripes(store, parent, STRIPE))


def decommission(store: Store, name: str, field: str, clock: Clock) -> Address:
    """Take a field out of the schema: reads no longer show it, and what only it held may be collected.

    Raises InvalidInputError when there is no such field.
    """

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        fields = {f.name for f in decode_schema(parent.registry)}
        if field not in fields:
            raise InvalidInputError(f"no field {field!r}; fields: {', '.join(sorted(fields)) or 'none'}")
        change = Change(
            "decommission_modality",
            registry={SCHEMA_KEY: schema_with(parent, [], without=field)},
            removed=frozenset({field, vendor_field(VECTORS, field)}),
            unregistered=_registered_alone(parent, field),
        )
        if not has_columnar_layer(parent):
            return change
        said = merge_notes(read_notes(store, parent))
        return replace(change, entries=(drop_column(store, parent, batch, field, said),))

    return commit(store, name, build, clock=clock)[0]


def _registered_alone(parent: Manifest, field: str) -> frozenset[str]:
    """Return the registry key of a field's modality, unless another field has it too."""
    users = [e.field for e in parent.tracks.active if e.modality == _modality_of(parent, field)]
    return frozenset({_modality_of(parent, field)}) if users == [field] else frozenset()


def _modality_of(parent: Manifest, field: str) -> str:
    entry = row_entry(parent, field)
    return "" if entry is None else entry.modality


def drop_column(store: Store, parent: Manifest, batch: Batch, field: str, said: CoverNote) -> TrackEntry:
    """Write the one cover note which says that nothing there is of a later field of this name.

    It takes the place of all notes, which together say `said`: what they list as covered of the old field must not hide
    rows of the new one.
    """
    merged = _without_gone(store, parent, said)
    note = replace(merged, tracks=still_covered(parent, merged))
    note = drop_field(note, field, _stripes(store, parent))
    return write_note(batch, parent.timeline, note, [], parent.ts)


def add_constant(store: Store, name: str, field: str, modality: str, value: Any, clock: Clock) -> Address:
    """Give the whole timeline one value. Raises InvalidInputError, UnsupportedError for a modality without encoding."""

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        new = Field("constant", field, False, {"modality": modality})
        check_beside(parent, new)
        if rival := next((e.field for e in parent.tracks.active if e.modality == modality), None):
            raise InvalidInputError(
                f"{modality!r} is the constant {rival!r} already; a timeline has one of each"
            )
        written = write_constant(batch, parent.timeline, modality, value)
        track = written.track
        address = add_track(batch, track)
        entry = TrackEntry("constant", "base", field, address, track.coverage, modality, track.timeline)
        return Change("add_constant", (entry,), {SCHEMA_KEY: schema_with(parent, [new])})

    return commit(store, name, build, clock=clock)[0]


def set_meta(store: Store, name: str, key: Any, value: Any, clock: Clock) -> Address:
    """Set a text of the Space's metadata.

    Raises InvalidInputError for a key that does not begin with `dreamdb.`, one that the protocol itself uses, and for
    what is no text.
    """
    if not isinstance(key, str) or not key.startswith(META_PREFIX) or not key.isprintable():
        raise InvalidInputError(f"a metadata key must begin with {META_PREFIX!r}: {key!r:.80}")
    if key in STRUCTURAL_KEYS:
        raise InvalidInputError(f"{key!r} is part of the Space itself; it is set by the verbs that change it")
    if not isinstance(value, str) or len(value) > META_TEXT_MAX:
        raise InvalidInputError(f"{key!r} must be a text of at most {META_TEXT_MAX} characters")
    return commit(store, name, lambda *_: Change("set_meta", registry={key: value}), clock=clock)[0]
