"""Polars: a version as a LazyFrame, through Polars' own Parquet reader.

The IO plugin is handed projection, predicate and row limit. What concerns stored columns goes on into
`scan_parquet`; embeddings and media are fetched afterwards, for the rows that are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from dreamdb_arrow.columnar.overlaps import overlapping
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS, stripe_schema
from dreamdb_arrow.dataset.columns import media_column, vector_column
from dreamdb_arrow.dataset.scan import TIME_MAX, plan_scan
from dreamdb_arrow.dataset.schema import arrow_schema

BATCH_ROWS: Final = 65_536


def scan_polars(rows: RowSet, t0: int = 0, t1: int = TIME_MAX) -> pl.LazyFrame:
    """Return the rows of a version in [t0, t1), ascending by anchor, as a LazyFrame."""
    full = arrow_schema(rows.fields, rows.unavailable)
    schema = pl.Schema(pl.from_arrow(full.empty_table()).schema)  # type: ignore[union-attr]
    source = _Source(rows, full, t0, t1)
    return register_io_source(source.read, schema=schema)


class _Source:
    """What Polars asks for batches: one version, one time range."""

    def __init__(self, rows: RowSet, full: pa.Schema, t0: int, t1: int) -> None:
        self._rows, self._full, self._t0, self._t1 = rows, full, t0, t1
        self._kinds = {f.name: f.kind for f in rows.fields}

    def read(
        self,
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        """Yield the columns asked for of the first `n_rows` rows, less those that do not satisfy the predicate."""
        columns = self._full.names if with_columns is None else with_columns
        asked = set(predicate.meta.root_names()) if predicate is not None else set()
        left = n_rows
        for group in overlapping(plan_scan(self._rows, None, self._t0, self._t1).stripes):
            lazy = self._stored(group, {*columns, *asked})
            if left is not None:  # rows are counted before they are filtered
                held = lazy.head(left).collect()
                lazy, left = held.lazy(), left - len(held)
            yield from self._finish(lazy, columns, predicate, batch_size or BATCH_ROWS)
            if left == 0:
                return

    def _finish(
        self, lazy: pl.LazyFrame, columns: list[str], predicate: pl.Expr | None, batch_rows: int
    ) -> Iterator[pl.DataFrame]:
        """Yield rows filtered and complete; a predicate on late columns is applied once they are there."""
        asked = set(predicate.meta.root_names()) if predicate is not None else set()
        late = sorted(name for name in asked if self._is_late(name))
        if predicate is not None and not late:
            lazy = lazy.filter(predicate)
        for part in lazy.collect().iter_slices(batch_rows):
            frame = self._complete(part, [*columns, *(sorted(asked - set(columns)) if late else ())])
            if late and predicate is not None:
                frame = frame.filter(predicate)
            yield frame.select(columns)

    def _is_late(self, name: str) -> bool:
        return self._kinds.get(name) in (*BLOB_KINDS, "embedding")

    def _stored(self, group: list[Stripe], names: set[str]) -> pl.LazyFrame:
        """Return the stored columns of live rows of some stripes, lazily."""
        schema = stripe_schema(f for f in self._rows.fields if f.name in names)
        wanted = pl.Schema(pl.from_arrow(schema.empty_table()).schema)  # type: ignore[union-attr]
        files = [s.local(self._rows.store, self._rows.cache) for s in group]
        lazy = pl.scan_parquet(
            files,
            schema=wanted,
            missing_columns="insert",
            extra_columns="ignore",
            glob=False,
            hive_partitioning=False,
        )
        low, high = group[0].t0, max(s.t1 for s in group)
        if low < self._t0 or high > self._t1:
            lazy = lazy.filter(pl.col(ANCHOR).is_between(self._t0, self._t1, closed="left"))
        hidden = self._rows.hidden_between(low, high)
        if len(hidden):
            gone = pl.LazyFrame({ANCHOR: hidden})
            lazy = lazy.join(gone, on=ANCHOR, how="anti", maintain_order="left")
        return lazy.sort(ANCHOR) if len(files) > 1 else lazy

    def _complete(self, frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
        """Give stored rows their embeddings and media."""
        anchors: Any = frame[ANCHOR].to_numpy().astype(np.int64)
        return frame.select(
            [self._late(frame, name, anchors) if self._is_late(name) else frame[name] for name in names]
        )

    def _late(self, frame: pl.DataFrame, name: str, anchors: Any) -> pl.Series:
        if self._kinds[name] == "embedding":
            column = vector_column(self._rows, name, anchors)
        else:
            stored = stripe_schema(f for f in self._rows.fields if f.name == name).field(name).type
            column = media_column(self._rows, name, frame[name].to_arrow().cast(stored))
        return pl.Series(name, pl.from_arrow(column))
