"""Deletes: 1% of the rows go; scans of the Space without, with, and after `compact`, taking turns.

Each state is a Ref of its own, so that all three are asked in one run: the table as it is, a branch with the deletes, and a
branch of that which was compacted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dreamdb_arrow as vd
from benchmarks.jobs import scans, versions
from benchmarks.measure import Figure, alternate, median, milliseconds
from benchmarks.ours import REF, Ours
from benchmarks.peers import STORES
from benchmarks.rows import all_anchors, pick_anchors
from benchmarks.sizes import Setup
from benchmarks.store import Relation

JOB: Final = "deletes"
PEERS: Final = ("lance", "duckdb", "delta")
BEFORE, DELETED, COMPACTED = "before", "1% deleted", "compacted"


def run(setup: Setup) -> Iterator[Figure]:
    """Yield the milliseconds of a delete and of scans, for the table of ingest and for the one of small commits."""
    sizes = setup.sizes
    scans.ensure_tables(setup, [Ours.name])
    if not versions.path_of(setup, Ours.name).exists():
        versions.write_small(setup)
    large, small = scans.path_of(setup, Ours.name), versions.path_of(setup, Ours.name)
    yield from _states(setup, large, sizes.rows, sizes.commits)
    yield from _states(setup, small, sizes.small_commits * versions.COMMIT_ROWS, sizes.small_commits)
    yield from _peers(setup)


def _states(setup: Setup, path: Path, rows: int, commits: int) -> Iterator[Figure]:
    what = f"{rows:,} rows in {commits:,} commits"
    setup.say(f"{JOB}: {what}")
    anchors = pick_anchors(all_anchors(rows, commits), rows // 100)
    deleted = _branches_off(Ours(path).dataset_at())
    delete_ms = milliseconds(lambda: deleted.delete(anchors))
    compact_ms = milliseconds(deleted.branch("compacted").compact)
    con = vd.connect(str(path), cache_dir=Ours(path).cache)
    refs = {BEFORE: REF, DELETED: "deleted", COMPACTED: "compacted"}
    relations = {state: Relation(con, f"dreamdb_scan('{ref}')") for state, ref in refs.items()}
    for query in scans.QUERIES:
        yield from _scanned(setup, query, what, relations, rows)
    yield Figure(JOB, f"delete 1% of {what}", f"ours, {DELETED}", delete_ms, "ms")
    yield Figure(JOB, f"compact {what}", f"ours, {COMPACTED}", compact_ms, "ms")


def _branches_off(dataset: vd.Dataset) -> vd.Dataset:
    """Return a branch of the table, once those of an earlier run are gone."""
    for name in set(dataset.list_refs()) & {"deleted", "compacted"}:
        dataset.delete_ref(name)
    return dataset.branch("deleted")


def _scanned(
    setup: Setup, query: scans.Query, what: str, relations: dict[str, Relation], rows: int
) -> Iterator[Figure]:
    text = scans.text_of(query, "", rows)
    scans.check_equal(query, {state: relations[state].ask(text) for state in (DELETED, COMPACTED)})
    calls = {state: (lambda r=relation: r.answer(text)) for state, relation in relations.items()}
    for state, taken in alternate(calls, setup.sizes.rounds).items():
        yield Figure(JOB, f"{query.name}, {what}", f"ours, {state}", median(taken), "ms")


def _peers(setup: Setup) -> Iterator[Figure]:
    commits = setup.sizes.small_commits
    rows = commits * versions.COMMIT_ROWS
    anchors = pick_anchors(all_anchors(rows, commits), rows // 100)
    for name in setup.taking_part(PEERS):
        setup.say(f"{JOB}: {name}")
        store = STORES[name](versions.path_of(setup, name))
        store.load()
        taken = milliseconds(lambda s=store: s.delete(anchors))
        yield Figure(JOB, f"delete 1% of {rows:,} rows in {commits:,} commits", name, taken, "ms")
