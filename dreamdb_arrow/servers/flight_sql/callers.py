"""Who calls: credentials in headers, bearer tokens in answers, errors as one line without a traceback. ADR 0041, 0042."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.flight as fl

from dreamdb_arrow.engines.duckdb import DuckDBError
from dreamdb_arrow.errors import DreamDBError, InvalidInputError, NotFoundError, UnsupportedError
from dreamdb_arrow.servers.access import Access, Audit
from dreamdb_arrow.servers.grants import User
from dreamdb_arrow.servers.sandbox import one_line

MIDDLEWARE: Final = "dreamdb"
HEADER: Final = "authorization"
PARENT: Final = "traceparent"


class Caller(fl.ServerMiddleware):  # type: ignore[misc]
    """The user of one call, who gets a bearer token back; `parent` is the trace that the call belongs to."""

    def __init__(self, user: User, token: str, parent: str) -> None:
        self.user, self._token, self.parent = user, token, parent

    def sending_headers(self) -> dict[str, str]:
        """Give the token, where there is one."""
        return {HEADER: f"Bearer {self._token}"} if self._token else {}


class Callers(fl.ServerMiddlewareFactory):  # type: ignore[misc]
    """Finds out who calls, and refuses those it does not know."""

    def __init__(self, access: Access, audit: Audit) -> None:
        self._access, self._audit = access, audit

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> Caller:
        """Return the user of a call. Raises FlightUnauthenticatedError."""
        parent = _first(headers, PARENT) or ""
        try:
            return Caller(*self._access.user_of(_first(headers, HEADER)), parent)
        except InvalidInputError as error:
            self._audit.note(
                "", "", "refused", str(info.method), one_line(error), kind="unauthenticated", parent=parent
            )
            raise fl.FlightUnauthenticatedError(one_line(error)) from None


def _first(headers: dict[str, list[str]], name: str) -> str | None:
    """Return the first value of a header, or None."""
    return next((v for k, values in headers.items() if k.lower() == name for v in values), None)


class AnyHandshake(fl.ServerAuthHandler):  # type: ignore[misc]
    """Leaves all to the middleware; Flight wants a handler for the handshake that some clients begin with."""

    def authenticate(self, outgoing: Any, incoming: Any) -> None:
        """Accept: the middleware has looked at the credentials already."""

    def is_valid(self, token: bytes) -> str:  # noqa: ARG002 - as Flight calls it
        """Accept."""
        return ""


@dataclass(slots=True)
class Call:
    """One call: who, from where, whether they are gone, which trace it belongs to, and how many rows it has given so far."""

    user: User
    peer: str
    is_gone: Callable[[], bool]
    parent: str = ""
    rows: int | None = None


def call_of(context: Any) -> Call:
    """Return who is behind a call's context."""
    caller = context.get_middleware(MIDDLEWARE)
    return Call(caller.user, context.peer(), context.is_cancelled, caller.parent)


@contextmanager
def told(audit: Audit, call: Call, verb: str, what: str) -> Iterator[None]:
    """Note a call in the log, and turn what goes wrong into one line for the client (0023-R12)."""
    began, line, kind = time.perf_counter(), None, ""
    try:
        yield
    except (DreamDBError, DuckDBError, pa.ArrowException, OSError) as error:
        line, kind = one_line(error), type(error).__name__
        raise _flight_error(error) from None
    except GeneratorExit:
        line, kind = "the client has stopped reading", "cancelled"
        raise
    except Exception as error:  # noqa: BLE001 - the last door: no traceback leaves
        line, kind = f"{type(error).__name__}: {one_line(error)}", "internal"
        raise fl.FlightInternalError("the server failed; its log tells more") from None
    finally:
        more = {"seconds": time.perf_counter() - began, "rows": call.rows, "parent": call.parent}
        audit.note(call.user.shown, call.peer, verb, what, line, kind=kind, **more)


def _flight_error(error: BaseException) -> fl.FlightError:
    if isinstance(error, fl.FlightError):
        return error
    line = one_line(error)
    if isinstance(error, UnsupportedError):
        return fl.FlightUnauthorizedError(line)
    kind = "dreamdb: " if isinstance(error, InvalidInputError | NotFoundError) else ""
    return fl.FlightServerError(f"{kind}{line}")
