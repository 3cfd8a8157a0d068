"""Row blocks: how every kernel keeps its temporary arrays small. Part of spec 0004."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

BLOCK_BYTES: Final = (
    16 << 20
)  # of one temporary array; measured: larger blocks leave the cache and gain nothing


def row_blocks(count: int, bytes_per_row: int, block_bytes: int = BLOCK_BYTES) -> Iterator[slice]:
    """Yield slices that cover `count` rows in order, each of at most `block_bytes`, or of one row."""
    step = max(1, block_bytes // max(1, bytes_per_row))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
