"""Scan: the rows of a version as Arrow batches, in the order of their anchors. Spec 0006."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dreamdb_arrow.columnar.overlaps import overlapping
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, TIME, conform, open_stripe, stripe_schema
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.columns import find_field, media_column, vector_column
from dreamdb_arrow.dataset.schema import arrow_schema
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.spatial.partitioners import check_count

TIME_MAX = 2**63 - 1


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
        full = arrow_schema(self.rows.fields, self.rows.unavailable)
        return pa.schema([full.field(name) for name in self.columns])

    @property
    def stripes(self) -> list[Stripe]:
        """The stripes that may hold rows of the range, by first anchor."""
        return [s for s in self.rows.stripes if s.meets(self.t0, self.t1)]


def plan_scan(
    rows: RowSet, columns: Sequence[str] | None = None, t0: int = 0, t1: int = TIME_MAX
) -> ScanPlan:
    """Return the plan of a scan of [t0, t1). Raises InvalidInputError for an unknown column or an empty range."""
    known = arrow_schema(rows.fields, rows.unavailable).names
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
    for table in _stored_tables(plan, batch_size):
        alive = _alive(plan, table)
        alive = alive if where is None else alive.filter(where)
        for batch in alive.to_batches(max_chunksize=batch_size):
            if batch.num_rows:
                yield _complete(plan, batch)


def _stored_tables(plan: ScanPlan, batch_size: int) -> Iterator[pa.Table]:
    """Yield what stripes hold of the plan's columns; stripes that overlap in time are read together and sorted."""
    schema = _stored_schema(plan)
    for group in overlapping(plan.stripes):
        files = [open_stripe(s.local(plan.rows.store, plan.rows.cache)) for s in group]
        if len(files) == 1:
            for batch in files[0].iter_batches(batch_size, columns=_held(files[0], schema)):
                yield conform(pa.Table.from_batches([batch]), schema)
        else:
            tables = [conform(file.read(columns=_held(file, schema)), schema) for file in files]
            yield pa.concat_tables(tables).sort_by(ANCHOR).combine_chunks()


def _stored_schema(plan: ScanPlan) -> pa.Schema:
    return stripe_schema(f for f in plan.rows.fields if f.name in plan.columns)


def _held(file: pq.ParquetFile, schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name in set(file.schema_arrow.names)]


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


def _complete(plan: ScanPlan, batch: pa.RecordBatch) -> pa.RecordBatch:
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


def take_rows(plan: ScanPlan, anchors: I64) -> pa.Table:
    """Return the live rows of these anchors that are in the plan's range, in the order of `anchors`."""
    wanted = np.unique(anchors)
    full = _with_anchor(plan)
    found = [_complete(full, b) for t in _tables_with(plan, wanted) for b in _alive(plan, t).to_batches()]
    table = pa.Table.from_batches(found, schema=full.schema).combine_chunks()
    held = np.asarray(table[ANCHOR].combine_chunks())
    order = np.argsort(held, kind="stable")
    at = np.minimum(np.searchsorted(held[order], anchors), max(len(held) - 1, 0))
    there = held[order][at] == anchors if len(held) else np.zeros(len(anchors), dtype=bool)
    return table.take(pa.array(order[at[there]] if len(held) else at[there])).select(plan.columns)


def _tables_with(plan: ScanPlan, wanted: I64) -> Iterator[pa.Table]:
    """Yield the rows of stripes that have one of the wanted anchors, and only those rows."""
    plan = _with_anchor(plan)
    schema = _stored_schema(plan)
    for stripe in plan.stripes:
        low, high = np.searchsorted(wanted, [stripe.t0, stripe.t1])
        if low == high:
            continue
        file = open_stripe(stripe.local(plan.rows.store, plan.rows.cache))
        held = np.asarray(file.read(columns=[ANCHOR])[ANCHOR].combine_chunks())
        rows = np.flatnonzero(np.isin(held, wanted[low:high]))
        if len(rows):
            yield conform(
                file.read(columns=_held(file, schema)).take(pa.array(rows)), schema
            ).combine_chunks()


def _with_anchor(plan: ScanPlan) -> ScanPlan:
    return plan if ANCHOR in plan.columns else replace(plan, columns=(ANCHOR, *plan.columns))


def count_rows(rows: RowSet, t0: int = 0, t1: int = TIME_MAX) -> int:
    """Return how many rows a scan of [t0, t1) would give, from footers alone where no row is hidden or cut off."""
    total = 0
    for stripe in rows.stripes:
        if not stripe.meets(t0, t1):
            continue
        file = open_stripe(stripe.local(rows.store, rows.cache))
        whole = t0 <= stripe.t0 and stripe.t1 <= t1 and not len(rows.hidden_between(stripe.t0, stripe.t1))
        if whole:
            total += file.metadata.num_rows
        else:
            plan = ScanPlan(rows, (ANCHOR,), t0, t1)
            total += len(_alive(plan, file.read(columns=[ANCHOR])))
    return total
