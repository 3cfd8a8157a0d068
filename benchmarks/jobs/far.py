"""Far: a store behind a network, simulated and seeded: cold scans, images and searches, beside the same in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.measure import Figure, fresh, median, milliseconds
from benchmarks.sizes import Setup
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.far import NO_DELAY, FarStore, Network

JOB: Final = "far"
STRIPES: Final = 100
IMAGES: Final = 1000
IMAGE_BYTES: Final = 20_000
DIM: Final = 64
SEEDS: Final = 3
WHO: Final = "ours, 30 ms and a tail of 500 ms"


def run(setup: Setup) -> Iterator[Figure]:
    """Yield milliseconds and requests of a cold scan, of random images, and of a cold search."""
    memory = MemoryStore()
    anchors = _build(setup, memory)
    r = np.random.default_rng(0)
    chosen = r.choice(anchors, min(IMAGES, len(anchors)), replace=False)
    query = r.standard_normal(DIM).astype(np.float32)
    verbs: dict[str, Callable[[Dataset], object]] = {
        "a scan of 100 stripes": lambda ds: sum(b.num_rows for b in ds.iter_arrow_batches(fields=["i", "f"])),
        "1,000 random images": lambda ds: ds.take(chosen, ["image"]),
        "the ten nearest, nprobe 16": lambda ds: ds.iter_vector("e", query, 10, nprobe=16, fields=["i"]),
    }
    for what, verb in verbs.items():
        yield from _figures(setup, memory, what, verb)


def _build(setup: Setup, memory: MemoryStore) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Write the rows of a table in a hundred commits, the last of them far away; return their anchors."""
    schema = Schema().add_scalar_int("i").add_scalar_float("f").add_image("image").add_embedding("e", DIM)
    ds = Dataset.create("d", schema, memory, cache_dir=None)
    n, start = max(10, setup.sizes.rows // 10 // STRIPES), 10**18
    for nth in range(STRIPES):
        r = np.random.default_rng(nth)
        vectors = pa.array(r.standard_normal(n * DIM).astype(np.float32))
        table = pa.table(
            {
                "_anchor": start + np.arange(nth * n, (nth + 1) * n),
                "i": r.integers(0, 1 << 40, n),
                "f": r.random(n),
                "image": pa.array([r.bytes(IMAGE_BYTES // 10) for _ in range(n)], pa.binary()),
                "e": pa.FixedSizeListArray.from_arrays(vectors, DIM),
            }
        )
        ds.append(table)
    Dataset.open("d", backend=FarStore(memory, NO_DELAY), cache_dir=None).flush()
    return start + np.arange(n * STRIPES)


def _figures(
    setup: Setup, memory: MemoryStore, what: str, verb: Callable[[Dataset], object]
) -> Iterator[Figure]:
    near = Dataset.open("d", backend=memory, cache_dir=fresh(setup.work / JOB / "near"))
    verb(near)
    yield Figure(JOB, what, "ours, in memory, warm", milliseconds(lambda: verb(near)), "ms")
    cold, again, gets, trips = [], [], [], []
    for seed in range(SEEDS):
        store, cache = FarStore(memory, Network(), seed), fresh(setup.work / JOB / f"far-{seed}")
        ds = Dataset.open("d", backend=store, cache_dir=cache)
        store.clear()
        began = time.perf_counter()
        verb(ds)
        cold.append((time.perf_counter() - began) * 1e3)
        gets.append(float(store.count("get")))
        trips.append(float(store.round_trips))
        again.append(milliseconds(lambda: verb(ds)))  # noqa: B023 - called at once
    yield Figure(JOB, what, f"{WHO}, cold", median(cold), "ms")
    yield Figure(JOB, what, f"{WHO}, second run", median(again), "ms")
    yield Figure(JOB, f"{what}, cold: GET", WHO, median(gets), "")
    yield Figure(JOB, f"{what}, cold: answers waited for", WHO, median(trips), "")
