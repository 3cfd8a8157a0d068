"""Grafting: a stripe out of the columns of two Parquet files, whose bytes stay as they are. Spec 0021.

To decode and encode a column takes most of the time of an append. What another writer wrote in types that stripes have need
not be: its bytes are taken over, beside those of `_anchor`, `_time` and of the columns that did have to change, and a
footer is written that speaks of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.columnar.stripe import field_id, stripe_writer
from dreamdb_arrow.columnar.thrift import I32, I64, LIST, STRUCT, Struct, decode_struct, encode_struct

MAGIC: Final = b"PAR1"
TAIL: Final = 8  # bytes behind a footer: its size, and MAGIC
# Numbers of fields in Parquet's own definition: of a file, ...
SCHEMA, GROUPS, PAIRS, CREATED_BY, ORDERS = 2, 4, 5, 6, 7
NAME, CHILDREN, FIELD_ID = 4, 5, 9  # ... of an element of its schema, ...
COLUMNS, UNCOMPRESSED, SORTED, OFFSET, COMPRESSED = 1, 2, 4, 5, 6  # ... of a row group, ...
CHUNK_AT, CHUNK, INDEXES = 2, 3, (4, 5, 6, 7)  # ... of a column in one, ...
PATH, SIZE, PACKED_SIZE = 3, 6, 7
PLACES: Final = (9, 10, 11, 14)  # ... and where its pages lie, its index, its dictionary, its Bloom filter.


def graft(data: memoryview, kept: Sequence[str], table: pa.Table, order: Sequence[str]) -> list[memoryview]:
    """Return the parts of a stripe: the columns of a Parquet file that are kept, and those of a table.

    Args:
        data: a whole Parquet file, without nested columns among those that are kept.
        kept: the columns to take over.
        table: the other columns, as many rows in the same order.
        order: the names of all columns, in the order that the stripe has them.
    """
    theirs, end = _footer(data)
    ours = _encode_like(theirs, table)
    added, added_end = _footer(ours)
    _shift(added, end - len(MAGIC))
    footer = encode_struct(_merge(theirs, set(kept), added, order))
    tail = footer + len(footer).to_bytes(4, "little") + MAGIC
    return [data[:end], ours[len(MAGIC) : added_end], memoryview(tail)]


def _footer(data: memoryview) -> tuple[Struct, int]:
    """Return the footer of a Parquet file and where it begins."""
    end = len(data) - TAIL - int.from_bytes(data[-TAIL:-4], "little")
    return decode_struct(data[end:-TAIL]), end


def _encode_like(footer: Struct, table: pa.Table) -> memoryview:
    """Return a table as a Parquet file with the row groups of another."""
    sink, start = pa.BufferOutputStream(), 0
    with stripe_writer(sink, table) as writer:
        for group in footer[GROUPS][1][1]:
            n = group[3][1]
            writer.write_table(table.slice(start, n), row_group_size=n)
            start += n
    return memoryview(sink.getvalue()).cast("B")


def _chunks(group: Struct) -> list[Struct]:
    return list(group[COLUMNS][1][1])


def _shift(footer: Struct, by: int) -> None:
    """Let a footer speak of pages that lie further behind."""
    for group in footer[GROUPS][1][1]:
        for column in _chunks(group):
            told = column[CHUNK][1]
            for place in PLACES:
                if place in told:
                    told[place] = (I64, told[place][1] + by)


def _merge(theirs: Struct, kept: set[str], added: Struct, order: Sequence[str]) -> Struct:
    elements = {**_elements(added), **{n: e for n, e in _elements(theirs).items() if n in kept}}
    root = {**theirs[SCHEMA][1][1][0], CHILDREN: (I32, len(order))}
    groups = [
        _merge_group(one, kept, other, order)
        for one, other in zip(theirs[GROUPS][1][1], added[GROUPS][1][1], strict=True)
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


def _merge_group(one: Struct, kept: set[str], other: Struct, order: Sequence[str]) -> Struct:
    columns = _by_name(other) | {n: c for n, c in _by_name(one).items() if n in kept}
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
