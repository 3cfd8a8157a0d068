"""Rows with a vector a token: which of them answer a query best, every token compared. Spec 0015."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.ragged import spread
from dreamdb_arrow.kernels.max_sim import F64, I64, max_sims

F32 = np.ndarray[Any, np.dtype[np.float32]]

SPARE: Final = 32  # rows more than wanted that are compared once more, in float64
_BLOCK: Final = 1 << 16  # tokens that are compared at a time


def best_rows(vectors: F32, starts: I64, rows: I64, queries: F32, k: int) -> tuple[I64, F64]:
    """Return the k of some rows with the largest MaxSim, best first, and their scores; of equal ones the first row.

    Args:
        vectors: of the tokens, row after row, float32 (t, d).
        starts: where the tokens of each row begin, int64 (n + 1,); the last one is t.
        rows: those that count, int64 (m,), ascending.
        queries: the vectors of the query's tokens, float32 (q, d), each with a direction.
        k: how many.

    Returns rows int64 (j,) and scores float64 (j,), j = min(k, m).
    """
    scores = _scores(vectors, starts, rows, queries)
    best = rows[np.argsort(-scores, kind="stable")[: k + SPARE]]
    exact = _scores(vectors, starts, best, queries.astype(np.float64))
    order = np.lexsort([best, -exact])[:k]
    return best[order], exact[order]


def gather_tokens(vectors: F32, starts: I64, rows: I64) -> tuple[F32, I64]:
    """Return the vectors of some rows, one row after another, float32 (t, d), and where each row's begin, int64 (m,)."""
    firsts, lengths = starts[rows], starts[rows + 1] - starts[rows]
    begins = np.cumsum(lengths) - lengths
    if len(rows) and (np.diff(rows) == 1).all():
        return vectors[firsts[0] : firsts[-1] + lengths[-1]], begins
    return vectors[np.repeat(firsts, lengths) + spread(lengths)], begins


def _scores(vectors: F32, starts: I64, rows: I64, queries: Any) -> F64:
    """Return the MaxSim of some rows, float64 (m,), computed in the dtype of the queries."""
    scores = np.empty(len(rows))
    for part in _blocks(starts[rows + 1] - starts[rows]):
        tokens, begins = gather_tokens(vectors, starts, rows[part])
        scores[part] = max_sims(queries, tokens.astype(queries.dtype, copy=False), begins)
    return scores


def _blocks(lengths: I64) -> Iterator[slice]:
    """Cut rows where a block of tokens is full."""
    at = np.cumsum(lengths) // _BLOCK
    cuts = [0, *(np.flatnonzero(np.diff(at)) + 1).tolist(), len(lengths)]
    yield from (slice(low, high) for low, high in itertools.pairwise(cuts) if high > low)
