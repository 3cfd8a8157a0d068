"""A cold scan of a bucket beside obstore's own reads of the same bytes: python -m benchmarks.bucket_scan URL.

Both begin with nothing in any cache of ours, and take turns; the best of each counts. obstore fetches whole objects, as ranges
of eight megabytes, and verifies nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import obstore

import dreamdb_arrow as vd
from dreamdb_arrow.store.urls import open_store

STRIPES: Final = 24
ROWS: Final = 20_000
DIM: Final = 128
BATCH_ROWS: Final = 1 << 16
TOGETHER: Final = 48
RANGE_BYTES: Final = 8 << 20
ROUNDS: Final = 3


def fill(url):
    schema = vd.Schema().add_scalar_int("n").add_scalar_float("x").add_embedding("v", dim=DIM)
    ds = vd.Dataset.create("main", schema, url, cache_dir=None)
    random = np.random.default_rng(0)
    for nth in range(STRIPES):
        ids = np.arange(nth * ROWS, (nth + 1) * ROWS)
        ds.append({"_anchor": ids, "n": ids, "x": ids / 3, "v": random.random((ROWS, DIM), "f4") + 0.01})


def scan(url):
    """Read all rows into Arrow; return seconds and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        ds = vd.Dataset.open("main", backend=url, cache_dir=folder)
        began = time.perf_counter()
        rows = sum(batch.num_rows for batch in ds.iter_arrow_batches(BATCH_ROWS))
        seconds = time.perf_counter() - began
        assert rows == STRIPES * ROWS
        return seconds, ds.space.store.traffic.counts()["bytes_received"]


def plain(url):
    """Fetch all objects of rows and vectors; return seconds and bytes."""
    store = open_store(url)
    found = [one for one in store.list_aged() if "/org.dreamdb.arrow." in one.path and one.size > 1 << 16]

    def fetch(one):
        starts = list(range(0, one.size, RANGE_BYTES))
        ends = [min(start + RANGE_BYTES, one.size) for start in starts]
        return sum(map(len, obstore.get_ranges(store._client, one.path, starts=starts, ends=ends)))  # noqa: SLF001 - the same client

    began = time.perf_counter()
    with ThreadPoolExecutor(TOGETHER) as pool:
        size = sum(pool.map(fetch, found))
    return time.perf_counter() - began, size


def best(work: Callable, url):
    return max((size / seconds, size) for seconds, size in (work(url) for _ in range(ROUNDS)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="a bucket, in which a fresh place is filled")
    url = f"{parser.parse_args().url}/{uuid.uuid4().hex}"
    fill(url)
    (ours, size), (theirs, same) = best(scan, url), best(plain, url)
    print(f"scan         {ours / 1e6:8.0f} MB/s of {size / 1e6:.0f} MB")
    print(f"get_ranges   {theirs / 1e6:8.0f} MB/s of {same / 1e6:.0f} MB")
    print(f"ratio        {ours / theirs:8.2f}")


if __name__ == "__main__":
    main()
