"""What a client's statements are on the PostgreSQL wire: constants, questions about the catalog, or SQL on the Refs. ADR 0048.

pg-mimic asks for a statement, its columns, and rows by and by. DuckDB works in other threads, so that the wire never waits.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from weakref import WeakSet

import pyarrow as pa
from pg_mimic import PgError, ResultColumn, StaticStatement, types
from pg_mimic.session import BaseSession, Portal, Statement
from pg_mimic.typeinfo import is_typeinfo_query, typeinfo_statement

from dreamdb_arrow.engines.duckdb import DuckDBError
from dreamdb_arrow.errors import DreamDBError, InvalidInputError, StoreError
from dreamdb_arrow.servers.access import Audit
from dreamdb_arrow.servers.flight_sql.statements import Handle, Statements
from dreamdb_arrow.servers.grants import Grant, User
from dreamdb_arrow.servers.lending import Lent
from dreamdb_arrow.servers.postgres.catalog import Catalog, Catalogs, Question
from dreamdb_arrow.servers.postgres.connection import USERS_MAX
from dreamdb_arrow.servers.postgres.parameters import numbers, oids_of
from dreamdb_arrow.servers.postgres.rewrite import asks_catalog
from dreamdb_arrow.servers.postgres.values import arguments_of, result_columns, rows_of
from dreamdb_arrow.servers.postgres.views import SETTINGS
from dreamdb_arrow.servers.sandbox import one_line

T = TypeVar("T")
NOBODY: Final = User("", Grant(frozenset()))
PIECE_ROWS: Final = 4096  # of a batch, which become Python values at a time
TRANSACTION: Final = re.compile(
    r"\s*(BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT)\b(?!\s+TO)", re.IGNORECASE
)
NOTHING: Final = re.compile(
    r"\s*(SET|RESET|DISCARD|DEALLOCATE|SAVEPOINT|RELEASE|ROLLBACK\s+TO|CLOSE|LISTEN|UNLISTEN)\b",
    re.IGNORECASE,
)
SET: Final = re.compile(r"\s*SET\s+(?:SESSION\s+(?!CHARACTERISTICS)|LOCAL\s+)?\"?(\w+)", re.IGNORECASE)
SETTABLE: Final = frozenset(  # what clients set by themselves, which changes nothing here; DuckDB's settings are not among them
    [
        "application_name",
        "characteristics",
        "client_min_messages",
        "extra_float_digits",
        "idle_in_transaction_session_timeout",
        "intervalstyle",
        "lock_timeout",
        "names",
        "row_security",
        "session",
        "statement_timeout",
        "synchronous_commit",
        "time",
        "transaction",
        "work_mem",
        "xmloption",
    ]
)
SHOW: Final = re.compile(r"\s*SHOW\s+(?:SESSION\s+)?\"?([\w ]+?)\"?\s*;?\s*$", re.IGNORECASE)
SPELT: Final = {"transaction isolation level": "transaction_isolation", "time zone": "timezone"}
CODES: Final = {  # by the class of DuckDB's error, or of ours
    "CatalogException": "42P01",
    "ParserException": "42601",
    "BinderException": "42703",
    "ConversionException": "22P02",
    "NotFoundError": "42P01",
    "UnsupportedError": "0A000",
    "InvalidInputError": "42601",
}
NO_TABLE, NO_SETTING, STOPPED, OTHER = "42P01", "42704", "57014", "XX000"


@dataclass(slots=True)
class Services:
    """What all sessions share: the statements, the catalogs, the log, and threads for DuckDB."""

    statements: Statements
    catalogs: Catalogs
    audit: Audit
    threads: Executor


@dataclass(slots=True)
class Session(BaseSession):  # type: ignore[misc]
    """The session of a client."""

    services: Services
    user: User = NOBODY
    peer: str = ""
    connection: Any = None
    transaction: bytes = b""
    stopped: bool = False
    running: WeakSet[Generator[pa.RecordBatch]] = field(default_factory=WeakSet)
    _catalog: Lent[Catalog] | None = None

    async def init(self, connection: Any) -> None:
        """Begin, for a user that has come in."""
        self.connection = connection
        connection.stream.most = USERS_MAX
        self.peer = str(connection.stream.writer.get_extra_info("peername"))
        self.services.audit.note(self.user.shown, self.peer, "connect", "postgres")

    async def close(self) -> None:
        """End what is open."""
        self.stopped = True
        for rows in self.running:
            with suppress(ValueError):  # it runs just now, and ends as it is told that nobody waits
                rows.close()
        if self.transaction:
            self.services.statements.end(self.user, self.transaction)
            self.transaction = b""
        if self._catalog is not None:
            self.services.catalogs.give_back(self._catalog)

    @property
    def catalog(self) -> Catalog:
        """What this user may know of the tables; made when it is first asked for."""
        if self._catalog is None:
            self._catalog = self.services.catalogs.take(self.user)
        return self._catalog.thing

    def is_gone(self) -> bool:
        """Return whether nobody waits for the rows: the client hung up, or has cancelled."""
        stream = self.connection.stream
        return self.stopped or bool(stream.reader.at_eof() or stream.writer.is_closing())

    async def prepare(self, sql: str, param_oids: list[int | None]) -> Statement:
        """Return a statement that may run. Raises PgError for one that may not."""
        self.stopped = False
        if is_typeinfo_query(sql):
            return typeinfo_statement(self.connection, sql)
        fixed = self._fixed(sql)
        return fixed or await self.run(lambda: self._checked(sql, param_oids), sql)

    def note(self, sql: str) -> None:
        """Note in the log that a statement runs."""
        self.services.audit.note(self.user.shown, self.peer, "run", sql)

    async def run(self, function: Callable[[], T], sql: str) -> T:
        """Call a function in another thread; errors become the protocol's, and a line in the log."""

        def called() -> T | Exception:  # a StopIteration must not get into a future
            try:
                return function()
            except Exception as error:  # noqa: BLE001 - whatever it is, the client is told in one line
                return error

        done = await asyncio.get_running_loop().run_in_executor(self.services.threads, called)
        if isinstance(done, Exception):
            self.services.audit.note(self.user.shown, self.peer, "run", sql, one_line(done))
            raise error_of(done)
        return done

    # ---------------------------------------------------------------- what needs no rows

    def _fixed(self, sql: str) -> Statement | None:
        if found := TRANSACTION.match(sql):
            return self._transaction(found[1].split()[0].upper())
        if (found := SET.match(sql)) and found[1].lower() not in SETTABLE | SETTINGS.keys():
            error = PgError(NO_SETTING, f'unrecognized configuration parameter "{found[1][:100]}"')
            self.services.audit.note(self.user.shown, self.peer, "run", sql, error.message)
            raise error
        if NOTHING.match(sql):
            return StaticStatement(sql, None, [])
        if found := SHOW.match(sql):
            name = SPELT.get(found[1].lower(), found[1].lower())
            if name in SETTINGS:
                return StaticStatement(sql, [ResultColumn(name, types.TEXT)], [(SETTINGS[name],)])
        return None

    def _transaction(self, word: str) -> Statement:
        tag = {"START": "BEGIN", "END": "COMMIT", "ABORT": "ROLLBACK"}.get(word, word)
        return StaticStatement(tag, None, [], self._begin if tag == "BEGIN" else self._end)

    def _begin(self) -> None:
        if not self.transaction:
            self.transaction = self.services.statements.begin(self.user)
        self.connection.tx_status = b"T"

    def _end(self) -> None:
        if self.transaction:
            self.services.statements.end(self.user, self.transaction)
        self.transaction, self.connection.tx_status = b"", b"I"

    # ---------------------------------------------------------------- statements

    def _checked(self, sql: str, declared: list[int | None]) -> Statement:
        text, catalog = sql.strip().rstrip(";"), self.catalog
        if not catalog.tables or asks_catalog(text):
            catalog.refresh()
        question = catalog.question(text)
        if question is not None:
            kinds = oids_of(question.tree, {})
            oids = numbers(kinds, question.parameters, declared)
            columns = result_columns(catalog.schema(question))
            return Known(self, sql, oids, columns, lambda values: self._answer(question, values))
        statements = self.services.statements
        handle = statements.get(self.user, statements.keep(self.user, text, self.transaction))
        tree = catalog.tree(text)
        oids = numbers(oids_of(tree, catalog.columns(tree)), handle.statement.parameters, declared)
        columns = result_columns(statements.schema(handle))
        return Known(self, sql, oids, columns, lambda values: self._select(handle, values))

    def _answer(self, question: Question, values: list[Any]) -> Generator[pa.RecordBatch]:
        yield from self.catalog.answer(question, values, self.is_gone).to_batches()

    def _select(self, handle: Handle, values: list[Any]) -> Generator[pa.RecordBatch]:
        statement = handle.statement
        bound = Handle(handle.user, statement, self.transaction, [statement.arguments((), values)])
        yield from self.services.statements.run(bound, self.is_gone)


class Known(Statement):  # type: ignore[misc]
    """A statement that was checked: types of its parameters, its columns, and what runs it."""

    def __init__(
        self,
        session: Session,
        sql: str,
        param_oids: list[int],
        columns: list[ResultColumn],
        start: Callable[[list[Any]], Generator[pa.RecordBatch]],
    ) -> None:
        self.session, self.sql, self.param_oids = session, sql, param_oids
        self.columns, self.start = columns, start

    async def describe(self) -> list[ResultColumn] | None:
        """Return the columns."""
        return self.columns

    def bind(self, params: list[str | None]) -> Portal:
        """Return the rows to come. Raises PgError for a parameter that is not of its type."""
        try:
            values = arguments_of(params, self.param_oids)
        except InvalidInputError as error:
            raise error_of(error) from None
        rows = self.start(values)
        self.session.running.add(rows)
        return Rows(self.session, self.sql, rows)


@dataclass(slots=True)
class Rows(Portal):  # type: ignore[misc]
    """The rows of a statement that runs, as far as they were asked for."""

    session: Session
    sql: str
    batches: Generator[pa.RecordBatch]
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    begun: bool = False

    async def execute(self, max_rows: int) -> tuple[list[tuple[Any, ...]], bool]:
        """Return some of the next rows, and whether there may be more."""
        return await self.session.run(lambda: self._next(max_rows), self.sql)

    def _next(self, most: int) -> tuple[list[tuple[Any, ...]], bool]:
        if not self.begun:
            self.begun = True
            self.session.note(self.sql)
        batch = self.waiting.pop() if self.waiting else next(self.batches, None)
        if batch is None:
            return [], False
        count = min(most, PIECE_ROWS) if most > 0 else PIECE_ROWS
        if batch.num_rows > count:
            self.waiting.append(batch.slice(count))
        return rows_of(batch.slice(0, count)), True


def error_of(error: Exception) -> PgError:
    """Return an error as the protocol says it, in one line."""
    if isinstance(error, PgError):
        return error
    if isinstance(error, StoreError) and str(error).startswith("stopped"):
        return PgError(STOPPED, f"canceling statement due to user request: {one_line(error)}")
    if not isinstance(error, DuckDBError | DreamDBError):
        return PgError(OTHER, "this failed in the server")
    code = CODES.get(type(error).__name__, OTHER)
    return PgError(NO_TABLE if str(error).startswith("no table") else code, one_line(error))
