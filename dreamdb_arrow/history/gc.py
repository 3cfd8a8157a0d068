"""Garbage collection: what no Ref leads to any more is removed, beside writers that go on. Specs 0005 and 0008.

Marked are the version of each Ref and as many of its ancestors by first parents as are to be kept, with all that they name.
Every other object whose path ends in an address is garbage, once it is older than the grace period. Whether an object is
alive goes by its address, not by its path, so the outboard of a payload lives as long as the payload.

Versions go first. Each Manifest that is still there then was marked, or is young: somebody writes it, holds it or has just
let it go. What these lead to is marked too before anything else goes. ADR 0032 has the races.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

from dreamdb_arrow.codec.address import Address, is_address_text, parse_address
from dreamdb_arrow.errors import (
    CorruptDataError,
    InvalidInputError,
    NotFoundError,
    RefConflictError,
)
from dreamdb_arrow.history.manifests import MANIFESTS, load_manifest
from dreamdb_arrow.history.marking import NEVER, mark, mark_also
from dreamdb_arrow.store.interface import Absent, Aged, Store
from dreamdb_arrow.tracks.reach import Reached

PATHS_TOLD: Final = 10_000
_TOGETHER: Final = 64  # objects removed under one hold of the lock of ages
_MARKINGS: Final = 8  # while Refs move and others collect
_TOLD_EACH: Final = 1000
_DIGEST_BITS: Final = 16  # that tell the shard

Stage = Literal["mark", "sweep"]
Progress = Callable[[Stage, int], None]


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `of` equal parts of all addresses, counted from 0."""

    part: int = 0
    of: int = 1

    def holds(self, address: Address) -> bool:
        """Whether an address is in this part."""
        return int.from_bytes(address[1:3]) * self.of >> _DIGEST_BITS == self.part


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays, beside the versions of Refs.

    keep_manifests  so many versions behind each of them
    since_ns        and those that were a Ref's version at this time or later, in nanoseconds since 1970, by their `ts`
    grace_ns        objects younger than that, and what Manifests younger than that lead to; 0 when nobody writes
    roots           these versions
    shard           objects outside of it, but for Manifests
    """

    keep_manifests: int
    since_ns: int = NEVER
    grace_ns: int = 0
    roots: tuple[Address, ...] = ()
    shard: Shard = Shard()


@dataclass(slots=True)
class Garbage:
    """What a collector found in its shard, and did.

    refs        how many Refs there were
    reachable   how many addresses these lead to, with all that is kept beside them, in all shards
    listed      how many objects there are
    live        how many of them stay, because something leads to them
    recent      how many more stay, because they are young
    deletable   how many may go
    size_bytes  how many bytes that is
    deleted     how many were removed, Manifests of other shards among them
    paths       the first PATHS_TOLD that may go, in the order in which they go
    """

    refs: int = 0
    reachable: int = 0
    listed: int = 0
    live: int = 0
    recent: int = 0
    deletable: int = 0
    size_bytes: int = 0
    deleted: int = 0
    paths: list[str] = field(default_factory=list)


def collect(store: Store, plan: Plan, *, dry_run: bool, progress: Progress | None = None) -> Garbage:
    """Find what may be removed, and remove it unless this is a dry run. Killed at any point, it can be run again.

    Raises InvalidInputError for a Space without any Ref or root; as mark does; RefConflictError when a Ref has moved and
    nobody was to write. Nothing is removed then.
    """
    before_ns = store.now_ns() - plan.grace_ns if plan.grace_ns else NEVER
    refs, reached = _mark(store, plan, before_ns)
    found = Garbage(len(refs), len(reached.live))
    work = _Work(store, plan, before_ns, reached, found, dry_run, progress)
    work.tell("mark", len(reached.live))
    if not dry_run and not plan.grace_ns:
        _check_unmoved(store, refs)
    work.sweep(work.versions(cut=True))
    work.sweep(work.versions(cut=False))
    if not dry_run and plan.grace_ns:
        _mark_left(store, reached)
    work.sweep(work.others())
    if not dry_run:
        store.sweep(before_ns)  # what killed writers left
    return found


# --- what stays ---------------------------------------------------------------------------------------------


def _mark(store: Store, plan: Plan, before_ns: int) -> tuple[dict[str, Address], Reached]:
    """Return what each Ref names, and all that stays whatever its age.

    While others commit and collect, what a Ref led to when it was read may be gone: then it is read again.
    """
    for _ in range(_MARKINGS):
        refs = read_refs(store)
        if not refs and not plan.roots:
            raise InvalidInputError(
                "the space has no ref: everything in it would be garbage; name roots to keep"
            )
        try:
            reached = mark(  # 0008-R13
                store, list(refs.values()), plan.keep_manifests, plan.roots, plan.since_ns
            )
        except NotFoundError:
            if read_refs(store) == refs:
                raise
            continue
        if plan.grace_ns:
            mark_also(store, _young_versions(store, before_ns), reached)  # 0008-R14
        return refs, reached
    raise RefConflictError(min(refs), "a ref that stays for a while", "one that moved each time")


def _young_versions(store: Store, since_ns: int) -> Iterator[Address]:
    """Yield versions whose Manifests are young, and their parents: until a child came they were what a Ref named."""
    for found in store.list_aged(f"{MANIFESTS}/"):
        address = _address_in(found.path)
        if address is None or found.modified_ns < since_ns:
            continue
        yield address
        try:
            yield from load_manifest(store, address).parents
        except (NotFoundError, CorruptDataError):
            continue


def _mark_left(store: Store, reached: Reached) -> None:
    """Mark what Refs name now, and the Manifests that are there though they were not marked."""
    mark(store, list(read_refs(store).values()), 0, reached=reached)
    left = (_address_in(found.path) for found in store.list_aged(f"{MANIFESTS}/"))
    mark_also(store, (a for a in left if a is not None and a not in reached.live), reached)


def _check_unmoved(store: Store, refs: dict[str, Address]) -> None:
    """Raise RefConflictError when a Ref has moved: somebody writes, and may be about to use what was found."""
    now = read_refs(store)  # 0008-R14
    for name in sorted(refs.keys() | now.keys()):
        was, found = refs.get(name, Absent()), now.get(name, Absent())
        if was != found:
            raise RefConflictError(name, str(was), str(found))


def read_refs(store: Store) -> dict[str, Address]:
    """Return what each Ref names."""
    found = {name: store.read_ref(name) for name in store.list_refs()}
    return {name: ref.address for name, ref in found.items() if not isinstance(ref, Absent)}


# --- what goes ----------------------------------------------------------------------------------------------


def _address_in(path: str) -> Address | None:
    """Return the address that a path ends in; what has none is nobody's to collect."""
    name = path.rpartition("/")[2]
    return parse_address(name) if is_address_text(name) else None


@dataclass(frozen=True, slots=True)
class _Work:
    """A collection under way: what it looks at, object by object, and what it has counted."""

    store: Store
    plan: Plan
    before_ns: int
    reached: Reached
    found: Garbage
    dry_run: bool
    progress: Progress | None

    def tell(self, stage: Stage, count: int) -> None:
        """Tell how far it has come."""
        if self.progress is not None:
            self.progress(stage, count)

    def versions(self, *, cut: bool) -> Iterator[str]:
        """Yield the Manifests that go: those next to what stays, or all others.

        So whoever is interrupted leaves a shorter history, and no version without its objects. Shards remove all of them,
        as nobody may bring back a version whose objects another shard has removed; each counts its own.
        """
        for found in self.store.list_aged(f"{MANIFESTS}/"):
            address = _address_in(found.path)
            if address is not None and (address in self.reached.beyond) == cut and self._goes(found, address):
                yield found.path

    def others(self) -> Iterator[str]:
        """Yield all else that goes."""
        for found in self.store.list_aged():
            address = _address_in(found.path)
            if address is None or found.path.startswith(f"{MANIFESTS}/"):
                continue
            if self.plan.shard.holds(address) and self._goes(found, address):
                yield found.path

    def _goes(self, object_: Aged, address: Address) -> bool:
        """Whether an object is to be removed; count it, if it is in the shard."""
        live, recent = address in self.reached.live, object_.modified_ns >= self.before_ns
        if self.plan.shard.holds(address):
            found = self.found
            found.listed += 1
            found.live += live
            found.recent += recent and not live
            if not (live or recent):
                found.deletable += 1
                found.size_bytes += object_.size
                found.paths += [object_.path] if len(found.paths) < PATHS_TOLD else []
            if found.listed % _TOLD_EACH == 0:
                self.tell("sweep", found.listed)
        return not (live or recent)

    def sweep(self, paths: Iterator[str]) -> None:
        """Remove objects, some at a time, unless this is a dry run. The store looks at their ages once more."""
        while some := list(islice(paths, _TOGETHER)):
            if not self.dry_run:
                self.found.deleted += len(self.store.delete_aged(some, self.before_ns))  # 0005-R15
