"""Merge: another Ref's rows into this one, by fast-forward or by union. Specs 0006, 0008 and 0021.

Of the columnar layer, the fragments of both sides are united like all others; what is known of both sides' Tracks, a
cover note says of the united ones, so that nothing is projected anew.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.notes import add_note, read_notes
from dreamdb_arrow.columnar.vendor import has_columnar_layer, read_track
from dreamdb_arrow.errors import InvalidInputError, MergeError, UnsupportedError
from dreamdb_arrow.history.ancestry import merge_base
from dreamdb_arrow.history.commit import Change, Clock, Joined, commit
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.history.merge import Parting, Union, fast_forward, tracks_of_both, unite
from dreamdb_arrow.history.refs import keep_version, resolve_ref
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, find_entry
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.arrays import have_rival_arrays
from dreamdb_arrow.tracks.kinds import TrackForm, form_of
from dreamdb_arrow.tracks.union import have_rivals

FAST_FORWARD: Final = "fast-forward"
UNIONS: Final = ("union-tracks", "union")
OPERATION: Final = "union-merge"


def merge_ref(
    store: Store, name: str, other: str, strategy: str = FAST_FORWARD, clock: Clock = time.time_ns
) -> Address:
    """Merge the version that another Ref names into a Ref; return the version it then names.

    A version that lies behind the tip already brings nothing: then no commit is made.

    Raises InvalidInputError for an unknown strategy, RefNotFoundError, MergeError where both cannot become one.
    """
    if strategy not in (FAST_FORWARD, *UNIONS):
        raise InvalidInputError(f"strategy must be {FAST_FORWARD!r} or {UNIONS[0]!r}, not {strategy!r:.60}")
    target = resolve_ref(store, other)
    if strategy == FAST_FORWARD:
        return fast_forward(store, name, target)
    return _merge_version(store, name, target, clock)


def merge_refs(store: Store, name: str, branches: Iterable[str], clock: Clock = time.time_ns) -> Address:
    """Merge several Refs, one after another, each with a commit of its own; return the last version.

    Raises as merge_ref does. What was merged before a failure stays, and merging the same Refs again goes on from there.
    """
    names = [branches] if isinstance(branches, str) else list(branches)
    if not names:
        raise InvalidInputError("name at least one branch to merge")
    targets = [resolve_ref(store, each) for each in names]
    done = resolve_ref(store, name)
    for nth, target in enumerate(targets):
        try:
            done = _merge_version(store, name, target, clock)
        except (MergeError, UnsupportedError) as error:
            raise type(error)(_told(names, nth, error)) from error
    return done


def _told(names: Sequence[str], nth: int, error: Exception) -> str:
    before = f"; merged before: {', '.join(names[:nth])}" if nth else ""
    return f"branch {names[nth]!r}: {error}{before}"


def _merge_version(store: Store, name: str, target: Address, clock: Clock) -> Address:
    theirs = load_manifest(store, target)
    keep_version(store, target)

    def build(parent: Manifest, tip: Address, batch: Batch) -> Change:
        base = merge_base(store, tip, target)
        if base == target:
            return Change(OPERATION)
        known = None if base is None else load_manifest(store, base)
        return union_change(store, batch, Parting(parent, theirs, known), target, clock())

    return commit(store, name, build, clock=clock)[0]


def union_change(store: Store, batch: Batch, parting: Parting, target: Address, now_ns: int) -> Change:
    """Return the change that makes of our version the union of both."""
    if parting.theirs.tracks.read_only:
        raise UnsupportedError(f"tracks of form {parting.theirs.tracks.form!r} can be read but not merged")
    union = unite(store, batch, parting, max(now_ns, parting.ours.ts, parting.theirs.ts) // 1_000_000)
    if has_columnar_layer(parting.ours):
        note = _note_of_both(store, batch, parting, union)
        union = replace(union, entries=(*(e for e in union.entries if e.field != note.field), note))
    joined = Joined(target, parting.theirs.ts, tracks_of_both(parting, union))
    return Change(OPERATION, union.entries, union.registry, removed=union.removed, joined=joined)


# --- cover notes --------------------------------------------------------------------------------------------


def _note_of_both(store: Store, batch: Batch, parting: Parting, union: Union) -> TrackEntry:
    """Write which Tracks of the union hold only rows of stripes, after the notes of both sides."""
    ours, theirs = parting.ours, parting.theirs
    before = [merge_notes(read_notes(store, side)) for side in (ours, theirs)]
    after = {entry.field: entry for entry in (*ours.tracks.active, *union.entries)}
    covered = {
        name: address
        for name, entry in after.items()
        if name not in union.removed and (address := _covered(store, entry, parting, before)) is not None
    }
    note = CoverNote(covered, {}, frozenset(), merge_notes(before).dropped)
    return add_note(store, batch, (ours, theirs), note, max(ours.ts, theirs.ts))


def _covered(store: Store, entry: TrackEntry, parting: Parting, notes: Sequence[CoverNote]) -> Address | None:
    """Return a Track of a field whose rows are all in stripes, if there is one.

    That is the Track itself when it was taken over from a side where it was covered, or unites two that were. Where it
    has different media or arrays at one anchor, it is ours: readers then ask the united Track which of them is to be seen.
    """
    sides = [find_entry(side.tracks, entry.field) for side in (parting.ours, parting.theirs)]
    held = [
        side is not None and note.tracks.get(entry.field) == side.address
        for side, note in zip(sides, notes, strict=True)
    ]
    same = [side is not None and side.address == entry.address for side in sides]
    if any(same):
        return entry.address if any(map(operator.and_, same, held)) else None
    if not all(held):
        return None
    tracks = [(side.address, read_track(store, side)) for side in sides if side is not None]
    (ours, first), (_, second) = tracks
    rivals = _RIVALS.get(form_of(first))
    return ours if rivals is not None and rivals(store, first, second) else entry.address


_RIVALS: Final = {TrackForm.FRAGMENTS: have_rivals, TrackForm.ARRAY: have_rival_arrays}
