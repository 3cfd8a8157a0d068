"""SQL over one dataset: a DuckDB database in memory, in which `self` is one version of it."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.duckdb import DuckDBError, Session, leave_open, open_database, ready_macros
from dreamdb_arrow.engines.plans import literal
from dreamdb_arrow.errors import InvalidInputError

if TYPE_CHECKING:
    import duckdb

BATCH_ROWS: Final = 65_536  # of a result; more rows of images would not fit the offsets of a column

Parameters = Sequence[Any] | Mapping[str, Any] | None


class SelfSql:
    """A database of its own for one Space, opened with the first query, and again after a fork."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._open: _Database | None = None
        space.renew_in_child(self)

    def after_fork(self) -> None:
        """Leave the parent's database alone: its threads are not here, and to close it is to wait for them."""
        if self._open is not None:
            self._open.abandon()
        self._open = None

    def run(self, ref: str, version: Address, query: str, parameters: Parameters) -> pa.Table:
        """Return the result of a query in which `self` is this version. Raises InvalidInputError for one that is wrong."""
        cursor = self._database().con.cursor()
        try:
            cursor.execute(
                f"CREATE TEMP VIEW self AS FROM dreamdb_scan({literal(ref)}, as_of := {literal(str(version))})"
            )
            found = cursor.sql(query, params=parameters)
            if found is None:
                raise InvalidInputError("sql() takes a query that gives rows, not an empty one")
            return found.to_arrow_table(BATCH_ROWS)
        except DuckDBError as error:
            raise InvalidInputError(f"sql: {str(error).splitlines()[0]}") from None
        finally:
            cursor.close()

    def matching(self, ref: str, version: Address, condition: str, t0: int, t1: int) -> I64:
        """Return the anchors in [t0, t1) of rows that satisfy a condition, ascending. Raises InvalidInputError."""
        return self._database().session.matching(ref, version, condition, t0, t1)

    def _database(self) -> _Database:
        if self._open is None:
            self._open = _Database(self._space)
        return self._open


class _Database:
    """A connection, and the Space attached to it."""

    def __init__(self, space: Space) -> None:
        # A name that is no table must not become a variable of ours.
        self.con = open_database(python_enable_replacements=False)
        # Without views: `self` is the one there is.
        self.session = Session(self.con, space, kept=ready_macros(space))
        self._finalizer = weakref.finalize(self, _close, self.session, self.con)

    def abandon(self) -> None:
        """Let go without closing anything, in a process that forked."""
        self._finalizer.detach()
        leave_open(self.con)


def _close(session: Session, con: duckdb.DuckDBPyConnection) -> None:
    session.close()
    con.close()
