"""Ancestry: the versions behind a version, and where two of them part. Spec 0008.

A version whose Manifest has been collected ends the line that leads to it (0008-R3). Where two versions parted is asked of
their lines of first parents, which takes few steps (`line`). Where merges may hide a newer base, all parents are followed,
from the newest version down, so that the walk ends soon when two branches have not been apart for long.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.history.line import load_version, meeting
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.interface import Store

_OURS: Final = 1
_THEIRS: Final = 2
_BOTH: Final = _OURS | _THEIRS
_BELOW: Final = 4  # an ancestor of a version that both have: no longer of interest


def first_parents(store: Store, tip: Address) -> Iterator[tuple[Address, Manifest]]:
    """Yield a version and its ancestors by first parents, newest first, as far as they have not been collected."""
    address: Address | None = tip
    while address is not None:
        try:
            manifest = load_manifest(store, address)
        except ObjectNotFoundError:
            if address == tip:
                raise
            return  # 0008-R3
        yield address, manifest
        address = manifest.parents[0] if manifest.parents else None


def is_ancestor(store: Store, old: Address, new: Address) -> bool:
    """Whether a version is another one, or lies behind it by any of its parents."""
    if old == new:
        return True
    return merge_base(store, old, new) == old


def merge_base(store: Store, ours: Address, theirs: Address) -> Address | None:
    """Return the newest version that lies behind both, over all parents; None when there is none any more.

    Where several are as good, as after merges both ways, one of them. Raises ObjectNotFoundError when one of the two
    themselves is missing.
    """
    met = _meeting_below_merges(store, ours, theirs)
    return _walk_to_base(store, ours, theirs) if met is None else met


def _meeting_below_merges(store: Store, ours: Address, theirs: Address) -> Address | None:
    """Return where two lines of first parents meet, unless a merge above it may join them at a newer version."""
    sides = [load_version(store, address) for address in (ours, theirs)]
    met = meeting(store, *sides)
    if met is None:
        return None
    merges = {None if version.place is None else version.place.merges for version in (*sides, met)}
    one_lies_behind_the_other = met.address in (ours, theirs)
    return met.address if one_lies_behind_the_other or (len(merges) == 1 and None not in merges) else None


def _walk_to_base(store: Store, ours: Address, theirs: Address) -> Address | None:
    walk = _Walk(store)
    walk.reach(ours, _OURS, needed=True)
    walk.reach(theirs, _THEIRS, needed=True)
    common: list[tuple[int, Address]] = []
    while walk.pending_of_interest:
        ts, address = walk.take()
        marks = walk.marks[address]
        if marks & _BOTH == _BOTH and not marks & _BELOW:
            common.append((ts, address))
            marks |= _BELOW
        for parent in walk.versions[address].parents:
            walk.reach(parent, marks)
    best = [(ts, address) for ts, address in common if not walk.marks[address] & _BELOW]
    return max(best)[1] if best else None


class _Walk:
    """The versions that a search has reached, with what is known of each, and those whose parents are to be seen."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: list[tuple[int, Address]] = []  # a heap, newest first
        self._waiting: dict[Address, int] = {}
        self.marks: dict[Address, int] = {}
        self.versions: dict[Address, Manifest] = {}

    @property
    def pending_of_interest(self) -> bool:
        """Whether a version waits that is not below one that both have."""
        return any(not self.marks[address] & _BELOW for address in self._waiting)

    def reach(self, address: Address, marks: int, *, needed: bool = False) -> None:
        """Add marks to a version; when they are news, its parents are to hear of them."""
        known = self.marks.get(address, 0)
        if known | marks == known or not self._load(address, needed=needed):
            return
        self.marks[address] = known | marks
        if address not in self._waiting:
            self._waiting[address] = 1
            heapq.heappush(self._pending, (-self.versions[address].ts, address))

    def take(self) -> tuple[int, Address]:
        """Return the newest version that waits, and when it was published."""
        negative, address = heapq.heappop(self._pending)
        del self._waiting[address]
        return -negative, address

    def _load(self, address: Address, *, needed: bool) -> bool:
        if address in self.versions:
            return True
        try:
            self.versions[address] = load_manifest(self._store, address)
        except ObjectNotFoundError:
            if needed:
                raise
            return False  # 0008-R3
        return True
