"""Spills: rows on their way from the cells of one index to those of another, in files of the local cache. Spec 0021.

Rows are written as they come, with the number of the place that each goes to; then the order is counted out, and rows are
read place by place, by anchor. So as many rows as the disk holds can be filed with a few blocks of them in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.store.files import sync_path

I64 = NDArray[np.int64]
Rows = tuple[I64, NDArray[Any], NDArray[np.float32] | None]

_BLOCK_ROWS: Final = 1 << 21
_PARTS: Final = ("anchors", "payload", "exact", "places")
_ORDER: Final = "order"


class SpillWriter:
    """Takes rows in any order. A context manager: its files are on the disk at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
            sync_path(file.name)

    def add(self, rows: Rows, places: I64) -> None:
        """Keep rows: anchors int64 (n,), payload (n, w), exact float32 (n, d) or None; places int64 (n,)."""
        for name, part in zip(_PARTS, (*rows, places), strict=True):
            if part is not None:
                if name not in self._files:
                    self._files[name] = (self._folder / name).open("wb")
                self._files[name].write(np.ascontiguousarray(part).data)


class Spill:
    """The rows of a spill that is written.

    Args:
        folder: where it is.
        payload: dtype and number of the values of a row's payload.
        exact: the numbers of a row's exact vector; 0 when rows have none beside.
    """

    def __init__(self, folder: Path, payload: tuple[str, int], exact: int) -> None:
        self._folder = folder
        kinds: dict[str, Any] = {"anchors": "<i8", "payload": (payload[0], (payload[1],)), "places": "<i8"}
        if exact:
            kinds["exact"] = ("<f4", (exact,))
        self.row_bytes = sum(np.dtype(kind).itemsize for kind in kinds.values())
        self._parts = {name: np.memmap(folder / name, kind, "r") for name, kind in kinds.items()}

    def __len__(self) -> int:
        return len(self._parts["anchors"])

    def repeated(self) -> I64:
        """Return the positions of rows whose anchor comes again in a later row, int64 (m,)."""
        anchors = self._parts["anchors"]
        ordered = np.memmap(self._folder / _ORDER, "<i8", "w+", shape=anchors.shape)
        for block in self._blocks():
            ordered[block] = anchors[block]
        ordered.sort()
        twice = np.unique(np.concatenate([_again(ordered, block) for block in self._blocks()]))
        if not len(twice):
            return twice
        at = np.concatenate(
            [block.start + np.flatnonzero(np.isin(anchors[block], twice)) for block in self._blocks()]
        )
        at = at[np.argsort(anchors[at], kind="stable")]
        return np.sort(at[:-1][anchors[at[1:]] == anchors[at[:-1]]])

    def arrange(self, count: int, without: I64) -> I64:
        """Put the rows in the order of `count` places, but for those at ascending positions; return how many each has."""
        sizes = np.zeros(count + 1, np.int64)
        for block in self._blocks():
            sizes += np.bincount(self._places(block, count, without), minlength=count + 1)
        nexts = np.cumsum(sizes) - sizes
        order = np.memmap(self._folder / _ORDER, "<i8", "w+", shape=(len(self),))
        for block in self._blocks():
            places = self._places(block, count, without)
            near = np.argsort(places, kind="stable")
            counts = np.bincount(places, minlength=count + 1)
            within = np.arange(len(near)) - np.repeat(np.cumsum(counts) - counts, counts)
            order[nexts[places[near]] + within] = block.start + near
            nexts += counts
        order.flush()
        return sizes[:count]

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows from one position of the order up to another."""
        order = np.memmap(self._folder / _ORDER, "<i8", "r")[start:stop]
        exact = self._parts["exact"][order] if "exact" in self._parts else None
        return self._parts["anchors"][order], self._parts["payload"][order], exact

    def _places(self, block: slice, count: int, without: I64) -> I64:
        places = np.array(self._parts["places"][block])
        low, high = np.searchsorted(without, [block.start, block.stop])
        places[without[low:high] - block.start] = count
        return places

    def _blocks(self) -> Iterator[slice]:
        for start in range(0, len(self), _BLOCK_ROWS):
            yield slice(start, min(start + _BLOCK_ROWS, len(self)))


def _again(ordered: I64, block: slice) -> I64:
    """Return the anchors of a block that are also just before it in the order."""
    part = ordered[max(0, block.start - 1) : block.stop]
    return np.array(part[1:][part[1:] == part[:-1]])
