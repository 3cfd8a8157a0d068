"""`dreamdb serve`: a Space over Flight SQL, until it is told to end."""

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
EXTRA: Final = "Flight SQL needs protobuf: pip install 'dreamdb-arrow[flight]'"


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    where = _place(args)
    if find_spec("google.protobuf") is None:
        raise UnsupportedError(EXTRA)
    metrics_at = _http_place(args.metrics) if args.metrics else None
    space = Space(args.backend, cache_dir=args.cache_dir, offline=args.offline)
    servers: list[Any] = []
    metrics = _metrics(space, servers) if metrics_at else None
    module: Any = import_module("dreamdb_arrow.servers.flight_sql.server")  # loads protobuf
    settings = module.Settings(
        access=_access(args),
        audit=Audit(args.audit_log, _listeners(metrics)),
        limits=Limits(args.memory, args.max_seconds, args.max_rows),
        certificate=args.tls_cert,
        key=args.tls_key,
    )
    server = module.FlightSqlServer(space, args.flight_sql, settings)
    servers.append(server)
    with ExitStack() as stack:
        stack.callback(server.close)
        sys.stdout.write(f"serving {args.backend} at {where.scheme}://{where.hostname}:{server.port}\n")
        if metrics_at is not None:
            sys.stdout.write(f"metrics at {_serve_health(metrics_at, space, metrics, stack)}\n")
        sys.stdout.flush()
        serve_until_told(server)
    return OK


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
    where: SplitResult = urlsplit(f"//{text}")
    if not where.hostname or _port(where) is None or where.path or where.username is not None:
        raise UsageError(f"{text!r} is no place such as 127.0.0.1:9464", "serve")
    return where


def _access(args: Namespace) -> Access:
    keys = read_keys(args.token_keys) if args.token_keys else ()
    return read_users(args.users, keys) if args.users else Access(keys=keys)


def _place(args: Namespace) -> SplitResult:
    """Return where to listen. Raises UsageError where the line leaves a door open that it should not."""
    if not args.flight_sql:
        raise UsageError("name where to listen: --flight-sql grpc://127.0.0.1:31337", "serve")
    where: SplitResult = urlsplit(args.flight_sql)
    if where.scheme not in {PLAIN, SECURE} or not where.hostname or _port(where) is None:
        raise UsageError(f"{args.flight_sql!r} is no place such as grpc://127.0.0.1:31337", "serve")
    if bool(args.tls_cert) != bool(args.tls_key):
        raise UsageError("--tls-cert and --tls-key come together", "serve")
    if (where.scheme == SECURE) != bool(args.tls_cert):
        raise UsageError("grpc+tls:// and --tls-cert with --tls-key come together", "serve")
    if not _is_this_machine(where.hostname) and not ((args.users or args.token_keys) and args.tls_cert):
        raise UsageError("other machines are served with --users or --token-keys, and TLS only", "serve")
    return where


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


def serve_until_told(server: Any) -> None:
    """Wait until the process is interrupted or told to end; statements that run are stopped.

    The server listens since it was made. Its own `serve` would take the signals, and wait for clients that do not read.
    """
    told = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    while not told.wait(EVERY_S):  # a wait without end would not let Python's handlers run everywhere
        pass
    if not server.halt(GRACE_S):  # a client has stopped reading, and to shut down would wait for it
        server.discard()
        os._exit(OK)
    server.shutdown()
