"""Work in a few threads, which end with the call. Part of spec 0004.

NumPy gives up its lock within products, copies and comparisons, so that two threads do nearly twice as much of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")

THREADS: Final = min(8, os.cpu_count() or 1)


def spread(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return what `work` gives for each part, in order, each in a thread of its own; one part needs no thread."""
    if len(parts) < 2:
        return list(map(work, parts))
    with ThreadPoolExecutor(len(parts)) as workers:
        return list(workers.map(work, parts))
