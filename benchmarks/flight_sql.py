"""Flight SQL beside plain pyarrow.flight: throughput, memory with a paused reader, hang-ups, and many clients. ADR 0041.

    PYTHONPATH=. python benchmarks/flight_sql.py [ROWS]

Both servers give the same rows of one Space out of DuckDB, each in a process of its own; the plain one knows a single query.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.servers.flight_sql.server import FlightSqlServer, Settings
from dreamdb_arrow.servers.running import BATCH_ROWS

SQL = "SELECT _anchor, n, x FROM hello"
ROUNDS = 5
CLIENTS, QUERIES = 32, 100
LONG = "SELECT range AS i, hash(range) AS h FROM range(10_000_000_000)"


class Plain(fl.FlightServerBase):
    """Gives the rows of SQL for any ticket, by a reader of DuckDB's alone."""

    def __init__(self, place: str) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._con = vd.connect(place)

    def do_get(self, context: Any, ticket: fl.Ticket) -> fl.FlightDataStream:  # noqa: ARG002
        return fl.RecordBatchStream(self._con.cursor().sql(SQL).to_arrow_reader(BATCH_ROWS))


def serve(kind: str, place: str, told: Connection) -> None:
    """Serve in this process until the end of it."""
    plain = kind == "plain"
    server = Plain(place) if plain else FlightSqlServer(Space(place), "grpc://127.0.0.1:0", Settings())
    told.send(server.port)
    server.serve()


@contextmanager
def serving(kind: str, place: str) -> Iterator[tuple[str, int]]:
    """Give the address and the process of a server."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(kind, place, theirs), daemon=True)
    process.start()
    try:
        yield f"grpc://127.0.0.1:{ours.recv()}", int(process.pid or 0)
    finally:
        process.kill()
        process.join()


def resident_mb(pid: int) -> float:
    """Return how many megabytes a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def cpu_seconds(pid: int) -> float:
    """Return how long a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def make_space(place: str, rows: int) -> None:
    """Make a Space of that many rows."""
    rng = np.random.default_rng(7)
    schema = vd.Schema().add_scalar_int("n").add_scalar_float("x")
    ds = vd.Dataset.create("hello", schema, backend=place)
    for begin in range(0, rows, 1_000_000):
        anchors = np.arange(begin + 1, min(begin + 1_000_000, rows) + 1)
        ds.append(pa.table({"_anchor": anchors, "n": anchors % 1000, "x": rng.random(len(anchors))}))


def seconds_of(read: Callable[[], int], rows: int) -> float:
    """Return how long one reading takes."""
    begun = time.perf_counter()
    assert read() == rows
    return time.perf_counter() - begun


def drain(reader: Any) -> int:
    """Read all batches and return how many rows there were."""
    return sum(batch.num_rows for batch in reader)


def throughput(place: str, rows: int) -> None:
    """Compare both servers, in turns."""
    with (
        serving("plain", place) as (plain, _),
        serving("sql", place) as (ours, _),
        fl.connect(plain) as client,
        adbc.connect(ours, autocommit=True) as con,
        con.cursor() as cursor,
    ):

        def by_flight() -> int:
            return drain(client.do_get(fl.Ticket(b"")).to_reader())

        def by_sql() -> int:
            cursor.execute(SQL)
            return drain(cursor.fetch_record_batch())

        both = [(seconds_of(by_flight, rows), seconds_of(by_sql, rows)) for _ in range(ROUNDS + 1)][1:]
    flight, sql = (statistics.median(one) for one in zip(*both, strict=True))
    print(
        f"plain Flight {rows / flight / 1e6:.1f} Mrows/s, Flight SQL {rows / sql / 1e6:.1f}: ratio {flight / sql:.2f}"
    )


def paused_and_gone(place: str) -> None:
    """Tell how a server's memory grows while nobody reads, and how much it computes after a client has gone."""
    with serving("sql", place) as (ours, pid):
        with adbc.connect(ours, autocommit=True) as con, con.cursor() as cursor:
            cursor.execute(LONG)
            reader = cursor.fetch_record_batch()
            for _ in range(20):
                reader.read_next_batch()
            before = resident_mb(pid)
            time.sleep(10)
            print(f"paused for 10 s: memory {before:.0f} MB, then {resident_mb(pid):.0f} MB")
        time.sleep(2)
        before_s = cpu_seconds(pid)
        time.sleep(2)
        print(f"2 s after the client has gone: {cpu_seconds(pid) - before_s:.2f} s of CPU in 2 s")


def many_clients(place: str) -> None:
    """Tell what many clients at once wait for."""
    times: list[float] = []
    ready = threading.Barrier(CLIENTS)

    def client(ours: str) -> None:
        with adbc.connect(ours, autocommit=True) as con, con.cursor() as cursor:
            ready.wait()
            for i in range(QUERIES):
                begun = time.perf_counter()
                cursor.execute("SELECT n FROM hello WHERE _anchor = ?", (i + 1,))
                assert cursor.fetchall() == [(i + 1,)]
                times.append(time.perf_counter() - begun)

    with serving("sql", place) as (ours, _), ThreadPoolExecutor(CLIENTS) as pool:
        begun = time.perf_counter()
        for done in [pool.submit(client, ours) for _ in range(CLIENTS)]:
            done.result()
        whole = time.perf_counter() - begun
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    print(
        f"{CLIENTS} clients x {QUERIES} queries, no error: {len(times) / whole:.0f}/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms"
    )


def main() -> None:
    """Run all of it."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/space"
        make_space(place, rows)
        throughput(place, rows)
        paused_and_gone(place)
        many_clients(place)


if __name__ == "__main__":
    main()
