"""Product quantization codes: each part of a vector to the best row of its own codebook, and back. Spec 0007."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.kernels.blocks import row_blocks

Codes = NDArray[np.uint8]
F32 = NDArray[np.float32]


def encode_pq(codebooks: F32, vectors: F32) -> Codes:
    """Return the codes of vectors, uint8 (n, m): for each part, the row with the largest dot product.

    Args:
        codebooks: float32 (m, k, d / m), k at most 256, one codebook a part.
        vectors: float32 (n, d), as given: their length does not change the choice.
    """
    m, k, width = codebooks.shape
    assert vectors.ndim == 2
    assert vectors.shape[1] == m * width
    assert 1 <= k <= 256
    codes = np.empty((len(vectors), m), np.uint8)
    books = codebooks.astype(np.float64)
    for rows in row_blocks(len(vectors), 8 * (m * width + k)):
        parts = vectors[rows].astype(np.float64).reshape(-1, m, width)
        for part in range(m):
            codes[rows, part] = np.argmax(parts[:, part] @ books[part].T, axis=1)
    return codes


def decode_pq(codebooks: F32, codes: Codes) -> F32:
    """Return what codes, uint8 (n, m), say of their vectors, float32 (n, d): the rows they name, side by side.

    Raises LayoutError for a code that names no row.
    """
    m, k, width = codebooks.shape
    assert codes.ndim == 2
    assert codes.shape[1] == m
    if codes.size and codes.max() >= k:
        raise LayoutError(f"a code names row {codes.max()} of a codebook of {k} rows")
    vectors: F32 = codebooks[np.arange(m), codes].reshape(len(codes), m * width)
    return vectors
