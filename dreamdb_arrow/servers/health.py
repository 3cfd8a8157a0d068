"""How a server is, over HTTP: /healthz, /readyz, and /metrics for Prometheus. Spec 0024."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final

from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import DreamDBError
from dreamdb_arrow.servers.sandbox import folders_of

ASKED_S: Final = 1.0  # the store is asked no more often than this, however often we are
TIMEOUT_S: Final = 10.0  # for a client that says nothing
TEXT: Final = "text/plain; charset=utf-8"

Answer = tuple[int, str, bytes]


@dataclass(slots=True)
class Readiness:
    """Whether the Space's store answers, asked once a second at most."""

    space: Space
    _lock: Lock = field(default_factory=Lock)
    _until: float = 0.0
    _error: str = ""

    def error(self) -> str:
        """Return nothing where Refs can be listed, else what kind of error came (0024-R1)."""
        with self._lock:
            if time.monotonic() > self._until:
                self._error = self._ask()
                self._until = time.monotonic() + ASKED_S
            return self._error

    def _ask(self) -> str:
        try:
            if not all(folder.is_dir() for folder in folders_of(self.space)):
                return "the Space's folder is gone"
            self.space.store.list_refs()
        except (DreamDBError, OSError) as error:
            return f"the store does not answer: {type(error).__name__}"
        return ""


class HealthServer:
    """Serves from a thread of its own once made, until `close`.

    Args:
        host, port: where to listen; port 0 takes a free one, which is `port`.
        space: the Space whose store is asked.
        metrics: gives the text for Prometheus and its content type.
    """

    def __init__(self, host: str, port: int, space: Space, metrics: Callable[[], tuple[str, bytes]]) -> None:
        ready = Readiness(space)
        answers = {
            "/healthz": lambda: (200, TEXT, b"ok\n"),
            "/readyz": lambda: _ready(ready.error()),
            "/metrics": lambda: (200, *metrics()),
        }
        self._server = ThreadingHTTPServer((host, port), _handler(answers))
        self._server.daemon_threads = True
        self.port: int = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, name="dreamdb-health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _ready(error: str) -> Answer:
    return (503, TEXT, f"{error}\n".encode()) if error else (200, TEXT, b"ready\n")


def _handler(answers: dict[str, Callable[[], Answer]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_S
        server_version, sys_version = "dreamdb", ""

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            made = answers.get(self.path.partition("?")[0])
            status, kind, body = made() if made else (404, TEXT, b"no such page\n")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: what matters is in the audit."""

    return Handler
