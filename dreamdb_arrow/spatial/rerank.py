"""The exact order of rows that codes have picked. Spec 0010."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.codes import products
from dreamdb_arrow.kernels.distance import METRICS, inverse_norms, row_norms
from dreamdb_arrow.spatial.threads import THREADS, spread

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Take = Callable[[I64], F32]

SPARE: Final = 8  # candidates beyond k: what float32 may put into another order than float64
_CACHED: Final = (
    1 << 18
)  # bytes of an array that is used again at once: memory that is new to a process is slow


def rerank(
    rows: I64,
    take: Take,
    queries: F32,
    k: int,
    metric: str,
    *,
    unit: bool = False,
    threads: int = THREADS,
) -> tuple[I64, F64]:
    """Return the k nearest of each query's rows, by their exact vectors.

    The rows are compared in float32, and the best few more than k again in float64, as in `spatial.search`.

    Args:
        rows: int64 (q, pool), in any order; -1 is no row.
        take: row numbers (m,) -> their vectors, float32 (m, d), as by `vectors.take(rows, axis=0)`; -1 may give anything.
        queries: float32 (q, d).
        k: how many, at least 1.
        metric: "cosine" or "l2".
        unit: whether all vectors have length one, which spares the float32 pass half of its work.
        threads: at most so many at work.

    Returns:
        rows int64 (q, min(k, pool)) and distances float64 of the same shape, nearest first, of equal distances the lower
        rows first; -1 and inf where there are fewer.
    """
    exact = METRICS[metric].exact
    rows = narrow(rows, take, queries, k + SPARE, metric, unit=unit, threads=threads)
    distances = np.full(rows.shape, np.inf)
    if (rows >= 0).any():
        for part in row_blocks(len(rows), 8 * rows.shape[1] * queries.shape[1], _CACHED):
            distances[part] = exact(
                queries[part], take(rows[part].reshape(-1)).reshape(*rows[part].shape, -1)
            )
    distances[rows < 0] = np.inf
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)


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

    Arguments as of rerank.
    """
    assert rows.shape[0] == len(queries)
    assert count >= 1
    if count >= rows.shape[1] or not (rows >= 0).any():
        return rows[:, :count]
    closeness = _CLOSENESS["unit" if unit and metric == "cosine" else metric]
    kept = np.empty((len(rows), count), np.int64)

    def work(share: slice) -> None:
        for nth in range(share.start, share.stop):
            mine = rows[nth]
            scores = closeness(take(mine), queries[nth])
            scores[mine < 0] = -np.inf
            kept[nth] = mine[np.argpartition(scores, len(mine) - count)[len(mine) - count :]]

    spread(work, list(row_blocks(len(rows), 1, -(-len(rows) // threads))))
    return kept


def _unit_closeness(vectors: F32, query: F32) -> F32:
    closeness: F32 = products(vectors, query[None, :])[0]
    return closeness


def _cosine_closeness(vectors: F32, query: F32) -> F32:
    return _unit_closeness(vectors, query) * inverse_norms(row_norms(vectors))


def _l2_closeness(vectors: F32, query: F32) -> F32:
    gaps = vectors - query
    closeness: F32 = -np.einsum("ij,ij->i", gaps, gaps)
    return closeness


_CLOSENESS: Final = {"unit": _unit_closeness, "cosine": _cosine_closeness, "l2": _l2_closeness}
