"""Growth: a search at a recall of 0.95 over more and more vectors, and after appends that no rebuild followed.

The vectors are a stream, made block by block; so are what the queries are held against. Memory is that of a process which opens
the Space anew and searches, without the pages of mapped files, which the system takes back when it needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

import dreamdb_arrow as vd
from benchmarks.measure import Figure, alternate, fresh, in_child, median, milliseconds
from benchmarks.rows import START_NS, STEP_NS
from benchmarks.sizes import Setup
from benchmarks.vectors import K
from dreamdb_arrow.spatial.search import nearest

JOB: Final = "growth"
DIM: Final = 64
RECALL: Final = 0.95
BLOCK: Final = 50_000  # rows
SAMPLED: Final = 1_000_000  # rows that cells are trained on, at most
QUERIES: Final = 100
ROUNDS: Final = 300
APPENDED: Final = 1000  # rows
MEGA: Final = 1_000_000
QUERY, MEMORY = "one query", "memory"
BUILT, APPENDED_TO = "built at once", "after appends"


def run(setup: Setup) -> Iterator[Figure]:
    """Yield milliseconds, recall, memory and seconds of building for each number of rows, then those after appends."""
    for rows in setup.sizes.growth:
        yield from _grown(setup, rows, f"{rows:,} rows")
    total = setup.sizes.growth[0] + setup.sizes.growth_appends * APPENDED
    for who, appends in ((BUILT, 0), (APPENDED_TO, setup.sizes.growth_appends)):
        yield from _grown(setup, total, who, f"{total:,} rows: ", appends)


def _grown(setup: Setup, rows: int, who: str, prefix: str = "", appends: int = 0) -> Iterator[Figure]:
    space = fresh(setup.work / JOB / "space")
    setup.say(f"{JOB}: building {rows:,} rows")
    built = in_child("benchmarks.jobs.growth:build", str(space), rows - appends * APPENDED, appends)
    setup.say(f"{JOB}: searching {rows:,} rows")
    done = in_child("benchmarks.jobs.growth:ask", str(space), rows)
    note = f"{done['cells']:.0f} cells, {done['segments']:.0f} segments"
    yield Figure(JOB, f"{prefix}{QUERY}", who, done["ms"], "ms", note)
    yield Figure(JOB, f"{prefix}recall", who, done["recall"], "")
    yield Figure(JOB, f"{prefix}{MEMORY}", who, done["memory"] / MEGA, "MB", "without mapped files")
    yield Figure(JOB, f"{prefix}build", who, built["ms"] / 1e3, "s")


def block(nth: int, rows: int = BLOCK) -> np.ndarray:
    """Return the vectors of a block, float32 (rows, DIM): clusters of clusters, the same on every machine."""
    rng = np.random.default_rng(7)
    coarse = rng.standard_normal((64, DIM))
    middles = (coarse[rng.integers(0, 64, 2000)] + 0.7 * rng.standard_normal((2000, DIM))).astype("f4")
    rng = np.random.default_rng([7, nth])
    made = middles[rng.integers(0, 2000, rows)]
    made += np.float32(0.9) * rng.standard_normal((rows, DIM), dtype=np.float32)
    unit: np.ndarray = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def blocks(rows: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield anchors and vectors of rows from `start` on, block by block; `start` is a multiple of BLOCK or of APPENDED."""
    size = BLOCK if start % BLOCK == 0 else APPENDED
    for first in range(start, rows, size):
        count = min(size, rows - first)
        nth, offset = divmod(first, BLOCK)
        anchors = START_NS + np.arange(first, first + count) * STEP_NS
        yield anchors, block(nth)[offset : offset + count]


def _batches(rows: int, start: int = 0) -> Iterator[pa.RecordBatch]:
    for anchors, vectors in blocks(rows, start):
        held = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
        yield pa.record_batch({"_anchor": pa.array(anchors), "v": held})


def build(space: str, rows: int, appends: int = 0) -> dict[str, float]:
    """Train cells for so many rows, append them as a stream, flush, and lay them out; then append and flush little by little."""

    def make() -> None:
        sample = (vectors for _, vectors in blocks(min(rows, SAMPLED)))
        index = vd.train_and_publish_ivf_centroids(space, sample, DIM, expected_rows=rows)
        schema = vd.Schema().add_embedding("v", dim=DIM, algorithm="dreamdb.ivf-cosine", spatial_index=index)
        ds = vd.Dataset.create("bench", schema, space, cache_dir=f"{space}-cache", durability="os")
        first = _batches(rows)
        ds.append(pa.RecordBatchReader.from_batches(next(_batches(1)).schema, first))
        ds.flush()
        ds.search("v", block(0)[0], K, nprobe=1)
        for nth in range(appends):
            start = rows + nth * APPENDED
            ds.append(pa.Table.from_batches(list(_batches(start + APPENDED, start))))
            ds.flush()

    return {"ms": milliseconds(make)}


def ask(space: str, rows: int) -> dict[str, float]:
    """Open the Space, and ask for the nearest of vectors that are not in it."""
    ds = vd.Dataset.open("bench", backend=space, cache_dir=f"{space}-cache")
    queries = block(1 << 20, QUERIES)
    ds.search("v", queries[0], K, recall=RECALL)  # measures what the recall takes
    turn = iter(range(ROUNDS + 1))

    def one() -> object:
        return ds.search("v", queries[next(turn) % QUERIES], K, recall=RECALL)

    taken = median(alternate({QUERY: one}, ROUNDS)[QUERY])
    memory = _memory()
    found = ds.search("v", queries, K, recall=RECALL)
    true, _ = nearest(blocks(rows), queries, K, "cosine")
    shares = [len(set(f.tolist()) & set(t.tolist())) / K for f, t in zip(found.anchors, true, strict=True)]
    return {
        "ms": taken,
        "memory": memory,
        "recall": float(np.mean(shares)),
        "cells": float(found.report.cells),
        "segments": float(found.report.segments),
    }


def _memory() -> float:
    """Return the bytes of this process that are no pages of files."""
    status = Path("/proc/self/status").read_text("ascii")
    return 1024.0 * int(status.partition("RssAnon:")[2].split()[0])
