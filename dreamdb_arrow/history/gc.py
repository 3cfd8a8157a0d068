"""Garbage collection: what no Ref leads to any more is removed. Spec 0008.

Marked are the version of each Ref and as many of its ancestors by first parents as are to be kept, with all that they name.
Every other object whose path ends in an address is garbage. Whether an object is alive goes by its address, not by its path,
so the outboard of a payload lives as long as the payload.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from dreamdb_arrow.codec.address import Address, is_address_text, parse_address
from dreamdb_arrow.errors import (
    InvalidInputError,
    NotFoundError,
    RefConflictError,
)
from dreamdb_arrow.history.manifests import MANIFESTS
from dreamdb_arrow.history.marking import mark
from dreamdb_arrow.store.interface import Absent, Store
from dreamdb_arrow.tracks.reach import Reached

_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Garbage:
    """What a collector found.

    refs           how many Refs there were
    reachable      how many addresses these lead to
    listed         how many objects there are
    live           how many of them stay, because something leads to them
    recent         how many more stay, because they are younger than asked for, or of unknown age
    paths          what may go, in the order in which it goes
    size_bytes     how many bytes that is
    """

    refs: int
    reachable: int
    listed: int
    live: int
    recent: int
    paths: tuple[str, ...]
    size_bytes: int


def find_garbage(
    store: Store,
    keep_manifests: int,
    keep_since_secs: int,
    now_ns: int,
    roots: Collection[Address] = (),
) -> tuple[Garbage, dict[str, Address]]:
    """Return what may be removed, and the Refs that this was decided on.

    Raises InvalidInputError for a Space without any Ref or root, and as mark does.
    """
    refs = read_refs(store)
    if not refs and not roots:
        raise InvalidInputError("the space has no ref: everything in it would be garbage; name roots to keep")
    reached = mark(store, list(refs.values()), keep_manifests, roots)  # 0008-R13
    listed = live = recent = size = 0
    paths: list[str] = []
    for path in store.list():
        name = path.rpartition("/")[2]
        if not is_address_text(name):
            continue
        listed += 1
        if parse_address(name) in reached.live:
            live += 1
        elif keep_since_secs and _is_recent(store, path, now_ns - keep_since_secs * _NS):
            recent += 1
        else:
            paths.append(path)
            size += _size(store, path)
    ordered = sorted(paths, key=lambda path: _turn(path, reached))
    found = Garbage(len(refs), len(reached.live), listed, live, recent, tuple(ordered), size)
    return found, refs


def _turn(path: str, reached: Reached) -> tuple[int, str]:
    """Rank what is removed: versions first, those next to what stays before all, then what they name.

    So whoever is interrupted leaves a shorter history, and no version without its objects.
    """
    directory, _, name = path.rpartition("/")
    if directory != MANIFESTS:
        return 2, path
    return 0 if parse_address(name) in reached.beyond else 1, path


def read_refs(store: Store) -> dict[str, Address]:
    """Return what each Ref names."""
    found = {name: store.read_ref(name) for name in store.list_refs()}
    return {name: ref.address for name, ref in found.items() if not isinstance(ref, Absent)}


def _is_recent(store: Store, path: str, since_ns: int) -> bool:
    """Whether an object was written after a time; so is one whose age cannot be told."""
    file = store.local_path(path)
    try:
        return file is None or file.stat().st_mtime_ns > since_ns
    except OSError:
        return True


def _size(store: Store, path: str) -> int:
    try:
        return store.size(path)
    except NotFoundError:  # somebody else collects
        return 0


def sweep(store: Store, garbage: Garbage, refs: dict[str, Address]) -> int:
    """Remove what was found; return how many objects that were.

    Raises RefConflictError when a Ref has moved since: somebody writes, and may be about to use what was found.
    """
    for name, address in refs.items():
        now = store.read_ref(name)
        if isinstance(now, Absent) or now.address != address:  # 0008-R14
            raise RefConflictError(name, str(address), str(now))
    if new := set(store.list_refs()) - refs.keys():
        raise RefConflictError(min(new), "no ref", "a new one")
    for path in garbage.paths:
        store.delete(path)
    return len(garbage.paths)
