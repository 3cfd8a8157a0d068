"""Statements of Flight SQL: handles, prepared ones, transactions, and the streams they run as. ADR 0041."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.engines.duckdb import DuckDBError
from dreamdb_arrow.engines.recent import Recent
from dreamdb_arrow.errors import InvalidInputError, NotFoundError, StoreError
from dreamdb_arrow.servers.grants import Limits, User
from dreamdb_arrow.servers.running import BATCH_ROWS, Watch, Watched, batches_of
from dreamdb_arrow.servers.sandbox import Statement
from dreamdb_arrow.servers.sandboxes import Sandboxes

HANDLES_MAX: Final = 4096  # statements that clients may come back for; the longest unused go
TRANSACTIONS_MAX: Final = 256
HANDLE_BYTES: Final = 16

IsGone = Callable[[], bool]


@dataclass(slots=True)
class Handle:
    """A statement of a user, with the rows of its parameters; in a transaction, or on its own."""

    user: User
    statement: Statement
    transaction: bytes = b""
    rows: Sequence[dict[str, Any]] = ({},)
    watched: Watched | None = None  # while it runs


@dataclass(frozen=True, slots=True)
class Transaction:
    """A connection within a transaction: all its statements see the same versions. Its streams end when the next one starts."""

    user: User
    cursor: Any
    lent: ExitStack


@dataclass(slots=True)
class Statements:
    """The statements of all clients."""

    sandboxes: Sandboxes
    watch: Watch
    _handles: Recent[bytes, Handle] = field(default_factory=lambda: Recent(HANDLES_MAX))
    _transactions: dict[bytes, Transaction] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def keep(self, user: User, sql: str, transaction: bytes = b"") -> bytes:
        """Check a statement and return a handle for it. Raises what `Sandbox.check` raises."""
        with self.sandboxes.lent(user) as sandbox:
            statement = sandbox.check(sql)
        handle = secrets.token_bytes(HANDLE_BYTES)
        self._handles.put(handle, Handle(user, statement, transaction))
        return handle

    def get(self, user: User, handle: bytes) -> Handle:
        """Return what a handle stands for. Raises NotFoundError for one that is gone, or another user's."""
        found = self._handles.get(handle)
        if found is None or found.user != user:  # 0023-R11
            raise NotFoundError("no such statement: it was closed, or not used for long; send it again")
        return found

    def close(self, user: User, handle: bytes) -> None:
        """Forget a statement."""
        self.get(user, handle)
        self._handles.drop(handle)

    def cancel(self, user: User, handle: bytes) -> None:
        """Stop a statement if it runs, and forget it. Raises NotFoundError as `get` does."""
        watched = self.get(user, handle).watched
        self._handles.drop(handle)
        if watched is not None:
            self.watch.end(watched, "stopped, since the client cancelled it")

    def bind(self, user: User, handle: bytes, table: pa.Table) -> None:
        """Give a prepared statement its parameters: a row for each time it shall run. Raises InvalidInputError."""
        held = self.get(user, handle)
        names = table.column_names
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        held.rows = [held.statement.arguments(names, row) for row in rows] if names else [{}]

    def schema(self, held: Handle) -> pa.Schema:
        """Return the columns of a statement's result, which is bound, not run."""
        parameters = held.rows[0] if held.rows else {}
        unbound = dict.fromkeys(held.statement.parameters)
        with self._connection(held) as (_, cursor):
            relation = _relation(cursor, held.statement, parameters or unbound)
            schema: pa.Schema = relation.limit(0).to_arrow_table().schema
        return schema

    def run(self, held: Handle, is_gone: IsGone) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a statement, for each row of parameters in turn, as batches of equal columns."""
        with (
            self._connection(held) as (limits, cursor),
            self.watch.watching(is_gone, cursor.interrupt, limits.seconds, held.user.left_s()) as watched,
        ):
            held.watched = watched
            try:
                for parameters in held.rows:
                    relation = _relation(cursor, held.statement, parameters)
                    reader = relation.to_arrow_reader(BATCH_ROWS)
                    yield from batches_of(reader, watched, limits.rows)
            except (DuckDBError, pa.ArrowException, OSError):
                if watched.why:
                    raise StoreError(watched.why) from None
                raise
            finally:
                held.watched = None

    # ---------------------------------------------------------------- transactions

    def begin(self, user: User) -> bytes:
        """Begin a transaction. Raises StoreError where there are too many."""
        with self._lock:
            if len(self._transactions) >= TRANSACTIONS_MAX:
                raise StoreError(
                    f"{TRANSACTIONS_MAX} transactions are open, as many as may be", retryable=True
                )
            handle, lent = secrets.token_bytes(HANDLE_BYTES), ExitStack()
            cursor = lent.enter_context(lent.enter_context(self.sandboxes.lent(user)).cursor())
            cursor.execute("BEGIN")
            self._transactions[handle] = Transaction(user, cursor, lent)
        return handle

    def end(self, user: User, handle: bytes) -> None:
        """End a transaction. Whether it is committed or rolled back is the same: statements change nothing in it."""
        self._in(user, handle)
        with self._lock:
            gone = self._transactions.pop(handle, None)
        if gone is not None:
            gone.lent.close()

    def _in(self, user: User, handle: bytes) -> Transaction:
        with self._lock:
            found = self._transactions.get(handle)
        if found is None or found.user != user:  # 0023-R11
            raise NotFoundError("no such transaction: it has ended")
        return found

    @contextmanager
    def _connection(self, held: Handle) -> Iterator[tuple[Limits, Any]]:
        """Give a statement its limits and a connection: one of its own, or that of its transaction."""
        with self.sandboxes.lent(held.user) as sandbox:
            if held.transaction:
                yield sandbox.limits, self._in(held.user, held.transaction).cursor
                return
            with sandbox.cursor() as cursor:
                yield sandbox.limits, cursor


def _relation(cursor: Any, statement: Statement, parameters: dict[str, Any]) -> Any:
    relation = cursor.sql(statement.text, params=parameters) if parameters else cursor.sql(statement.text)
    if relation is None:
        raise InvalidInputError("the statement gives no rows")
    return relation
