"""Bucket: a cold scan over SeaweedFS beside obstore's own `get_ranges` of the same bytes, and the scan when they are near."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any, Final

import numpy as np
import obstore
import pyarrow as pa
from obstore.store import S3Store

import dreamdb_arrow as vd
from benchmarks.measure import Figure, fresh
from benchmarks.sizes import Setup
from tests.servers import seaweed

JOB: Final = "bucket"
STRIPES: Final = 16
RANGE_BYTES: Final = 8 << 20
TOGETHER: Final = 16
ROUNDS: Final = 5
COLUMNS: Final = ("a", "b", "c", "d", "s")


def run(setup: Setup) -> Iterator[Figure]:
    """Yield milliseconds of a scan that reads all columns, cold and warm, and of the same bytes by obstore."""
    with seaweed(fresh(setup.work / JOB / "server")) as server:
        url = server.fresh()
        objects = _build(setup, url)
        client = _client(server.endpoint, url)
        size = sum(n for _, n in objects)
        raw, cold, warm = [], [], []
        for nth in range(ROUNDS):
            raw.append(_milliseconds(lambda: _get_all(client, objects)))
            cache = fresh(setup.work / JOB / f"cache-{nth}")
            cold.append(_milliseconds(lambda: _scan(url, cache)))  # noqa: B023 - called at once
            warm.append(_milliseconds(lambda: _scan(url, cache)))  # noqa: B023
    what = f"a scan of {STRIPES} stripes"
    yield Figure(JOB, what, "obstore get_ranges, the same bytes", median(raw), "ms")
    yield Figure(JOB, what, "ours, cold", median(cold), "ms")
    yield Figure(JOB, what, "ours, out of the cache", median(warm), "ms")
    yield Figure(JOB, "bytes", "ours", float(size), "bytes")


def _build(setup: Setup, url: str) -> list[tuple[str, int]]:
    """Write a table in so many stripes; return what a scan of it reads, and the sizes."""
    schema = vd.Schema().add_scalar_string("s")
    for name in COLUMNS[:-1]:
        schema.add_scalar_float(name)
    ds = vd.Dataset.create("d", schema, url, cache_dir=None)
    n = max(1000, 4 * setup.sizes.rows // STRIPES)
    for nth in range(STRIPES):
        r = np.random.default_rng(nth)
        columns: dict[str, Any] = {name: r.random(n) for name in COLUMNS[:-1]}
        text = pa.array(r.integers(0, 1 << 60, n)).cast(pa.string())
        ds.append(pa.table({"_anchor": 10**18 + np.arange(nth * n, (nth + 1) * n), **columns, "s": text}))
    store = vd.open_store(url)
    return [(f.path, f.size) for f in store.list_aged() if "/org.dreamdb.arrow.stripe.v1/" in f.path]


def _client(endpoint: str, url: str) -> S3Store:
    bucket, _, prefix = url.removeprefix(f"{endpoint}/").partition("/")
    return S3Store(
        bucket,
        prefix=prefix,
        config={"endpoint": endpoint, "skip_signature": True, "region": "us-east-1"},
        client_options={"allow_http": True},
    )


def _get_all(client: S3Store, objects: list[tuple[str, int]]) -> int:
    def one(item: tuple[str, int]) -> int:
        path, size = item
        starts = list(range(0, size, RANGE_BYTES))
        parts = obstore.get_ranges(
            client, path, starts=starts, ends=[min(size, at + RANGE_BYTES) for at in starts]
        )
        return sum(map(len, parts))

    with ThreadPoolExecutor(TOGETHER) as pool:
        return sum(pool.map(one, objects))


def _scan(url: str, cache: Any) -> Any:
    with vd.connect(url, cache_dir=cache) as con:
        return con.sql("SELECT sum(a), sum(b), sum(c), sum(d), max(s) FROM dreamdb_scan('d')").fetchall()


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3
