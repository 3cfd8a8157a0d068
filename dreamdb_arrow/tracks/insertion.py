"""New entries into a tree of pages by copy-on-write: scalar B-trees, indexes of media and of cells. Specs 0007 and 0011.

Pages are immutable, so a change goes down from the root to the leaves that new entries fall into, and writes these and
the pages above again. Pages that nothing falls into stay as they are, unread. Neighbours that change are written as one,
in windows, and what has become small takes in its neighbour, so that many small changes leave no small pages behind.
What pages look like is the business of the `Pages` that an `Insertion` is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.tracks.filling import run_end

NEIGHBOURS_MAX: Final = 16  # how many pages, at most, are read only to be joined with a small one

Child = TypeVar("Child")


class Pages(Protocol[Child]):
    """One kind of tree, and the entries that are to go into it.

    What a leaf holds are its entries, what a page above holds is a list of children; both are called *held* here.
    """

    def open(self, pages: Sequence[Child], level: int, *, claimed: bool) -> list[Any]:
        """Return what pages of this level hold, checked against what their parent claims, if there is one."""
        ...

    def places(self, pages: Sequence[Child], start: int, stop: int) -> Ints:
        """Return the first of the new entries from `start` to `stop` that falls into each page, and `stop`."""
        ...

    def new_entries(self, start: int, stop: int) -> Any:
        """Return some of the new entries as what a leaf holds."""
        ...

    def join_entries(self, parts: Sequence[Any]) -> Any:
        """Return what several leaves hold as one."""
        ...

    def is_small(self, held: Any, level: int) -> bool:
        """Whether this would make a page that is worth joining with another one."""
        ...

    def write(self, held: Any, level: int, *, grows: bool) -> list[Child]:
        """Write pages of this level, full ones if the tree grows at its right end here, and return them in order."""
        ...

    def in_order(self, pages: list[Child]) -> list[Child]:
        """Return the pages of one parent as they must lie in it."""
        ...


class Insertion(Generic[Child]):
    """One change of a tree.

    dropped  how many pages of the old tree are not part of the new one
    grows    whether the last leaf was reached: such a tree is filled from the left
    """

    __slots__ = ("_pages", "dropped", "grows")

    def __init__(self, pages: Pages[Child]) -> None:
        self._pages, self.dropped, self.grows = pages, 0, False

    def replace_root(self, root: Child, height: int, count: int) -> tuple[list[Child], int]:
        """Put `count` new entries into a tree of so many levels.

        Returns the pages that together replace the root, and their level: its own, or the one below.
        """
        level = height - 1
        (held,) = self._open([root], level, claimed=False)
        if level == 0:
            self.grows = True
            joined = self._pages.join_entries([held, self._pages.new_entries(0, count)])
            return self._pages.write(joined, 0, grows=True), 0
        first = self._pages.places(held, 0, count)
        return self._replace(held, level - 1, first, last=True), level - 1

    def _replace(self, pages: list[Child], level: int, first: Ints, *, last: bool) -> list[Child]:
        """Return what replaces the pages of one parent.

        Args:
            pages: from left to right.
            level: theirs.
            first: the first new entry that falls into each page, and the one after the last, int64 (pages + 1,).
            last: whether the last of these pages is the last one of its level.
        """
        touched = first[1:] > first[:-1]
        after: list[Child] = []
        at = 0
        while at < len(pages):
            if not touched[at]:
                after.append(pages[at])
                at += 1
                continue
            stop = run_end(touched, at)
            grows = last and stop == len(pages)
            held = self._change(pages[at:stop], level, first[at : stop + 1], last=grows)
            if not grows:
                held, stop = self._widen(held, level, pages, (at, stop), touched, after)
            after += self._pages.write(held, level, grows=grows)
            at = stop
        return self._pages.in_order(after)

    def _change(self, pages: list[Child], level: int, first: Ints, *, last: bool) -> Any:
        """Return what a run of pages holds, with the new entries."""
        opened = self._open(pages, level)
        if level == 0:
            self.grows |= last
            added = self._pages.new_entries(int(first[0]), int(first[-1]))
            return self._pages.join_entries([*opened, added])
        held: list[Child] = []
        for nth, children in enumerate(opened):
            places = self._pages.places(children, int(first[nth]), int(first[nth + 1]))
            held += self._replace(children, level - 1, places, last=last and nth == len(opened) - 1)
        return held

    def _widen(
        self,
        held: Any,
        level: int,
        pages: list[Child],
        run: tuple[int, int],
        touched: NDArray[np.bool_],
        after: list[Child],
    ) -> tuple[Any, int]:
        """Take in neighbours while a run is less than a page should have; return it and where it ends now."""
        start, stop = run
        for _ in range(NEIGHBOURS_MAX):
            if not self._pages.is_small(held, level):
                break
            if stop < len(pages) and not touched[stop]:
                held = self._join(level, held, self._open(pages[stop : stop + 1], level)[0])
                stop += 1
            elif after and after[-1] is pages[start - 1]:
                held = self._join(level, self._open([after.pop()], level)[0], held)
                start -= 1
            else:
                break
        return held, stop

    def _join(self, level: int, left: Any, right: Any) -> Any:
        return [*left, *right] if level else self._pages.join_entries([left, right])

    def _open(self, pages: list[Child], level: int, *, claimed: bool = True) -> list[Any]:
        self.dropped += len(pages)
        return self._pages.open(pages, level, claimed=claimed)
