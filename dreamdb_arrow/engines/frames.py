"""The dataset that users hold, with its exits to the engines: Arrow, Polars, pandas, DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset import dataset
from dreamdb_arrow.dataset.scan import TIME_MAX, plan_scan
from dreamdb_arrow.engines.arrow import DreamDBDataset, Scanner
from dreamdb_arrow.engines.duckdb import Session, attach
from dreamdb_arrow.engines.self_sql import Parameters, SelfSql
from dreamdb_arrow.errors import InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl


PANDAS_DTYPES: Final = ("pyarrow", "numpy")


class Dataset(dataset.Dataset):
    """Rows of a Space, at one version of one Ref.

    A handle stays at the version it was opened at; its own writes move it on, `refresh()` moves it to the Ref's tip.
    Made by `create`, `open`, `open_ref` and `open_at`.
    """

    _sql: SelfSql | None = None

    def to_dataset(self, start_ns: int = 0, end_ns: int | None = None) -> DreamDBDataset:
        """Return this version as a pyarrow Dataset, read lazily."""
        return DreamDBDataset(self.space, self._version, start_ns, _end(end_ns))

    def to_arrow(
        self, fields: Sequence[str] | None = None, start_ns: int = 0, end_ns: int | None = None
    ) -> pa.Table:
        """Return this version as an Arrow table: `_anchor`, `_time` and all fields, or only those named."""
        return self._scanner(fields, start_ns, end_ns).to_table()

    def to_reader(
        self, fields: Sequence[str] | None = None, start_ns: int = 0, end_ns: int | None = None
    ) -> pa.RecordBatchReader:
        """Return this version as a stream of Arrow batches; a few of them are in memory at a time."""
        return self._scanner(fields, start_ns, end_ns).to_reader()

    def _scanner(self, fields: Sequence[str] | None, start_ns: int, end_ns: int | None) -> Scanner:
        plan = plan_scan(self._rows, fields, start_ns, _end(end_ns))
        return self.to_dataset(plan.t0, plan.t1).scanner(columns=list(plan.columns))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return this version as an Arrow C stream, so that anything that takes Arrow takes a dataset.

        A stream has all columns, images and vectors too; `to_dataset()` reads only those that a query looks at.
        """
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> Any:
        """Return the schema of the stream, for who asks before reading."""
        return self.arrow_schema.__arrow_c_schema__()

    def to_polars(self, start_ns: int = 0, end_ns: int | None = None) -> pl.LazyFrame:
        """Return this version as a Polars LazyFrame; it reads what the query needs."""
        frame: pl.LazyFrame = _engine("polars").scan_polars(self._rows, start_ns, _end(end_ns))
        return frame

    def to_pandas(
        self,
        fields: Sequence[str] | None = None,
        start_ns: int = 0,
        end_ns: int | None = None,
        *,
        dtype_backend: str = "pyarrow",
    ) -> pd.DataFrame:
        """Return this version as a pandas DataFrame.

        Args:
            fields: the columns; None for all.
            start_ns: the first anchor.
            end_ns: the anchor after the last; None for no end.
            dtype_backend: `pyarrow` keeps each column as Arrow has it, so that integers with missing values stay
                integers and nothing is copied. `numpy` gives pandas' own types, where those become floats, which
                are not exact from 2**53 on, and each vector an object.

        Raises InvalidInputError for an unknown column or backend.
        """
        pandas = _require("pandas")
        if dtype_backend not in PANDAS_DTYPES:
            known = " or ".join(map(repr, PANDAS_DTYPES))
            raise InvalidInputError(f"dtype_backend must be {known}, not {dtype_backend!r}")
        mapper = pandas.ArrowDtype if dtype_backend == "pyarrow" else None
        return self.to_arrow(fields, start_ns, end_ns).to_pandas(types_mapper=mapper)

    def sql(self, query: str, params: Parameters = None) -> pa.Table:
        """Return the result of a DuckDB query in which `self` is this version of this dataset.

        Args:
            query: one statement, as `SELECT label, avg(n) FROM self WHERE n > ? GROUP BY label`. Other Refs and
                versions of the Space are there as `dreamdb_scan('ref')`, as are all its table functions.
            params: values for `?`, in a list, or for `$name`, in a dict.

        The table is the caller's: it needs neither this dataset nor its database. For results that do not fit into
        memory, `connect()`. Raises InvalidInputError, in one line, for what DuckDB refuses.
        """
        return self._engine().run(self._ref, self._version, query, params)

    def delete(
        self,
        anchors: Any = None,
        reason: str | None = None,
        *,
        where: str | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> str:
        """Hide rows from all later reads and return the new version; older versions still show them.

        Args:
            anchors: which, as integers in a list or an array; also those that no row has yet.
            reason: is kept with each.
            where: instead, the rows at the Ref's tip that satisfy this SQL condition, such as `label = 'cat' AND n > 5`.
            start_ns: instead, or besides, the rows from this anchor on.
            end_ns: those before this anchor.

        Raises InvalidInputError.
        """
        if (anchors is None) == (where is None and start_ns is None and end_ns is None):
            raise InvalidInputError("name the rows to delete: by anchors, or by where, start_ns and end_ns")
        if anchors is None:
            anchors = self.matching(where, start_ns or 0, end_ns)
            if not len(anchors):
                return self.refresh().current_manifest()
        return super().delete(anchors, reason)

    def matching(self, where: str | None, start_ns: int = 0, end_ns: int | None = None) -> I64:
        """Return the anchors of the rows at the Ref's tip, in [start_ns, end_ns), that satisfy an SQL condition, int64 (n,).

        It is parsed as one expression. Raises InvalidInputError for one that is wrong.
        """
        tip = self.space.resolve(self._ref)
        condition = "true" if where is None else where
        return self._engine().matching(self._ref, tip, condition, start_ns, _end(end_ns))

    def _engine(self) -> SelfSql:
        if self._sql is None:
            self._sql = SelfSql(self.space)
        return self._sql

    def attach(self, con: duckdb.DuckDBPyConnection, as_: str | None = None) -> Session:
        """Give a DuckDB connection the table functions and views of this dataset's Space."""
        return attach(con, self.space, as_)


def _end(end_ns: int | None) -> int:
    return TIME_MAX if end_ns is None else end_ns


def _engine(name: str) -> ModuleType:
    """Load the file of an engine that is an extra: only who asks for it needs it installed."""
    _require(name)
    return import_module(f"dreamdb_arrow.engines.{name}")


def _require(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise UnsupportedError(f"{name} is not installed; pip install 'dreamdb-arrow[{name}]'") from error
