"""Memory: the peak of appending a stream as one commit, and of a full scan with aggregation, each in a new process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from benchmarks.measure import Figure, disk_use, fresh, in_child, milliseconds
from benchmarks.ours import Ours
from benchmarks.rows import SCHEMA, make_batch
from benchmarks.sizes import Setup
from dreamdb_arrow.testing.memory import peak_bytes

JOB: Final = "memory"
BATCH_ROWS: Final = 20_000
GIGA: Final = 1_000_000_000
ENGINE_LIMIT_GB: Final = 1.0  # DuckDB's memory_limit in the scans
SCANS: Final = {
    "scan of the scalars": "SELECT category, count(*) AS n, avg(f) AS m, max(text) AS x FROM {t} GROUP BY category",
    "scan of all columns": "SELECT category, avg(f) AS m, avg(vec[1]) AS v FROM {t} GROUP BY category",
}
SCAN_PEAKS: Final = tuple(f"{name}: peak above imports" for name in SCANS)


def run(setup: Setup) -> Iterator[Figure]:
    """Yield gigabytes above a process that only imports, and seconds."""
    here = [str(fresh(setup.work / JOB / "space"))]
    rows = max(BATCH_ROWS, int(setup.sizes.stream_gb * GIGA / row_bytes()) // BATCH_ROWS * BATCH_ROWS)
    base = in_child("benchmarks.jobs.memory:imports", *here)["peak"]
    setup.say(f"{JOB}: appending {rows:,} rows")
    done = in_child("benchmarks.jobs.memory:append", *here, rows)
    note = f"{rows:,} rows, {rows * row_bytes() / GIGA:.3g} GB, one commit"
    yield from _figures("append of a stream", done, base, note)
    yield Figure(JOB, "bytes a row on disk", "ours", disk_use(Path(here[0]))[0] / rows, "bytes", note)
    for name, sql in SCANS.items():
        setup.say(f"{JOB}: {name}")
        done = in_child("benchmarks.jobs.memory:scan", *here, sql)
        yield from _figures(name, done, base, f"memory_limit of DuckDB: {ENGINE_LIMIT_GB} GB")


def row_bytes() -> float:
    """Return the bytes of a row in Arrow."""
    return make_batch(0, BATCH_ROWS).nbytes / BATCH_ROWS


def _figures(name: str, done: dict[str, float], base: float, note: str) -> Iterator[Figure]:
    yield Figure(JOB, f"{name}: peak above imports", "ours", (done["peak"] - base) / GIGA, "GB", note)
    yield Figure(JOB, f"{name}: seconds", "ours", done["ms"] / 1e3, "s")


def imports(path: str) -> dict[str, float]:
    """Return the peak of a process that imports all, makes one batch, and does nothing."""
    Ours(Path(path)).load()
    make_batch(0, BATCH_ROWS)
    return {"peak": peak_bytes()}


def append(path: str, rows: int) -> dict[str, float]:
    """Append a stream of batches that are made as they are asked for."""
    store = Ours(Path(path))
    store.create()
    batches = (b for nth in range(rows // BATCH_ROWS) for b in make_batch(nth, BATCH_ROWS).to_batches())
    reader = pa.RecordBatchReader.from_batches(SCHEMA, batches)
    return _peak(lambda: store.dataset.append(reader))


def scan(path: str, sql: str) -> dict[str, float]:
    """Ask, with DuckDB's memory limited."""
    relation = Ours(Path(path)).relation()
    relation.con.execute(f"SET memory_limit = '{ENGINE_LIMIT_GB}GB'")
    return _peak(lambda: relation.ask(sql))


def _peak(call: Any) -> dict[str, float]:
    return {"ms": milliseconds(call), "peak": peak_bytes()}
