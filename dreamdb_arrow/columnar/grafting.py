"""Grafting: a stripe out of the columns of two Parquet files, whose bytes stay as they are. Spec 0021.

To decode and encode a column takes most of the time of an append. What another writer wrote in types that stripes have need
not be: its bytes are taken over, beside those of `_anchor`, `_time` and of the columns that did have to change, and a
footer is written that speaks of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.columnar.stripe import ANCHOR, TIME, encode_stripe, field_id, stripe_schema, stripe_writer
from dreamdb_arrow.columnar.thrift import I32, I64, LIST, STRUCT, Struct, decode_struct, encode_struct
from dreamdb_arrow.columnar.ticks import encode_ticks, tell_ticks

MAGIC: Final = b"PAR1"
TAIL: Final = 8  # bytes behind a footer: its size, and MAGIC
# Numbers of fields in Parquet's own definition: of a file, ...
SCHEMA, GROUPS, PAIRS, CREATED_BY, ORDERS = 2, 4, 5, 6, 7
NAME, CHILDREN, FIELD_ID = 4, 5, 9  # ... of an element of its schema, ...
COLUMNS, UNCOMPRESSED, ROWS, SORTED, OFFSET, COMPRESSED = 1, 2, 3, 4, 5, 6  # ... of a row group, ...
CHUNK_AT, CHUNK, INDEXES = 2, 3, (4, 5, 6, 7)  # ... of a column in one, ...
PATH, SIZE, PACKED_SIZE = 3, 6, 7
PLACES: Final = (9, 10, 11, 14)  # ... and where its pages lie, its index, its dictionary, its Bloom filter.


def footer_size(tail: memoryview) -> int:
    """Return the size of the footer of a Parquet file, by the last eight bytes of the file."""
    return int.from_bytes(tail[-TAIL:-4], "little")


def graft(
    footer: memoryview,
    end: int,
    kept: Sequence[str],
    table: pa.Table,
    order: Sequence[str],
    ticks: range | None = None,
) -> list[memoryview]:
    """Return what makes a stripe of the columns of a Parquet file, none of them nested, when it stands behind them.

    Args:
        footer: what the file says of itself.
        end: where its footer begins: all that is before is part of the stripe.
        kept: the columns to take over.
        table: the other columns, as many rows in the same order.
        order: the names of all columns, in the order that the stripe has them.
        ticks: the anchors, where they are one step apart; the table has neither these nor times then.
    """
    theirs = decode_struct(footer)
    added = _Added(end, [group[ROWS][1] for group in _groups(theirs)])
    if table.num_columns:
        added.encode(table)
    if ticks is not None:
        added.encode_ticks(ticks)
    told = encode_struct(_merge(theirs, set(kept), added, order))
    return [*added.parts, memoryview(told + len(told).to_bytes(4, "little") + MAGIC)]


class _Added:
    """Columns that come behind those of a file, in as many row groups: their bytes, and what a footer says of them."""

    def __init__(self, at: int, counts: Sequence[int]) -> None:
        self._at, self._counts = at, counts
        self.parts: list[memoryview] = []
        self.elements: dict[str, Struct] = {}
        self.groups: list[dict[str, Struct]] = [{} for _ in counts]

    def encode(self, table: pa.Table) -> None:
        """Add the columns of a table."""
        sink, start = pa.BufferOutputStream(), 0
        with stripe_writer(sink, table) as writer:
            for n in self._counts:
                writer.write_table(table.slice(start, n), row_group_size=n)
                start += n
        data = memoryview(sink.getvalue()).cast("B")
        footer, end = _footer(data)
        _shift(footer, self._at - len(MAGIC))
        self.elements |= _elements(footer)
        for columns, group in zip(self.groups, _groups(footer), strict=True):
            columns.update(_by_name(group))
        self._append(data[len(MAGIC) : end])

    def encode_ticks(self, ticks: range) -> None:
        """Add anchors and times, which are the same numbers: two columns whose pages are one."""
        self.elements |= _elements(_empty_footer())
        start = 0
        for columns, n in zip(self.groups, self._counts, strict=True):
            held = ticks[start : start + n]
            start += n
            page = encode_ticks(held)
            for name in (ANCHOR, TIME):
                columns[name] = {CHUNK: (STRUCT, tell_ticks(name, held, self._at, len(page)))}
                self._append(memoryview(page))

    def _append(self, part: memoryview) -> None:
        self.parts.append(part)
        self._at += len(part)


@lru_cache(1)
def _empty_footer() -> Struct:
    """Return the footer of a stripe without rows, which tells the types of its first columns."""
    return _footer(memoryview(encode_stripe(stripe_schema(()).empty_table())).cast("B"))[0]


def _footer(data: memoryview) -> tuple[Struct, int]:
    """Return the footer of a Parquet file and where it begins."""
    end = len(data) - TAIL - footer_size(data)
    return decode_struct(data[end:-TAIL]), end


def _groups(footer: Struct) -> list[Struct]:
    return list(footer[GROUPS][1][1])


def _chunks(group: Struct) -> list[Struct]:
    return list(group[COLUMNS][1][1])


def _shift(footer: Struct, by: int) -> None:
    """Let a footer speak of pages that lie further behind."""
    for group in _groups(footer):
        for column in _chunks(group):
            told = column[CHUNK][1]
            for place in PLACES:
                if place in told:
                    told[place] = (I64, told[place][1] + by)


def _merge(theirs: Struct, kept: set[str], added: _Added, order: Sequence[str]) -> Struct:
    elements = {**added.elements, **{n: e for n, e in _elements(theirs).items() if n in kept}}
    root = {**theirs[SCHEMA][1][1][0], CHILDREN: (I32, len(order))}
    groups = [
        _merge_group(one, kept, others, order)
        for one, others in zip(_groups(theirs), added.groups, strict=True)
    ]
    merged = {number: held for number, held in theirs.items() if number not in (PAIRS, ORDERS)}
    named = [{**elements[name], FIELD_ID: (I32, field_id(name))} for name in order]  # 0021-R5
    by_type: Struct = {1: (STRUCT, {})}
    return {
        **merged,
        SCHEMA: (LIST, (STRUCT, [root, *named])),
        GROUPS: (LIST, (STRUCT, groups)),
        ORDERS: (LIST, (STRUCT, [by_type for _ in order])),
    }


def _elements(footer: Struct) -> dict[str, Struct]:
    return {element[NAME][1].decode(): element for element in footer[SCHEMA][1][1][1:]}


def _merge_group(one: Struct, kept: set[str], others: Mapping[str, Struct], order: Sequence[str]) -> Struct:
    columns = {**others, **{n: c for n, c in _by_name(one).items() if n in kept}}
    placed = [_without_indexes(columns[name]) for name in order]
    told = [column[CHUNK][1] for column in placed]
    merged: dict[int, Any] = {n: held for n, held in one.items() if n not in (SORTED, OFFSET)}
    return {
        **merged,
        COLUMNS: (LIST, (STRUCT, placed)),
        UNCOMPRESSED: (I64, sum(c[SIZE][1] for c in told)),
        COMPRESSED: (I64, sum(c[PACKED_SIZE][1] for c in told)),
    }


def _by_name(group: Struct) -> dict[str, Struct]:
    return {column[CHUNK][1][PATH][1][1][0].decode(): column for column in _chunks(group)}


def _without_indexes(column: Struct) -> Struct:
    return {n: held for n, held in column.items() if n not in INDEXES} | {CHUNK_AT: (I64, 0)}
