"""Flush a million rows, then a thousand more, field by field; print one table, exit 1 when a limit is missed.

Each field has a Space of its own in a local directory. `write` and `read` are the Track alone, in memory: the whole
column from NumPy to pages, and from pages to Arrow. `flush` is `Dataset.flush` as a user calls it, with stripes, cover note
and disk. What it reads and writes is counted at the store.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyroaring import BitMap

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.projection import project
from dreamdb_arrow.dataset.flush import scalar_values
from dreamdb_arrow.objects.schema import modality_of
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.layout import bucket_directory
from dreamdb_arrow.tracks.scalars import read_scalars, write_scalars

ROWS, MORE = 1_000_000, 1000
T0, STEP = 1_700_000_000_000_000_000, 1000
DIM = 16
PAGES_MAX = 40  # of an incremental flush, a field
SMALL_FLUSHES, SMALL_ROWS = 1000, 10
TRIES = 3  # of what is measured in memory; the best one counts
FOREIGN_READ_S = 0.5
TIMELINE = address_of(b"benchmarks/flush.py")

Make = Callable[[np.ndarray], pa.Array]  # numbers, each once, in random order -> the column


@dataclass(frozen=True)
class Kind:
    """A field, its column, and what its write and read may take, in seconds."""

    name: str
    schema: vd.Schema
    make: Make
    write_s: float | None = None
    read_s: float | None = None
    scalar: str | None = None


class CountingStore(LocalStore):
    """Counts index pages read and written, and all bytes written. One at a time: flush, look, reset."""

    __slots__ = ("pages_read", "pages_written", "size_bytes")

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self.pages_read = self.pages_written = self.size_bytes = 0

    def get(self, path: str) -> bytes:
        """Return a whole object."""
        self.pages_read += "/index/" in path and "org.dreamdb" not in path
        return super().get(path)

    def put_many(self, items) -> None:
        """Put objects."""
        fresh = [item for item in items if not self.exists(item.path)]
        self.pages_written += sum("/index/" in item.path and "org.dreamdb" not in item.path for item in fresh)
        self.size_bytes += sum(item.size for item in fresh)
        super().put_many(items)


@dataclass
class Line:
    """One row of the table."""

    name: str
    rows: int
    write_s: float | None = None
    read_s: float | None = None
    flush_s: float | None = None
    pages: int = 0
    more_s: float | None = None
    more_read: int = 0
    more_written: int = 0
    more_bytes: int = 0
    missed: list[str] = field(default_factory=list)


def texts(numbers: np.ndarray) -> pa.Array:
    """Return a text of twelve characters for each number."""
    return pa.array([f"row {n:08d}" for n in numbers.tolist()])


def categories(numbers: np.ndarray) -> pa.Array:
    """Return one of a hundred categories for each number."""
    return pa.array([f"class {n:02d}" for n in range(100)]).take(pa.array(numbers % 100))


def pictures(numbers: np.ndarray) -> pa.Array:
    """Return the eight bytes of each number."""
    return pa.array(np.ascontiguousarray(numbers, ">i8").view("V8").tolist(), pa.binary())


def vectors(numbers: np.ndarray) -> pa.Array:
    """Return a vector for each number."""
    rng = np.random.default_rng(len(numbers))
    return pa.FixedSizeListArray.from_arrays(rng.standard_normal(len(numbers) * DIM, dtype=np.float32), DIM)


KINDS = [
    Kind("int", vd.Schema().add_scalar_int("f"), pa.array, 3, 3, "int"),
    Kind("float", vd.Schema().add_scalar_float("f"), lambda n: pa.array(n * 1.1), 3, 3, "float"),
    Kind("timestamp", vd.Schema().add_scalar_timestamp("f"), lambda n: pa.array(T0 + n), 3, 3, "timestamp"),
    Kind("string", vd.Schema().add_scalar_string("f"), texts, 5, 3, "string"),
    Kind("string, 100 values", vd.Schema().add_scalar_string("f"), categories, 5, 3, "string"),
    Kind("categorical", vd.Schema().add_scalar_categorical("f"), categories, None, 0.5, "categorical"),
    Kind("bool", vd.Schema().add_scalar_bool("f"), lambda n: pa.array(n % 2 == 0), None, None, "bool"),
    Kind("image", vd.Schema().add_image("f", mime="png"), pictures),
    Kind("embedding", vd.Schema().add_embedding("f", dim=DIM, lsh_bits=6), vectors),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--only", default="", help="only fields whose name contains this")
    args = parser.parse_args()
    lines = []
    for kind in KINDS:
        if args.only in kind.name:
            work = Path(tempfile.mkdtemp(prefix="dreamdb-flush-"))
            try:
                lines.append(measure(kind, args.rows, work))
            finally:
                shutil.rmtree(work, ignore_errors=True)
            print(f"  {kind.name}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if args.only in "categorical":
        lines += measure_foreign(args.rows)
    small = small_flushes(args.rows // 10)
    print(table(lines, args.rows))
    print(small[0])
    missed = [f"{line.name}: {what}" for line in lines for what in line.missed] + small[1]
    print("\n".join(["", *[f"MISSED {what}" for what in missed]]) if missed else "\nall limits are kept")
    return 1 if missed else 0


def measure(kind: Kind, rows: int, work: Path) -> Line:
    """Measure one field."""
    line = Line(kind.name, rows)
    numbers = np.random.default_rng(7).permutation(rows)
    column = kind.make(numbers)
    if kind.scalar is not None:
        line.write_s, line.read_s = measure_track(kind, column)
    store = CountingStore(work)
    ds = vd.Dataset.create("bench", kind.schema, backend=store, cache_dir=work.parent / f"{work.name}-cache")
    try:
        anchors = T0 + np.arange(rows) * STEP
        ds.append({"_anchor": anchors, "f": column})
        line.flush_s, line.pages = timed(ds.flush, store)[0], store.pages_written
        later = {"_anchor": anchors[-1] + 1 + np.arange(MORE), "f": kind.make(rows + np.arange(MORE))}
        ds.append(later)
        line.more_s = timed(ds.flush, store)[0]
        line.more_read, line.more_written = store.pages_read, store.pages_written
        line.more_bytes = store.size_bytes
        check_rows(ds, rows + MORE)
    finally:
        shutil.rmtree(work.parent / f"{work.name}-cache", ignore_errors=True)
    compare(line, kind)
    return line


def measure_track(kind: Kind, column: pa.Array) -> tuple[float, float]:
    """Return the seconds that writing and reading the Track alone take: the best of some."""
    (declared,) = kind.schema.fields
    track = Track((0, 1), modality_of(declared), TIMELINE, [])
    values = scalar_values(column)
    anchors = T0 + np.arange(len(column)) * STEP
    writes, reads = [], []
    for _ in range(TRIES):
        store = MemoryStore()
        batch = Batch(store)

        def write(store=store, batch=batch):
            made = write_scalars(store, batch, track, "f", kind.scalar, anchors, values)
            batch.flush()
            return made.track

        seconds, made = timed(write)
        writes.append(seconds)

        def read(store=store, made=made):
            found = read_scalars(store, made, kind.scalar)
            return pa.array(found.values).take(pa.array(found.codes))

        seconds, found = timed(read)
        reads.append(seconds)
        assert found.equals(pa.array(values)), kind.name
    return min(writes), min(reads)


# ---------------------------------------------------------------- containers that only others write


def measure_foreign(rows: int) -> list[Line]:
    """Read categories out of buckets with run and bitmap containers, as other writers make them."""
    numbers = np.arange(rows)
    cases = {
        "categorical, runs of 10,000": numbers // 10_000 % 100,
        "categorical, runs of 3": numbers // 3 % 100,
        "categorical, bitmaps and arrays": np.where(numbers % 3 > 0, 0, numbers * 7 % 100),
    }
    lines = []
    for name, codes in cases.items():
        store = MemoryStore()
        track = foreign_track(store, T0 + numbers, codes)
        seconds = [timed(lambda s=store, t=track: read_scalars(s, t, "categorical"))[0] for _ in range(TRIES)]
        found = read_scalars(store, track, "categorical")
        assert len(found) == rows
        assert np.array_equal(found.codes, codes)
        line = Line(name, rows, read_s=min(seconds))
        if min(seconds) > FOREIGN_READ_S:
            line.missed.append(f"read {min(seconds):.2f}, limit {FOREIGN_READ_S}")
        lines.append(line)
    return lines


def foreign_track(store: MemoryStore, anchors: np.ndarray, codes: np.ndarray) -> Track:
    """Return a Track of categories whose one bucket is made by another Roaring library, with runs where they pay."""
    modality = "scalar.cat.field=f"
    records = [foreign_record(anchors[codes == code]) for code in range(100)]
    bucket = b"".join(records)
    address = address_of(bucket)
    store.put(f"{bucket_directory(TIMELINE, modality)}/{address}", bucket)
    entries, at = [], 0
    for code, record in enumerate(records):
        held = anchors[codes == code]
        if len(held):
            value = encode_cbor(f"class {code:02d}")
            entries.append([value, int(held[0]), int(held[-1]) + 1, address, at, len(record)])
        at += len(record)
    return Track((T0, T0 + len(anchors)), modality, TIMELINE, entries)


def foreign_record(anchors: np.ndarray) -> bytes:
    """Return the record of these anchors."""
    highs = np.unique(anchors >> 32).tolist()
    blocks = [b"\1" + len(highs).to_bytes(8, "little")] if highs else []
    for high in highs:
        low = anchors[anchors >> 32 == high] & 0xFFFFFFFF
        blocks += [high.to_bytes(4, "little"), BitMap(low.astype(np.uint32), optimize=True).serialize()]
    return b"".join(blocks)


# ---------------------------------------------------------------- parts


def timed(work: Callable[[], object], store: CountingStore | None = None) -> tuple[float, object]:
    if store is not None:
        store.reset()
    started = time.perf_counter()
    done = work()
    return time.perf_counter() - started, done


def check_rows(ds: vd.Dataset, rows: int) -> None:
    """Make sure that the Tracks hold what was appended."""
    fields = ds.schema.fields
    found = project(ds.space.store, ds.manifest, fields, CoverNote({}, {}))
    count = len(found.vectors["f"][0]) if found.vectors else len(found.table)
    assert count == rows, (count, rows)


def compare(line: Line, kind: Kind) -> None:
    for what, found, limit in (
        ("write", line.write_s, kind.write_s),
        ("read", line.read_s, kind.read_s),
        ("pages written", line.more_written, PAGES_MAX),
    ):
        if found is not None and limit is not None and found > limit:
            line.missed.append(f"{what} {found:.2f}, limit {limit}")


def small_flushes(rows: int) -> tuple[str, list[str]]:
    """Flush ten rows a thousand times into the middle of an int Track, and say how many pages that leaves."""
    store, rng = MemoryStore(), np.random.default_rng(1)
    track = Track((0, 1), "scalar.i64.field=f", TIMELINE, [])

    def insert(track: Track, at: int, numbers: np.ndarray) -> Track:
        batch = Batch(store)
        made = write_scalars(store, batch, track, "f", "int", at + np.arange(len(numbers)), numbers).track
        batch.flush()
        return made

    track = insert(track, T0, rng.permutation(rows) * 1000)
    before = track.object_index["page_count"]
    started = time.perf_counter()
    for nth in range(SMALL_FLUSHES):
        numbers = rows * 500 + SMALL_ROWS * nth + np.arange(SMALL_ROWS)
        track = insert(track, 2 * T0 + nth * SMALL_ROWS, numbers)
    seconds, after = time.perf_counter() - started, track.object_index["page_count"]
    limit = before + 4 * SMALL_FLUSHES * SMALL_ROWS // 1000
    said = (
        f"\n{SMALL_FLUSHES:,} flushes of {SMALL_ROWS} rows into the middle of {rows:,}: {before} pages become {after}, "
        f"limit {limit}; {seconds / SMALL_FLUSHES * 1e3:.1f} ms each"
    )
    return said, [f"small flushes: {after} pages, limit {limit}"] if after > limit else []


def table(lines: list[Line], rows: int) -> str:
    """Return the figures as Markdown, with limits beside them."""
    limits = {kind.name: kind for kind in KINDS}
    head = (
        f"| field | write {rows:,}, s | limit | read, s | limit | flush {rows:,}, s | pages "
        f"| flush {MORE:,} more, s | pages read | pages written | limit | bytes written |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    out = [head]
    for line in lines:
        kind = limits.get(line.name)
        if kind is None:
            out.append(f"| {line.name} | | | {shown(line.read_s)} | {shown(FOREIGN_READ_S)} |" + " |" * 7)
            continue
        cells = [line.name, shown(line.write_s), shown(kind.write_s), shown(line.read_s), shown(kind.read_s)]
        cells += [shown(line.flush_s), str(line.pages), shown(line.more_s, 3), str(line.more_read)]
        cells += [str(line.more_written), str(PAGES_MAX), f"{line.more_bytes:,}"]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def shown(number: float | None, digits: int = 2) -> str:
    return "" if number is None else f"{number:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
