"""Row blocks: how every kernel keeps its temporary arrays small, and arrays side by side. Part of spec 0004."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES: Final = (
    16 << 20
)  # of one temporary array; measured: larger blocks leave the cache and gain nothing


def row_blocks(count: int, bytes_per_row: int, block_bytes: int = BLOCK_BYTES) -> Iterator[slice]:
    """Yield slices that cover `count` rows in order, each of at most `block_bytes`, or of one row."""
    step = max(1, block_bytes // max(1, bytes_per_row))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def side_by_side(parts: Sequence[NDArray[Any]], filler: float) -> NDArray[Any]:
    """Return arrays (m,) as the rows of a table, filled up."""
    if len(parts) == 1:
        return parts[0][None, :]
    table = np.full(
        (len(parts), max(map(len, parts), default=0)), filler, parts[0].dtype if parts else np.int64
    )
    for nth, part in enumerate(parts):
        table[nth, : len(part)] = part
    return table


def stacked(tables: Sequence[NDArray[Any]], filler: float) -> NDArray[Any]:
    """Return tables (n, m) one below the other, the narrower ones filled up."""
    widest = max((table.shape[1] for table in tables), default=0)
    return np.concatenate(
        [np.pad(t, ((0, 0), (0, widest - t.shape[1])), constant_values=filler) for t in tables]
    )
