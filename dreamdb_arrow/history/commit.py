"""Commits: objects, then the Manifest, then the Ref, by compare-and-swap on the tip that was read. Spec 0008."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import (
    CommitError,
    InvalidInputError,
    RefConflictError,
    UnsupportedError,
)
from dreamdb_arrow.history.bundle import bundled, unpack
from dreamdb_arrow.history.descent import lineage_after
from dreamdb_arrow.history.line import load_version, place_after
from dreamdb_arrow.history.manifests import MANIFESTS
from dreamdb_arrow.history.refs import read_tip, swap_settled
from dreamdb_arrow.history.writer import FIRST, Place, writer_tag
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, Tracks, encode_manifest, order_tracks
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.names import check_ref_name

ATTEMPTS: Final = 1000
PAUSE_SECONDS: Final = (
    0.002  # doubled with each race lost, at random below that, so that many writers do not march in step
)
PAUSE_SECONDS_MAX: Final = 0.25
PATIENT_RACES: Final = 10

Clock = Callable[[], int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Joined:
    """Further parents: their addresses, the latest of their times, and the Tracks of all parents that lineage is taken from."""

    addresses: tuple[Address, ...]
    ts: int
    tracks: Tracks


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit does to its parent.

    operation     what the writer tag says
    entries       take the place of those of the same field
    registry      keys that are set
    removed       fields whose entries go, with their lineage
    unregistered  registry keys that go
    joined        the versions that a merge brings in
    restored      a version whose Tracks, registry and foreign keys take the place of the parent's, before all else
    """

    operation: str
    entries: tuple[TrackEntry, ...] = ()
    registry: Mapping[str, Any] | None = None
    removed: frozenset[str] = frozenset()
    unregistered: frozenset[str] = frozenset()
    joined: Joined | None = None
    restored: Manifest | None = None

    @property
    def empty(self) -> bool:
        """Whether the next Manifest would say nothing new."""
        said = self.entries or self.registry or self.removed or self.unregistered
        return not (said or self.joined or self.restored)


Build = Callable[[Manifest, Address, Batch], Change]


def commit(
    store: Store, name: str, build: Build, *, expect: Address | None = None, clock: Clock = time.time_ns
) -> tuple[Address, Manifest]:
    """Move a Ref to the Manifest that `build` makes of its tip, and return it.

    Args:
        store: where the Space lives.
        name: the Ref.
        build: adds the objects of the change to the batch and returns the change. It is called again on the new
            tip when the race for the Ref is lost, so it must not have any other effect.
        expect: the tip that the change was decided on; when given, another tip is a conflict and no retry.
        clock: nanoseconds since 1970. `ts` never goes back along a branch, whatever the clock says.

    Raises RefConflictError (with `expect`) or CommitError (without) when others were faster, InvalidInputError for
    a snapshot.
    """

    def propose(tip: Address) -> tuple[Address, Manifest]:
        if expect is not None and tip != expect:
            raise RefConflictError(name, str(expect), str(tip))
        parent = load_version(store, tip)
        check_writable(parent.manifest)
        unpack(store, parent.manifest)
        batch = Batch(store)
        change = build(parent.manifest, tip, batch)
        if change.empty:
            return tip, parent.manifest
        place = place_after(store, parent, joins=change.joined is not None)
        manifest = bundled(store, batch, apply_change(parent.manifest, tip, change, clock(), place))
        address = batch.add(MANIFESTS, encode_manifest(manifest))
        batch.flush()  # 0005-R11, 0006-R2
        return address, manifest

    return move_ref(store, name, propose)


def move_ref(store: Store, name: str, propose: Callable[[Address], tuple[Address, T]]) -> tuple[Address, T]:
    """Move a Ref to the version that `propose` gives for its tip; return all that this gave.

    It is asked again, about the new tip, when the race for the Ref is lost. When it gives the tip, nothing moves.
    Raises CommitError when others were faster too often, and as `propose` does.
    """
    check_movable(name)
    for attempt in range(ATTEMPTS):  # 0005-R12, 0006-R8
        if attempt:
            time.sleep(random.random() * _longest_pause(attempt))  # noqa: S311 - no secret
        tip = read_tip(store, name)
        address, told = propose(tip.address)
        if address == tip.address or swap_settled(store, name, tip, address):
            return address, told
    raise CommitError(name, ATTEMPTS)


def _longest_pause(attempt: int) -> float:
    """Return how long to wait at most after so many lost races, in seconds.

    Who has lost many waits less: a merge that takes longer than others' appends would else never get its turn.
    """
    doubled: float = min(PAUSE_SECONDS * 2 ** min(attempt, 16), PAUSE_SECONDS_MAX)
    return doubled * min(1.0, PATIENT_RACES / attempt)


def check_movable(name: str) -> str:
    """Return the name of a Ref that commits may move. Raises InvalidInputError for a snapshot, and for no name."""
    if "@" in check_ref_name(name):
        raise InvalidInputError(f"{name!r} is a snapshot and does not move; branch from it, and write there")
    return name


def check_writable(parent: Manifest) -> None:
    """Refuse Manifests that may only be read. Raises UnsupportedError."""
    if parent.tracks.read_only:
        raise UnsupportedError(f"this Space can be read but not written: {parent.tracks.refusal}")


def apply_change(
    parent: Manifest, address: Address, change: Change, now_ns: int, place: Place = FIRST
) -> Manifest:
    """Return the Manifest after a change. Pure.

    Lineage and edges are what `descent` leaves of the parent's (ADR 0009).
    """
    start = parent if change.restored is None else change.restored
    replaced = {entry.field for entry in change.entries} | change.removed
    active = [e for e in start.tracks.active if e.field not in replaced]  # 0001-R6, 0006-R3
    active += change.entries
    registry = {**start.registry, **(change.registry or {})}  # 0008-R5
    other = change.joined
    before = start.tracks if other is None else other.tracks
    return replace(
        start,
        ts=max(now_ns, parent.ts + 1, 0 if other is None else other.ts + 1),  # 0001-R3, 0008-R6
        parents=(address,) if other is None else (address, *other.addresses),  # 0008-R4
        writer=writer_tag(change.operation, place),
        registry={key: value for key, value in registry.items() if key not in change.unregistered},
        repeated={},
        tracks=order_tracks(active, *lineage_after(before, active)),  # 0001-R7
    )
