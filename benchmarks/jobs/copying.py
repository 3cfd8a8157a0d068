"""COPY: rows of a DuckDB table to a Ref that is new, to one that is there, and to a plain Parquet file, taking turns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import dreamdb_arrow as vd
from benchmarks.measure import Figure, alternate, disk_use, fresh, median
from benchmarks.sizes import Setup

JOB: Final = "copying"
RATE, SIZE = "rows a second", "bytes a row on disk"
PLAIN: Final = "a Parquet file"
NEW, THERE = WHO = ("ours, a new Ref", "ours, a Ref that is there")
MADE: Final = "SELECT range AS i, (range * 7919) % 100 AS k, random() AS f, 'label ' || (range % 50) AS label FROM range({rows})"
OTHERS: Final = {  # tables whose rows have less, or more
    "one column": "SELECT range AS i FROM range({rows})",
    "numbers": "SELECT range AS i, random() AS a, random() AS b, random() AS c, random() AS d FROM range({rows})",
    "digests": "SELECT range AS i, random() AS f, md5(range::VARCHAR) AS text FROM range({rows})",
}


def run(setup: Setup) -> Iterator[Figure]:
    """Yield rows a second of each, table by table."""
    rows, rounds = setup.sizes.rows, 2 * setup.sizes.rounds + 1
    yield from _copied(setup, f"{RATE}, COPY of {rows:,} rows", MADE, rounds, sizes=True)
    for name, text in OTHERS.items():
        yield from _copied(setup, f"{RATE}, {name}", text, setup.sizes.rounds)


def _copied(setup: Setup, name: str, made: str, rounds: int, *, sizes: bool = False) -> Iterator[Figure]:
    rows, folder = setup.sizes.rows, fresh(setup.work / JOB)
    setup.say(f"{JOB}: {name}")
    con = vd.connect(folder / "space", create=True, cache_dir=folder / "cache")
    con.execute(f"CREATE TABLE made AS {made.format(rows=rows)}")
    numbers = itertools.count()

    def copy(target: str) -> None:
        con.execute(f"COPY made TO '{target}' (FORMAT parquet)")

    copy("dreamdb://there")
    calls = {
        NEW: lambda: copy(f"dreamdb://new/{next(numbers)}"),
        THERE: lambda: copy("dreamdb://there"),
        PLAIN: lambda: copy(str(folder / f"{next(numbers)}.parquet")),
    }
    for who, taken in alternate(calls, rounds).items():
        yield Figure(JOB, name, who, rows / median(taken) * 1e3, "rows/s")
    con.close()
    if sizes:
        copies = 1 + 2 * (rounds + 1)
        yield Figure(JOB, SIZE, "ours", disk_use(folder / "space")[0] / copies / rows, "bytes")
        yield Figure(JOB, SIZE, PLAIN, next(folder.glob("*.parquet")).stat().st_size / rows, "bytes")
