"""Ticks: anchors that are one step apart, encoded without looking at each. Spec 0021.

Packed by differences, a column of such numbers is one block over and over. To write that block as often as it takes costs
nothing beside what an encoder does, which computes and compares a million differences to find them equal.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dreamdb_arrow.columnar.thrift import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
    Struct,
    encode_struct,
    varint,
    zigzag,
)

BLOCK_ROWS: Final = 128
MINIBLOCKS: Final = 4  # of a block; each has its own width, none of them any bits here
RLE, DELTA = 3, 5  # Parquet's numbers of encodings
INT64, UNCOMPRESSED, DATA_PAGE = 2, 0, 0
# Numbers of fields in Parquet's own definition: of a column in a row group, ...
TYPE, ENCODINGS, PATH, CODEC, VALUES, SIZE, PACKED_SIZE, PAGES_AT, STATISTICS = 1, 2, 3, 4, 5, 6, 7, 9, 12
NULLS, MOST, LEAST, EXACT = 3, 5, 6, (7, 8)  # ... and of its statistics.


def as_ticks(anchors: np.ndarray[Any, np.dtype[np.int64]]) -> range | None:
    """Return anchors, int64 (n,), as a range, None when they are not one step apart or do not ascend."""
    if len(anchors) < 2 or anchors[1] <= anchors[0]:
        return None
    first, step = int(anchors[0]), int(anchors[1] - anchors[0])
    even = int(anchors[-1]) == first + step * (len(anchors) - 1) and np.all(np.diff(anchors) == step)
    return range(first, int(anchors[-1]) + 1, step) if even else None


def encode_ticks(ticks: range) -> bytes:
    """Return a page of Parquet, header included, of an optional INT64 column with these values."""
    n = len(ticks)
    blocks = -(-(n - 1) // BLOCK_ROWS)
    block = varint(zigzag(ticks.step)) + bytes(MINIBLOCKS)
    head = b"".join(map(varint, (BLOCK_ROWS, MINIBLOCKS, n, zigzag(ticks[0]))))
    present = varint(n << 1) + b"\1"  # one run
    body = len(present).to_bytes(4, "little") + present + head + block * blocks
    described: Struct = {1: (I32, n), 2: (I32, DELTA), 3: (I32, RLE), 4: (I32, RLE)}
    page: Struct = {1: (I32, DATA_PAGE), 2: (I32, len(body)), 3: (I32, len(body)), 5: (STRUCT, described)}
    return encode_struct(page) + body


def tell_ticks(name: str, ticks: range, at: int, size: int) -> Struct:
    """Return what a footer says of a column with these values, whose page lies at a place."""
    least, most = (value.to_bytes(8, "little") for value in (ticks[0], ticks[-1]))
    bounds = {MOST: (BINARY, most), LEAST: (BINARY, least), **dict.fromkeys(EXACT, (TRUE, True))}
    return {
        TYPE: (I32, INT64),
        ENCODINGS: (LIST, (I32, [RLE, DELTA])),
        PATH: (LIST, (BINARY, [name.encode()])),
        CODEC: (I32, UNCOMPRESSED),
        VALUES: (I64, len(ticks)),
        SIZE: (I64, size),
        PACKED_SIZE: (I64, size),
        PAGES_AT: (I64, at),
        STATISTICS: (STRUCT, {NULLS: (I64, 0), **bounds}),
    }
