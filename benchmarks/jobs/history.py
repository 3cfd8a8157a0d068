"""History: a Space of very many versions opens, latest or as of a time, in the time that one of ten versions does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.measure import Figure, disk_use, fresh, in_child, median, milliseconds
from benchmarks.ours import OursUnsynced
from benchmarks.rows import SCALAR_SCHEMA, scalar_batch
from benchmarks.sizes import Setup

JOB: Final = "history"
FEW: Final = 10
WINDOW: Final = 100
CHUNK: Final = 1000  # rows that are made at once


def run(setup: Setup) -> Iterator[Figure]:
    """Yield the milliseconds of commits, of opening the latest version, and of opening as of a time in the middle."""
    many = setup.sizes.many_versions
    spaces = {count: build(setup, count) for count in (FEW, many)}
    for count, (path, _, taken) in spaces.items():
        who = f"ours, {count:,} versions"
        window = min(WINDOW, max(1, count // 3))
        yield Figure(JOB, "a commit of one row, first ones", who, median(taken[1 : window + 1]), "ms")
        yield Figure(JOB, "a commit of one row, last ones", who, median(taken[-window:]), "ms")
        yield Figure(JOB, "a commit of one row, mean of all", who, sum(taken) / count, "ms")
        yield Figure(JOB, "files a version", who, disk_use(path)[1] / count, "")
    for what in ("latest", "as of a time"):
        yield from _opening(setup, spaces, what)


Built = tuple[Path, int, list[float]]


def build(setup: Setup, count: int) -> Built:
    """Write `count` versions of a row each; return where, when the middle one was, and the milliseconds of commits."""
    store = OursUnsynced(fresh(setup.work / JOB / f"versions-{count}"), SCALAR_SCHEMA)
    store.create()
    taken: list[float] = []
    middle = 0
    for nth in range(count):
        if nth % CHUNK == 0:
            setup.say(f"{JOB}: version {nth:,} of {count:,}")
            rows = scalar_batch(nth // CHUNK, CHUNK)
        row = rows.slice(nth % CHUNK, 1)
        taken.append(milliseconds(lambda: store.append(row)))  # noqa: B023 - called at once
        if nth == count // 2:
            middle = time.time_ns()
    return store.path, middle, taken


def _opening(setup: Setup, spaces: dict[int, Built], what: str) -> Iterator[Figure]:
    taken: dict[int, list[float]] = {count: [] for count in spaces}
    for _ in range(setup.sizes.opens):
        for count, (path, middle, _) in spaces.items():
            moment = None if what == "latest" else middle
            taken[count].append(in_child("benchmarks.jobs.history:open_once", str(path), moment))
    for count, times in taken.items():
        yield Figure(JOB, f"open {what}, new process", f"ours, {count:,} versions", median(times), "ms")


def open_once(path: str, moment: int | None) -> float:
    """Return the milliseconds until a handle on a version knows its fields and its stripes, caches empty."""
    store = OursUnsynced(Path(path))
    store.load()
    fresh(store.cache)
    return milliseconds(lambda: store.dataset_at(moment).schema)
