"""Merges: two versions that have parted become one. Spec 0008.

A fast-forward moves the Ref and writes nothing. A union is decided field by field against the merge base: what only one
side changed is taken from it, what both changed is united (`tracks.union`). It takes what both say about everything else:
where they differ in that, it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.columnar.vendor import (
    VENDOR_MODALITIES,
    add_track,
    read_fragments,
    read_track,
    write_fragments,
)
from dreamdb_arrow.errors import MergeError
from dreamdb_arrow.history.ancestry import is_ancestor
from dreamdb_arrow.history.commit import move_ref
from dreamdb_arrow.history.refs import keep_version
from dreamdb_arrow.objects.manifest import Edge, Manifest, TrackEntry, Tracks
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY, TombstoneIndex, encode_index
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.tombstones import DIRECTORY as TOMBSTONES
from dreamdb_arrow.tracks.union import Sides, unite_tracks

_KEYS_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Parting:
    """Two versions and where they parted: ours, into which theirs is merged, and the base if it is still known."""

    ours: Manifest
    theirs: Manifest
    base: Manifest | None = None


@dataclass(frozen=True, slots=True)
class Union:
    """What a union changes in our version: entries of fields, fields that go, registry keys."""

    entries: tuple[TrackEntry, ...]
    removed: frozenset[str]
    registry: Mapping[str, Any]


# --- fast-forward -------------------------------------------------------------------------------------------


def fast_forward(store: Store, name: str, target: Address) -> Address:
    """Move a Ref to a version that descends from its tip; return that version. No Manifest is written.

    Raises MergeError when the target does not descend from the tip, CommitError when the Ref keeps moving.
    """

    def propose(tip: Address) -> tuple[Address, None]:
        if not is_ancestor(store, tip, target):
            raise MergeError(
                f"{name!r} cannot be fast-forwarded: {target} does not descend from its tip; use strategy='union-tracks'"
            )
        keep_version(store, target)
        return target, None  # 0008-R12

    return move_ref(store, name, propose)[0]


# --- union --------------------------------------------------------------------------------------------------


def unite(store: Store, batch: Batch, parting: Parting, issued_at_ms: int) -> Union:
    """Return the union of two versions, and add its Tracks, pages and tombstone index to the batch.

    Raises:
        MergeError: they differ in what cannot be united.
        UnsupportedError: a field changed on both sides, and its kind of Track cannot be united.
        CorruptDataError: an object on the way is damaged.
    """
    check_alike(parting.ours, parting.theirs)
    entries: list[TrackEntry] = []
    removed: set[str] = set()
    ours, theirs, base = (_by_field(side) for side in (parting.ours, parting.theirs, parting.base))
    for field in sorted(ours.keys() | theirs.keys()):
        chosen = _unite_field(store, batch, parting, ours.get(field), theirs.get(field), base.get(field))
        if chosen is None:
            removed |= {field} & ours.keys()
        elif chosen != ours.get(field):
            entries.append(chosen)
    registry = _unite_tombstones(batch, parting, issued_at_ms)
    return Union(tuple(entries), frozenset(removed), registry)


def check_alike(ours: Manifest, theirs: Manifest) -> None:
    """Raise MergeError unless both versions say the same of everything that cannot be united."""
    if ours.timelines != theirs.timelines:
        raise MergeError("the two versions have other timelines: they are not branches of one dataset")
    differing = _differing_keys(ours.registry, theirs.registry) - {TOMBSTONES_KEY}  # 0008-R9
    if differing:
        raise MergeError(
            f"both sides differ in {_named(differing)} of the registry (schema, metadata or indexes), which has no merge "
            "rule; make them equal on both branches, then merge"
        )
    if extra := _differing_keys(ours.extra, theirs.extra):
        raise MergeError(
            f"both sides differ in {_named(extra)}, which other software wrote and no merge rule covers"
        )


def _differing_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> set[str]:
    absent = object()
    return {k for k in ours.keys() | theirs.keys() if ours.get(k, absent) != theirs.get(k, absent)}


def _named(keys: set[str]) -> str:
    shown = sorted(keys)
    more = "" if len(shown) <= _KEYS_NAMED else f" and {len(shown) - _KEYS_NAMED} more"
    return ", ".join(f"{key!r:.80}" for key in shown[:_KEYS_NAMED]) + more


def _by_field(manifest: Manifest | None) -> dict[str, TrackEntry]:
    return {} if manifest is None else {entry.field: entry for entry in manifest.tracks.active}


def _unite_field(
    store: Store,
    batch: Batch,
    parting: Parting,
    ours: TrackEntry | None,
    theirs: TrackEntry | None,
    base: TrackEntry | None,
) -> TrackEntry | None:
    """Return the entry of one field after the merge; None when it has none."""
    if ours is None or theirs is None:
        alone = ours or theirs
        return None if base is not None and alone is not None and alone.address == base.address else alone
    if ours.address == theirs.address or (base is not None and theirs.address == base.address):
        return ours
    if base is not None and ours.address == base.address:
        return theirs
    if (ours.kind, ours.modality, ours.timeline) != (theirs.kind, theirs.modality, theirs.timeline):
        raise MergeError(
            f"field {ours.field!r} is {ours.modality} on one side, {theirs.modality} on the other"
        )
    if ours.modality in VENDOR_MODALITIES:
        return _unite_vendor(store, batch, parting, ours)  # 0008-R10
    tracks = [None if entry is None else read_track(store, entry) for entry in (ours, theirs, base)]
    assert tracks[0] is not None
    assert tracks[1] is not None
    track = unite_tracks(store, batch, Sides(ours.field, tracks[0], tracks[1], tracks[2]))  # 0008-R7
    if track in tracks[:2]:
        return ours if track == tracks[0] else theirs
    return replace(ours, address=add_track(batch, track), coverage=track.coverage)


def _unite_vendor(store: Store, batch: Batch, parting: Parting, entry: TrackEntry) -> TrackEntry:
    """Unite the fragments of a Track of the columnar layer."""
    field = entry.field.partition(":")[2]
    sides = (parting.ours, parting.theirs)
    held = [f for side in sides for f in read_fragments(store, side, entry.modality, field)]
    return write_fragments(batch, entry.timeline, entry.modality, held, field)


def _unite_tombstones(batch: Batch, parting: Parting, issued_at_ms: int) -> dict[str, Any]:
    """Return what the registry is to say of tombstones, if it is not what ours says."""
    sides = (parting.ours, parting.theirs, parting.base)
    ours, theirs, base = (None if side is None else side.registry.get(TOMBSTONES_KEY) for side in sides)
    if theirs is None or theirs == ours or (base is not None and theirs == base):
        return {}
    if ours is None or (base is not None and ours == base):
        return {TOMBSTONES_KEY: theirs}
    heads = tuple(sorted(as_address(side["head"]) for side in (ours, theirs)))
    index = TombstoneIndex(parting.ours.timeline, issued_at_ms, None, heads)  # 0008-R8, 0020-R7
    return {TOMBSTONES_KEY: {**ours, "head": bytes(batch.add(TOMBSTONES, encode_index(index)))}}


def tracks_of_both(parting: Parting, union: Union) -> Tracks:
    """Return the Tracks of both sides, with the lineage that stays: of each field that of the side it was taken from.

    A field that was united begins without lineage (ADR 0009).
    """
    ours, theirs = parting.ours.tracks, parting.theirs.tracks
    from_theirs = {entry.field for entry in union.entries if entry in theirs.active}
    united = {entry.field for entry in union.entries} - from_theirs
    lineage = [e for e in ours.lineage if e.field not in from_theirs or e.field in united]
    lineage += [e for e in theirs.lineage if e.field in from_theirs and e not in lineage]
    edges: dict[Edge, None] = dict.fromkeys((*ours.edges, *theirs.edges))
    active = dict.fromkeys((*ours.active, *theirs.active))
    return Tracks(active=tuple(active), lineage=tuple(lineage), edges=tuple(edges))
