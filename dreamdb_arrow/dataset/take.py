"""Take: whole rows by anchor, in the order that was asked for. Specs 0006 and 0021.

Anchors are sorted, so that each stripe, row group, vector stripe and pack is looked at once for all of its rows. What the
stripes hold comes out of decoded row groups (`columnar.row_cache`) and is put in order; embeddings and media are then
fetched in that order, straight to where they belong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.ahead import holders_ahead
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import ANCHOR, conform
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.scan import ScanPlan, complete, stored_schema


def take_rows(plan: ScanPlan, anchors: I64) -> pa.Table:
    """Return the live rows of these anchors, int64 (n,), that are in the plan's range, in the order of `anchors`.

    An anchor without a live row is left out; one that is named twice gives its row twice.
    """
    full = plan if ANCHOR in plan.columns else replace(plan, columns=(ANCHOR, *plan.columns))
    stored = stored_rows(full, visible(full, anchors))
    batches = [complete(full, batch) for batch in stored.to_batches()]
    table = pa.Table.from_batches(batches, schema=full.schema)
    return table if full is plan else table.select(plan.columns)


def row_as_dict(table: pa.Table) -> dict[str, Any] | None:
    """Return the only row of a table as values by column, in the form of `iter_stream`; None when there is no row."""
    if len(table) == 0:
        return None
    return {f.name: _as_python(table.column(i), f.type) for i, f in enumerate(table.schema)}


def _as_python(column: pa.ChunkedArray, kind: pa.DataType) -> Any:
    value = column[0]
    return value.value if pa.types.is_timestamp(kind) else value.as_py()


def visible(plan: ScanPlan, anchors: I64) -> I64:
    """Leave out anchors outside the plan's range, and those of deleted rows."""
    keep = (anchors >= plan.t0) & (anchors < plan.t1)  # 0006-R11
    hidden = plan.rows.hidden
    if len(hidden):
        at = np.minimum(np.searchsorted(hidden, anchors), len(hidden) - 1)
        keep &= hidden[at] != anchors  # 0006-R11, 0020-R8
    return anchors if keep.all() else anchors[keep]


def stored_rows(plan: ScanPlan, anchors: I64) -> pa.Table:
    """Return what stripes hold of the rows of these anchors, in their order, in one chunk."""
    order = np.argsort(anchors, kind="stable")
    wanted, schema = anchors[order], stored_schema(plan)
    holders_ahead(
        plan.rows,
        wanted,
        [f.name for f in plan.rows.fields if f.kind == "embedding" and f.name in plan.columns],
    )
    pieces = list(_pieces(plan.rows, wanted, schema.names))
    if not pieces:
        return schema.empty_table()
    table = _join([table for table, _ in pieces], schema)
    places = order[np.concatenate([at for _, at in pieces])]
    if bool((places[1:] > places[:-1]).all()):
        return table.combine_chunks()
    return table.take(pa.array(np.argsort(places))).combine_chunks()


def _pieces(rows: RowSet, wanted: I64, names: Sequence[str]) -> Iterator[tuple[pa.Table, I64]]:
    """Yield rows that have some of the wanted anchors, and where their anchors are in `wanted`."""
    for stripe, low, high in rows.holders(wanted):
        locate = partial(stripe.local, rows.store, rows.cache)
        for table, at in rows.cache.groups.find(stripe.address, locate, wanted[low:high], names):
            yield table, at + low


def _join(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    if all(table.schema.equals(tables[0].schema) for table in tables[1:]):
        return conform(pa.concat_tables(tables), schema)
    return pa.concat_tables([conform(table, schema) for table in tables])
