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
from benchmarks.ours import REF, Ours, our_schema
from benchmarks.rows import SCHEMA, make_batch
from benchmarks.sizes import Setup

JOB: Final = "branches"
BRANCHES: Final = tuple(f"worker-{nth}" for nth in range(16))
WRITTEN_BY: Final = ("ours", "half each", SDK)
WRITTEN: Final = "branches written by "


def run(setup: Setup) -> Iterator[Figure]:
    """Yield the milliseconds of one append, and of merges of branches that either SDK wrote; rows are compared.

    Beside the append of rows alone stand one that also brings the Tracks up to date, and the SDK's own, which writes nothing
    but Tracks: what the branches that it wrote hold.
    """
    rows, times = setup.sizes.branch_rows, setup.sizes.merges
    one = setup.work / JOB / "one-append"
    what = f"{len(BRANCHES)} x {rows:,} rows"
    for flush, who, often in (("manual", "ours", times), ("commit", "ours, Tracks too", 1)):
        setup.say(f"{JOB}: one append, {who}")
        path = one if flush == "manual" else one.with_name("one-append-flushed")
        taken = [
            in_child("benchmarks.jobs.branches:append", str(fresh(path)), rows, flush) for _ in range(often)
        ]
        yield Figure(JOB, f"one append of {what}", who, median(taken), "ms")
    if find_spec(SDK):
        setup.say(f"{JOB}: one append, the SDK")
        taken = [
            in_child(
                "benchmarks.jobs.branches:append_by_sdk", str(fresh(setup.work / JOB / "sdk-append")), rows
            )
        ]
        yield Figure(JOB, f"one append of {what}", SDK, median(taken), "ms")
    for who in WRITTEN_BY if find_spec(SDK) else WRITTEN_BY[:1]:
        place = setup.work / JOB / who.replace(" ", "-")
        setup.say(f"{JOB}: branches written by {who}")
        in_child("benchmarks.jobs.branches:write", str(fresh(place)), rows, who)
        taken = [in_child("benchmarks.jobs.branches:merge", str(place), f"m{nth}") for nth in range(times)]
        in_child("benchmarks.jobs.branches:compare", str(place), str(one), who != WRITTEN_BY[0])
        yield Figure(JOB, f"merge_many of {what}", f"{WRITTEN}{who}", median(taken), "ms")


def append(path: str, rows: int, flush: str) -> float:
    """Return the milliseconds of one append of all rows."""
    table = pa.concat_tables([make_batch(nth, rows) for nth in range(len(BRANCHES))])
    dataset = vd.Dataset.create(REF, our_schema(SCHEMA.names), flush=flush, **Ours(Path(path)).options())
    return milliseconds(lambda: dataset.append(table))


def append_by_sdk(path: str, rows: int) -> float:
    """Return the milliseconds of one append of all rows by the SDK."""
    Ours(Path(path)).create()
    table = [sample for nth in range(len(BRANCHES)) for sample in samples(nth, rows)]
    dataset = import_module(SDK).Dataset.open_ref(REF, f"file://{path}")
    return milliseconds(lambda: dataset.append_many(table))


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


def merge(path: str, name: str) -> float:
    """Return the milliseconds of a merge of all branches into a new one."""
    trunk = Ours(Path(path)).dataset_at().branch(name)
    return milliseconds(lambda: trunk.merge_many(list(BRANCHES)))


def compare(path: str, other: str, read_by_sdk: bool) -> None:
    """Fail unless a merge shows the rows of the one append, and the SDK, where it is asked, counts as many."""
    here = Ours(Path(path)).dataset_at()
    here.merge_many(list(BRANCHES))
    tables = [_content(dataset) for dataset in (here, Ours(Path(other)).dataset_at())]
    if not tables[0].equals(tables[1]):
        raise RuntimeError(f"the merge shows {len(tables[0])} rows, not those {len(tables[1])} that went in")
    if read_by_sdk:
        here.flush()
        count = import_module(SDK).Dataset.open(REF, backend=f"file://{path}").count()
        if count != len(tables[0]):
            raise RuntimeError(f"the SDK counts {count} rows of {len(tables[0])}")


def _content(dataset: vd.Dataset) -> pa.Table:
    table = dataset.to_arrow()
    plain = [pc.cast(c, pa.string()) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return pa.table(plain, names=table.column_names).combine_chunks()
