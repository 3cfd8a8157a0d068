"""Scans of the table that ingest made: each query warm, peers taking turns, and in a new process, open included."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from benchmarks.jobs import ingest
from benchmarks.measure import Figure, alternate, in_child, median, milliseconds, run_program
from benchmarks.ours import Ours, Stripes
from benchmarks.peers import STORES
from benchmarks.rows import INT_MAX, START_NS, STEP_NS
from benchmarks.sizes import Setup, folder
from benchmarks.store import Relation

JOB: Final = "scans"
READERS: Final = (Ours.name, "parquet", Stripes.name, "lance", "duckdb", "delta")
COLD_READERS: Final = (Ours.name, "parquet", "lance", "duckdb")
PROGRAMS: Final = (Ours.name, "parquet", "lance")
SCALARS: Final = "_anchor, category, i, f, text"


@dataclass(frozen=True, slots=True)
class Query:
    """A query of `{t}`; `ours` where we have words of our own for the same. `whole` ones look at vectors too."""

    name: str
    sql: str
    ours: str | None = None
    whole: bool = False
    same: bool = True  # whether every right answer has the same rows


QUERIES: Final = (
    Query("count(*)", "SELECT count(*) AS n FROM {t}"),
    Query("GROUP BY", "SELECT category, avg(f) AS m, sum(i) AS s, count(*) AS n FROM {t} GROUP BY category"),
    Query(
        "time range, WHERE", f"SELECT {SCALARS} FROM {{t}} WHERE _anchor >= {{low}} AND _anchor < {{high}}"
    ),
    Query(
        "time range, t0 and t1",
        f"SELECT {SCALARS} FROM {{t}} WHERE _anchor >= {{low}} AND _anchor < {{high}}",
        f"SELECT {SCALARS} FROM dreamdb_scan('bench', t0 := {{low}}, t1 := {{high}})",
    ),
    Query("filter", f"SELECT {SCALARS} FROM {{t}} WHERE category = 'c07' AND i < {INT_MAX // 10}"),
    Query("top 100", f"SELECT {SCALARS} FROM {{t}} ORDER BY f DESC LIMIT 100"),
    Query("LIMIT 10", f"SELECT {SCALARS} FROM {{t}} LIMIT 10", same=False),
    Query("SELECT * of 10 rows", "SELECT * FROM {t} LIMIT 10", whole=True, same=False),
)
BY_NAME: Final = {query.name: query for query in QUERIES}


def run(setup: Setup) -> Iterator[Figure]:
    """Yield the milliseconds of each query and reader, warm and cold."""
    names = setup.taking_part(READERS)
    ensure_tables(setup, names)
    relations = {name: STORES[name](path_of(setup, name)).relation() for name in names}
    for query in QUERIES:
        setup.say(f"{JOB}: {query.name}")
        yield from _warm(setup, query, relations)
    for query in QUERIES:
        setup.say(f"{JOB}: {query.name}, new processes")
        yield from _cold(setup, query)
    yield from _programs(setup)


def ensure_tables(setup: Setup, names: list[str]) -> None:
    """Make the tables that ingest has not left behind."""
    written = [name for name in names if name != Stripes.name]
    if lacking := [name for name in written if not path_of(setup, name).exists()]:
        ingest.write_all(setup, lacking)


def path_of(setup: Setup, name: str) -> Path:
    """Return the folder that a reader reads."""
    return folder(setup.work, ingest.JOB, Ours.name if name == Stripes.name else name)


def text_of(query: Query, name: str, rows: int) -> str:
    """Return the query for a reader: the range is 0.1% of the rows, in the middle."""
    low = START_NS + rows // 2 * STEP_NS
    text = query.ours if query.ours and name == Ours.name else query.sql
    return text.replace("{low}", str(low)).replace("{high}", str(low + max(1, rows // 1000) * STEP_NS))


def _warm(setup: Setup, query: Query, relations: dict[str, Relation]) -> Iterator[Figure]:
    fit = {
        n: r for n, r in relations.items() if not (query.whole and n == Stripes.name)
    }  # stripes hold no vectors
    texts = {name: text_of(query, name, setup.sizes.rows) for name in fit}
    check_equal(query, {name: relation.ask(texts[name]) for name, relation in fit.items()})
    calls = {name: (lambda r=relation, t=texts[name]: r.answer(t)) for name, relation in fit.items()}
    for name, taken in alternate(calls, setup.sizes.rounds, warm=True).items():
        yield Figure(JOB, f"{query.name}, warm", name, median(taken), "ms")


def check_equal(query: Query, answers: dict[str, pa.Table]) -> None:
    """Raise RuntimeError when two do not answer a query alike; a fast wrong answer is worth nothing."""
    told = {name: _rows(table) if query.same else table.num_rows for name, table in answers.items()}
    first = next(iter(told))
    for name, rows in told.items():
        if rows != told[first]:
            raise RuntimeError(f"{query.name}: {name} does not answer as {first} does")


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    columns = [table[name].to_pylist() for name in sorted(table.column_names)]
    return sorted(tuple(map(_rounded, row)) for row in zip(*columns, strict=True))


def _rounded(value: Any) -> Any:
    """Sums of floats differ by the order in which threads add them."""
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value


def _cold(setup: Setup, query: Query) -> Iterator[Figure]:
    names = setup.taking_part(COLD_READERS)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(setup.sizes.colds):
        for name in names:
            here = [name, str(path_of(setup, name)), query.name, setup.sizes.rows]
            taken[name].append(in_child("benchmarks.jobs.scans:first_answer", *here))
    for name, times in taken.items():
        yield Figure(JOB, f"{query.name}, cold", name, median(times), "ms")


def _programs(setup: Setup) -> Iterator[Figure]:
    """Yield what a small program takes from its start to its end, imports and all."""
    names = setup.taking_part(PROGRAMS)
    calls = {name: partial(run_program, STORES[name](path_of(setup, name)).program()) for name in names}
    told = {name: call() for name, call in calls.items()}  # compiles what was never imported
    if len(set(told.values())) != 1:
        raise RuntimeError(f"programs that count rows differ: {told}")
    for name, taken in alternate(calls, setup.sizes.colds).items():
        yield Figure(JOB, "count(*), a program", name, median(taken), "ms")


def first_answer(name: str, path: str, query: str, rows: int) -> float:
    """Return the milliseconds from nothing but imports to the answer of a query."""
    text = text_of(BY_NAME[query], name, rows)
    store = STORES[name](Path(path))
    store.load()
    return milliseconds(lambda: store.relation().answer(text))
