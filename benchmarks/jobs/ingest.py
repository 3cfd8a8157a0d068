"""Ingest: the made table in 100 commits. Writers take turns, batch by batch, so that noise meets all alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.measure import Figure, disk_use, fresh, median, milliseconds, percentile, turns
from benchmarks.peers import STORES
from benchmarks.rows import batches, make_batch
from benchmarks.sizes import Setup, folder
from benchmarks.store import Store

JOB: Final = "ingest"
WRITERS: Final = ("ours, os", "ours, fsync", "parquet", "parquet, fsync", "lance", "duckdb", "delta")
WARM_ROWS: Final = 10


def run(setup: Setup) -> Iterator[Figure]:
    """Yield rows a second, milliseconds a commit, bytes a row and files of each writer."""
    names = setup.taking_part(WRITERS)
    times, stores = write_all(setup, names)
    for name, taken in times.items():
        yield from _figures(name, setup.sizes.rows, taken, stores[name])


def write_all(setup: Setup, names: list[str]) -> tuple[dict[str, list[float]], dict[str, Store]]:
    """Write the made table with each writer; return the milliseconds of their commits, the last with `close`."""
    sizes = setup.sizes
    stores = {name: _ready(setup, name) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    drawn = zip(batches(sizes.rows, sizes.commits), turns(stores, sizes.commits), strict=True)
    for nth, (batch, order) in enumerate(drawn):
        setup.say(f"{JOB}: commit {nth + 1} of {sizes.commits}")
        for name in order:
            times[name].append(milliseconds(lambda s=stores[name], b=batch: s.append(b)))
    for name, store in stores.items():
        times[name][-1] += milliseconds(store.close)
    return times, stores


def _ready(setup: Setup, name: str) -> Store:
    """Return an empty table; a first one is made and thrown away, so that imports are not counted."""
    path = folder(setup.work, JOB, name)
    warm = STORES[name](fresh(path.with_name("warm")))
    warm.create()
    warm.append(make_batch(0, WARM_ROWS))
    warm.close()
    fresh(warm.path)
    store = STORES[name](fresh(path))
    store.create()
    return store


def _figures(name: str, rows: int, taken: list[float], store: Store) -> Iterator[Figure]:
    size, files = disk_use(store.path)
    yield Figure(JOB, "rows a second", name, rows / sum(taken) * 1e3, "rows/s")
    yield Figure(JOB, "a commit, median", name, median(taken), "ms")
    yield Figure(JOB, "a commit, 95 of 100 within", name, percentile(taken, 95), "ms")
    yield Figure(JOB, "bytes a row on disk", name, size / rows, "bytes")
    yield Figure(JOB, "files", name, files, "")
