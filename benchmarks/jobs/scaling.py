"""Scaling: ten times the rows, and ten times more; what ingest, a time range, one row and an open cost then.

Scalars only, in commits of one size. The tables grow side by side: while the first gets a commit, the others get ten and a
hundred, so that all meet the same noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.measure import Figure, alternate, fresh, in_child, median, milliseconds
from benchmarks.ours import REF, OursUnsynced
from benchmarks.rows import SCALAR_SCHEMA, START_NS, STEP_NS, anchors_of, scalar_batch
from benchmarks.sizes import Setup

JOB: Final = "scaling"
RANGE_ROWS: Final = 1000
FIXED_RANGE: Final = f"time range of {RANGE_ROWS:,} rows"
SCALARS: Final = "_anchor, category, i, f, text"
MORE_ROUNDS: Final = 5  # what takes a millisecond is asked more often


def run(setup: Setup) -> Iterator[Figure]:
    """Yield seconds and milliseconds for each number of rows."""
    stores = {rows: OursUnsynced(_path(setup, rows), SCALAR_SCHEMA) for rows in setup.sizes.scaling}
    for rows, seconds in _ingest(setup, stores).items():
        yield Figure(JOB, "ingest", who(rows), seconds, "s")
    rounds = setup.sizes.rounds * MORE_ROUNDS
    for name, calls in _questions(setup, stores).items():
        setup.say(f"{JOB}: {name}")
        for rows, taken in alternate(calls, rounds).items():
            yield Figure(JOB, name, who(int(rows)), median(taken), "ms")
    yield from _opens(setup, stores)


def who(rows: int) -> str:
    """Return the column of a number of rows."""
    return f"{rows:,} rows"


def _path(setup: Setup, rows: int) -> Path:
    return fresh(setup.work / JOB / str(rows))


def _ingest(setup: Setup, stores: dict[int, OursUnsynced]) -> dict[int, float]:
    size, seconds = setup.sizes.scaling_commit, {}
    for rows, store in stores.items():
        seconds[rows] = milliseconds(store.create) / 1e3
    steps = min(stores) // size
    for step in range(steps):
        setup.say(f"{JOB}: step {step + 1} of {steps}")
        for rows, store in stores.items():
            share = rows // min(stores)
            for nth in range(step * share, (step + 1) * share):
                batch = scalar_batch(nth, size)
                seconds[rows] += milliseconds(lambda s=store, b=batch: s.append(b)) / 1e3
    return seconds


def _questions(setup: Setup, stores: dict[int, OursUnsynced]) -> dict[str, dict[str, Callable[[], object]]]:
    relations = {str(rows): store.relation() for rows, store in stores.items()}
    datasets = {str(rows): store.dataset_at() for rows, store in stores.items()}
    keys = {rows: [_anchor_in_middle(setup, int(rows))] for rows in relations}
    fixed = {rows: _range(int(rows), RANGE_ROWS) for rows in relations}
    share = {rows: _range(int(rows), int(rows) // 1000) for rows in relations}
    one = {rows: (lambda d=d, k=keys[rows]: d.take(k)) for rows, d in datasets.items()}
    return {
        FIXED_RANGE: {r: (lambda x=x, t=fixed[r]: x.answer(t)) for r, x in relations.items()},
        "time range of 0.1%": {r: (lambda x=x, t=share[r]: x.answer(t)) for r, x in relations.items()},
        "one row": one,
    }


def _anchor_in_middle(setup: Setup, rows: int) -> int:
    size = setup.sizes.scaling_commit
    return int(anchors_of(rows // size // 2, size)[0])


def _range(rows: int, count: int) -> str:
    low = START_NS + rows // 2 * STEP_NS
    return f"SELECT {SCALARS} FROM dreamdb_scan('{REF}', t0 := {low}, t1 := {low + count * STEP_NS})"


def _opens(setup: Setup, stores: dict[int, OursUnsynced]) -> Iterator[Figure]:
    taken: dict[int, list[float]] = {rows: [] for rows in stores}
    for _ in range(setup.sizes.opens):
        for rows, store in stores.items():
            taken[rows].append(in_child("benchmarks.jobs.scaling:open_once", str(store.path)))
    for rows, times in taken.items():
        yield Figure(JOB, "open, new process", who(rows), median(times), "ms")


def open_once(path: str) -> float:
    """Return the milliseconds until a handle knows its fields and its stripes."""
    store = OursUnsynced(Path(path), SCALAR_SCHEMA)
    store.load()
    return milliseconds(lambda: store.dataset_at().schema)
