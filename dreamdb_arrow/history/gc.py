"""Garbage collection: what no Ref leads to any more is removed. Spec 0008.

Marked are the version of each Ref and as many of its ancestors by first parents as are to be kept, with all that they name;
and every version younger than the grace period, which may be a commit on its way to its Ref. Every other object whose path ends
in an address, and that is older than the grace period, is garbage. Whether an object is alive goes by its address, not by its
path, so the outboard of a payload lives as long as the payload. Why it may run beside writers is told in ADR 0039.

Versions go first. Whoever is about to lead a Ref to one makes it young before: it is spared then, and marked with all that it
leads to before anything else goes; or it is gone, and nobody can lead a Ref there any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from dreamdb_arrow.codec.address import Address, is_address_text, parse_address
from dreamdb_arrow.errors import (
    CorruptDataError,
    InvalidInputError,
    NotFoundError,
    RefConflictError,
    UnsupportedError,
)
from dreamdb_arrow.history.manifests import MANIFESTS, load_manifest
from dreamdb_arrow.history.marking import mark, mark_version
from dreamdb_arrow.store.interface import Absent, Store
from dreamdb_arrow.tracks.reach import Reached

Progress = Callable[[int, int], object]  # how many objects of how many have been removed

_NS: Final = 1_000_000_000
_TOLD_EVERY: Final = 256


@dataclass(frozen=True, slots=True)
class Kept:
    """What a collector leaves.

    manifests  how many versions behind each Ref, by first parents
    since_ns   what was written, or put again, since then, by the store's clock
    roots      further versions
    shard      of (i, n), i from 1: collect only the i-th part of all addresses; None for all of them
    """

    manifests: int
    since_ns: int
    roots: Collection[Address] = ()
    shard: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Garbage:
    """What a collector found.

    refs        what each Ref named
    reached     what these lead to
    listed      how many objects there are
    live        how many of them stay, because something leads to them
    recent      how many more stay, because they are young, or a version that is leads to them
    versions    the paths of versions that may go, in the order in which they go
    others      the paths of all else that may go
    size_bytes  how many bytes that is
    """

    refs: dict[str, Address]
    reached: Reached
    listed: int = 0
    live: int = 0
    recent: int = 0
    versions: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def paths(self) -> list[str]:
        """Everything that may go."""
        return [*self.versions, *self.others]


def find_garbage(store: Store, kept: Kept) -> Garbage:
    """Return what may be removed, and what this was decided on.

    Raises InvalidInputError for a Space without any Ref or root, and as mark does.
    """
    refs = read_refs(store)
    if not refs and not kept.roots:
        raise InvalidInputError("the space has no ref: everything in it would be garbage; name roots to keep")
    reached = mark(store, list(refs.values()), kept.manifests, kept.roots)  # 0008-R13
    young = Reached(read=reached.read, beyond=reached.beyond)  # what only versions lead to that are young
    _mark_young(store, kept.since_ns, young)
    listed = live = recent = size = 0
    versions: list[str] = []
    others: list[str] = []
    for found in store.list_aged():
        directory, _, name = found.path.rpartition("/")
        if not is_address_text(name) or not _is_in(kept.shard, name, directory):
            continue
        listed += 1
        address = parse_address(name)
        if address in reached.live:
            live += 1
        elif found.modified_ns >= kept.since_ns or address in young.live:
            recent += 1
        else:
            (versions if directory == MANIFESTS else others).append(found.path)
            size += found.size
    versions.sort(key=lambda path: _turn(path, reached))
    return Garbage(refs, reached, listed, live, recent, versions, sorted(others), size)


def read_refs(store: Store) -> dict[str, Address]:
    """Return what each Ref names."""
    found = {name: store.read_ref(name) for name in store.list_refs()}
    return {name: ref.address for name, ref in found.items() if not isinstance(ref, Absent)}


def _turn(path: str, reached: Reached) -> tuple[bool, str]:
    """Rank versions that go: those next to what stays first. So whoever is interrupted leaves a shorter history."""
    return parse_address(path.rpartition("/")[2]) not in reached.beyond, path


def _is_in(shard: tuple[int, int] | None, name: str, directory: str) -> bool:
    """Whether an object is one of a shard's. Versions are everybody's: they go before all else."""
    if shard is None or directory == MANIFESTS:
        return True
    nth, of = shard
    return int.from_bytes(parse_address(name)[1:9], "big") * of >> 64 == nth - 1


def _mark_young(store: Store, since_ns: int, reached: Reached) -> None:
    """Mark versions that are young: a Ref may be about to name them. What they lack was never whole, or is gone already."""
    for found in store.list_aged(f"{MANIFESTS}/"):
        name = found.path.rpartition("/")[2]
        if found.modified_ns >= since_ns and is_address_text(name):
            _mark_if_whole(store, parse_address(name), reached)


def _mark_if_whole(store: Store, address: Address, reached: Reached) -> None:
    with suppress(NotFoundError, CorruptDataError, UnsupportedError):
        for _ in mark_version(store, address, load_manifest(store, address), reached):
            continue
    reached.live.add(address)


# --- removing -----------------------------------------------------------------------------------------------


def sweep(
    store: Store, garbage: Garbage, kept: Kept, progress: Progress | None = None, *, paused: bool = False
) -> int:
    """Remove what was found and is still garbage; return how many objects that were.

    With `paused`, nobody writes: raises RefConflictError, and removes nothing, when a Ref has moved since.
    """
    if paused:
        _check_unmoved(store, garbage.refs)
    gone = _remove(store, garbage.versions, kept.since_ns, progress, 0, len(garbage.paths))
    if not paused:
        _mark_again(store, garbage, kept)
    still = [p for p in garbage.others if parse_address(p.rpartition("/")[2]) not in garbage.reached.live]
    return gone + _remove(store, still, kept.since_ns, progress, gone, len(garbage.versions) + len(still))


def _check_unmoved(store: Store, refs: dict[str, Address]) -> None:
    for name, address in refs.items():
        now = store.read_ref(name)
        if isinstance(now, Absent) or now.address != address:  # 0008-R14
            raise RefConflictError(name, str(address), str(now))
    if new := set(store.list_refs()) - refs.keys():
        raise RefConflictError(min(new), "no ref", "a new one")


def _mark_again(store: Store, garbage: Garbage, kept: Kept) -> None:
    """Mark what Refs lead to now, and the versions that were spared or written meanwhile."""
    moved = [a for a in read_refs(store).values() if a not in garbage.reached.read]
    for address in dict.fromkeys(moved):
        for _, error in mark_version(store, address, load_manifest(store, address), garbage.reached):
            raise error
    _mark_young(store, kept.since_ns, garbage.reached)


def _remove(
    store: Store, paths: Sequence[str], since_ns: int, progress: Progress | None, before: int, total: int
) -> int:
    gone = 0
    for nth, path in enumerate(paths):
        gone += store.delete_old(path, since_ns)  # 0008-R20
        if progress and (nth % _TOLD_EVERY == 0 or nth == len(paths) - 1):
            progress(before + nth + 1, total)
    return gone


def since(now_ns: int, seconds: int) -> int:
    """Return the time so many seconds ago; for none one that nothing is as young as, whatever the clock's steps."""
    return now_ns - seconds * _NS if seconds else now_ns + _NS


def known_roots(texts: Iterable[str]) -> list[Address]:
    """Return versions by the text form of their addresses. Raises InvalidInputError for another text."""
    wanted = list(texts)
    if unknown := [text for text in wanted if not is_address_text(text)]:
        raise InvalidInputError(
            f"not a version: {unknown[0]!r:.80}; roots are addresses of Manifests as text"
        )
    return [parse_address(text) for text in wanted]
