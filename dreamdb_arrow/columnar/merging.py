"""Merging: the rows of many stripes as few, in the order of their anchors. Spec 0021.

Rows come a batch at a time from each stripe, are brought together between two anchors, and leave as row groups: how
many rows there are does not matter, nor how the stripes overlap. What is written is what a scan would show: an anchor that
several stripes have becomes one row, values that only Tracks hold are put in, deleted rows are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.overlaps import drop_repeated, fold_tables, shared_anchors, widest_first
from dreamdb_arrow.columnar.projection import merge_rows
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    ROW_GROUP_ROWS,
    anchors_of,
    conform,
    open_stripe,
    stripe_writer,
)
from dreamdb_arrow.columnar.vectors import F32, I64, VectorStripe

BATCH_ROWS: Final = 65_536
BATCH_BYTES: Final = 16 << 20  # of one stripe, decoded, in memory
GROUP_BYTES: Final = 64 << 20  # a row group of wide rows has fewer of them
_ROWS_A_RUN: Final = 64  # from so many rows on, copying run by run is faster than picking


@dataclass(frozen=True, slots=True)
class Source:
    """A stripe to read: its file and range of anchors, and its columns that do not count."""

    file: Path
    t0: int
    t1: int
    address: Address
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Encoded:
    """A stripe that was written: its bytes, its range of anchors, how many rows it has."""

    data: pa.Buffer
    t0: int
    t1: int
    rows: int


@dataclass(slots=True)
class Tally:
    """How many deleted rows were left out so far."""

    dropped: int = 0


# --- reading ------------------------------------------------------------------------------------------------


def merged_tables(sources: Sequence[Source], schema: pa.Schema, extra: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows of stripes in the order of their anchors, each once, in tables of bounded size.

    Args:
        sources: stripes, which may overlap, and share anchors.
        schema: the columns wanted; those that a stripe lacks, or has as another type, are null.
        extra: rows and values that only Tracks hold, with the columns of `schema`, ascending by anchor.
    """
    done = 0
    for pieces in _slices(sources, schema):
        table = _united(pieces)
        stop = int(np.searchsorted(anchors_of(extra), anchors_of(table)[-1], side="right"))
        yield _with_extra(table, extra.slice(done, stop - done))
        done = stop
    if done < len(extra):
        yield extra.slice(done)


def _slices(sources: Sequence[Source], schema: pa.Schema) -> Iterator[list[pa.Table]]:
    """Yield what the stripes hold between two anchors, and then between the next; each piece has some rows.

    A stripe is opened when its range begins. The next slice ends where the first of the batches in memory does.
    """
    waiting = deque(sorted(enumerate(widest_first(sources)), key=lambda item: sources[item[1]].t0))
    running: list[_Run] = []
    while waiting or running:
        while waiting and (not running or sources[waiting[0][1]].t0 <= min(run.last for run in running)):
            rank, at = waiting.popleft()
            run = _Run(rank, _batches(sources[at], schema))
            running += [run] if run.refill() else []
        end = min((run.last for run in running), default=0)
        pieces = [run.take(end) for run in sorted(running, key=lambda run: run.rank)]
        running = [run for run in running if run.refill()]
        if any(map(len, pieces)):
            yield [piece for piece in pieces if len(piece)]


@dataclass(slots=True)
class _Run:
    """A stripe that is being read: `rank` says how much it counts, `table` is what has been read and not been taken."""

    rank: int
    batches: Iterator[pa.Table]
    table: pa.Table | None = None
    anchors: I64 = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def last(self) -> int:
        """The last anchor in memory."""
        return int(self.anchors[-1])

    def refill(self) -> bool:
        """Read on if nothing is left in memory; return whether there is something."""
        while not len(self.anchors):
            self.table = next(self.batches, None)
            if self.table is None:
                return False
            self.anchors = anchors_of(self.table)
        return True

    def take(self, end: int) -> pa.Table:
        """Return the rows up to an anchor, and forget them."""
        assert self.table is not None
        count = int(np.searchsorted(self.anchors, end, side="right"))
        taken = self.table.slice(0, count)
        self.table, self.anchors = self.table.slice(count), self.anchors[count:]
        return taken


def _batches(source: Source, schema: pa.Schema) -> Iterator[pa.Table]:
    file = open_stripe(source.file)
    held = set(file.schema_arrow.names) - set(source.dropped)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    row_bytes = sum(g.total_byte_size for g in groups) // max(1, file.metadata.num_rows)
    size = int(np.clip(BATCH_BYTES // max(1, row_bytes), 1, BATCH_ROWS))
    for batch in file.iter_batches(size, columns=[name for name in schema.names if name in held]):
        yield conform(pa.Table.from_batches([batch]), schema)


def _united(pieces: Sequence[pa.Table]) -> pa.Table:
    """Return tables, of which the first counts most, as one, ascending by anchor."""
    if len(pieces) == 1:
        return pieces[0]
    shared = shared_anchors([anchors_of(t) for t in pieces])
    folded = fold_tables(pieces, shared) if len(shared) else pieces
    return pa.concat_tables(folded).sort_by(ANCHOR).combine_chunks()


def _with_extra(table: pa.Table, extra: pa.Table) -> pa.Table:
    if not len(extra):
        return table
    merged = merge_rows(table, extra)
    fresh = extra.filter(pa.array(~np.isin(anchors_of(extra), anchors_of(table))))
    if not len(fresh):
        return merged
    return pa.concat_tables([merged, fresh]).sort_by(ANCHOR).combine_chunks()


def living(tables: Iterable[pa.Table], hidden: I64, tally: Tally) -> Iterator[pa.Table]:
    """Yield tables without their deleted rows, which are counted."""
    for table in tables:
        anchors = anchors_of(table)
        low, high = np.searchsorted(hidden, [anchors[0], anchors[-1] + 1]) if len(anchors) else (0, 0)
        gone = np.isin(anchors, hidden[low:high]) if low < high else np.zeros(len(anchors), np.bool_)
        tally.dropped += int(gone.sum())
        yield table.filter(pa.array(~gone)) if gone.any() else table


# --- writing ------------------------------------------------------------------------------------------------


def encode_stripes(
    tables: Iterable[pa.Table], rows_each: int, untold: Sequence[str] = ()
) -> Iterator[Encoded]:
    """Yield stripes of `rows_each` rows, the last of them of what is left.

    Args:
        tables: rows of one schema, ascending by anchor.
        rows_each: at least 1.
        untold: columns whose least and largest values must not be told, as they may be NaN.
    """
    current: _Writing | None = None
    for group in row_groups(tables, rows_each):
        current = current or _Writing(group, untold)
        current.add(group)
        if current.rows == rows_each:
            yield current.close()
            current = None
    if current is not None:
        yield current.close()


def row_groups(tables: Iterable[pa.Table], rows_each: int) -> Iterator[pa.Table]:
    """Yield the rows in groups, as large as a row group may be; none reaches over the end of a stripe."""
    held: list[pa.Table] = []
    rows = size = 0
    room = rows_each
    for table in tables:
        at = 0
        while at < len(table):
            part = table.slice(at, min(ROW_GROUP_ROWS, room) - rows)
            held.append(part)
            at, rows, size = at + len(part), rows + len(part), size + part.nbytes
            if rows == min(ROW_GROUP_ROWS, room) or size >= GROUP_BYTES:
                yield pa.concat_tables(held).combine_chunks()
                room = room - rows or rows_each
                held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held).combine_chunks()


class _Writing:
    """A stripe that is being written."""

    __slots__ = ("_first", "_last", "_sink", "_writer", "rows")

    def __init__(self, sample: pa.Table, untold: Sequence[str]) -> None:
        self._sink = pa.BufferOutputStream()
        self._writer = stripe_writer(self._sink, sample, untold)
        self._first, self._last, self.rows = int(anchors_of(sample)[0]), 0, 0

    def add(self, group: pa.Table) -> None:
        """Write a row group."""
        self._writer.write_table(group, row_group_size=len(group))
        self._last, self.rows = int(anchors_of(group)[-1]), self.rows + len(group)

    def close(self) -> Encoded:
        """Write the footer and return the stripe."""
        self._writer.close()
        return Encoded(self._sink.getvalue(), self._first, self._last + 1, self.rows)


# --- vectors ------------------------------------------------------------------------------------------------


def merged_vectors(held: Sequence[VectorStripe], hidden: I64, parts: int) -> Iterator[tuple[I64, F32]]:
    """Yield the vectors of several stripes, ascending by anchor, as so many pieces of like size; fewer if there are few.

    Of an anchor that several have, the first counts. Deleted ones are left out.
    """
    anchors = [stripe.anchors for stripe in held]
    kept = drop_repeated(anchors, shared_anchors(anchors))
    joined = np.concatenate(anchors)
    places = np.flatnonzero(np.concatenate(kept) & ~np.isin(joined, hidden))
    order = places[np.argsort(joined[places], kind="stable")]
    starts = np.cumsum([0, *map(len, anchors)])
    for chosen in np.array_split(order, parts):
        if len(chosen):
            yield joined[chosen], _gather(held, starts, chosen)


def _gather(held: Sequence[VectorStripe], starts: Any, chosen: I64) -> F32:
    """Return the vectors at some places, where each stripe begins at one of `starts`."""
    out = np.empty((len(chosen), held[0].vectors.shape[1]), np.float32)
    holder = np.searchsorted(starts, chosen, side="right") - 1
    changes = np.flatnonzero((np.diff(chosen) != 1) | (np.diff(holder) != 0)) + 1
    if len(changes) * _ROWS_A_RUN > len(chosen):
        for at in np.unique(holder):
            rows = np.flatnonzero(holder == at)
            out[rows] = held[at].vectors[chosen[rows] - starts[at]]
        return out
    for low, high in pairwise([0, *changes.tolist(), len(chosen)]):  # where stripes follow one another
        at, first = holder[low], chosen[low] - starts[holder[low]]
        out[low:high] = held[at].vectors[first : first + high - low]
    return out
