"""Which of the rows that codes have picked are nearest by their exact vectors. Spec 0010."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.distance import inverse_norms
from dreamdb_arrow.spatial.threads import THREADS, spread

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Take = Callable[[I64], F32]

_CACHED: Final = (
    1 << 20
)  # bytes of an array that is used again at once: memory that is new to a process is slow


def narrow(
    rows: I64,
    take: Take,
    queries: F32,
    count: int,
    metric: str,
    *,
    unit: bool = False,
    threads: int = THREADS,
) -> I64:
    """Return the `count` nearest of each query's rows by float32, int64 (q, min(count, pool)), in any order.

    Args:
        rows: int64 (q, pool), in any order; -1 is no row.
        take: row numbers (m,) -> their vectors, float32 (m, d); -1 may give anything.
        queries: float32 (q, d).
        count: how many, at least 1.
        metric: "cosine" or "l2".
        unit: whether all vectors have length one, which spares half of the work.
        threads: at most so many at work.
    """
    assert rows.shape[0] == len(queries)
    assert count >= 1
    if count >= rows.shape[1] or not (rows >= 0).any():
        return rows[:, :count]
    closeness = _CLOSENESS["unit" if unit and metric == "cosine" else metric]
    kept = np.empty((len(rows), count), np.int64)

    def work(share: slice) -> None:
        mine, asking = rows[share], queries[share]
        for part in row_blocks(len(mine), 4 * mine.shape[1] * queries.shape[1], _CACHED):
            vectors = take(mine[part].reshape(-1)).reshape(*mine[part].shape, -1)
            scores = closeness(vectors, asking[part])
            scores[mine[part] < 0] = -np.inf
            best = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :]
            kept[share][part] = np.take_along_axis(mine[part], best, axis=1)

    spread(work, list(row_blocks(len(rows), 1, -(-len(rows) // threads))))
    return kept


def _unit_closeness(vectors: F32, queries: F32) -> F32:
    closeness: F32 = np.einsum("qrd,qd->qr", vectors, queries)
    return closeness


def _cosine_closeness(vectors: F32, queries: F32) -> F32:
    lengths = np.sqrt(np.einsum("qrd,qrd->qr", vectors, vectors))
    return _unit_closeness(vectors, queries) * inverse_norms(lengths)


def _l2_closeness(vectors: F32, queries: F32) -> F32:
    gaps = vectors - queries[:, None, :]
    closeness: F32 = -np.einsum("qrd,qrd->qr", gaps, gaps)
    return closeness


_CLOSENESS: Final = {"unit": _unit_closeness, "cosine": _cosine_closeness, "l2": _l2_closeness}
