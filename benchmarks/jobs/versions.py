"""Versions: many small commits, what they cost, what opening and scanning them costs, and what is left after `compact`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import dreamdb_arrow as vd
from benchmarks.jobs.scans import QUERIES, check_equal, text_of
from benchmarks.measure import Figure, alternate, disk_use, fresh, in_child, median, milliseconds
from benchmarks.ours import Ours
from benchmarks.peers import STORES
from benchmarks.rows import make_batch
from benchmarks.sizes import Setup, folder
from benchmarks.store import Relation, Store

JOB: Final = "versions"
COMMIT_ROWS: Final = 100
WRITERS: Final = (Ours.name, "lance", "duckdb", "delta")
ALL_ROWS: Final = "SELECT * FROM {t}"
ONE_APPEND, COMPACTED = "ours, one append", "ours, after compact and gc"


def run(setup: Setup) -> Iterator[Figure]:
    """Yield figures of small commits, of opening them, of scanning them, and of their size."""
    yield from _small_commits(setup)
    yield from _compacted(setup)
    yield from _scans(setup)


def path_of(setup: Setup, name: str) -> Path:
    """Return where the small commits of a peer lie."""
    return folder(setup.work, JOB, name)


# ---------------------------------------------------------------- commits


Written = dict[
    str, tuple[Store, list[float], list[Any]]
]  # by peer: its table, ms of its commits, its versions


def write_small(setup: Setup) -> Written:
    """Write commits of 100 rows, writers taking turns, batch by batch."""
    names, commits = setup.taking_part(WRITERS), setup.sizes.small_commits
    written: Written = {name: (STORES[name](fresh(path_of(setup, name))), [], []) for name in names}
    for store, _, _ in written.values():
        store.create()
    for nth in range(commits):
        setup.say(f"{JOB}: commit {nth + 1} of {commits}")
        batch = make_batch(nth, COMMIT_ROWS)
        for store, times, versions in written.values():
            times.append(milliseconds(lambda s=store, v=versions, b=batch: v.append(s.append(b))))
    for store, _, _ in written.values():
        store.close()
    return written


def _small_commits(setup: Setup) -> Iterator[Figure]:
    for name, (store, times, versions) in write_small(setup).items():
        yield from _commit_figures(name, times, store)
        yield from _opening(setup, name, versions[len(versions) // 2])


def _commit_figures(name: str, taken: list[float], store: Store) -> Iterator[Figure]:
    commits = len(taken)
    window = min(100, max(1, commits // 3))
    size, files = disk_use(store.path)
    often = f"median of {window}, of {commits:,} commits of 100 rows"
    yield Figure(JOB, "a commit, first ones", name, median(taken[1 : window + 1]), "ms", often)
    yield Figure(JOB, "a commit, last ones", name, median(taken[-window:]), "ms", often)
    yield Figure(JOB, "a commit, mean of all", name, sum(taken) / commits, "ms")
    yield Figure(JOB, "bytes a row on disk", name, size / (commits * COMMIT_ROWS), "bytes")
    yield Figure(JOB, "files", name, files, "")


# ---------------------------------------------------------------- opening


def _opening(setup: Setup, name: str, middle: Any) -> Iterator[Figure]:
    setup.say(f"{JOB}: opening, {name}")
    yield from _opened(setup, name, None, "the latest version")
    if middle is not None:  # else it keeps no versions
        yield from _opened(setup, name, middle, "the version in the middle")


def _opened(setup: Setup, name: str, version: Any, which: str) -> Iterator[Figure]:
    here = str(path_of(setup, name))
    tries = [
        in_child("benchmarks.jobs.versions:open_once", name, here, version) for _ in range(setup.sizes.colds)
    ]
    yield Figure(JOB, f"open {which}, new process", name, median([t["open"] for t in tries]), "ms")
    yield Figure(JOB, f"count(*) of {which} then", name, median([t["count"] for t in tries]), "ms")


def open_once(name: str, path: str, version: Any) -> dict[str, float]:
    """Return how long opening takes, and then counting, in ms, and the count."""
    store = STORES[name](Path(path))
    store.load()
    started = time.perf_counter()
    count = store.open(version)
    opened = time.perf_counter()
    rows = count()
    return {"open": (opened - started) * 1e3, "count": (time.perf_counter() - opened) * 1e3, "rows": rows}


# ---------------------------------------------------------------- size and scans


def _compacted(setup: Setup) -> Iterator[Figure]:
    """Compact a copy of the Space and collect what no Ref leads to; the other stays as its commits left it."""
    setup.say(f"{JOB}: compact and gc")
    copy = Ours(fresh(_copy_of(setup)))
    shutil.copytree(path_of(setup, Ours.name), copy.path)
    taken = milliseconds(copy.dataset_at().compact)
    vd.gc(str(copy.path), keep_manifests=0, dry_run=False, writers_paused=True)
    size, files = disk_use(copy.path)
    yield Figure(JOB, "compact", COMPACTED, taken, "ms")
    yield Figure(
        JOB, "bytes a row on disk", COMPACTED, size / (setup.sizes.small_commits * COMMIT_ROWS), "bytes"
    )
    yield Figure(JOB, "files", COMPACTED, files, "")


def _copy_of(setup: Setup) -> Path:
    return setup.work / JOB / "compacted"


def _scans(setup: Setup) -> Iterator[Figure]:
    """Scan the small commits beside the same rows in one append, and beside the peers."""
    commits = setup.sizes.small_commits
    one = Ours(fresh(setup.work / JOB / "one-append"))
    one.create()
    one.append(pa.concat_tables([make_batch(nth, COMMIT_ROWS) for nth in range(commits)]))
    stores = {name: STORES[name](path_of(setup, name)) for name in setup.taking_part(WRITERS)}
    stores |= {ONE_APPEND: one, COMPACTED: Ours(_copy_of(setup))}
    relations = {name: store.relation() for name, store in stores.items()}
    for query in QUERIES:
        setup.say(f"{JOB}: {query.name}")
        texts = {
            n: text_of(query, Ours.name if n.startswith("ours") else n, commits * COMMIT_ROWS) for n in stores
        }
        check_equal(query, {name: relation.ask(texts[name]) for name, relation in relations.items()})
        yield from _beside(setup, query.name, relations, texts)
    yield from _beside(setup, "all rows, all columns", relations, dict.fromkeys(stores, ALL_ROWS))


def _beside(
    setup: Setup, what: str, relations: dict[str, Relation], texts: dict[str, str]
) -> Iterator[Figure]:
    calls = {name: (lambda r=relation, t=texts[name]: r.ask(t)) for name, relation in relations.items()}
    for name, taken in alternate(calls, setup.sizes.rounds).items():
        yield Figure(JOB, f"scan: {what}", name, median(taken), "ms")
