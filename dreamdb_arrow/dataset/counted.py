"""Which rows of a version a search counts, and their vectors, block by block. Spec 0004."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import F32, I64, gather_vectors
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.spatial.scan import Segment
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX

_KEPT_BYTES: Final = 8 << 20  # of vectors that a condition leaves: another query with it is likely to come
_GATHERED: Final = 1 << 16  # rows that are brought together at a time
Block = tuple[I64, F32]


@dataclass(frozen=True, slots=True)
class Counted:
    """Which rows count: those of a time range, and of these the allowed ones, int64 ascending; None for all."""

    rows: RowSet
    t0: int
    t1: int
    allowed: I64 | None

    @property
    def all(self) -> bool:
        """Whether every row counts that is not deleted."""
        return self.allowed is None and self.t0 <= 0 and self.t1 > VISIBLE_ANCHOR_MAX

    @property
    def anchors(self) -> I64 | None:
        """The allowed anchors of the range that are not deleted, or None when nothing but the range is said."""
        return None if self.allowed is None else self.keep(self.allowed[self.within(self.allowed)])

    def within(self, ordered: I64) -> slice:
        """Return which of ascending anchors lie in the range."""
        low, high = np.searchsorted(ordered, [self.t0, min(self.t1, VISIBLE_ANCHOR_MAX + 1)]).tolist()
        return slice(low, high)

    def keep(self, anchors: I64) -> I64:
        """Return ascending anchors without the deleted ones."""
        if not len(anchors):
            return anchors
        hidden = self.rows.hidden_between(int(anchors[0]), int(anchors[-1]) + 1)
        return anchors[~np.isin(anchors, hidden)] if len(hidden) else anchors  # 0020-R8

    def of(self, block: Block) -> Block:
        """Return the rows of a block that count."""
        anchors, vectors = block
        if len(anchors) == 0:
            return block
        low, high = int(anchors.min()), int(anchors.max()) + 1
        keep = np.ones(len(anchors), dtype=bool)
        if low < self.t0 or high > self.t1:
            keep &= (anchors >= self.t0) & (anchors < self.t1)
        hidden = self.rows.hidden_between(low, high)
        if len(hidden):
            keep &= ~np.isin(anchors, hidden)  # 0020-R8
        if self.allowed is not None:
            keep &= np.isin(anchors, self.allowed)
        return block if keep.all() else (anchors[keep], vectors[keep])

    def mask(self, segment: Segment, alive: Any) -> Any:
        """Return which rows of a segment count, bool (n,), or None when all do; `alive` says so when there is no condition."""
        if self.all:
            return alive
        mask = np.zeros(len(segment), bool)
        wanted = self.anchors
        mask[segment.order[self.within(segment.ordered)] if wanted is None else segment.rows_of(wanted)] = (
            True
        )
        return mask if alive is None else mask & alive


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """The vectors of the rows that a condition leaves, in one block. As long as it is kept, so is `allowed`, whose id names it."""

    allowed: I64
    block: Block

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.block)


def vector_blocks(counted: Counted, f: Field) -> Iterator[Block]:
    """Yield anchors and vectors of the rows of a field that count; those of a small condition are kept with the version."""
    allowed, rows = counted.allowed, counted.rows
    if allowed is not None:
        if 4 * dim_of(f) * len(allowed) > _KEPT_BYTES:
            yield from _gathered_blocks(rows, f, counted.anchors)
            return
        key = f.name, id(allowed), counted.t0, counted.t1
        yield rows.recently(
            "condition", key, lambda: _Kept(allowed, _joined(_gathered_blocks(rows, f, counted.anchors), f))
        ).block
        return
    for stripe in counted.rows.vector_stripes(f.name, counted.t0, counted.t1):
        part = counted.within(stripe.anchors)
        yield counted.of((stripe.anchors[part], stripe.vectors[part]))


def _joined(blocks: Iterator[Block], f: Field) -> Block:
    anchors, vectors = zip(
        (np.empty(0, np.int64), np.empty((0, dim_of(f)), np.float32)), *blocks, strict=True
    )
    return np.concatenate(anchors), np.concatenate(vectors)


def _gathered_blocks(rows: RowSet, f: Field, wanted: I64 | None) -> Iterator[Block]:
    """Yield the vectors of these anchors, ascending, that have one."""
    assert wanted is not None
    for start in range(0, len(wanted), _GATHERED):
        part = wanted[start : start + _GATHERED]
        for stripe, low, high in rows.holders(part, f.name):
            held = rows.cache.vectors(rows.store, stripe.path, stripe.address, dim_of(f))
            vectors, found = gather_vectors([held], part[low:high], dim_of(f))
            yield part[low:high][found], vectors[found]
