"""Transfer: Refs from one store to another, with all that they lead to. Specs 0008 and 0012.

First it is decided which Refs move, and refused what would lose commits; then objects are copied; then the Refs move, each by
compare-and-swap. Of the versions behind a Ref those are left out that the target has, behind a Ref of its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import ConflictError, ObjectNotFoundError, RefConflictError
from dreamdb_arrow.history.ancestry import is_ancestor
from dreamdb_arrow.history.closure import copy_versions, skip_versions
from dreamdb_arrow.history.manifests import load_manifest, manifest_path
from dreamdb_arrow.history.refs import read_tip, swap_settled
from dreamdb_arrow.store.copying import Copier, Count, Progress, held_by
from dreamdb_arrow.store.interface import Absent, Ref, Store, holds
from dreamdb_arrow.store.verified import call_each

_WANTED: Final = 1
_HAD: Final = 2


@dataclass(frozen=True, slots=True)
class Move:
    """A Ref that is to name another version."""

    name: str
    old: Ref | Absent
    new: Address


def plan_moves(source: Store, target: Store, names: Iterable[str], *, force: bool = False) -> list[Move]:
    """Return the Refs of the target that do not name what those of the source do.

    Raises:
        RefNotFoundError: the source has no such Ref.
        ConflictError: a Ref of the target has commits that the source's has not, or is a snapshot of another version, and
            `force` is not set.
    """
    wanted = list(dict.fromkeys(names))
    tips = call_each(lambda name: read_tip(source, name), wanted, together=source.concurrency)
    olds = call_each(target.read_ref, wanted, together=target.concurrency)
    moves = [
        Move(name, old, tip.address)
        for name, tip, old in zip(wanted, tips, olds, strict=True)
        if not holds(old, tip.address)
    ]
    for move in moves:
        if isinstance(move.old, Ref) and not force:
            _check_forward(source, target, move, move.old)
    return moves


def _check_forward(source: Store, target: Store, move: Move, old: Ref) -> None:
    if "@" in move.name:
        raise ConflictError(
            f"snapshot {move.name!r} names {old} in {target.url} and {move.new} in {source.url}; force=True moves it"
        )
    try:
        forward = is_ancestor(source, old.address, move.new)
    except ObjectNotFoundError:
        forward = False
    if not forward:  # 0012-R10
        raise ConflictError(
            f"ref {move.name!r} of {target.url} has commits that {source.url} has not; bring them there first, or move it "
            "all the same with force=True"
        )


def transfer(
    source: Store,
    target: Store,
    moves: Sequence[Move],
    *,
    near: Store | None = None,
    depth: int | None = None,
    progress: Progress | None = None,
) -> tuple[Count, int]:
    """Copy what the new versions of Refs lead to, then move the Refs; return what was copied, and how many versions.

    Args:
        source: where objects are read.
        target: where they are written.
        moves: the Refs.
        near: a store through which the source's metadata is read.
        depth: how many versions behind each Ref to copy; None for all that are there.
        progress: is told how far it is.

    Raises RefConflictError when a Ref moved meanwhile, and as `copy_versions` does. What was copied stays, and is not copied
    again by the next call.
    """
    walk, there = near or source, _tips_of(target)
    versions, base = missing_versions(walk, target, there, [move.new for move in moves], depth)
    held = None if there else held_by(target)
    with Copier(source, target, near=near, held=held, progress=progress) as copier:
        known = skip_versions(walk, base, copier)
        copy_versions(walk, versions, copier, known)
    for move in moves:
        if not swap_settled(target, move.name, move.old, move.new):
            raise RefConflictError(move.name, str(move.old), str(target.read_ref(move.name)))
    return copier.count, len(versions)


# --- which versions -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Version:
    ts: int
    parents: tuple[Address, ...]


@dataclass(slots=True)
class _Walk:
    """Versions from the newest down: those that are wanted, and those that the target has behind its Refs."""

    source: Store
    target: Store
    marks: dict[Address, int] = field(default_factory=dict)
    versions: dict[Address, _Version] = field(default_factory=dict)
    pending: list[tuple[int, Address, int]] = field(default_factory=list)  # a heap
    open: set[Address] = field(
        default_factory=set
    )  # those that wait, are wanted, and are not known to be there

    def reach(self, address: Address, marks: int, behind: int) -> None:
        known = self.marks.get(address, 0)
        if known | marks == known:
            return
        version = self._load(address, marks & ~known)
        if version is None:  # collected
            return
        self.marks[address] = known | marks
        self.versions[address] = version
        (self.open.discard if known | marks != _WANTED else self.open.add)(address)
        heapq.heappush(self.pending, (-version.ts, address, behind))

    def take(self) -> tuple[Address, int]:
        _, address, behind = heapq.heappop(self.pending)
        self.open.discard(address)
        return address, behind

    def _load(self, address: Address, news: int) -> _Version | None:
        try:
            found = load_manifest(self.target if news & _HAD else self.source, address)
        except ObjectNotFoundError:
            return None
        return _Version(found.ts, found.parents)


def missing_versions(
    source: Store, target: Store, there: Iterable[Address], tips: Iterable[Address], depth: int | None
) -> tuple[list[Address], list[Address]]:
    """Return the versions that are to be copied, oldest first, and those right behind them that the target has.

    Args:
        source: where the new ones are.
        target: where some of them may be already.
        there: what its Refs name.
        tips: what is to be there.
        depth: how many versions behind each of these are wanted; None for all.

    A version that the source has no longer ends the way. Raises ObjectNotFoundError when a tip is missing.
    """
    walk = _Walk(source, target)
    for address in there:
        walk.reach(address, _HAD, 0)
    for tip in tips:
        load_manifest(source, tip)
        walk.reach(tip, _WANTED, 0)
    while walk.open:
        address, behind = walk.take()
        marks = walk.marks[address]
        if marks & _HAD or depth is None or behind < depth:
            for parent in walk.versions[address].parents:
                walk.reach(parent, marks, behind + 1)
    wanted = [address for address, marks in walk.marks.items() if marks == _WANTED]
    parents = dict.fromkeys(parent for address in wanted for parent in walk.versions[address].parents)
    base = [p for p in parents if walk.marks.get(p, 0) & _HAD and source.exists(manifest_path(p))]
    return sorted(wanted, key=lambda a: (walk.versions[a].ts, a)), base


def _tips_of(store: Store) -> list[Address]:
    found = call_each(store.read_ref, store.list_refs(), together=store.concurrency)
    return [ref.address for ref in found if isinstance(ref, Ref)]
