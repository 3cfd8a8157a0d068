"""The graph of versions: all that a version descends from, newest first, and how it is drawn. Spec 0008."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.interface import Store


def descent(store: Store, tip: Address) -> Iterator[tuple[Address, Manifest]]:
    """Yield a version and all that it descends from, by every parent: newest first, none before its children.

    A child is newer than its parents (0001-R3). Ancestors that are not there any more end their lines.
    """
    seen, pending = {tip}, [_placed(tip, load_manifest(store, tip))]
    while pending:
        _, _, address, manifest = heapq.heappop(pending)
        yield address, manifest
        for parent in manifest.parents:
            if parent not in seen:
                seen.add(parent)
                try:
                    heapq.heappush(pending, _placed(parent, load_manifest(store, parent)))
                except ObjectNotFoundError:  # 0008-R3
                    continue


def _placed(address: Address, manifest: Manifest) -> tuple[int, bytes, Address, Manifest]:
    return -manifest.ts, bytes(address), address, manifest


class Drawing:
    """The lanes of a graph, a version at a time: `*` where it is, `+` where another lane comes to it, `|` where one passes."""

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: list[Address | None] = []  # what each leads to next

    def add(self, address: Address, parents: Sequence[Address]) -> str:
        """Return what stands before a version; its parents are on lanes then."""
        at = self._lane_of(address)
        drawn = "".join(self._mark(nth, at, address) for nth in range(len(self._lanes))).rstrip()
        self._lanes = [None if lane == address else lane for lane in self._lanes]
        for nth, parent in enumerate(dict.fromkeys(parents)):
            if nth == 0:
                self._lanes[at] = parent
            elif parent not in self._lanes:
                self._lanes[self._lane_of(parent)] = parent
        return drawn

    def _lane_of(self, address: Address) -> int:
        """Return the lane that leads to a version: the first one, or a free one, or one more."""
        for wanted in (address, None):
            if wanted in self._lanes:
                return self._lanes.index(wanted)
        self._lanes.append(None)
        return len(self._lanes) - 1

    def _mark(self, nth: int, at: int, address: Address) -> str:
        if nth == at:
            return "* "
        lane = self._lanes[nth]
        return "  " if lane is None else "+ " if lane == address else "| "
