"""Sets of integers as ascending arrays. What NumPy has for them hashes, which takes forty times as long from a million on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from dreamdb_arrow.codec.ragged import Ints


def distinct(values: Any) -> Ints:
    """Return some integers ascending, each once, int64 (n,)."""
    ordered = np.sort(
        np.asarray(values, np.int64).reshape(-1), kind="stable"
    )  # of runs: what is sorted is merged
    if len(ordered) < 2:
        return ordered
    first = np.empty(len(ordered), bool)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered if first.all() else ordered[first]


def united(parts: Iterable[Ints]) -> Ints:
    """Return the integers that are in any of several arrays, ascending, each once."""
    return distinct(np.concatenate([np.empty(0, np.int64), *parts]))
