"""Stats: what a Space's store was asked for since it was opened, and how much of it the folder nearby had. Spec 0005."""

from __future__ import annotations

from typing import Any, Final

from dreamdb_arrow.dataset.space import Space

REQUESTS: Final = ("get", "put", "head", "list", "delete", "hedge", "hit")
BYTES: Final = ("bytes_received", "bytes_sent")


def space_stats(space: Space) -> dict[str, Any]:
    """Return requests by kind, bytes both ways, and `hit_rate`, the share of objects that the folder had.

    `hedge` counts the reads that were asked for a second time, which are among `get`. A Space in files or in memory asks
    nobody: all its counts are 0, and its `hit_rate` is None.
    """
    traffic = getattr(space.store, "traffic", None)
    counts: dict[str, int] = {} if traffic is None else traffic.counts()
    had = max(
        0, counts.get("hit", 0) - counts.get("ahead", 0)
    )  # what was fetched ahead is found there once for nothing
    asked = had + counts.get("get", 0)
    named = {name: counts.get(name, 0) for name in (*REQUESTS, *BYTES)}
    return {**named, "hit": had, "hit_rate": had / asked if asked else None}
