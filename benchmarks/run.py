"""Run the jobs and print one table: ours beside the peer, in one run. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import dreamdb_arrow as vd

sys.path.insert(0, str(Path(__file__).parent))
from rows import DIM, START_NS, STEP_NS, batches

SCHEMA = (
    vd.Schema()
    .add_scalar_categorical("category")
    .add_scalar_int("n")
    .add_scalar_float("x")
    .add_scalar_string("text")
    .add_embedding("v", dim=DIM)
)
QUERIES = {
    "count(*)": "SELECT count(*) FROM {t}",
    "GROUP BY": "SELECT category, avg(x), sum(n) FROM {t} GROUP BY 1",
    "0.1% time range": "SELECT count(*), sum(x) FROM {t} WHERE _anchor >= {low} AND _anchor < {high}",
    "selective filter": "SELECT count(*), sum(x) FROM {t} WHERE n < 1099511627",
    "top 100": "SELECT _anchor, x FROM {t} ORDER BY x DESC LIMIT 100",
    "LIMIT 10": "SELECT _anchor, text FROM {t} LIMIT 10",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--commits", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--work", type=Path, default=None, help="scratch folder (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "latest.jsonl")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="dreamdb-bench-"))
    try:
        lines = [*ingest(args, work), *scan(args, work), *search(args, work)]
    finally:
        if args.work is None:
            shutil.rmtree(work, ignore_errors=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("".join(json.dumps({**line, **about(args)}) + "\n" for line in lines))
    print(table(lines))


def about(args: argparse.Namespace) -> dict[str, object]:
    return {
        "rows": args.rows,
        "commits": args.commits,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }


# ---------------------------------------------------------------- ingest


def ingest(args: argparse.Namespace, work: Path) -> Iterator[dict]:
    """Ours and the peers take turns, batch by batch, so that noise of the machine meets all alike."""
    plain, synced = work / "plain", work / "plain-fsync"
    for folder in (plain, synced):
        folder.mkdir(parents=True)
    options = {"cache_dir": work / "cache"}
    ours = vd.Dataset.create("bench", SCHEMA, backend=str(work / "space"), **options)
    unsynced = vd.Dataset.create("bench", SCHEMA, backend=str(work / "space-unsynced"), sync=False, **options)
    writers: dict[str, Callable[[pa.Table, int], object]] = {
        "dreamdb_arrow": lambda t, _: ours.append(t),
        "dreamdb_arrow, sync=False": lambda t, _: unsynced.append(t),
        "parquet": lambda t, i: write_parquet(t, plain / f"{i:05d}.parquet", sync=False),
        "parquet + fsync": lambda t, i: write_parquet(t, synced / f"{i:05d}.parquet", sync=True),
    }
    times: dict[str, list[float]] = {name: [] for name in writers}
    for i, batch in enumerate(batches(args.rows, args.commits)):
        for name, write in writers.items():
            started = time.perf_counter()
            write(batch, i)
            times[name].append(time.perf_counter() - started)
    for name, taken in times.items():
        peer = "parquet" if "sync=False" in name or name == "parquet" else "parquet + fsync"
        yield {
            "job": "ingest, rows/s",
            "name": name,
            "value": args.rows / sum(taken),
            "ratio": sum(times[peer]) / sum(taken),
            "better": "higher",
            "note": f"median commit {statistics.median(taken) * 1e3:.1f} ms, ratio to {peer}",
        }


def write_parquet(batch: pa.Table, path: Path, *, sync: bool) -> None:
    pq.write_table(batch, path, compression="zstd")
    if sync:
        with path.open("rb") as file:
            os.fsync(file.fileno())


# ---------------------------------------------------------------- scan


def scan(args: argparse.Namespace, work: Path) -> Iterator[dict]:
    con = vd.connect(str(work / "space"), cache_dir=work / "cache")
    low = START_NS + args.rows // 2 * STEP_NS
    sources = {"dreamdb_arrow": "dreamdb_scan('bench')", "parquet": f"read_parquet('{work}/plain/*.parquet')"}
    for job, sql in QUERIES.items():
        texts = {
            n: sql.format(t=t, low=low, high=low + args.rows // 1000 * STEP_NS) for n, t in sources.items()
        }
        times = {name: [] for name in texts}
        answers = {name: sorted(map(str, con.execute(text).fetchall())) for name, text in texts.items()}
        if "LIMIT" not in sql:
            assert rounded(con, texts["dreamdb_arrow"]) == rounded(con, texts["parquet"]), (job, answers)
        for _ in range(args.rounds):
            for name, text in texts.items():
                started = time.perf_counter()
                con.execute(text).fetchall()
                times[name].append(time.perf_counter() - started)
        yield from beside(f"scan: {job}, ms", times)


def rounded(con: duckdb.DuckDBPyConnection, text: str) -> list[tuple]:
    return sorted(
        tuple(round(v, 4) if isinstance(v, float) else v for v in row) for row in con.execute(text).fetchall()
    )


def beside(job: str, times: dict[str, list[float]]) -> Iterator[dict]:
    medians = {name: statistics.median(taken) * 1e3 for name, taken in times.items()}
    peer = list(medians.values())[-1]
    for name, value in medians.items():
        yield {"job": job, "name": name, "value": value, "ratio": value / peer, "better": "lower", "note": ""}


# ---------------------------------------------------------------- search


def search(args: argparse.Namespace, work: Path) -> Iterator[dict]:
    con = vd.connect(str(work / "space"), cache_dir=work / "cache")
    matrix = np.concatenate(
        [
            np.asarray(b["v"].combine_chunks().flatten()).reshape(-1, DIM)
            for b in batches(args.rows, args.commits)
        ]
    )
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {"dreamdb_knn, exact": [], "numpy": []}
    for _ in range(args.rounds):
        query = rng.standard_normal(DIM, dtype=np.float32)
        started = time.perf_counter()
        hits = con.execute("SELECT _anchor FROM dreamdb_knn('bench', 'v', ?, k := 10)", [query]).fetchall()
        times["dreamdb_knn, exact"].append(time.perf_counter() - started)
        started = time.perf_counter()
        scores = matrix @ query
        best = np.argpartition(-scores, 10)[:10]
        times["numpy"].append(time.perf_counter() - started)
        assert {a for (a,) in hits} == {START_NS + int(i) * STEP_NS for i in best}
    yield from beside("search: top 10, ms", times)


def table(lines: list[dict]) -> str:
    head = "| job | who | value | ratio to peer | note |\n| --- | --- | ---: | ---: | --- |"
    rows = [
        f"| {x['job']} | {x['name']} | {x['value']:,.1f} | {x['ratio']:.2f} | {x['note']} |" for x in lines
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    main()
