"""Branches: 16 writers fill a branch each, one merge unites them; beside one append of the same rows. Spec 0008."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

import dreamdb_arrow as vd
from benchmarks.jobs.reference import SDK, samples
from benchmarks.measure import Figure, fresh, in_child, median, milliseconds
from benchmarks.ours import REF, Ours
from benchmarks.rows import make_batch
from benchmarks.sizes import Setup

JOB: Final = "branches"
BRANCHES: Final = tuple(f"worker-{nth}" for nth in range(16))
WRITTEN_BY: Final = ("ours", "half each", SDK)


def run(setup: Setup) -> Iterator[Figure]:
    """Yield the milliseconds of one append, and of merges of branches that either SDK wrote; rows are compared."""
    rows, times = setup.sizes.branch_rows, setup.sizes.merges
    one = setup.work / JOB / "one-append"
    setup.say(f"{JOB}: one append")
    appends = [in_child("benchmarks.jobs.branches:append", str(fresh(one)), rows) for _ in range(times)]
    what = f"{len(BRANCHES)} x {rows:,} rows"
    yield Figure(JOB, f"one append of {what}", "ours", median(appends), "ms")
    for who in WRITTEN_BY if find_spec(SDK) else WRITTEN_BY[:1]:
        place, taken = setup.work / JOB / who.replace(" ", "-"), []
        for nth in range(times):
            setup.say(f"{JOB}: branches written by {who}, {nth + 1} of {times}")
            in_child("benchmarks.jobs.branches:write", str(fresh(place)), rows, who)
            taken.append(in_child("benchmarks.jobs.branches:merge", str(place)))
        in_child("benchmarks.jobs.branches:compare", str(place), str(one), who != "ours")
        yield Figure(JOB, f"merge_many of {what}", f"branches written by {who}", median(taken), "ms")


def append(path: str, rows: int) -> float:
    """Return the milliseconds of one append of all rows, opening included."""
    Ours(Path(path)).create()
    table = pa.concat_tables([make_batch(nth, rows) for nth in range(len(BRANCHES))])
    return milliseconds(lambda: Ours(Path(path)).dataset_at().append(table))


def write(path: str, rows: int, who: str) -> None:
    """Write a branch for each worker: all by us, all by the SDK, or by both in turn."""
    store = Ours(Path(path))
    store.create()
    for nth, name in enumerate(BRANCHES):
        branch = store.dataset.branch(name)
        if who == "ours" or (who != SDK and nth % 2):
            branch.append(make_batch(nth, rows))
        else:
            _write_by_sdk(path, name, nth, rows)


def _write_by_sdk(path: str, name: str, nth: int, rows: int) -> None:
    import_module(SDK).Dataset.open_ref(name, f"file://{path}").append_many(samples(nth, rows))


def merge(path: str) -> float:
    """Return the milliseconds of a merge of all branches, opening included."""
    return milliseconds(lambda: Ours(Path(path)).dataset_at().merge_many(list(BRANCHES)))


def compare(path: str, other: str, read_by_sdk: bool) -> None:
    """Fail unless two Spaces show the same rows, and the SDK, where it is asked, as many."""
    tables = [_content(Ours(Path(each)).dataset_at()) for each in (path, other)]
    if not tables[0].equals(tables[1]):
        raise RuntimeError(f"the merge shows {len(tables[0])} rows, not those {len(tables[1])} that went in")
    if read_by_sdk:
        Ours(Path(path)).dataset_at().flush()
        count = import_module(SDK).Dataset.open(REF, backend=f"file://{path}").count()
        if count != len(tables[0]):
            raise RuntimeError(f"the SDK counts {count} rows of {len(tables[0])}")


def _content(dataset: vd.Dataset) -> pa.Table:
    table = dataset.to_arrow()
    plain = [pc.cast(c, pa.string()) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return pa.table(plain, names=table.column_names).combine_chunks()
