"""Reference: a Space that the SDK `dreamdb` 0.0.16 wrote, read through ours: the first time, and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

import dreamdb_arrow as vd
from benchmarks.measure import Figure, fresh, in_child, median, milliseconds
from benchmarks.rows import DIM, INT_MAX, make_batch
from benchmarks.sizes import Setup
from benchmarks.store import Relation

JOB: Final = "reference"
SDK: Final = "dreamdb"
REF: Final = "bench"
BATCH_ROWS: Final = 500
QUERIES: Final = {
    "count(*)": "SELECT count(*) AS n FROM {t}",
    "GROUP BY": "SELECT category, avg(f) AS m, sum(i) AS s FROM {t} GROUP BY category",
    "filter": f"SELECT _anchor, text FROM {{t}} WHERE category = 'c07' AND i < {INT_MAX // 10}",
}


def run(setup: Setup) -> Iterator[Figure]:
    """Yield the milliseconds of queries in a new process with an empty cache, in another with a full one, and then."""
    if find_spec(SDK) is None:
        setup.tell(f"{JOB}: skipped, the package {SDK} is not installed")
        return
    path, rows = fresh(setup.work / JOB / "space"), setup.sizes.reference_rows
    setup.say(f"{JOB}: the SDK writes {rows:,} rows")
    started = time.perf_counter()
    in_child("benchmarks.jobs.reference:write", str(path), rows)
    yield Figure(JOB, "ingest, rows a second", SDK, rows / (time.perf_counter() - started), "rows/s")
    for name, sql in QUERIES.items():
        setup.say(f"{JOB}: {name}")
        cache = str(setup.work / JOB / "cache")
        colds = [_asked(path, cache, sql, rows, empty=True)["first"] for _ in range(setup.sizes.colds)]
        again = [_asked(path, cache, sql, rows, empty=False) for _ in range(setup.sizes.colds)]
        yield Figure(JOB, f"{name}, empty cache", "ours", median(colds), "ms")
        yield Figure(JOB, f"{name}, new process", "ours", median([each["first"] for each in again]), "ms")
        yield Figure(JOB, f"{name}, warm", "ours", median([each["warm"] for each in again]), "ms")
    taken = in_child("benchmarks.jobs.reference:sdk_count", str(path))
    yield Figure(JOB, "count(*), new process", SDK, taken, "ms")


def _asked(path: Path, cache: str, sql: str, rows: int, *, empty: bool) -> dict[str, float]:
    if empty:
        fresh(Path(cache))
    answer = in_child("benchmarks.jobs.reference:ask", str(path), cache, sql)
    if "count(*)" in sql and answer["n"] != rows:
        raise RuntimeError(f"the SDK wrote {rows} rows, we count {answer['n']}")
    return answer


def write(path: str, rows: int) -> None:
    """Write the made table with the SDK, some hundred rows a commit."""
    sdk = import_module(SDK)
    schema = sdk.Schema().add_embedding("vec", dim=DIM).add_scalar_categorical("category")
    schema = schema.add_scalar_int("i").add_scalar_float("f").add_scalar_string("text")
    Path(path).mkdir(parents=True)
    dataset = sdk.Dataset.create(REF, schema, backend=f"file://{path}")
    for nth in range(max(1, rows // BATCH_ROWS)):
        dataset.append_many(samples(nth, min(rows, BATCH_ROWS)))


def samples(nth: int, size: int) -> list[dict[str, Any]]:
    """Return batch `nth` of the made table as the SDK takes it."""
    batch = make_batch(nth, size)
    vectors = np.asarray(batch["vec"].combine_chunks().flatten()).reshape(-1, DIM)
    return [row | {"vec": v} for row, v in zip(batch.drop(["vec"]).to_pylist(), vectors, strict=True)]


def ask(path: str, cache: str, sql: str) -> dict[str, float]:
    """Return how long a query takes, open included, and the median of five more, in ms; `n` is the count, if it counts."""
    connect = vd.connect
    started = time.perf_counter()
    relation = Relation(connect(path, cache_dir=cache), f"dreamdb_scan('{REF}')")
    table = relation.ask(sql)
    first = (time.perf_counter() - started) * 1e3
    warm = median([milliseconds(lambda: relation.answer(sql)) for _ in range(5)])
    return {
        "first": first,
        "warm": warm,
        "n": table["n"][0].as_py() if "n" in table.column_names else table.num_rows,
    }


def sdk_count(path: str) -> float:
    """Return how long the SDK takes to open its Space and count, in ms."""
    sdk = import_module(SDK)
    return milliseconds(lambda: sdk.Dataset.open(REF, backend=f"file://{path}").count())
