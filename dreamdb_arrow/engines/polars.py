"""Polars: a version as a LazyFrame, through Polars' own Parquet reader.

Few stripes without embeddings or media are a plain `scan_parquet`, into which Polars pushes all it can. Else an IO plugin is
handed projection, predicate and row limit: it leaves out stripes by their ranges, before any is checked or opened, and what
concerns stored columns goes on into `scan_parquet`; embeddings and media are fetched for the rows that are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from dreamdb_arrow.columnar.overlaps import overlapping
from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.runs import live_parts
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS, TIME, stripe_schema
from dreamdb_arrow.dataset.columns import media_column, vector_column
from dreamdb_arrow.dataset.scan import TIME_MAX, count_rows, cut_by_bytes, plan_scan
from dreamdb_arrow.dataset.schema import arrow_schema

FEW: Final = 128  # stripes whose footers Polars reads faster than we could leave any out
FEW_BYTES: Final = 1 << 30  # of stripes, which are all checked before Polars is told of them
AT_ONCE: Final = 32 << 20  # bytes of stripes that need no threads; starting them costs 5 ms


def scan_polars(rows: RowSet, t0: int = 0, t1: int = TIME_MAX) -> pl.LazyFrame:
    """Return the rows of a version in [t0, t1), ascending by anchor, as a LazyFrame."""
    source = _Source(rows, t0, t1)
    if not source.late and len(source.stripes) <= FEW and _size(source.stripes) <= FEW_BYTES:
        return source.stored(source.stripes, source.schema.names()).select(source.schema.names())
    return register_io_source(source.read, schema=source.schema)


class _Source:
    """What Polars asks for batches: one version, one time range."""

    def __init__(self, rows: RowSet, t0: int, t1: int) -> None:
        self._rows, self._t0, self._t1 = rows, t0, t1
        self.schema = _polars_schema(arrow_schema(rows.fields, rows.unavailable))
        self.stripes = plan_scan(rows, None, t0, t1).stripes
        kinds = {f.name: f.kind for f in rows.fields if f.kind in (*BLOB_KINDS, "embedding")}
        self.late = {name: kind for name, kind in kinds.items() if name in self.schema}

    def read(
        self,
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        """Yield the columns asked for of the first `n_rows` rows, less those that do not satisfy the predicate."""
        columns = self.schema.names() if with_columns is None else with_columns
        asked = set(predicate.meta.root_names()) if predicate is not None else set()
        stripes = self._possible(predicate) if n_rows is None else self._first(n_rows)
        late = predicate is not None and bool(asked & set(self.late))
        names = [*columns, *(sorted(asked - set(columns)) if late else ())]
        lazy = self.stored(stripes, [*names, *asked])
        lazy = lazy if n_rows is None else lazy.head(n_rows)  # rows are counted before they are filtered
        if predicate is not None and not late:
            lazy = lazy.filter(predicate)
        lazy = lazy.select([n for n in lazy.collect_schema() if n in names or (n == ANCHOR and self.late)])
        parts = self._parts(lazy, stripes, n_rows, batch_size)
        for frame in (piece for part in parts for piece in self._pieces(part, names)):
            whole = self._complete(frame, names)
            yield (whole.filter(predicate) if late and predicate is not None else whole).select(columns)

    def _parts(
        self, lazy: pl.LazyFrame, stripes: Sequence[Stripe], n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        """Yield what is stored, a part at a time; a little of it at once."""
        small = _size(stripes) <= AT_ONCE or (n_rows is not None and n_rows <= (batch_size or 0))
        frames = [lazy.collect()] if small else lazy.collect_batches(chunk_size=batch_size)
        for frame in frames:
            yield from frame.iter_slices(batch_size) if batch_size else (frame,)

    def _pieces(self, frame: pl.DataFrame, names: list[str]) -> Iterator[pl.DataFrame]:
        """Cut a frame so that the embeddings and media of each piece are not more than is fetched at once."""
        sizes = np.zeros(len(frame), dtype=np.int64)
        for f in self._rows.fields:
            if f.name in names and f.kind == "embedding":
                sizes += 4 * dim_of(f)
            elif f.name in names and f.name in self.late:
                sizes += frame[f.name].struct.field("size").fill_null(0).to_numpy()
        for start, stop in cut_by_bytes(sizes):
            yield frame.slice(start, stop - start)

    def _possible(self, predicate: pl.Expr | None) -> list[Stripe]:
        """Leave out stripes whose range contradicts the predicate, told by what Polars does with statistics of files."""
        # It is not public; without it, nothing is left out.
        told = getattr(predicate, "_skip_batch_predicate", None)
        skip = None if told is None or not self.stripes else told(self.schema)
        if skip is None:
            return self.stripes
        first, last = ([s.t0 for s in self.stripes], [s.t1 - 1 for s in self.stripes])
        known = pl.DataFrame({f"{ANCHOR}_min": first, f"{ANCHOR}_max": last}, schema_overrides=_BOUNDS)
        known = known.with_columns(
            pl.col(f"{ANCHOR}_{end}").cast(pl.Datetime("ns")).alias(f"{TIME}_{end}") for end in ("min", "max")
        )
        known = known.with_columns(pl.lit(0, pl.UInt32).alias(f"{key}_nc") for key in (ANCHOR, TIME))
        unknown = [n for n in skip.meta.root_names() if n not in known.columns]
        known = known.with_columns(pl.lit(None, self._told_type(n)).alias(n) for n in dict.fromkeys(unknown))
        skipped = known.with_columns(skip.fill_null(value=False).alias("skipped"))["skipped"].to_list()
        return [s for s, gone in zip(self.stripes, skipped, strict=True) if not gone]

    def _told_type(self, statistic: str) -> Any:
        """Return the type of a statistic that stripes do not tell: `len`, or of a column its `min`, `max` or `nc`."""
        name, _, what = statistic.rpartition("_")
        return self.schema[name] if what in ("min", "max") else pl.UInt32

    def _first(self, n_rows: int) -> list[Stripe]:
        """Return as many stripes as have so many rows."""
        held, found = 0, []
        for group in overlapping(self.stripes):
            if held >= n_rows:
                break
            found += group
            held += count_rows(replace(self._rows, stripes=tuple(group)), self._t0, self._t1)
        return found

    def stored(self, stripes: Sequence[Stripe], names: Sequence[str]) -> pl.LazyFrame:
        """Return the stored columns among `names` of live rows of some stripes, lazily, by anchor."""
        schema = stripe_schema(f for f in self._rows.fields if f.name in names)
        parts: list[list[Stripe]] = []
        new = True
        for group in overlapping(stripes):
            if new or len(group) > 1:
                parts.append([])
            parts[-1] += group
            new = len(group) > 1
        frames = [self._scanned(part, _polars_schema(schema)) for part in parts]
        return pl.concat(frames) if frames else pl.LazyFrame(schema=_polars_schema(schema))

    def _scanned(self, stripes: Sequence[Stripe], schema: pl.Schema) -> pl.LazyFrame:
        """Return the live rows of stripes that follow one another, or that all overlap."""
        live = live_parts(self._rows, stripes, self._t0, self._t1)
        hidden = np.concatenate([gone for _, gone in live])
        lazy = pl.scan_parquet(
            [s.local(self._rows.store, self._rows.cache) for s, _ in live],
            schema=schema,
            missing_columns="insert",
            extra_columns="ignore",
            glob=False,
            hive_partitioning=False,
        )
        low, high = stripes[0].t0, max(s.t1 for s in stripes)
        if low < self._t0 or high > self._t1:
            lazy = lazy.filter(pl.col(ANCHOR).is_between(self._t0, self._t1, closed="left"))
        if len(hidden):
            lazy = lazy.filter(~pl.col(ANCHOR).is_in(pl.Series(hidden).implode()))
        return lazy.sort(ANCHOR) if len(list(overlapping(stripes))) < len(stripes) else lazy

    def _complete(self, frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
        """Give stored rows their embeddings and media."""
        if not self.late:
            return frame
        anchors: Any = frame[ANCHOR].to_numpy().astype(np.int64)
        return frame.select(
            [self._late(frame, name, anchors) if name in self.late else frame[name] for name in names]
        )

    def _late(self, frame: pl.DataFrame, name: str, anchors: Any) -> pl.Series:
        if self.late[name] == "embedding":
            column = vector_column(self._rows, name, anchors)
        else:
            stored = stripe_schema(f for f in self._rows.fields if f.name == name).field(name).type
            column = media_column(self._rows, name, frame[name].to_arrow().cast(stored))
        return pl.Series(name, pl.from_arrow(column))


_BOUNDS: Final = {f"{ANCHOR}_min": pl.Int64, f"{ANCHOR}_max": pl.Int64}


def _polars_schema(schema: pa.Schema) -> pl.Schema:
    return pl.Schema(pl.from_arrow(schema.empty_table()).schema)  # type: ignore[union-attr]


def _size(stripes: Sequence[Stripe]) -> int:
    return sum(s.size for s in stripes)
