"""Who calls: credentials in headers, bearer tokens in answers, errors as one line without a traceback. ADR 0041, 0042."""

from __future__ import annotations

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


class Caller(fl.ServerMiddleware):  # type: ignore[misc]
    """The user of one call, who gets a bearer token back."""

    def __init__(self, user: User, token: str) -> None:
        self.user, self._token = user, token

    def sending_headers(self) -> dict[str, str]:
        """Give the token, where there is one."""
        return {HEADER: f"Bearer {self._token}"} if self._token else {}


class Callers(fl.ServerMiddlewareFactory):  # type: ignore[misc]
    """Finds out who calls, and refuses those it does not know."""

    def __init__(self, access: Access, audit: Audit) -> None:
        self._access, self._audit = access, audit

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> Caller:
        """Return the user of a call. Raises FlightUnauthenticatedError."""
        given = [v for k, values in headers.items() if k.lower() == HEADER for v in values]
        try:
            return Caller(*self._access.user_of(given[0] if given else None))
        except InvalidInputError as error:
            self._audit.note("", "", "refused", str(info.method), one_line(error))
            raise fl.FlightUnauthenticatedError(one_line(error)) from None


class AnyHandshake(fl.ServerAuthHandler):  # type: ignore[misc]
    """Leaves all to the middleware; Flight wants a handler for the handshake that some clients begin with."""

    def authenticate(self, outgoing: Any, incoming: Any) -> None:
        """Accept: the middleware has looked at the credentials already."""

    def is_valid(self, token: bytes) -> str:  # noqa: ARG002 - as Flight calls it
        """Accept."""
        return ""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who, from where, and whether they are gone."""

    user: User
    peer: str
    is_gone: Callable[[], bool]


def call_of(context: Any) -> Call:
    """Return who is behind a call's context."""
    return Call(context.get_middleware(MIDDLEWARE).user, context.peer(), context.is_cancelled)


@contextmanager
def told(audit: Audit, call: Call, verb: str, what: str) -> Iterator[None]:
    """Note a call in the log, and turn what goes wrong into one line for the client (0023-R12)."""
    try:
        yield
    except (DreamDBError, DuckDBError, pa.ArrowException, OSError) as error:
        audit.note(call.user.shown, call.peer, verb, what, one_line(error))
        raise _flight_error(error) from None
    except Exception as error:  # noqa: BLE001 - the last door: no traceback leaves
        audit.note(call.user.shown, call.peer, verb, what, f"{type(error).__name__}: {one_line(error)}")
        raise fl.FlightInternalError("the server failed; its log tells more") from None
    audit.note(call.user.shown, call.peer, verb, what)


def _flight_error(error: BaseException) -> fl.FlightError:
    if isinstance(error, fl.FlightError):
        return error
    line = one_line(error)
    if isinstance(error, UnsupportedError):
        return fl.FlightUnauthorizedError(line)
    kind = "dreamdb: " if isinstance(error, InvalidInputError | NotFoundError) else ""
    return fl.FlightServerError(f"{kind}{line}")
