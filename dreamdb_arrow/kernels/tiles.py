"""Products of many rows, cut so small that OpenBLAS gives none to threads of its own. Part of spec 0004.

Such a thread spins when it is done, for longer than one of our products takes, and then the threads in which we compare
cells have one processor less. Measured on a batch of 1,000 queries: 143 ms with them, 124 without.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
Ints = NDArray[np.int64]

TILE: Final = 16  # queries of one product,
LEAST: Final = 4  # or so many, or half as many, where no more are there,
_MATRIX: Final = 1 << 18  # which has so many multiplications at most
_VECTOR: Final = 9 << 10  # multiplications of a matrix by a vector
_FEW: Final = 1 << 17  # of a product of rows that nobody has copied, above which OpenBLAS copies them itself


def rows_at_once(width: int) -> int:
    """Return how many rows of so many numbers a tile of queries is multiplied with in one product."""
    return max(1, _MATRIX // (TILE * max(1, width)))


def filled_up(counts: Ints) -> Ints:
    """Return how many queries fill the tiles of so many, int64 (n,)."""
    return np.where(
        counts <= LEAST, LEAST, np.where(counts <= TILE // 2, TILE // 2, -(-counts // TILE) * TILE)
    )


def products_by_tile(rows: Floats, queries: Floats) -> Floats:
    """Return the products of rows (g, r, w) and queries (g, m, w), m as `filled_up` has it: (g, m, r).

    A product is as small as it has to be when r is at most `rows_at_once(w)`.
    """
    groups, count, width = queries.shape
    tiles = queries.reshape(groups, -1, min(TILE, count), width)
    products: Floats = np.matmul(tiles, rows.swapaxes(1, 2)[:, None])
    return products.reshape(groups, count, rows.shape[1])


def all_products(queries: Floats, rows: Floats) -> Floats:
    """Return the products of queries (q, w) and rows (n, w): (q, n)."""
    if len(queries) == 1:
        return np.atleast_2d(rows @ queries[0])  # nobody else is at work
    padded = np.zeros((-(-len(queries) // TILE) * TILE, queries.shape[1]), queries.dtype)
    padded[: len(queries)] = queries
    found = np.empty((len(padded), len(rows)), np.result_type(queries, rows))
    step = rows_at_once(rows.shape[1])
    for at in range(0, len(rows), step):
        found[:, at : at + step] = products_by_tile(rows[None, at : at + step], padded[None])[0]
    return found[: len(queries)]


def products_of_few(rows: Floats, queries: Floats, out: Floats) -> None:
    """Put the products of rows (n, w) and queries (m, w) into `out`, (m, n): few queries, beside rows that are read where they lie."""
    count, width = queries.shape
    if count == 1:  # a vector's products would be cut finer
        pair = np.empty((2, len(rows)), out.dtype)
        products_of_few(rows, queries.repeat(2, axis=0), pair)
        out[0] = pair[0]
        return
    step = max(1, _FEW // (min(count, TILE) * width))
    for first in range(0, count, TILE):
        some = slice(min(first, count - 2), first + TILE)
        for at in range(0, len(rows), step):
            np.matmul(queries[some], rows[at : at + step].T, out=out[some, at : at + step])


def products_of_one(rows: Floats, query: Floats) -> Floats:
    """Return the products of a query (w,) and rows (n, w): (n,)."""
    assert query.shape == rows.shape[1:]
    count, width = rows.shape
    tall = max(1, _VECTOR // max(1, width))
    whole = count // tall * tall
    tiles = np.matmul(rows[:whole].reshape(-1, tall, width), query).reshape(-1)
    return np.concatenate([tiles, rows[whole:] @ query])
