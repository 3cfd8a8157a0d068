"""Locality-sensitive hashing: on which side of each hyperplane, in which bin of a line. Spec 0004.

All in float64: the words of the key stream and the vectors are exact there, and nothing overflows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.chacha import key_stream

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def hyperplanes(seed: bytes, bits: int, dim: int) -> F64:
    """Return the normals of `bits` hyperplanes, float64 (bits, dim), as the seed's words are: not unit length."""
    return key_stream(seed, bits * dim).astype(np.float64).reshape(bits, dim)  # 0004-R6


def plane_sides(planes: F64, vectors: F32) -> NDArray[np.bool_]:
    """Return for each vector (n, d) and plane (b, d) whether their dot product is >= 0: bool (n, b)."""
    assert planes.shape[1] == vectors.shape[1]
    sides = np.empty((len(vectors), len(planes)), dtype=np.bool_)
    for rows in row_blocks(len(vectors), 8 * (planes.shape[0] + planes.shape[1])):
        np.greater_equal(vectors[rows].astype(np.float64) @ planes.T, 0.0, out=sides[rows])  # 0004-R6
    return sides


def plane_margins(planes: F64, query: F32) -> F64:
    """Return how far the query (d,) is from each plane (b, d), in lengths of the plane's normal: float64 (b,)."""
    margins: F64 = np.abs(planes @ query.astype(np.float64)) / np.sqrt(np.square(planes).sum(axis=1))
    return margins


def cheapest_flips(margins: F64, count: int) -> I64:
    """Return the `count` cheapest sets of at most two bits to flip, by sum of margins (b,), cheapest first.

    Returns:
        int64 (c, 2), c at most `count`: one set a row, -1 where it has fewer than two bits; the empty set comes
        first. Of equal sums the smaller set comes first, then the one of smaller margins.
    """
    assert count >= 1
    # A set is never cheaper than a single bit below its larger one: only the `count` smallest margins matter.
    near = np.argsort(margins, kind="stable")[:count]
    first, second = np.triu_indices(len(near), k=1)
    none = np.full(1 + len(near), -1)
    left = np.concatenate([none[:1], near, near[first]])
    right = np.concatenate([none, near[second]])
    cheap = margins[near]
    sums = np.concatenate([[0.0], cheap, cheap[first] + cheap[second]])
    ranked = np.argsort(sums, kind="stable")[:count]  # 0004-R7
    return np.stack([left[ranked], right[ranked]], axis=1)


def line_axis(seed: bytes, dim: int, width: float) -> tuple[F64, float]:
    """Return the axis of an l2 hash, float64 (dim,) of length one, and where on it the bins of `width` start."""
    words = key_stream(seed, dim + 1)
    axis = words[:dim].astype(np.float64)
    offset = float(words[dim:].view(np.uint32)[0]) / 2.0**32 * width  # 0004-R8
    return axis / np.sqrt(np.square(axis).sum()), offset


def line_positions(axis: F64, offset: float, width: float, vectors: F32) -> F64:
    """Return where each vector (n, d) lies on the axis (d,), in bins from bin 0: float64 (n,)."""
    assert axis.shape == vectors.shape[1:]
    positions = np.empty(len(vectors))
    for rows in row_blocks(len(vectors), 8 * len(axis)):
        positions[rows] = (vectors[rows].astype(np.float64) @ axis + offset) / width
    return positions
