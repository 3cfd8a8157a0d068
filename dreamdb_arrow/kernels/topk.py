"""The k smallest of each row, the same ones on every run. Part of spec 0004.

A wide row is first cut into groups, whose least values are found at the speed of memory: the k smallest lie in the k
groups of smallest least value, so that only those are partitioned.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]

GROUP: Final = 32  # values in a group; measured: 16 to 64 are alike
_WIDE: Final = 4  # a row is wide when it has this many times more groups than are wanted


def smallest(values: NDArray[Any], k: int, ranks: I64 | None = None) -> I64:
    """Return where the k smallest of each row are, smallest first: int64 (q, min(k, n)).

    Args:
        values: (q, n), any real dtype; NaN is larger than all.
        k: how many, at least 1.
        ranks: int64 (n,) or (q, n): of equal values the lower rank comes first; by default the lower index.
    """
    assert values.ndim == 2
    assert k >= 1
    if len(values) == 1 and ranks is None and k < values.shape[1]:
        return _smallest_of_one(values[0], k)[None, :]
    order = _ranks_of(values, ranks)
    chosen = choose_smallest(values, k, ranks)
    keys = (np.take_along_axis(order, chosen, axis=1), np.take_along_axis(values, chosen, axis=1))
    return np.take_along_axis(chosen, np.lexsort(keys, axis=1), axis=1)


def choose_smallest(values: NDArray[Any], k: int, ranks: I64 | None = None) -> I64:
    """Return where the k smallest of each row are, as `smallest` does, in any order."""
    count = values.shape[1]
    if k >= count:
        return np.broadcast_to(np.arange(count), values.shape)
    order = _ranks_of(values, ranks)
    chosen, doubtful = (_choose_wide if count >= _WIDE * GROUP * k else _choose)(values, k)
    for row in np.flatnonzero(doubtful):
        chosen[row] = _by_rank(values[row], order[row], chosen[row])
    return chosen


def _ranks_of(values: NDArray[Any], ranks: I64 | None) -> I64:
    return np.broadcast_to(np.arange(values.shape[1]) if ranks is None else ranks, values.shape)


def _smallest_of_one(values: NDArray[Any], k: int) -> I64:
    """Do as smallest does for one row: a query that comes alone waits for every call."""
    chosen = values.argpartition(k - 1)[:k]
    picked = values[chosen]
    edge = picked.max()
    if np.count_nonzero(values == edge) > np.count_nonzero(picked == edge):
        chosen = _by_rank(values, np.arange(len(values)), chosen)
        picked = values[chosen]
    return chosen[np.lexsort((chosen, picked))]


def _choose(values: NDArray[Any], k: int) -> tuple[I64, Flags]:
    """Return k smallest of each row, (q, k) in any order, and in which rows an equal of the largest was left out."""
    chosen = np.argpartition(values, k - 1, axis=1)[:, :k]
    picked = np.take_along_axis(values, chosen, axis=1)
    edges = picked.max(axis=1, keepdims=True)
    doubtful = np.count_nonzero(values == edges, axis=1) > np.count_nonzero(picked == edges, axis=1)
    return chosen, doubtful


def _choose_wide(values: NDArray[Any], k: int) -> tuple[I64, Flags]:
    """Do as _choose does, by groups. Group g holds the columns g, g + width, g + 2 width, ..."""
    count = values.shape[1]
    width = count // GROUP
    grouped = values[:, : width * GROUP].reshape(len(values), GROUP, width)
    least = np.fmin.reduce(grouped, axis=1)
    groups = np.argpartition(least, k - 1, axis=1)[:, :k]
    members = (groups[:, :, None] + width * np.arange(GROUP)).reshape(len(values), k * GROUP)
    rest = np.broadcast_to(np.arange(width * GROUP, count), (len(values), count - width * GROUP))
    candidates = np.concatenate([members, rest], axis=1)
    picked = np.take_along_axis(values, candidates, axis=1)
    chosen, doubtful = _choose(picked, k)
    edges = np.take_along_axis(picked, chosen, axis=1).max(axis=1, keepdims=True)
    inside = np.take_along_axis(least, groups, axis=1) <= edges
    doubtful |= np.count_nonzero(least <= edges, axis=1) > np.count_nonzero(inside, axis=1)
    return np.take_along_axis(candidates, chosen, axis=1), doubtful


def _by_rank(values: NDArray[Any], order: I64, chosen: I64) -> I64:
    """Return the chosen ones below the largest chosen value, and of its equals those of the lowest rank."""
    edge = values[chosen].max()
    below = np.flatnonzero(values < edge)
    equal = np.flatnonzero(values == edge)
    by_rank = equal[np.argsort(order[equal], kind="stable")]
    return np.concatenate([below, by_rank[: len(chosen) - len(below)]])
