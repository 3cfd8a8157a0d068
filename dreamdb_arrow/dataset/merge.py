"""Merge: another Ref's rows into this one, by fast-forward or by union. Specs 0006, 0008 and 0021.

Of the columnar layer, the fragments of all sides are united like all others; what is known of the sides' Tracks, a
cover note says of the united ones, so that nothing is projected anew. Branches that share no row become one version at once
(ADR 0028), others one after another.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.notes import add_note, read_notes
from dreamdb_arrow.columnar.vendor import has_columnar_layer, read_track
from dreamdb_arrow.dataset.apart import lie_apart
from dreamdb_arrow.dataset.conflicts import find_conflicts, refuse_conflicts, shared_rows
from dreamdb_arrow.dataset.settle import Settled, settle
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import InvalidInputError, MergeError, UnsupportedError
from dreamdb_arrow.history.ancestry import merge_base
from dreamdb_arrow.history.commit import Change, Clock, Joined, commit
from dreamdb_arrow.history.manifests import load_manifest, manifest_path
from dreamdb_arrow.history.merge import Union, check_alike, fast_forward, tracks_of_all, unite
from dreamdb_arrow.history.refs import resolve_ref
from dreamdb_arrow.history.registries import ERROR, OURS, POLICIES, Parting
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, find_entry
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.arrays import have_rival_arrays
from dreamdb_arrow.tracks.kinds import TrackForm, form_of
from dreamdb_arrow.tracks.union import have_rivals

FAST_FORWARD: Final = "fast-forward"
UNIONS: Final = ("union-tracks", "union")
OPERATION: Final = "union-merge"


def merge_ref(
    space: Space,
    name: str,
    other: str,
    strategy: str = FAST_FORWARD,
    conflicts: str = ERROR,
    clock: Clock = time.time_ns,
) -> Address:
    """Merge the version that another Ref names into a Ref; return the version it then names.

    A version that lies behind the tip already brings nothing: then no commit is made.

    Raises InvalidInputError for an unknown strategy or policy, RefNotFoundError, MergeError where both cannot become one.
    """
    store = space.store
    if strategy not in (FAST_FORWARD, *UNIONS):
        raise InvalidInputError(f"strategy must be {FAST_FORWARD!r} or {UNIONS[0]!r}, not {strategy!r:.60}")
    check_policy(conflicts)
    target = resolve_ref(store, other)
    if strategy == FAST_FORWARD:
        return fast_forward(store, name, target)
    return _merge_version(space, name, target, conflicts, clock)


def check_policy(conflicts: str) -> str:
    """Return a policy for conflicts. Raises InvalidInputError."""
    if conflicts not in POLICIES:
        known = ", ".join(map(repr, POLICIES))
        raise InvalidInputError(f"conflicts must be one of {known}, not {conflicts!r:.60}")
    return conflicts


def merge_refs(
    space: Space, name: str, branches: Iterable[str], conflicts: str = ERROR, clock: Clock = time.time_ns
) -> Address:
    """Merge several Refs; return the last version.

    Branches that left the Ref at one version and share no row become one version with all of them as parents. Others are
    merged one after another, with a version each: what was merged before a failure stays, and merging the same Refs again goes
    on from there.

    Raises as merge_ref does.
    """
    store = space.store
    check_policy(conflicts)
    names = [branches] if isinstance(branches, str) else list(branches)
    if not names:
        raise InvalidInputError("name at least one branch to merge")
    named = {resolve_ref(store, each): each for each in names}
    targets, names = list(named), list(named.values())
    done = resolve_ref(store, name)
    clear = _clear_versions(space, done, targets)
    if clear and (version := _merge_together(space, name, targets, clock, clear)) is not None:
        return version
    for nth, target in enumerate(targets):
        try:
            done = _merge_version(space, name, target, conflicts, clock, clear)
        except MergeError as error:
            raise MergeError(_told(names, nth, error), error.conflicts) from error
        except UnsupportedError as error:
            raise UnsupportedError(_told(names, nth, error)) from error
        if clear.intersection(load_manifest(store, done).parents):
            clear.add(done)
    return done


def _merge_together(
    space: Space, name: str, targets: Sequence[Address], clock: Clock, clear: Collection[Address]
) -> Address | None:
    """Merge versions into a Ref at once; None, and nothing is written, where they only fit together one after another."""
    store = space.store
    theirs = [load_manifest(store, target) for target in targets]

    def build(parent: Manifest, tip: Address, batch: Batch) -> Change:
        bases = {merge_base(store, tip, target) for target in targets}
        alike = all(_says_the_same(parent, each) for each in theirs)
        if tip not in clear or not alike or len(bases) > 1 or not bases.isdisjoint(targets):
            return Change(OPERATION)  # 0008-R24
        (base,) = bases
        known = None if base is None else load_manifest(store, base)
        batch.hold([manifest_path(target) for target in targets])  # their Refs may move on before ours does
        parting = Parting(parent, theirs[0], known, more=tuple(theirs[1:]))
        return union_change(store, batch, parting, targets, clock())

    version, manifest = commit(store, name, build, clock=clock)
    return version if set(targets) <= set(manifest.parents) else None


def _says_the_same(ours: Manifest, theirs: Manifest) -> bool:
    """Whether two versions differ in nothing but rows and deletions."""
    said = [{k: v for k, v in side.registry.items() if k != TOMBSTONES_KEY} for side in (ours, theirs)]
    return said[0] == said[1] and (ours.timelines, ours.extra) == (theirs.timelines, theirs.extra)


def _told(names: Sequence[str], nth: int, error: Exception) -> str:
    before = f"; merged before: {', '.join(names[:nth])}" if nth else ""
    return f"branch {names[nth]!r}: {error}{before}"


def _clear_versions(space: Space, tip: Address, targets: Sequence[Address]) -> set[Address]:
    """Return the tip if no row of it and of the targets is in two of them: then none of the merges has a conflict."""
    store, versions = space.store, list(dict.fromkeys((tip, *targets)))
    bases = {merge_base(store, tip, target) for target in targets}
    base = bases.pop() if len(bases) == 1 else None
    if base is not None and lie_apart(
        store, load_manifest(store, base), [load_manifest(store, v) for v in versions]
    ):
        return {tip}
    rows = [space.rows(version) for version in versions]
    shared = shared_rows(None if base is None else space.rows(base), rows)
    return {tip} if next(shared, None) is None else set()


def _merge_version(
    space: Space,
    name: str,
    target: Address,
    conflicts: str,
    clock: Clock,
    clear: Collection[Address] = (),
) -> Address:
    """Merge a version into a Ref by a union; of tips that are `clear` it is known that there is no conflict."""
    store = space.store
    theirs = load_manifest(store, target)

    def build(parent: Manifest, tip: Address, batch: Batch) -> Change:
        base = merge_base(store, tip, target)
        if base == target:
            return Change(OPERATION)
        known = None if base is None else load_manifest(store, base)
        batch.hold([manifest_path(target)])  # its Ref may move on before ours does
        parting = Parting(parent, theirs, known, conflicts)
        check_alike(parting)
        settled = NOTHING if tip in clear else settle_sides(space, batch, parting, (tip, target, base))
        return union_change(store, batch, parting, [target], clock(), settled)

    return commit(store, name, build, clock=clock)[0]


@dataclass(frozen=True, slots=True)
class SettledSides:
    """What the two sides of a merge become before they are united; None for one that stays as it is."""

    ours: Settled | None = None
    theirs: Settled | None = None


NOTHING: Final = SettledSides()


def settle_sides(
    space: Space, batch: Batch, parting: Parting, versions: tuple[Address, Address, Address | None]
) -> SettledSides:
    """Let go, on the side that the policy names, of the values that both sides have differently.

    Raises MergeError, with the policy `error`, where there are any.
    """
    ours, theirs, base = versions
    pair = space.rows(ours), space.rows(theirs)
    # 0008-R20
    found = find_conflicts(None if base is None else space.rows(base), *pair)
    if parting.conflicts == ERROR:
        refuse_conflicts(pair, found)
    if not found:
        return NOTHING
    loser = parting.theirs if parting.conflicts == OURS else parting.ours
    settled = settle(space.store, batch, loser, parting.base, found)
    return SettledSides(theirs=settled) if parting.conflicts == OURS else SettledSides(ours=settled)


def union_change(
    store: Store,
    batch: Batch,
    parting: Parting,
    targets: Sequence[Address],
    now_ns: int,
    settled: SettledSides = NOTHING,
) -> Change:
    """Return the change that makes of our version the union of all, whose addresses are the targets."""
    for side in parting.others:
        if side.tracks.read_only:
            raise UnsupportedError(f"tracks of form {side.tracks.form!r} can be read but not merged")
    before = parting.ours
    parting = replace(
        parting,
        ours=parting.ours if settled.ours is None else settled.ours.version,
        theirs=parting.theirs if settled.theirs is None else settled.theirs.version,
    )
    latest = max(side.ts for side in parting.others)
    union = unite(store, batch, parting, max(now_ns, parting.ours.ts, latest) // 1_000_000)
    if has_columnar_layer(parting.ours):
        note = _note_of_all(store, batch, parting, union, settled)
        union = replace(union, entries=(*(e for e in union.entries if e.field != note.field), note))
    named = {entry.field for entry in union.entries} | union.removed
    ours = [e for e in parting.ours.tracks.active if e not in before.tracks.active and e.field not in named]
    joined = Joined(tuple(targets), latest, tracks_of_all(parting, union))
    return Change(
        OPERATION,
        (*union.entries, *ours),
        union.registry,
        removed=union.removed,
        unregistered=union.unregistered,
        joined=joined,
    )


# --- cover notes --------------------------------------------------------------------------------------------


def _note_of_all(
    store: Store, batch: Batch, parting: Parting, union: Union, settled: SettledSides
) -> TrackEntry:
    """Write which Tracks of the union hold only rows of stripes, after the notes of all sides."""
    sides = (parting.ours, *parting.others)
    before = [merge_notes(read_notes(store, side)) for side in sides]
    after = {entry.field: entry for entry in (*parting.ours.tracks.active, *union.entries)}
    covered = {
        name: address
        for name, entry in after.items()
        if name not in union.removed and (address := _covered(store, entry, sides, before)) is not None
    }
    note = CoverNote(covered, {}, _flushed_anew(settled, before), merge_notes(before).dropped)
    return add_note(store, batch, sides, note, max(side.ts for side in sides))


def _flushed_anew(settled: SettledSides, notes: Sequence[CoverNote]) -> frozenset[Address]:
    """Return the stripes that took the place of flushed ones."""
    anew = [side.anew.items() for side in (settled.ours, settled.theirs) if side is not None]
    flushed = merge_notes(notes).stripes
    return frozenset(new for pairs in anew for old, new in pairs if old in flushed)


def _covered(
    store: Store, entry: TrackEntry, versions: Sequence[Manifest], notes: Sequence[CoverNote]
) -> Address | None:
    """Return a Track of a field whose rows are all in stripes, if there is one.

    That is the Track itself when it was taken over from a side where it was covered, or unites covered ones. Where these
    have different media or arrays at one anchor, it is ours: readers then ask the united Track which of them is to be seen.
    """
    sides = [find_entry(version.tracks, entry.field) for version in versions]
    held = [
        side is not None and note.tracks.get(entry.field) == side.address
        for side, note in zip(sides, notes, strict=True)
    ]
    same = [side is not None and side.address == entry.address for side in sides]
    if any(same):
        return entry.address if any(map(operator.and_, same, held)) else None
    if not all(held):
        return None
    tracks = {side.address: read_track(store, side) for side in sides if side is not None}
    ours, *others = tracks
    rivals = _RIVALS.get(form_of(tracks[ours]))
    unlike = rivals is not None and any(rivals(store, tracks[ours], tracks[other]) for other in others)
    return ours if unlike else entry.address


_RIVALS: Final = {TrackForm.FRAGMENTS: have_rivals, TrackForm.ARRAY: have_rival_arrays}
