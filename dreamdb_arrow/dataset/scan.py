"""Scan: the rows of a version as Arrow batches, in the order of their anchors. Spec 0006."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.runs import live_parts, runs_of
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS, TIME, open_stripe, stripe_schema
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.columns import find_field, media_column, vector_column
from dreamdb_arrow.dataset.schema import arrow_schema
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.spatial.partitioners import check_count

TIME_MAX = 2**63 - 1
LATE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What a scan will read: the stripes of a time range, and the columns asked for."""

    rows: RowSet
    columns: tuple[str, ...]
    t0: int = 0
    t1: int = TIME_MAX

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches."""
        full = public_schema(self.rows)
        return self.rows.once(
            ("shown", self.columns), lambda: pa.schema([full.field(name) for name in self.columns])
        )

    @property
    def stripes(self) -> list[Stripe]:
        """The stripes that may hold rows of the range, by first anchor."""
        return [s for s in self.rows.stripes if s.meets(self.t0, self.t1)]


def public_schema(rows: RowSet) -> pa.Schema:
    """Return the schema of a scan of all columns."""
    return rows.once("schema", lambda: arrow_schema(rows.fields, rows.unavailable))


def plan_scan(
    rows: RowSet, columns: Sequence[str] | None = None, t0: int = 0, t1: int = TIME_MAX
) -> ScanPlan:
    """Return the plan of a scan of [t0, t1). Raises InvalidInputError for an unknown column or an empty range."""
    known = public_schema(rows).names
    for name in columns or ():
        if name not in known:
            find_field(rows, name)
            raise InvalidInputError(f"field {name!r} is no column; columns: {', '.join(known)}")
    if t0 > t1:
        raise InvalidInputError(f"t0 is after t1: {t0} > {t1}")
    return ScanPlan(rows, tuple(known if columns is None else columns), t0, t1)


def scan_batches(
    plan: ScanPlan, batch_size: int = 65_536, where: pc.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a plan, ascending by anchor, in batches of at most `batch_size` rows.

    `where` is a condition on `_anchor`, `_time` and scalars of the plan: for rows that it drops, embeddings and media
    are not fetched.
    """
    check_count("batch_size", batch_size)
    schema = stored_schema(plan)
    vectors = [f.name for f in plan.rows.fields if f.kind == "embedding" and f.name in plan.columns]
    for run in runs_of(plan.rows, plan.stripes, schema, plan.t0, plan.t1, most=1, vectors=vectors):
        for batch in run.batches(schema.names, where, batch_size):
            for part in _slices(plan, batch):
                yield complete(plan, part)


def _slices(plan: ScanPlan, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch so that the embeddings and media of each part have about `LATE_BYTES`."""
    sizes = np.zeros(batch.num_rows, dtype=np.int64)
    for f in plan.rows.fields:
        if f.name in plan.columns and f.kind == "embedding":
            sizes += 4 * dim_of(f)
        elif f.name in plan.columns and f.kind in BLOB_KINDS:
            sizes += np.asarray(pc.fill_null(pc.struct_field(batch[f.name], "size"), 0))
    for start, stop in cut_by_bytes(sizes):
        yield batch.slice(start, stop - start)


def cut_by_bytes(sizes: I64) -> Iterator[tuple[int, int]]:
    """Cut rows of these sizes, int64 (n,), into ranges of about `LATE_BYTES`; none for no rows."""
    parts = np.cumsum(sizes) // LATE_BYTES
    yield from pairwise([*np.flatnonzero(np.diff(parts, prepend=-1)).tolist(), len(sizes)])


def stored_schema(plan: ScanPlan) -> pa.Schema:
    """Return the anchors, and which columns stripes hold of those of the plan."""
    make = lambda: stripe_schema(f for f in plan.rows.fields if f.name in plan.columns)  # noqa: E731
    return plan.rows.once(("stored", plan.columns), make)


def _alive(plan: ScanPlan, table: pa.Table) -> pa.Table:
    """Drop rows outside the range, and deleted ones."""
    anchors = np.asarray(table[ANCHOR].combine_chunks())
    if len(anchors) == 0:
        return table
    keep = np.ones(len(anchors), dtype=bool)
    if anchors[0] < plan.t0 or anchors[-1] >= plan.t1:
        keep &= (anchors >= plan.t0) & (anchors < plan.t1)  # 0006-R11
    hidden = plan.rows.hidden_between(int(anchors[0]), int(anchors[-1]) + 1)
    if len(hidden):
        keep &= ~np.isin(anchors, hidden)  # 0006-R11, 0020-R8
    return table if keep.all() else table.filter(pa.array(keep))


def complete(plan: ScanPlan, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Give a batch the plan's columns: embeddings and media are fetched now."""
    if not plan.columns:
        return batch.select([])  # which still knows how many rows it has
    anchors: I64 = np.asarray(batch[ANCHOR])
    kinds = {f.name: f.kind for f in plan.rows.fields}
    columns = []
    for name in plan.columns:
        if name in (ANCHOR, TIME) or kinds[name] in ("scalar", "array"):
            columns.append(batch[name])
        elif kinds[name] == "embedding":
            columns.append(vector_column(plan.rows, name, anchors))
        else:
            columns.append(media_column(plan.rows, name, batch[name]))
    return pa.RecordBatch.from_arrays(columns, schema=plan.schema)


def count_rows(rows: RowSet, t0: int = 0, t1: int = TIME_MAX) -> int:
    """Return how many rows a scan of [t0, t1) would give, from footers alone but for stripes that stick out of it."""
    total = 0
    for stripe, hidden in live_parts(rows, [s for s in rows.stripes if s.meets(t0, t1)], t0, t1):
        file = stripe.local(rows.store, rows.cache)
        if t0 <= stripe.t0 and stripe.t1 <= t1:
            total += rows.cache.num_rows(file, stripe.address) - len(hidden)
        else:
            plan = ScanPlan(rows, (ANCHOR,), t0, t1)
            total += len(_alive(plan, open_stripe(file).read(columns=[ANCHOR])))
    return total
