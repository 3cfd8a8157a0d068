"""Publish: indexes and compressors made before the fields that use them. Specs 0004 and 0010.

Each function puts one Object into a store and returns its address, 33 bytes, for `Schema.add_embedding`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, as_address
from dreamdb_arrow.columnar.vectors import F32
from dreamdb_arrow.dataset.samples import draw
from dreamdb_arrow.dataset.space import Backend
from dreamdb_arrow.dataset.spatial import publish_spatial_index
from dreamdb_arrow.errors import InvalidInputError, LayoutError
from dreamdb_arrow.objects.spatial_index import MAX_DIM, SpatialIndex
from dreamdb_arrow.objects.vector_compressor import (
    BITS_PER_DIM,
    MAX_CODEBOOK_ROWS,
    MAX_ROTATION_DIM,
    SEED_BYTES,
    VectorCompressor,
    encode_vector_compressor,
    make_pq,
    make_rabitq,
)
from dreamdb_arrow.spatial.partitioners import check_count
from dreamdb_arrow.spatial.training import (
    book_size_for,
    cells_for,
    sample_size,
    train_imi,
    train_ivf,
    train_pq,
)
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.urls import open_store
from dreamdb_arrow.tracks.vectors import COMPRESSORS

_ZEROS: Final = bytes(SEED_BYTES)
Train = Callable[..., SpatialIndex]


def train_and_publish_ivf_centroids(
    backend: Backend,
    sample: Any,
    dim: int,
    k: int | None = None,
    iterations: int = 10,
    seed: bytes | None = None,
    spec_id: bytes | None = None,
    *,
    expected_rows: int | None = None,
) -> bytes:
    """Train the cells of a `dreamdb.ivf-cosine` field and return the address of the SpatialIndex, 33 bytes.

    Args:
        backend: a URL, a path or a store, as `Dataset.create` takes it.
        sample: vectors (n, dim): an array, lists, Arrow data, or a reader or an iterable of batches. What is larger than
            training needs is read once, as a stream, and drawn from.
        dim: how many numbers a vector has.
        k: how many cells; None for twice the square root of the rows, at least 32 rows a cell.
        iterations: rounds of k-means, at most.
        seed: 32 bytes; the same arguments and seed on one machine give the same address.
        spec_id: the address of the embedding spec that the vectors come from, if the field is bound to one.
        expected_rows: how many rows the field will have, for k; None for as many as the sample has.

    Raises InvalidInputError for fewer vectors than cells, for what is no vector with a direction, and for wrong options.
    """
    return _publish_trained(
        backend, sample, dim, (k, "k", cells_for), iterations, seed, spec_id, expected_rows, train_ivf
    )


def train_and_publish_imi_centroids(
    backend: Backend,
    sample: Any,
    dim: int,
    k_sub: int | None = None,
    iterations: int = 10,
    seed: bytes | None = None,
    spec_id: bytes | None = None,
    *,
    expected_rows: int | None = None,
) -> bytes:
    """Train the cells of a `dreamdb.imi-cosine` field and return the address of the SpatialIndex, 33 bytes.

    Args and errors are those of train_and_publish_ivf_centroids, but for:
        dim: must be even.
        k_sub: centroids of each half: there are k_sub squared cells; None for as many cells as ivf would have.
    """
    if check_count("dim", dim) % 2:
        raise InvalidInputError(f"imi-cosine halves its vectors: dim must be even, not {dim}")
    return _publish_trained(
        backend,
        sample,
        dim,
        (k_sub, "k_sub", book_size_for),
        iterations,
        seed,
        spec_id,
        expected_rows,
        train_imi,
    )


def publish_rabitq_compressor(
    backend: Backend,
    dim: int,
    seed: bytes | None = None,
    bits_per_dim: int = 1,
    with_correction_factors: bool = True,
) -> bytes:
    """Return the address, 33 bytes, of a `dreamdb.rabitq-cosine` compressor; it needs no training.

    Args:
        backend: a URL, a path or a store, as `Dataset.create` takes it.
        dim: how many numbers a vector has, at most 4096.
        seed: of the rotation, 32 bytes; zeros unless given.
        bits_per_dim: 1, 2, 4 or 8.
        with_correction_factors: with one bit a number, four more bytes a code that make scores better; of no account with more bits.

    Raises InvalidInputError for options that cannot be.
    """
    if bits_per_dim not in BITS_PER_DIM:
        raise InvalidInputError(f"bits_per_dim must be 1, 2, 4 or 8, not {bits_per_dim!r}")
    if check_count("dim", dim) > MAX_ROTATION_DIM:
        raise InvalidInputError(f"dim must be 1 to {MAX_ROTATION_DIM} for a rotation, not {dim}")
    factors = bool(with_correction_factors) and bits_per_dim == 1
    return _publish_compressor(
        backend, make_rabitq(dim, bits_per_dim, _check_seed(seed), with_correction_factors=factors)
    )


def train_and_publish_pq_compressor(
    backend: Backend,
    sample: Any,
    dim: int,
    m: int,
    k: int = MAX_CODEBOOK_ROWS,
    iterations: int = 10,
    seed: bytes | None = None,
) -> bytes:
    """Train the codebooks of a `dreamdb.pq-cosine` compressor and return its address, 33 bytes.

    Args:
        backend: a URL, a path or a store, as `Dataset.create` takes it.
        sample: as train_and_publish_ivf_centroids takes it.
        dim: how many numbers a vector has.
        m: how many parts a vector is cut into, one byte each; must divide dim.
        k: rows of a codebook, at most 256.
        iterations: rounds of k-means, at most.
        seed: 32 bytes; the same arguments and seed on one machine give the same address.

    Raises InvalidInputError as train_and_publish_ivf_centroids does.
    """
    seed = _check_seed(seed)
    if _check_dim(dim) % check_count("m", m):
        raise InvalidInputError(f"m must divide dim: {dim} numbers cannot be cut into {m} equal parts")
    if check_count("k", k) > MAX_CODEBOOK_ROWS:
        raise InvalidInputError(f"k must be 1 to {MAX_CODEBOOK_ROWS}, so that a code is one byte, not {k}")
    rounds, number = check_count("iterations", iterations), int.from_bytes(seed, "little")
    vectors, _ = draw(sample, dim, sample_size(k, dim), number)
    return _publish_compressor(backend, make_pq(train_pq(vectors, m, k, number, rounds=rounds), seed))


def _publish_trained(
    backend: Backend,
    sample: Any,
    dim: int,
    size: tuple[int | None, str, Callable[[int], int]],
    iterations: int,
    seed: bytes | None,
    spec_id: bytes | None,
    expected_rows: int | None,
    train: Train,
) -> bytes:
    k, name, default = size
    number = int.from_bytes(_check_seed(seed), "little")
    rounds, spec = check_count("iterations", iterations), _check_spec(spec_id)
    if k is None and expected_rows is not None:
        k = default(check_count("expected_rows", expected_rows))
    limit = None if k is None else sample_size(check_count(name, k), _check_dim(dim))
    vectors, seen = draw(sample, _check_dim(dim), limit, number)
    k = max(1, default(seen)) if k is None else k
    index = replace(train(_enough(vectors, k, name, seen), k, number, rounds=rounds), spec=spec)
    batch = Batch(open_store(backend, create=True))
    address = publish_spatial_index(batch, index)
    batch.flush()
    return bytes(address)


def _enough(vectors: F32, k: int, name: str, seen: int) -> F32:
    if len(vectors) < k:
        raise InvalidInputError(f"{name}={k} needs as many vectors at least, the sample has {seen}")
    return vectors


def _publish_compressor(backend: Backend, compressor: VectorCompressor) -> bytes:
    batch = Batch(open_store(backend, create=True))
    address = batch.add(COMPRESSORS, encode_vector_compressor(compressor))
    batch.flush()
    return bytes(address)


def _check_dim(dim: int) -> int:
    if check_count("dim", dim) > MAX_DIM:
        raise InvalidInputError(f"dim must be 1 to {MAX_DIM}, not {dim}")
    return int(dim)


def _check_seed(seed: Any) -> bytes:
    if seed is None:
        return _ZEROS
    if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
        raise InvalidInputError(f"seed must be {SEED_BYTES} bytes, not {seed!r:.60}")
    return seed


def _check_spec(spec_id: Any) -> Address | None:
    try:
        return None if spec_id is None else as_address(spec_id)
    except LayoutError:
        raise InvalidInputError(
            f"spec_id must be an address of {ADDRESS_BYTES} bytes, not {spec_id!r:.60}"
        ) from None
