"""A client on the PostgreSQL wire: pg-mimic's, with TLS, and rows that go out as they come. ADR 0048.

pg-mimic 0.1.3 collects all rows of a statement before it sends the first, and says no to TLS. Both are mended here; the
methods that this replaces are its inner ones, so the version is pinned.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final

import sqlglot
from pg_mimic import PgError, PgServer, messages
from pg_mimic.connection import Connection, _field_specs, command_tag
from pg_mimic.errors import FEATURE_NOT_SUPPORTED, IN_FAILED_SQL_TRANSACTION, INVALID_PASSWORD
from pg_mimic.middleware import is_transaction_end
from pg_mimic.results import ResultColumn, encode_row
from pg_mimic.stream import ConnectionClosed, PgStream

from dreamdb_arrow.errors import DreamDBError
from dreamdb_arrow.servers.access import Audit
from dreamdb_arrow.servers.postgres.passwords import Door
from dreamdb_arrow.servers.sandbox import one_line

PIECE: Final = 4096
NAME_MAX: Final = 200  # characters of a name that the log has
TLS_ONLY: Final = "this server is asked over TLS only: sslmode=require, or verify-full"
SEMICOLON: Final = "SEMICOLON"
STRANGERS_MAX: Final = 1 << 20  # bytes of a message
USERS_MAX: Final = 1 << 26
FAILED: Final = "current transaction is aborted, commands ignored until end of transaction block"


class Client(Connection):  # type: ignore[misc]
    """A connection that sends rows in pieces, and waits for the client to take them."""

    async def _authenticate(self) -> bool:
        """Let the client in, or tell it in one line why not, and the log."""
        try:
            self.session.user = await self.server.door.enter(self.stream, self.username)
        except DreamDBError as error:
            peer = str(self.stream.writer.get_extra_info("peername"))
            self.server.audit.note(self.username[:NAME_MAX], peer, "refused", "postgres", one_line(error))
            told = {"S": "FATAL", "V": "FATAL", "C": INVALID_PASSWORD, "M": one_line(error)}
            self.stream.write(messages.make_error_response(told))
            await self.stream.drain()
            return False
        self.stream.write(messages.make_authentication_ok())
        return True

    def request_cancel(self) -> None:
        """Let the statement that runs end; it tells the client."""
        self.session.stopped = True

    async def _handle_simple_query(self, sql: str) -> None:
        statements = texts_of(sql)
        if not statements:
            self.stream.write(messages.make_empty_query_response())
        for text in statements:
            await self._execute_one_simple_statement(text)

    async def _execute_one_simple_statement(self, sql: str) -> None:
        self._refuse_after_error(sql)
        statement = await self.session.prepare(sql, [])
        columns = await statement.describe()
        if columns is not None:
            self.stream.write(messages.make_row_description(_field_specs(columns)))
        count, _ = await self._send(statement.bind([]), columns, [], 0)
        self.stream.write(messages.make_command_complete(command_tag(statement.sql, count)))

    async def _handle_execute(self, parsed: Any) -> None:
        entry = self._get_portal(parsed.portal_name)
        self._refuse_after_error(entry.sql)
        count, more = await self._send(
            entry.portal, entry.columns, entry.result_format_codes, parsed.max_rows
        )
        entry.rows_returned += count
        done = messages.make_command_complete(command_tag(entry.sql, entry.rows_returned))
        self.stream.write(messages.make_portal_suspended() if more else done)

    def _refuse_after_error(self, sql: str) -> None:
        if self.tx_status == b"E" and not is_transaction_end(sql):
            raise PgError(IN_FAILED_SQL_TRANSACTION, FAILED)

    async def _send(
        self, portal: Any, columns: list[ResultColumn] | None, formats: list[int], most: int
    ) -> tuple[int, bool]:
        """Send rows until there are none, or as many as were asked for; return how many, and whether more may come."""
        count, more = 0, True
        while more and (most <= 0 or count < most):
            rows, more = await portal.execute(min(PIECE, most - count) if most > 0 else PIECE)
            count += len(rows)
            if columns is not None and rows:
                self.stream.write(_encoded(rows, columns, formats))
                await self.stream.drain()
        return count, more


def texts_of(sql: str) -> list[str]:
    """Return the statements of a text, as they stand there; all of it as one where it cannot be told."""
    try:
        ends = [t.start for t in sqlglot.tokenize(sql, read="postgres") if t.token_type.name == SEMICOLON]
    except sqlglot.errors.SqlglotError:
        return [sql]
    parts = [sql[a + 1 : b] for a, b in pairwise([-1, *ends, len(sql)])]
    return [part for part in parts if part.strip()]


def _encoded(rows: list[Any], columns: list[ResultColumn], formats: list[int]) -> bytes:
    try:
        return b"".join(messages.make_data_row(encode_row(row, columns, formats)) for row in rows)
    except ValueError as error:
        raise PgError(FEATURE_NOT_SUPPORTED, str(error)) from None


class Stream(PgStream):  # type: ignore[misc]
    """pg-mimic's, with an end to how long a message may be: little until somebody has come in."""

    most: int = STRANGERS_MAX
    is_secure: bool = False

    async def _read_exactly(self, n: int) -> bytes:
        if not 0 <= n <= self.most:
            raise ConnectionClosed
        data: bytes = await super()._read_exactly(n)
        return data


class Wire(PgServer):  # type: ignore[misc]
    """pg-mimic's server with `Client` for its connections, and TLS where there is a certificate."""

    secure: ssl.SSLContext | None = None
    door: Door
    audit: Audit

    async def _handle_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = Stream(reader, writer)
        with suppress(
            ConnectionClosed, OSError, ValueError, IndexError, struct.error
        ):  # it hung up, or babbles
            startup = await self._greeted(stream)
            if startup is not None:
                await self._served(stream, startup)

    async def _served(self, stream: Stream, startup: dict[str, str]) -> None:
        secret = struct.unpack("!i", os.urandom(4))[0]
        client = Client(stream, self.session_factory(), self, self._allocate_pid(), secret, startup)
        self._connections[client.pid] = client
        try:
            await client.run()
        finally:
            self._connections.pop(client.pid, None)

    async def _greeted(self, stream: Stream) -> dict[str, str] | None:
        """Return what a client says of itself; None for one that came to cancel, or that must not come."""
        code, payload = await stream.read_startup_packet()
        if code in {messages.SSL_REQUEST_CODE, messages.GSSENC_REQUEST_CODE}:
            code, payload = await self._wrapped(stream, code)
        if code == messages.CANCEL_REQUEST_CODE:
            self.cancel(*messages.parse_cancel_request(payload))
            return None
        if self.secure is not None and not stream.is_secure:
            stream.write(
                messages.make_error_response({"S": "FATAL", "V": "FATAL", "C": "28000", "M": TLS_ONLY})
            )
            await stream.drain()
            return None
        startup: dict[str, str] = messages.parse_startup_message(payload)
        return startup

    async def _wrapped(self, stream: Stream, code: int) -> tuple[int, bytes]:
        secured = code == messages.SSL_REQUEST_CODE and self.secure is not None
        stream.write(b"S" if secured else b"N")
        await stream.drain()
        if secured:
            await stream.writer.start_tls(self.secure)
            stream.is_secure = True
        following: tuple[int, bytes] = await stream.read_startup_packet()
        if following[0] == messages.SSL_REQUEST_CODE and not secured:  # after GSS was declined
            return await self._wrapped(stream, following[0])
        return following
