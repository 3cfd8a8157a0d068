"""Training: the cells of a SpatialIndex, or the codebooks of a compressor, from a sample of the vectors. Specs 0004 and 0010."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.kernels.distance import row_norms
from dreamdb_arrow.kernels.kmeans import ROUNDS, spherical_kmeans
from dreamdb_arrow.objects.spatial_index import SpatialIndex, make_imi_cosine, make_ivf_cosine
from dreamdb_arrow.objects.vector_compressor import MAX_CODEBOOK_ROWS

F32 = NDArray[np.float32]

# More rows a centroid move it little, and cost in proportion: docs/adr/0020.
SAMPLE_PER_CENTROID: Final = 128
MIN_SAMPLE: Final = 4096
SAMPLE_BYTES_MAX: Final = 512 << 20
_ROWS_PER_CELL: Final = 32  # at least, on average


def cells_for(rows: int) -> int:
    """Return how many cells so many rows deserve: twice the square root, and fewer while cells would be nearly empty."""
    return max(1, min(round(2 * math.sqrt(rows)), rows // _ROWS_PER_CELL))


def book_size_for(rows: int) -> int:
    """Return the size of the two codebooks of imi that have about so many cells between them."""
    return max(1, round(math.sqrt(cells_for(rows))))


def sample_size(k: int, dim: int) -> int:
    """Return how many rows of `dim` numbers are enough to train k centroids, by their number and by their bytes."""
    return max(k, min(max(MIN_SAMPLE, SAMPLE_PER_CENTROID * k), SAMPLE_BYTES_MAX // (4 * dim)))


def train_ivf(vectors: F32, k: int, seed: int = 0, *, rounds: int = ROUNDS) -> SpatialIndex:
    """Return an ivf-cosine index with `k` unit centroids.

    Args:
        vectors: float32 (n, d), n >= k; of many, a sample drawn by the seed is used.
        k: how many cells.
        seed: of the draw and of the k-means; the same arguments on one machine give the same index.
        rounds: of k-means, at most.

    Raises:
        InvalidInputError: too few vectors, or one of the sample that has no direction.
    """
    return make_ivf_cosine(spherical_kmeans(_sample(vectors, k, seed), k, seed=seed, rounds=rounds))


def train_imi(vectors: F32, k_sub: int, seed: int = 0, *, rounds: int = ROUNDS) -> SpatialIndex:
    """Return an imi-cosine index with two codebooks of `k_sub` unit centroids: `k_sub` squared cells.

    Arguments and errors are those of train_ivf; d must be even.
    """
    sample = _sample(vectors, k_sub, seed)
    if sample.shape[1] % 2:
        raise InvalidInputError(f"imi-cosine halves its vectors: {sample.shape[1]} numbers have no half")
    high, low = (
        spherical_kmeans(_directed(half, k_sub), k_sub, seed=seed, rounds=rounds)
        for half in np.hsplit(sample, 2)
    )
    return make_imi_cosine(low=low, high=high)


def train_pq(vectors: F32, m: int, k: int, seed: int = 0, *, rounds: int = ROUNDS) -> F32:
    """Return `m` codebooks of `k` unit rows, one for each part of a vector: float32 (m, k, d / m).

    Arguments and errors are those of train_ivf; m must divide d, and k be at most 256.
    """
    if k > MAX_CODEBOOK_ROWS:
        raise InvalidInputError(f"a code is one byte: k is at most {MAX_CODEBOOK_ROWS}, not {k}")
    sample = _sample(vectors, k, seed)
    if m < 1 or sample.shape[1] % m:
        raise InvalidInputError(f"{sample.shape[1]} numbers cannot be cut into m={m} equal parts")
    parts = np.hsplit(sample, m)
    return np.stack([spherical_kmeans(_directed(part, k), k, seed=seed, rounds=rounds) for part in parts])


def _directed(part: F32, k: int) -> F32:
    """Return those parts that have a direction; a vector may well be zero in one of its parts."""
    directed = np.ascontiguousarray(part[row_norms(part) > 0])
    if len(directed) < k:
        raise InvalidInputError(f"{k} centroids need as many vectors whose halves or parts are not zero")
    return directed


def _sample(vectors: F32, k: int, seed: int) -> F32:
    """Return as many rows as are enough for k centroids, in their order, checked."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2:
        raise InvalidInputError(f"training takes vectors (n, d), found shape {vectors.shape}")
    if k < 1 or len(vectors) < k:
        raise InvalidInputError(f"{k} centroids need at least one and as many vectors, found {len(vectors)}")
    limit = sample_size(k, vectors.shape[1])
    chosen = np.arange(len(vectors))
    if len(vectors) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), size=limit, replace=False))
    sample = np.ascontiguousarray(vectors[chosen], dtype=np.float32)
    norms = row_norms(sample)
    fine = np.isfinite(sample).all(axis=1) & (norms > 0) & (norms < np.inf)
    if not fine.all():
        raise InvalidInputError(f"vector {chosen[fine.argmin()]} holds NaN or infinity, or has no direction")
    return sample
