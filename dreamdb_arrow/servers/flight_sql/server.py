"""The Flight SQL server: each call of the protocol, and which part of a Space answers it. ADR 0041."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.flight as fl

from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.plans import identifier
from dreamdb_arrow.errors import InvalidInputError, UnsupportedError
from dreamdb_arrow.servers.access import Access, Audit
from dreamdb_arrow.servers.flight_sql.callers import MIDDLEWARE, AnyHandshake, Call, Callers, call_of, told
from dreamdb_arrow.servers.flight_sql.catalog import ANSWERS, CATALOG, PLACE, schema_of_answer
from dreamdb_arrow.servers.flight_sql.messages import bare, pack, read_bare, unpack
from dreamdb_arrow.servers.flight_sql.refs import is_part, part_of, parts_of
from dreamdb_arrow.servers.flight_sql.statements import Handle, Statements
from dreamdb_arrow.servers.grants import Limits
from dreamdb_arrow.servers.running import Watch
from dreamdb_arrow.servers.sandboxes import Sandboxes

PREPARED: Final = "CommandPreparedStatementQuery"
FAIL, APPEND = 2, 2  # of `if_not_exist`, and of `if_exists`
CANCEL: Final = "CancelFlightInfo"
ACTIONS: Final = (
    ("CreatePreparedStatement", "check a statement and keep it"),
    ("ClosePreparedStatement", "forget a statement"),
    ("BeginTransaction", "let statements see the same versions"),
    ("EndTransaction", "end that"),
    ("CancelQuery", "stop a statement"),
    (CANCEL, "stop the statements of a flight"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server serves: users, log, limits, and certificate and key in PEM for TLS."""

    access: Access = field(default_factory=Access)
    audit: Audit = field(default_factory=Audit)
    limits: Limits = field(default_factory=Limits)
    certificate: Path | None = None
    key: Path | None = None


class FlightSqlServer(fl.FlightServerBase):  # type: ignore[misc]
    """A Space over Flight SQL and Flight. It listens once made; `halt` and `shutdown` end it, then `close` takes it apart.

    Args:
        space: the Space. Its cache should hold nothing of other Spaces.
        location: where to listen, such as grpc://127.0.0.1:31337; port 0 takes a free one, which is `port`.
        settings: see Settings.
    """

    def __init__(self, space: Space, location: str, settings: Settings) -> None:
        self._space, self._audit = space, settings.audit
        self._sandboxes = Sandboxes(space, settings.limits)
        self._watch = Watch(settings.limits.seconds)
        self._statements = Statements(self._sandboxes, self._watch)
        secure = {}
        if settings.certificate is not None and settings.key is not None:
            secure["tls_certificates"] = [(settings.certificate.read_bytes(), settings.key.read_bytes())]
        who = Callers(settings.access, settings.audit)
        super().__init__(location, auth_handler=AnyHandshake(), middleware={MIDDLEWARE: who}, **secure)
        self._watch.start()

    def halt(self, seconds: float) -> bool:
        """Stop the statements that run; return whether all of them have ended within a time.

        One whose client does not read cannot end, and `shutdown` would wait for it.
        """
        self._watch.close()
        return self._watch.wait_idle(seconds)

    def close(self) -> None:
        """Take the databases apart, after `shutdown`."""
        self._sandboxes.close()

    def discard(self) -> None:
        """Remove a temporary cache, where the process is to end at once."""
        if self._space.cache.is_temporary:
            shutil.rmtree(self._space.cache.root, ignore_errors=True)

    @property
    def running(self) -> int:
        """How many statements run now."""
        return len(self._watch)

    # ---------------------------------------------------------------- what is there

    def list_flights(self, context: Any, criteria: bytes) -> Iterator[fl.FlightInfo]:  # noqa: ARG002 - Flight's
        """Yield a flight for each Ref that the caller may know of, snapshots too."""
        call = call_of(context)
        with told(self._audit, call, "list", "refs"):
            names = call.user.grant.scope.within(self._space.store.list_refs())
            infos = [self._ref_info(call, fl.FlightDescriptor.for_path(name)) for name in names]
        yield from infos

    def get_flight_info(self, context: Any, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        """Return columns and endpoints: of a Ref by its path, of a command by what it asks."""
        call = call_of(context)
        if descriptor.path:
            with told(self._audit, call, "info", _ref_of(descriptor)):
                return self._ref_info(call, descriptor)
        with told(self._audit, call, "info", "command"):
            name, message = unpack(descriptor.command)
            schema, ticket = self._planned(call, name, message, descriptor.command)
        return fl.FlightInfo(schema, descriptor, [fl.FlightEndpoint(ticket, [])], -1, -1)

    def get_schema(self, context: Any, descriptor: fl.FlightDescriptor) -> fl.SchemaResult:
        """Return the columns alone."""
        return fl.SchemaResult(self.get_flight_info(context, descriptor).schema)

    def _ref_info(self, call: Call, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        ref = call.user.grant.check_read(_ref_of(descriptor))
        parts = list(parts_of(self._space, ref, call.user.grant.scope))
        sql = f"FROM {PLACE}.{identifier(ref)}" if not parts else parts[0].sql()
        schema = self._statements.schema(self._reading(call, sql))
        return fl.FlightInfo(schema, descriptor, [fl.FlightEndpoint(p.ticket(), []) for p in parts], -1, -1)

    def _reading(self, call: Call, sql: str) -> Handle:
        """Return our own SQL as a statement of the caller."""
        with self._sandboxes.lent(call.user) as sandbox:
            return Handle(call.user, sandbox.check(sql, may_write=False))

    def _planned(self, call: Call, name: str, message: Any, command: bytes) -> tuple[pa.Schema, bytes]:
        if name == "CommandStatementQuery":
            handle = self._statements.keep(call.user, message.query, message.transaction_id)
            schema = self._statements.schema(self._statements.get(call.user, handle))
            return schema, pack("TicketStatementQuery", statement_handle=handle)
        if name == PREPARED:
            held = self._statements.get(call.user, message.prepared_statement_handle)
            return self._statements.schema(held), command
        if name in ANSWERS:
            return schema_of_answer(name, message), command
        raise UnsupportedError(f"{name} is no question that this server answers")

    # ---------------------------------------------------------------- rows out

    def do_get(self, context: Any, ticket: fl.Ticket) -> fl.FlightDataStream:
        """Return the rows of a ticket as a stream; the statement runs as the client reads."""
        call, data = call_of(context), ticket.ticket
        if is_part(data):
            with told(self._audit, call, "get", data.decode(errors="replace")):
                part = part_of(data)
                call.user.grant.check_read(part.ref)
                self._space.resolve(part.ref)  # whose version it is said to be
                return self._stream(call, self._reading(call, part.sql()))
        with told(self._audit, call, "get", "ticket"):
            name, message = unpack(data)
            if name in ANSWERS:
                return self._answer(call, name, message)
            if name not in {"TicketStatementQuery", PREPARED}:
                raise InvalidInputError(f"{name} is no ticket")
            handle = message.prepared_statement_handle if name == PREPARED else message.statement_handle
            return self._stream(call, self._statements.get(call.user, handle))

    def _answer(self, call: Call, name: str, message: Any) -> fl.RecordBatchStream:
        with self._sandboxes.lent(call.user) as sandbox:
            sandbox.refresh()
            with sandbox.cursor() as cursor:
                table = ANSWERS[name][1](cursor, message)
        return fl.RecordBatchStream(table)

    def _stream(self, call: Call, held: Handle) -> fl.GeneratorStream:
        schema = self._statements.schema(held)
        return fl.GeneratorStream(schema, self._rows(call, held))

    def _rows(self, call: Call, held: Handle) -> Iterator[pa.RecordBatch]:
        call.rows = 0
        with told(self._audit, call, "run", held.statement.text):
            for batch in self._statements.run(held, call.is_gone):
                call.rows += batch.num_rows
                yield batch

    # ---------------------------------------------------------------- rows in

    def do_put(self, context: Any, descriptor: fl.FlightDescriptor, reader: Any, writer: Any) -> None:
        """Take rows: as one commit of a Ref, or as parameters of a statement."""
        call = call_of(context)
        if descriptor.path:
            with told(self._audit, call, "append", _ref_of(descriptor)):
                self._append(call, _ref_of(descriptor), reader)
            return
        with told(self._audit, call, "put", "command"):
            name, message = unpack(descriptor.command)
            writer.write(pa.py_buffer(self._put(call, name, message, reader)))

    def _put(self, call: Call, name: str, message: Any, reader: Any) -> bytes:
        if name == "CommandStatementIngest":
            return bare("DoPutUpdateResult", record_count=self._ingest(call, message, reader))
        if name == "CommandStatementUpdate":
            handle = self._statements.keep(call.user, message.query, message.transaction_id)
            return bare("DoPutUpdateResult", record_count=self._count(call, handle))
        handle = getattr(message, "prepared_statement_handle", b"")
        if name == PREPARED:
            self._statements.bind(call.user, handle, reader.read_all())
            return bare("DoPutPreparedStatementResult", prepared_statement_handle=handle)
        if name == "CommandPreparedStatementUpdate":
            self._statements.bind(call.user, handle, reader.read_all())
            return bare("DoPutUpdateResult", record_count=self._count(call, handle))
        raise UnsupportedError(f"{name} is nothing that this server takes")

    def _count(self, call: Call, handle: bytes) -> int:
        """Run a statement for its effects and return how many rows it gave."""
        held = self._statements.get(call.user, handle)
        with told(self._audit, call, "run", held.statement.text):
            return sum(batch.num_rows for batch in self._statements.run(held, call.is_gone))

    def _ingest(self, call: Call, message: Any, reader: Any) -> int:
        options = message.table_definition_options
        if message.temporary or (options.if_not_exist, options.if_exists) not in {(0, 0), (FAIL, APPEND)}:
            raise UnsupportedError(
                "rows are appended to a ref that is there (mode append); datasets are created with a schema, in Python"
            )
        if message.schema not in {"", PLACE} or message.catalog not in {"", CATALOG}:
            raise InvalidInputError(f"the refs are tables of {PLACE}; name no other schema or catalog")
        return self._append(call, message.table, reader)

    def _append(self, call: Call, ref: str, reader: Any) -> int:
        call.user.grant.check_append(ref)
        if "@" in ref:
            raise InvalidInputError(f"{ref!r} is a snapshot, which stays as it is")
        dataset = Dataset(self._space, ref, self._space.resolve(ref))
        return dataset.append(reader.to_reader())

    # ---------------------------------------------------------------- actions

    def list_actions(self, context: Any) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - as Flight calls it
        """Return the actions there are."""
        return ACTIONS

    def do_action(self, context: Any, action: fl.Action) -> Iterator[fl.Result]:
        """Prepare and close statements, begin and end transactions."""
        call = call_of(context)
        with told(self._audit, call, "action", action.type):
            results = self._acted(call, action.type, action.body.to_pybytes())
        yield from (fl.Result(pa.py_buffer(result)) for result in results)

    def _acted(self, call: Call, kind: str, body: bytes) -> list[bytes]:
        if kind not in dict(ACTIONS):
            raise UnsupportedError(f"no action {kind[:100]!r} here")
        if kind == CANCEL:
            self._cancel(call, read_bare("CancelFlightInfoRequest", body).info)
            return [bare("CancelFlightInfoResult", status=1)]
        name, message = unpack(body)
        if name != f"Action{kind}Request":
            raise InvalidInputError(f"the action {kind} takes another message than {name}")
        if kind == "CreatePreparedStatement":
            return [self._prepare(call, message)]
        if kind == "BeginTransaction":
            return [pack("ActionBeginTransactionResult", transaction_id=self._statements.begin(call.user))]
        if kind == "EndTransaction":
            self._statements.end(call.user, message.transaction_id)
            return []
        if kind == "CancelQuery":
            self._cancel(call, message.info)
            return [pack("ActionCancelQueryResult", result=1)]
        self._statements.close(call.user, message.prepared_statement_handle)
        return []

    def _prepare(self, call: Call, message: Any) -> bytes:
        handle = self._statements.keep(call.user, message.query, message.transaction_id)
        held = self._statements.get(call.user, handle)
        known = not held.statement.parameters  # with parameters, what comes back may depend on them
        schema = bytes(self._statements.schema(held).serialize()) if known else b""
        # DuckDB finds out what parameters are from the values that come, so their types are unknown, which ADBC writes as null.
        unknown = pa.schema([pa.field(one, pa.null()) for one in held.statement.parameters])
        return pack(
            "ActionCreatePreparedStatementResult",
            prepared_statement_handle=handle,
            dataset_schema=schema,
            parameter_schema=b"" if known else bytes(unknown.serialize()),
        )

    def _cancel(self, call: Call, info: bytes) -> None:
        """Stop the statements of a flight, which is given as the client got it."""
        try:
            endpoints = fl.FlightInfo.deserialize(info).endpoints
        except pa.ArrowException:
            raise InvalidInputError("no flight: its bytes cannot be read") from None
        for endpoint in endpoints:
            if is_part(endpoint.ticket.ticket):
                raise UnsupportedError("the rows of a ref stop when their reader closes the stream")
            name, ticket = unpack(endpoint.ticket.ticket)
            if name == "TicketStatementQuery":
                self._statements.cancel(call.user, ticket.statement_handle)


def _ref_of(descriptor: fl.FlightDescriptor) -> str:
    """Return the Ref that a path names. Raises InvalidInputError."""
    if len(descriptor.path) != 1:
        raise InvalidInputError("a flight is named by a ref alone")
    return bytes(descriptor.path[0]).decode(errors="replace")
