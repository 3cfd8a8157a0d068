"""MaxSim: how well texts answer a query when every token of either has a vector. Spec 0015."""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, Any]
F64 = np.ndarray[Any, np.dtype[np.float64]]
I64 = np.ndarray[Any, np.dtype[np.int64]]


def max_sims(queries: Floats, tokens: Floats, starts: I64) -> F64:
    """Return for each text the sum over the query's vectors of the largest cosine with one of its tokens, float64 (n,).

    Args:
        queries: (q, d), each with a direction.
        tokens: (t, d), of the same dtype, float32 or float64; a token without a direction counts as a cosine of 0.
        starts: where the tokens of each text begin, int64 (n,), ascending from 0; each text has a token.
    """
    assert queries.ndim == tokens.ndim == 2
    assert queries.shape[1] == tokens.shape[1]
    assert queries.dtype == tokens.dtype
    assert len(starts) == 0 or (starts[0] == 0 and (np.diff(starts, append=len(tokens)) > 0).all())
    if not len(starts):
        return np.empty(0)
    cosines = _unit(queries) @ tokens.T
    cosines *= _inverse_lengths(tokens)
    scores: F64 = np.maximum.reduceat(cosines, starts, axis=1).sum(axis=0, dtype=np.float64)
    return scores


def _unit(rows: Floats) -> Floats:
    return rows * _inverse_lengths(rows)[:, None]


def _inverse_lengths(rows: Floats) -> Floats:
    squares = np.einsum("ij,ij->i", rows, rows)
    inverse: Floats = np.divide(1, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    return inverse
