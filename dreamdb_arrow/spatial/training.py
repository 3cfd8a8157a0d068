"""Training: the cells of a SpatialIndex from a sample of the vectors they shall hold. Spec 0004."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.kernels.distance import row_norms
from dreamdb_arrow.kernels.kmeans import ROUNDS, spherical_kmeans
from dreamdb_arrow.objects.spatial_index import SpatialIndex, make_imi_cosine, make_ivf_cosine

F32 = NDArray[np.float32]

# More rows a centroid move it little, and cost in proportion.
SAMPLE_PER_CENTROID: Final = 64
MIN_SAMPLE: Final = 4096


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
    high, low = np.hsplit(sample, 2)
    return make_imi_cosine(
        low=_train_half(low, k_sub, seed, rounds), high=_train_half(high, k_sub, seed, rounds)
    )


def _train_half(half: F32, k: int, seed: int, rounds: int) -> F32:
    """Train on those halves that have a direction; a vector may well be zero in one half."""
    directed = half[row_norms(half) > 0]
    if len(directed) < k:
        raise InvalidInputError(f"{k} centroids need as many vectors whose halves are not zero")
    return spherical_kmeans(directed, k, seed=seed, rounds=rounds)


def _sample(vectors: F32, k: int, seed: int) -> F32:
    """Return at most SAMPLE_PER_CENTROID * k rows (MIN_SAMPLE at least), in their order, checked."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2:
        raise InvalidInputError(f"training takes vectors (n, d), found shape {vectors.shape}")
    if k < 1 or len(vectors) < k:
        raise InvalidInputError(f"{k} centroids need at least one and as many vectors, found {len(vectors)}")
    limit = max(MIN_SAMPLE, SAMPLE_PER_CENTROID * k)
    chosen = np.arange(len(vectors))
    if len(vectors) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), size=limit, replace=False))
    sample = np.ascontiguousarray(vectors[chosen], dtype=np.float32)
    norms = row_norms(sample)
    fine = np.isfinite(sample).all(axis=1) & (norms > 0) & (norms < np.inf)
    if not fine.all():
        raise InvalidInputError(f"vector {chosen[fine.argmin()]} holds NaN or infinity, or has no direction")
    return sample
