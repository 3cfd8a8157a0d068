"""Distances between queries and vectors: smaller is closer. Part of spec 0004.

Two metrics: cosine is 1 - cos, l2 is the squared distance. Each has two kernels. The fast one compares all
queries with all vectors in float32, by matrix product. The exact one compares each query with candidates of its
own in float64, so that what is reported, and the order of it, does not depend on how rows were put into blocks.

A vector has a direction when the float32 sum of its squares is above zero and finite. Without one, its cosine
distance to anything is 1: neither near nor far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.blocks import row_blocks

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_LEAST: Final = float(np.finfo(np.float32).smallest_subnormal) / 2  # what float32 makes more than zero of
_MOST: Final = float(np.finfo(np.float32).max) * (1 + 2.0**-25)  # and what it makes no infinity of


def row_norms(vectors: F32) -> F32:
    """Return the length of each row, float32 (n,); 0 or inf for a row without a direction."""
    assert vectors.ndim == 2
    with np.errstate(over="ignore", under="ignore"):
        norms: F32 = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return norms


def unit_rows(vectors: F32) -> F32:
    """Return the rows (n, d) scaled to length one, float32; a row without a direction becomes zero."""
    inverse = inverse_norms(row_norms(vectors))
    return np.where(inverse[:, None] > 0, vectors * inverse[:, None], np.float32(0))


def cosine_distances(queries: F32, vectors: F32, norms: F32 | None = None) -> F32:
    """Return 1 - cos of each query (q, d) and each vector (n, d), float32 (q, n).

    Args:
        queries: float32 (q, d).
        vectors: float32 (n, d).
        norms: what `row_norms(vectors)` gives, when the caller keeps it: it is half of the work of one query.
    """
    assert queries.ndim == vectors.ndim == 2
    assert queries.shape[1] == vectors.shape[1]
    inverse = inverse_norms(row_norms(vectors) if norms is None else norms)
    with np.errstate(over="ignore", invalid="ignore"):
        distances = unit_rows(queries) @ vectors.T
        distances *= -inverse
    distances += np.float32(1)
    without = inverse == 0
    if without.any():
        distances[:, without] = 1
    return distances


def squared_l2_distances(queries: F32, vectors: F32, norms: F32 | None = None) -> F32:
    """Return the squared distance of each query (q, d) and each vector (n, d), float32 (q, n).

    Distances do not change when everything is shifted; seen from the middle of the queries, the sum of squares
    loses few digits, and none at all for one query. `norms` is not used: it would be seen from elsewhere.
    """
    assert queries.ndim == vectors.ndim == 2
    assert queries.shape[1] == vectors.shape[1]
    assert norms is None or norms.shape == vectors.shape[:1]
    middle = queries.mean(axis=0, dtype=np.float64).astype(np.float32)
    queries = queries - middle
    distances = np.empty((len(queries), len(vectors)), dtype=np.float32)
    for rows in row_blocks(len(vectors), 4 * vectors.shape[1], 1 << 18):
        shifted = vectors[rows] - middle
        block = np.einsum("ij,ij->i", shifted, shifted) - 2 * (queries @ shifted.T)
        block += np.einsum("ij,ij->i", queries, queries)[:, None]
        distances[:, rows] = block
    return np.maximum(distances, 0, out=distances)


def exact_cosine_distances(queries: F32, candidates: F32) -> F64:
    """Return 1 - cos of each query (q, d) and its own candidates (q, c, d), float64 (q, c)."""
    assert candidates.ndim == 3
    assert queries.shape == (candidates.shape[0], candidates.shape[2])
    q, c = queries.astype(np.float64), candidates.astype(np.float64)
    # The last axis is added up by itself, in one order for every shape; a matrix product would not promise that.
    q_squares, c_squares = np.square(q).sum(axis=1)[:, None], np.square(c).sum(axis=2)
    products = (c * q[:, None, :]).sum(axis=2)
    lengths = np.sqrt(q_squares * c_squares)
    directed = _directed(q_squares) & _directed(c_squares)
    if directed.all():
        cosines = products / lengths
    else:
        cosines = np.zeros(c.shape[:2])
        np.divide(products, lengths, out=cosines, where=directed)
    distances: F64 = 1.0 - np.minimum(np.maximum(cosines, -1.0), 1.0)
    return distances


def exact_squared_l2_distances(queries: F32, candidates: F32) -> F64:
    """Return the squared distance of each query (q, d) and its own candidates (q, c, d), float64 (q, c)."""
    assert candidates.ndim == 3
    assert queries.shape == (candidates.shape[0], candidates.shape[2])
    gaps = candidates.astype(np.float64) - queries.astype(np.float64)[:, None, :]
    squares: F64 = np.square(gaps).sum(axis=2)
    return squares


def _directed(squares: F64) -> NDArray[np.bool_]:
    """Whether sums of squares are above zero and finite in float32, as the fast kernel sees them."""
    return (squares > _LEAST) & (squares < _MOST)


def inverse_norms(norms: F32) -> F32:
    """Return 1/norm, float32 (n,), and 0 for rows without a direction."""
    with np.errstate(divide="ignore"):
        inverse: F32 = np.float32(1) / norms
    inverse[np.isinf(inverse)] = 0
    return inverse


@dataclass(frozen=True, slots=True)
class Metric:
    """The two kernels of one metric."""

    fast: Callable[[F32, F32, F32 | None], F32]
    exact: Callable[[F32, F32], F64]


METRICS: Final = {
    "cosine": Metric(cosine_distances, exact_cosine_distances),
    "l2": Metric(squared_l2_distances, exact_squared_l2_distances),
}
