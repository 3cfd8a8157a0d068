"""docs/scale.md: objects, requests, bytes and dollars from 10^6 to 10^10 rows, out of what a small Space was counted to need.

`python -m benchmarks.scale --measure` counts anew into results/scale.json, `--write` writes the page from it; without either, a stale
page is an error.
"""

from __future__ import annotations

import json
import math
import sys
import time
import tracemalloc
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.measure import ROOT
from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.columnar.rows import space_stripes
from dreamdb_arrow.columnar.vendor import STRIPE, Fragment, write_fragments
from dreamdb_arrow.dataset.compact_plan import STRIPE_BYTES, STRIPE_ROWS
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.objects.manifest import encode_manifest, order_tracks
from dreamdb_arrow.spatial.training import cells_for
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.far import NO_DELAY, FarStore

PAGE: Final = ROOT / "docs" / "scale.md"
COUNTED: Final = ROOT / "benchmarks" / "results" / "scale.json"
SIZES: Final = tuple(10**power for power in range(6, 11))
DIM: Final = 512
SMALL_DIM: Final = 32
ROWS: Final = 2000
STRIPES: Final = 10_000
NPROBE: Final = 16
BUCKET_BYTES: Final = 100 << 20
KEY_PAGE_ENTRIES: Final = 4096  # 0011-R10
PRICE_PUT: Final = 0.005e-3  # dollars a request: S3 Standard, us-east-1, https://aws.amazon.com/s3/pricing/, as known in 2025
PRICE_GET: Final = 0.0004e-3
PRICE_GB_MONTH: Final = 0.023


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted: requests by operation, bytes, and what 10,000 stripes take to plan."""

    append_put: int
    append_get: int
    open_get: int
    scan_get: int
    knn_get: int
    knn_stripes: int
    row_bytes: int
    manifest_bytes: int
    stripe_pages: int
    entry_bytes: float
    list_ms: float
    list_mb: float


def _rows(seed: int) -> pa.Table:
    r = np.random.default_rng(seed)
    vectors = pa.array(r.standard_normal(ROWS * SMALL_DIM).astype(np.float32))
    return pa.table(
        {
            "i": r.integers(0, 1 << 40, ROWS),
            "f": r.random(ROWS),
            "s": [f"{x:x}" for x in r.integers(0, 1 << 60, ROWS)],
            "c": [f"k{x}" for x in r.integers(0, 100, ROWS)],
            "e": pa.FixedSizeListArray.from_arrays(vectors, SMALL_DIM),
        }
    )


def measure() -> Counted:
    """Count the requests of each operation on a small Space, and what a list of 10,000 stripes takes."""
    memory = MemoryStore()

    def cold() -> tuple[Dataset, FarStore]:
        store = FarStore(memory, NO_DELAY)
        return Dataset.open("d", backend=store, cache_dir=None), store

    schema = (
        Schema().add_scalar_int("i").add_scalar_float("f").add_scalar_string("s").add_scalar_categorical("c")
    )
    schema.add_embedding("e", SMALL_DIM, "dreamdb.ivf-cosine")
    first = Dataset.create("d", schema, FarStore(memory, NO_DELAY), cache_dir=None)
    first.append(_rows(0))
    ds, store = cold()
    opened = store.count("get")
    ds.append(_rows(1))
    put, get = store.count("put"), store.count("get") - opened
    ds.flush()
    ds, store = cold()
    store.clear()
    last = ds.space.rows(ds._version).stripes[-1]  # noqa: SLF001 - what a user would ask by time
    assert sum(b.num_rows for b in ds.iter_arrow_batches(start_ns=last.t0, end_ns=last.t1)) == ROWS
    scanned = store.count("get")
    ds, store = cold()
    store.clear()
    ds.iter_vector("e", np.ones(SMALL_DIM, np.float32), 10, nprobe=NPROBE)
    of_rows = sum("org.dreamdb.arrow" in asked.path for asked in store.asked)
    stripe = np.mean([s.size for s in ds.space.rows(ds._version).stripes]) / ROWS  # noqa: SLF001
    manifest = len(encode_manifest(ds.manifest))
    return Counted(
        put, get, opened, scanned, store.count("get"), of_rows, round(stripe), manifest, *_list_of_stripes(ds)
    )


def _list_of_stripes(ds: Dataset) -> tuple[int, float, float, float]:
    """Return pages, bytes an entry, milliseconds and megabytes to read the list of 10,000 stripes."""
    store = MemoryStore()
    batch = Batch(store)
    names = (Address(address_of(b"%d" % nth)) for nth in range(STRIPES))
    entry = write_fragments(
        batch,
        ds.manifest.timeline,
        STRIPE,
        [Fragment(nth << 40, (nth << 40) + 1, STRIPE_BYTES, name) for nth, name in enumerate(names)],
    )
    batch.flush()
    others = [e for e in ds.manifest.tracks.active if e.field != entry.field]
    manifest = replace(ds.manifest, tracks=order_tracks([*others, entry]))
    began = time.perf_counter()
    held = space_stripes(store, manifest, STRIPE)
    taken = (time.perf_counter() - began) * 1e3
    tracemalloc.start()
    held = space_stripes(store, manifest, STRIPE)
    used = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert len(held) == STRIPES
    paths = list(store.list())
    return len(paths) - 1, sum(map(store.size, paths)) / STRIPES, taken, used


@dataclass(frozen=True, slots=True)
class Scale:
    """What a Space of so many rows has and needs; every figure by a formula of the page."""

    rows: int
    counted: Counted

    @property
    def stripes(self) -> int:
        return math.ceil(self.rows / STRIPE_ROWS)

    @property
    def vectors(self) -> int:
        return math.ceil(self.rows * (4 * DIM + 8) / STRIPE_BYTES)

    @property
    def cells(self) -> int:
        return cells_for(self.rows)

    @property
    def buckets(self) -> int:
        return self.cells * math.ceil(self.rows / self.cells * (4 * DIM + 8) / BUCKET_BYTES)

    @property
    def key_pages(self) -> int:
        return 4 * math.ceil(self.rows / KEY_PAGE_ENTRIES)

    @property
    def list_pages(self) -> int:
        return (
            math.ceil(self.counted.stripe_pages * (self.stripes + self.vectors) / STRIPES)
            if self.stripes > 128
            else 0
        )

    @property
    def objects(self) -> int:
        return self.stripes + self.vectors + 2 * self.buckets + self.key_pages + self.list_pages

    @property
    def bytes(self) -> float:
        return self.rows * (self.counted.row_bytes + 2 * (4 * DIM + 8) + 4 * 20)

    @property
    def index_bytes(self) -> int:
        return self.cells * DIM * 4

    @property
    def scan_get(self) -> int:
        return self.counted.scan_get + self.list_pages

    @property
    def knn_get(self) -> int:
        return 2 + NPROBE * max(1, self.buckets // self.cells) + self.counted.knn_stripes + self.list_pages

    @property
    def knn_bytes(self) -> float:
        cells = NPROBE * self.rows / self.cells * (4 * DIM + 8)
        whole = 10 * min(STRIPE_ROWS, self.rows) * self.counted.row_bytes + 10 * min(
            STRIPE_BYTES, self.rows * (4 * DIM + 8)
        )
        return cells + whole + self.index_bytes

    @property
    def full_get(self) -> int:
        return self.stripes + self.vectors + self.list_pages + 1


def _number(value: float) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _dollars(value: float) -> str:
    return f"{value:,.2f}" if value >= 0.01 else f"{value:.1e}"


LINES: Final = (
    ("stripes of rows: rows / 10^6", lambda s: _number(s.stripes)),
    ("vector stripes: rows x 2,056 / 256 MiB", lambda s: _number(s.vectors)),
    (
        "cells: 2 x sqrt(rows), and their buckets of 100 MiB at most",
        lambda s: f"{_number(s.cells)}, {_number(s.buckets)}",
    ),
    ("pages of four scalar Tracks: 4 x rows / 4,096", lambda s: _number(s.key_pages)),
    ("pages that list stripes and vector stripes", lambda s: _number(s.list_pages)),
    ("objects, with an outboard a bucket", lambda s: _number(s.objects)),
    ("bytes", lambda s: f"{_number(s.bytes)}B"),
    ("spatial index: cells x 2 KiB", lambda s: f"{_number(s.index_bytes)}B"),
    ("open, cold: GET", lambda s: _number(s.counted.open_get)),
    ("append of a batch: PUT, GET", lambda s: f"{s.counted.append_put}, {s.counted.append_get}"),
    ("a time range in one stripe, cold: GET", lambda s: _number(s.scan_get)),
    ("the ten nearest, nprobe 16, cold: GET", lambda s: _number(s.knn_get)),
    ("the ten nearest, cold: bytes", lambda s: f"{_number(s.knn_bytes)}B"),
    ("scan of everything: GET", lambda s: _number(s.full_get)),
    ("dollars: write every object once", lambda s: _dollars(s.objects * PRICE_PUT)),
    ("dollars: a scan of everything", lambda s: _dollars(s.full_get * PRICE_GET)),
    ("dollars: 1,000 cold searches", lambda s: _dollars(1000 * s.knn_get * PRICE_GET)),
    ("dollars: storage a month", lambda s: _dollars(s.bytes / 1e9 * PRICE_GB_MONTH)),
)

HEAD: Final = """\
# Scale

Made by `python -m benchmarks.scale --write` from counts at small sizes (`--measure`, in `benchmarks/results/scale.json`). The formulas are in
`benchmarks/scale.py`; each line names its own. Rows have four scalars and an embedding of 512 numbers with IVF cells; the Space is
flushed and compacted. Nothing above the counted sizes was run: these are extrapolations.

Prices are settings of the script: S3 Standard in us-east-1, from https://aws.amazon.com/s3/pricing/ as known in 2025; 0.005 dollars for 1,000
PUT, 0.0004 for 1,000 GET, 0.023 for a GB and month. Traffic out of the region is not in them.
"""

LIMITS: Final = """\
## What breaks first

In the order in which it does. What is not fixed is said so.

1. **SQL over everything.** DuckDB gets verified files, so a query in SQL fetches every stripe that its time range meets before it begins. Beyond the size of
   the cache (10 GB, or a tenth of the disk) that does not fit: from some 10^8 rows on, SQL needs a time range, or a larger `cache_bytes`.
   Not fixed. `iter_arrow_batches` streams: at most 256 MiB are ahead of the reader, whatever the size of the Space.
2. **Whole objects for few rows.** The ten nearest lie in up to ten stripes and ten vector stripes, which are fetched whole. Smaller stripes
   (compact less) or ranges verified by outboards would help. Not fixed.
3. **The spatial index.** With 2 x sqrt(rows) cells it is one object, fetched before the first search; a two-level index (IMI) is smaller.
4. **Deleted anchors** are all in memory, 8 bytes each: 1% of 10^10 rows are 800 MB. `compact` takes them out of stripes.
5. **The list of stripes** is read whole when a version is opened for reading: {pages} pages, {ms:.0f} ms and {mb:.1f} MB at 10,000 stripes, pages fetched
   together by level. The Manifest does not grow with it ({manifest} bytes in what was counted): long lists are in pages.
6. **Versions.** A time among 10,000 versions takes five GET, among 300,000 six: marks (spec 0008). Each Manifest has some 2 kB of them.
"""


def page(counted: Counted) -> str:
    """Return the page."""
    scales = [Scale(rows, counted) for rows in SIZES]
    table = [
        f"| | {' | '.join(f'10^{round(math.log10(s.rows))} rows' for s in scales)} |",
        f"| --- |{' ---: |' * len(scales)}",
    ]
    table += [f"| {name} | {' | '.join(show(s) for s in scales)} |" for name, show in LINES]
    limits = LIMITS.format(
        pages=counted.stripe_pages,
        ms=counted.list_ms,
        mb=counted.list_mb,
        manifest=f"{counted.manifest_bytes:,}",
    )
    return "\n".join([HEAD, *table, "", limits])


def read_counted() -> Counted:
    """Return what was counted last."""
    return Counted(**json.loads(COUNTED.read_text("utf-8")))


def main() -> int:
    """Count, write the page, or say whether it is current."""
    if "--measure" in sys.argv[1:]:
        COUNTED.write_text(json.dumps(asdict(measure()), indent=1) + "\n", "utf-8")
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(read_counted()), "utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text("utf-8") == page(read_counted()):
        return 0
    sys.stderr.write(f"{PAGE} is not current; run: python -m benchmarks.scale --write\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
