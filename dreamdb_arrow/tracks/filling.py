"""Where a row of items is cut into pages: filled from the left, or evenly. Specs 0007 and 0011.

Pages that grow at their right end are filled from the left, so that those left behind are full. Pages in the middle
are filled evenly: whatever comes next to one of them finds room, and none is left that is nearly empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Ints

RUN_PAGES: Final = 64  # how many neighbours are rewritten as one

Cuts: TypeAlias = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Room:
    """What a page can hold.

    page_bytes  of a whole page
    items       at most so many
    overhead    how many bytes a page of n items has beside them
    """

    page_bytes: int
    items: int
    overhead: Callable[[int], int]

    def holds(self, size: int, count: int) -> bool:
        """Whether `count` items of together `size` bytes make a page that is small enough."""
        return count <= self.items and size + self.overhead(count) <= self.page_bytes


def cut_from_left(sizes: Ints, room: Room) -> Cuts:
    """Return the first item of each page and the one after its last; an item that is too large has its own page.

    `sizes` are the bytes of the items, int64 (n,).
    """
    ends = sizes.cumsum()
    bounds, start, begin = [], 0, 0
    while start < len(sizes):
        most = begin + room.page_bytes - room.overhead(0)
        stop = min(int(np.searchsorted(ends, most, side="right")), start + room.items)
        while stop > start + 1 and not room.holds(int(ends[stop - 1]) - begin, stop - start):
            stop -= 1
        stop = max(stop, start + 1)
        bounds.append((start, stop))
        start, begin = stop, int(ends[stop - 1])
    return bounds


def cut_evenly(sizes: Ints, room: Room) -> Cuts:
    """Return the same, with pages of about the same number of bytes, and hardly more of them than need be."""
    ends = sizes.cumsum()
    pages = max(-(-int(ends[-1]) // room.page_bytes), -(-len(sizes) // room.items)) if len(ends) else 0
    while pages < len(sizes):
        bounds = _shares(ends, pages)
        if all(_fits(ends, room, start, stop) for start, stop in bounds):
            return bounds
        pages += 1
    return [(at, at + 1) for at in range(len(sizes))]


def cut_by_number(count: int, pages: int) -> Cuts:
    """Share `count` items out among pages; their numbers differ by one at most, the longer ones first."""
    short, longer = divmod(count, pages)
    return list(pairwise(nth * short + min(nth, longer) for nth in range(pages + 1)))


def _shares(ends: Ints, pages: int) -> Cuts:
    """Return the parts that lie between the multiples of the mean size, without empty ones."""
    marks = np.arange(1, pages) * (int(ends[-1]) / pages)
    stops = np.unique([0, *np.searchsorted(ends, marks, side="right").tolist(), len(ends)]).tolist()
    return list(pairwise(stops))


def _fits(ends: Ints, room: Room, start: int, stop: int) -> bool:
    return room.holds(int(ends[stop - 1]) - (int(ends[start - 1]) if start else 0), stop - start)


def run_end(touched: NDArray[Any], start: int) -> int:
    """Return where the run of touched pages that begins at `start` ends; long runs are halved until short enough."""
    rest = touched[start:]
    length = len(rest) if rest.all() else int(np.argmin(rest))
    while length > RUN_PAGES:
        length = -(-length // 2)
    return start + length
