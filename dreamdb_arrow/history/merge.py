"""Merges: versions that have parted become one. Spec 0008.

A fast-forward moves the Ref and writes nothing. A union is decided field by field against the merge base: what only one
side changed is taken from it, what several changed is united (`tracks.union`). So is the registry (`history.registries`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.columnar.vendor import (
    VENDOR_MODALITIES,
    VendorTrack,
    add_track,
    read_fragments,
    read_track,
)
from dreamdb_arrow.errors import MergeError
from dreamdb_arrow.history.ancestry import is_ancestor
from dreamdb_arrow.history.commit import move_ref
from dreamdb_arrow.history.manifests import hold_version
from dreamdb_arrow.history.registries import ERROR, KEYS_NAMED, THEIRS, Parting, unite_registries
from dreamdb_arrow.objects.manifest import Edge, Manifest, TrackEntry, Tracks
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY, TombstoneIndex, encode_index
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.tombstones import DIRECTORY as TOMBSTONES
from dreamdb_arrow.tracks.union import Sides, unite_tracks


@dataclass(frozen=True, slots=True)
class Union:
    """What a union changes in our version: entries of fields, fields that go, keys of the registry that are set and that go."""

    entries: tuple[TrackEntry, ...]
    removed: frozenset[str]
    registry: Mapping[str, Any]
    unregistered: frozenset[str] = frozenset()


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
        hold_version(store, tip)  # whose readers lose the Ref that led to it
        hold_version(store, target)
        return target, None  # 0008-R12

    return move_ref(store, name, propose)[0]


# --- union --------------------------------------------------------------------------------------------------


def unite(store: Store, batch: Batch, parting: Parting, issued_at_ms: int) -> Union:
    """Return the union of versions, and add its Tracks, pages and tombstone index to the batch.

    Raises:
        MergeError: they differ in what cannot be united.
        UnsupportedError: a field changed on several sides, and its kind of Track cannot be united.
        CorruptDataError: an object on the way is damaged.
    """
    said = unite_registries(parting)
    entries: list[TrackEntry] = []
    removed: set[str] = set()
    ours, base = _by_field(parting.ours), _by_field(parting.base)
    others = [_by_field(side) for side in parting.others]
    for field in sorted(ours.keys() | set[str]().union(*others)):
        sides = [side.get(field) for side in (ours, *others)]
        chosen = _unite_field(store, batch, parting, sides, base.get(field))
        if chosen is None:
            removed |= {field} & ours.keys()
        elif chosen != ours.get(field):
            entries.append(chosen)
    registry = {**said.entries, **_unite_tombstones(batch, parting, issued_at_ms)}
    return Union(tuple(entries), frozenset(removed), registry, said.removed)


def check_alike(parting: Parting) -> None:
    """Raise MergeError unless two versions say the same of everything that no rule unites."""
    ours, theirs, base = parting.ours, parting.theirs, parting.base
    if ours.timelines != theirs.timelines:
        raise MergeError("the two versions have other timelines: they are not branches of one dataset")
    extra = _differing_keys(ours.extra, theirs.extra)
    if base is not None:
        extra &= _differing_keys(theirs.extra, base.extra)  # what only we changed stays
    if extra:
        raise MergeError(
            f"both sides differ in {_named(extra)}, which other software wrote and no merge rule covers"
        )


def _differing_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> set[str]:
    absent = object()
    return {k for k in ours.keys() | theirs.keys() if ours.get(k, absent) != theirs.get(k, absent)}


def _named(keys: set[str]) -> str:
    shown = sorted(keys)
    more = "" if len(shown) <= KEYS_NAMED else f" and {len(shown) - KEYS_NAMED} more"
    return ", ".join(f"{key!r:.80}" for key in shown[:KEYS_NAMED]) + more


def _by_field(manifest: Manifest | None) -> dict[str, TrackEntry]:
    return {} if manifest is None else {entry.field: entry for entry in manifest.tracks.active}


def _unite_field(
    store: Store, batch: Batch, parting: Parting, sides: Sequence[TrackEntry | None], base: TrackEntry | None
) -> TrackEntry | None:
    """Return the entry of one field after the merge, given that of each side; None when it has none."""
    before = None if base is None else base.address
    changed = {side.address: side for side in sides if side is not None and side.address != before}
    if len(changed) > 1:
        return _unite_changed(store, batch, parting, list(changed.values()), base)
    if changed:
        return next(iter(changed.values()))
    return None if None in sides else sides[0]


def _unite_changed(
    store: Store, batch: Batch, parting: Parting, sides: Sequence[TrackEntry], base: TrackEntry | None
) -> TrackEntry:
    """Return the entry of a field that several sides changed; the first of them is ours if we did."""
    ours = sides[0]
    if all(side.kind == "constant" for side in sides) and parting.conflicts != ERROR:
        return sides[-1] if parting.conflicts == THEIRS else ours
    for theirs in sides:
        if (ours.kind, ours.modality, ours.timeline) != (theirs.kind, theirs.modality, theirs.timeline):
            raise MergeError(
                f"field {ours.field!r} is {ours.modality} on one side, {theirs.modality} on the other"
            )
    if ours.modality in VENDOR_MODALITIES:
        return _unite_vendor(store, batch, parting, ours)  # 0008-R10
    tracks = tuple(read_track(store, side) for side in sides)
    before = None if base is None else read_track(store, base)
    track = unite_tracks(store, batch, Sides(ours.field, tracks, before))  # 0008-R7
    if track in tracks:
        return sides[tracks.index(track)]
    return replace(ours, address=add_track(batch, track), coverage=track.coverage)


def _unite_vendor(store: Store, batch: Batch, parting: Parting, entry: TrackEntry) -> TrackEntry:
    """Unite the fragments of a Track of the columnar layer: what one side took out since the base stays out.

    Its rows lie in what that side put in its place. Without a base, fragments only add up: no row is lost then.
    """
    field = entry.field.partition(":")[2]
    ours = VendorTrack(store, parting.ours, entry.modality, field)
    held, base = set(ours.fragments()), parting.base
    before = set() if base is None else set(read_fragments(store, base, entry.modality, field))
    others = [read_fragments(store, side, entry.modality, field) for side in parting.others]
    added = dict.fromkeys(f for side in others for f in side if f not in held and f not in before)
    return ours.swap(batch, added, (before & held) - before.intersection(*others))


def _unite_tombstones(batch: Batch, parting: Parting, issued_at_ms: int) -> dict[str, Any]:
    """Return what the registry is to say of tombstones, if it is not what ours says."""
    ours, base, *others = (
        None if side is None else side.registry.get(TOMBSTONES_KEY)
        for side in (parting.ours, parting.base, *parting.others)
    )
    sides = {as_address(side["head"]): side for side in (ours, *others) if side is not None and side != base}
    if len(sides) < 2:
        changed = next(iter(sides.values()), ours)
        return {} if changed == ours else {TOMBSTONES_KEY: changed}
    index = TombstoneIndex(
        parting.ours.timeline, issued_at_ms, None, tuple(sorted(sides))
    )  # 0008-R8, 0020-R7
    first = next(iter(sides.values()))
    return {TOMBSTONES_KEY: {**first, "head": bytes(batch.add(TOMBSTONES, encode_index(index)))}}


def tracks_of_all(parting: Parting, union: Union) -> Tracks:
    """Return the Tracks of all sides, with the lineage that stays: of each field that of the side it was taken from.

    A field that was united begins without lineage (ADR 0009).
    """
    ours, others = parting.ours.tracks, [side.tracks for side in parting.others]
    lineage = [e for e in ours.lineage if e.field not in _taken(union, [t.active for t in others])]
    for theirs in others:
        taken = _taken(union, [theirs.active])
        lineage += [e for e in theirs.lineage if e.field in taken and e not in lineage]
    edges: dict[Edge, None] = dict.fromkeys(e for side in (ours, *others) for e in side.edges)
    active = dict.fromkeys(e for side in (ours, *others) for e in side.active)
    return Tracks(active=tuple(active), lineage=tuple(lineage), edges=tuple(edges))


def _taken(union: Union, sides: Sequence[Sequence[TrackEntry]]) -> set[str]:
    """Return the fields whose entry in the union is one of these."""
    return {entry.field for entry in union.entries if any(entry in side for side in sides)}
