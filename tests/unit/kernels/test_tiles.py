"""Products cut into small ones: those of whole matrices."""

import numpy as np
import pytest

from dreamdb_arrow.kernels.tiles import (
    TILE,
    all_products,
    filled_up,
    products_by_tile,
    products_of_few,
    products_of_one,
    rows_at_once,
)

RNG = np.random.default_rng(11)


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (700, 52), (90, 256), (3, 9300), (0, 8)])
@pytest.mark.parametrize("queries", [1, 2, 16, 37])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_products_are_those_of_whole_matrices(queries, rows, width, kind):
    q, held = (RNG.normal(size=(n, width)).astype(kind) for n in (queries, rows))
    made = all_products(q, held)
    assert made.shape == (queries, rows)
    assert made.dtype == kind
    assert np.allclose(made, q.astype(float) @ held.T.astype(float), atol=1e-5 * width)
    assert np.allclose(products_of_one(held, q[0]), made[0], atol=1e-5 * width)
    few = np.empty_like(made)
    products_of_few(held, q, few)
    assert np.allclose(few, made, atol=1e-5 * width)


@pytest.mark.parametrize("count", [4, 8, 16, 32])
def test_tiles_of_groups(count):
    rows, queries = RNG.normal(size=(5, 7, 6)), RNG.normal(size=(5, count, 6))
    assert np.allclose(products_by_tile(rows, queries), np.einsum("grw,gmw->gmr", rows, queries))


@pytest.mark.parametrize("width", [1, 50, 256, 4096, 1 << 20])
def test_no_product_is_large_enough_for_threads(width):
    rows = rows_at_once(width)
    assert rows >= 1
    assert rows == 1 or TILE * rows * width <= 1 << 18


def test_how_many_queries_fill_tiles():
    counts = np.array([1, 4, 5, 8, 9, 16, 17, 33])
    assert filled_up(counts).tolist() == [4, 4, 8, 8, 16, 16, 32, 48]
