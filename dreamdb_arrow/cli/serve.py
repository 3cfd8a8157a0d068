"""`dreamdb serve`: a Space over Flight SQL and the PostgreSQL wire, until it is told to end."""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from ipaddress import ip_address
from threading import Event
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from dreamdb_arrow.cli.failures import OK, UsageError
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.servers.access import Access, Audit, Note, read_users
from dreamdb_arrow.servers.grants import Limits
from dreamdb_arrow.servers.health import HealthServer
from dreamdb_arrow.servers.tokens import read_keys

PLAIN, SECURE = "grpc", "grpc+tls"
EVERY_S: Final = 0.2
GRACE_S: Final = 3.0  # how long statements may take to end
METRICS_EXTRA: Final = "--metrics needs prometheus-client: pip install 'dreamdb-arrow[metrics]'"
PG_EXTRA: Final = "the PostgreSQL wire needs pg-mimic: pip install 'dreamdb-arrow[pg]'"
EXTRA: Final = "Flight SQL needs protobuf: pip install 'dreamdb-arrow[flight]'"


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    if not args.flight_sql and not args.pg:
        raise UsageError(
            "name where to listen: --flight-sql grpc://127.0.0.1:31337, or --pg 127.0.0.1:5433", "serve"
        )
    if bool(args.tls_cert) != bool(args.tls_key):
        raise UsageError("--tls-cert and --tls-key come together", "serve")
    flight = _place(args) if args.flight_sql else None
    postgres = _pg_place(args) if args.pg else None
    metrics_at = _http_place(args.metrics) if args.metrics else None
    space = Space(args.backend, cache_dir=args.cache_dir, offline=args.offline)
    servers: list[Any] = []
    metrics = _metrics(space, servers) if metrics_at else None
    settings = {
        "access": _access(args),
        "audit": Audit(args.audit_log, _listeners(metrics)),
        "limits": Limits(args.memory, args.max_seconds, args.max_rows),
        "certificate": args.tls_cert,
        "key": args.tls_key,
    }
    with ExitStack() as stack:
        if flight is not None:
            servers.append(_flight_sql(args, space, settings, stack))
            _tell(args, f"{flight.scheme}://{flight.hostname}:{servers[-1].port}")
        if postgres is not None:
            servers.append(_postgres(args, postgres, space, settings, stack))
            _tell(args, f"postgresql://{postgres.hostname}:{servers[-1].port}")
        if metrics_at is not None:
            sys.stdout.write(f"metrics at {_serve_health(metrics_at, space, metrics, stack)}\n")
            sys.stdout.flush()
        serve_until_told(servers)
    return OK


def _tell(args: Namespace, place: str) -> None:
    sys.stdout.write(f"serving {args.backend} at {place}\n")
    sys.stdout.flush()


def _flight_sql(args: Namespace, space: Space, settings: dict[str, Any], stack: ExitStack) -> Any:
    if find_spec("google.protobuf") is None:
        raise UnsupportedError(EXTRA)
    module: Any = import_module("dreamdb_arrow.servers.flight_sql.server")  # loads protobuf
    server = module.FlightSqlServer(space, args.flight_sql, module.Settings(**settings))
    stack.callback(server.close)
    return server


def _postgres(
    args: Namespace, place: SplitResult, space: Space, settings: dict[str, Any], stack: ExitStack
) -> Any:
    if find_spec("pg_mimic") is None:
        raise UnsupportedError(PG_EXTRA)
    module: Any = import_module("dreamdb_arrow.servers.postgres.server")  # loads pg-mimic
    passwords: Any = import_module("dreamdb_arrow.servers.postgres.passwords")
    keys = passwords.read_keys(args.users) if args.users else {}
    server = module.PostgresServer(space, place.hostname, place.port, module.Settings(**settings, keys=keys))
    stack.callback(server.close)
    return server


def _metrics(space: Space, servers: Sequence[Any]) -> Any:
    """Return what counts for Prometheus; `servers` may be filled later. Raises UnsupportedError without its library."""
    if find_spec("prometheus_client") is None:
        raise UnsupportedError(METRICS_EXTRA)
    module = import_module("dreamdb_arrow.servers.metrics")
    return module.Metrics(space, lambda: sum(server.running for server in servers))


def _listeners(metrics: Any) -> list[Callable[[Note], None]]:
    """Return who hears of each call: metrics if asked for, OpenTelemetry if it is installed."""
    found = [] if metrics is None else [metrics.heard]
    if find_spec("opentelemetry") is not None and find_spec("opentelemetry.metrics") is not None:
        found.append(import_module("dreamdb_arrow.servers.telemetry").Telemetry().heard)
    return found


def _serve_health(place: SplitResult, space: Space, metrics: Any, stack: ExitStack) -> str:
    """Listen for HTTP, and return where."""
    made = HealthServer(str(place.hostname), place.port or 0, space, metrics.page)
    stack.callback(made.close)
    return f"http://{place.hostname}:{made.port}/metrics"


def _http_place(text: str) -> SplitResult:
    return _host_and_port(text, "127.0.0.1:9464")


def _host_and_port(text: str, such_as: str) -> SplitResult:
    where: SplitResult = urlsplit(f"//{text}")
    if not where.hostname or _port(where) is None or where.path or where.username is not None:
        raise UsageError(f"{text!r} is no place such as {such_as}", "serve")
    return where


def _access(args: Namespace) -> Access:
    keys = read_keys(args.token_keys) if args.token_keys else ()
    return read_users(args.users, keys) if args.users else Access(keys=keys)


def _place(args: Namespace) -> SplitResult:
    """Return where Flight SQL is to listen. Raises UsageError where the line leaves a door open that it should not."""
    where: SplitResult = urlsplit(args.flight_sql)
    if where.scheme not in {PLAIN, SECURE} or not where.hostname or _port(where) is None:
        raise UsageError(f"{args.flight_sql!r} is no place such as grpc://127.0.0.1:31337", "serve")
    if (where.scheme == SECURE) != bool(args.tls_cert):
        raise UsageError("grpc+tls:// and --tls-cert with --tls-key come together", "serve")
    _refuse_open(args, str(where.hostname))
    return where


def _pg_place(args: Namespace) -> SplitResult:
    """Return where the PostgreSQL wire is to listen. Raises UsageError as `_place` does."""
    where = _host_and_port(args.pg, "127.0.0.1:5433")
    _refuse_open(args, str(where.hostname))
    return where


def _refuse_open(args: Namespace, host: str) -> None:
    if not _is_this_machine(host) and not ((args.users or args.token_keys) and args.tls_cert):
        raise UsageError("other machines are served with --users or --token-keys, and TLS only", "serve")


def _port(where: SplitResult) -> int | None:
    try:
        return where.port
    except ValueError:
        return None


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def serve_until_told(servers: Sequence[Any]) -> None:
    """Wait until the process is interrupted or told to end; statements that run are stopped.

    The servers listen since they were made. Flight's own `serve` would take the signals, and wait for clients that do not read.
    """
    told = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    while not told.wait(EVERY_S):  # a wait without end would not let Python's handlers run everywhere
        pass
    idle = [server.halt(GRACE_S) for server in servers]
    if not all(idle):
        servers[0].discard()  # a client has stopped reading, and to shut down would wait for it
        os._exit(OK)
    for server in servers:
        server.shutdown()
