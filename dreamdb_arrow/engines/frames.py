"""The dataset that users hold, with its exits to the engines: Arrow, Polars, pandas, DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dreamdb_arrow.dataset import dataset
from dreamdb_arrow.dataset.scan import TIME_MAX, plan_scan, scan_batches
from dreamdb_arrow.engines.arrow import DreamDBDataset
from dreamdb_arrow.engines.duckdb import Session, attach
from dreamdb_arrow.errors import UnsupportedError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl


class Dataset(dataset.Dataset):
    """Rows of a Space, at one version of one Ref.

    A handle stays at the version it was opened at; its own writes move it on, `refresh()` moves it to the Ref's tip.
    Made by `create`, `open`, `open_ref` and `open_at`.
    """

    def to_dataset(self, start_ns: int = 0, end_ns: int | None = None) -> DreamDBDataset:
        """Return this version as a pyarrow Dataset, read lazily."""
        return DreamDBDataset(self._rows, start_ns, _end(end_ns))

    def to_arrow(
        self, fields: Sequence[str] | None = None, start_ns: int = 0, end_ns: int | None = None
    ) -> pa.Table:
        """Return this version as an Arrow table: `_anchor`, `_time` and all fields, or only those named."""
        plan = plan_scan(self._rows, fields, start_ns, _end(end_ns))
        return pa.Table.from_batches(scan_batches(plan), schema=plan.schema)

    def to_reader(
        self, fields: Sequence[str] | None = None, start_ns: int = 0, end_ns: int | None = None
    ) -> pa.RecordBatchReader:
        """Return this version as a stream of Arrow batches."""
        plan = plan_scan(self._rows, fields, start_ns, _end(end_ns))
        return pa.RecordBatchReader.from_batches(plan.schema, scan_batches(plan))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return this version as an Arrow C stream, so that anything that takes Arrow takes a dataset."""
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def to_polars(self, start_ns: int = 0, end_ns: int | None = None) -> pl.LazyFrame:
        """Return this version as a Polars LazyFrame; it reads what the query needs."""
        frame: pl.LazyFrame = _engine("polars").scan_polars(self._rows, start_ns, _end(end_ns))
        return frame

    def to_pandas(
        self, fields: Sequence[str] | None = None, start_ns: int = 0, end_ns: int | None = None
    ) -> pd.DataFrame:
        """Return this version as a pandas DataFrame."""
        _require("pandas")
        return self.to_arrow(fields, start_ns, end_ns).to_pandas()

    def attach(self, con: duckdb.DuckDBPyConnection, as_: str | None = None) -> Session:
        """Give a DuckDB connection the table functions and views of this dataset's Space."""
        return attach(con, self.space, as_)


def _end(end_ns: int | None) -> int:
    return TIME_MAX if end_ns is None else end_ns


def _engine(name: str) -> ModuleType:
    """Load the file of an engine that is an extra: only who asks for it needs it installed."""
    _require(name)
    return import_module(f"dreamdb_arrow.engines.{name}")


def _require(name: str) -> None:
    try:
        import_module(name)
    except ImportError as error:
        raise UnsupportedError(f"{name} is not installed; pip install 'dreamdb-arrow[{name}]'") from error
