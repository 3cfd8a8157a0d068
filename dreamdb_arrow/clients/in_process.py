"""DB-API over a DuckDB session in this process, as SQLAlchemy wants it. ADR 0047.

Rows are read by SQL. They are written by `append_rows`, one commit each call, as a Ref is no table that DuckDB could insert into.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.duckdb import DuckDBError, attach, open_database

apilevel: Final = "2.0"
threadsafety: Final = 1
paramstyle: Final = "qmark"
UNKNOWN: Final = "CatalogException"  # what DuckDB raises for a table that is not there
Error = DuckDBError  # SQLAlchemy knows its kinds by their names


class Cursor:
    """A cursor, which looks again which Refs there are when a statement names one that came since."""

    arraysize = 1

    def __init__(self, owner: Connection) -> None:
        self._owner, self._cursor = owner, owner.con.cursor()
        self.rowcount = -1

    @property
    def description(self) -> Any:
        """The columns of the last statement, as the DB-API says."""
        return self._cursor.description

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Run a statement; each `?` takes a parameter."""
        try:
            self._cursor.execute(sql, list(parameters))
        except DuckDBError as error:
            if type(error).__name__ != UNKNOWN:
                raise
            self._owner.session.refresh()
            self._cursor.execute(sql, list(parameters))
        return self

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> Cursor:
        """Run a statement once for each row of parameters."""
        for row in rows:
            self.execute(sql, row)
        return self

    def append_rows(self, ref: str, rows: pa.Table) -> None:
        """Append rows to a Ref as one commit."""
        space = self._owner.session.space
        self.rowcount = Dataset(space, ref, space.resolve(ref)).append(rows)

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._cursor.fetchone()

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows, at most `size`."""
        rows: list[Any] = self._cursor.fetchmany(self.arraysize if size is None else size)
        return rows

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        rows: list[Any] = self._cursor.fetchall()
        return rows

    def setinputsizes(self, sizes: Any) -> None:
        """Do nothing, as the DB-API allows."""

    def setoutputsize(self, size: Any, column: Any = None) -> None:
        """Do nothing, as the DB-API allows."""

    def close(self) -> None:
        """Let go of the result."""
        self._cursor.close()


class Connection:
    """A session on a Space. Each statement sees the newest versions; there is nothing to commit or roll back.

    Args:
        backend: the Space, as `connect` takes it.
        cache_dir: as `connect` takes it.
    """

    def __init__(self, backend: str, cache_dir: Path | None = None) -> None:
        space = Space(backend, cache_dir=cache_dir)
        self.con = open_database()
        self.session = attach(self.con, space)

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        return Cursor(self)

    def commit(self) -> None:
        """Do nothing: appends are commits of their own."""

    def rollback(self) -> None:
        """Do nothing: what was appended stays."""

    def close(self) -> None:
        """Close the session."""
        self.session.close()
        self.con.close()


def connect(backend: str, cache_dir: str | None = None) -> Connection:
    """Return a connection on a Space. Raises NotFoundError when there is none."""
    return Connection(backend, None if cache_dir is None else Path(cache_dir))
