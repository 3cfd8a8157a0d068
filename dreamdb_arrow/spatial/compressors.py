"""Compressors: vectors to codes and back, as a VectorCompressor says. Spec 0010."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.kernels.pq import decode_pq, encode_pq
from dreamdb_arrow.kernels.rabitq import decode_rabitq, encode_rabitq, rotation
from dreamdb_arrow.objects.vector_compressor import RabitqParams, VectorCompressor, codebook_rows

Codes = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def encode_vectors(compressor: VectorCompressor, vectors: F32) -> Codes:
    """Return the codes of vectors, uint8 (n, code_bytes).

    Vectors, float32 (n, d), are brought to unit length first: codes rank by direction, and the ranges of their steps are
    made for unit vectors.
    """
    unit = unit_rows(vectors)
    params = compressor.params
    if isinstance(params, RabitqParams):
        turn = _rotation(params.rotation_seed, compressor.dim)
        return encode_rabitq(turn, unit, params.bits_per_dim, factors=params.with_correction_factors)
    return encode_pq(codebook_rows(compressor), unit)


def decode_codes(compressor: VectorCompressor, codes: Codes) -> F32:
    """Return what codes, uint8 (n, code_bytes), say of their vectors, float32 (n, d).

    Raises LayoutError for codes of another width, or that name what is not there.
    """
    if codes.shape[1] != compressor.code_bytes:
        raise LayoutError(
            f"codes of {codes.shape[1]} bytes, where their compressor writes {compressor.code_bytes}"
        )
    params = compressor.params
    if isinstance(params, RabitqParams):
        turn = _rotation(params.rotation_seed, compressor.dim)
        return decode_rabitq(turn, codes, params.bits_per_dim, factors=params.with_correction_factors)
    return decode_pq(codebook_rows(compressor), codes)


@lru_cache(maxsize=4)  # making one takes the cube of the dimension
def _rotation(seed: bytes, dim: int) -> F64:
    return rotation(seed, dim)
