"""A server before a server, which loses answers: the one behind has acted, and who asked is not told. Spec 0005.

    with losing("http://127.0.0.1:8333", share=0.2, seed=1) as proxy:
        open_store(f"{proxy.url}/bucket/space")

Half of the lost answers end with the connection, half become "500 Internal Server Error". Plain HTTP, whole bodies in memory:
for tests on one machine.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import urlsplit

_OF_ONE_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_FAILURE: Final = b"<Error><Code>InternalError</Code><Message>the answer was lost</Message></Error>"


@dataclass(slots=True)
class Losing:
    """What was lost so far, by method; `url` is where to ask."""

    url: str
    share: float
    chance: random.Random
    lost: Counter[str] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def loses(self, method: str) -> str:
        """Decide about an answer: `cut`, `error`, or empty to pass it on."""
        with self.lock:
            if self.chance.random() >= self.share:
                return ""
            self.lost[method] += 1
            return self.chance.choice(("cut", "error"))


@contextmanager
def losing(endpoint: str, *, share: float, seed: int) -> Iterator[Losing]:
    """Run the proxy of a server `http://host:port` in threads of this process, on a free port of 127.0.0.1."""
    behind = urlsplit(endpoint).netloc
    server = _Server(("127.0.0.1", 0), _Handler)
    state = Losing(f"http://127.0.0.1:{server.server_port}", share, random.Random(seed))  # noqa: S311 - no secret
    server.behind, server.state = behind, state
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    behind: str
    state: Losing

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._behind = HTTPConnection(self.server.behind, timeout=60)

    def finish(self) -> None:
        self._behind.close()
        super().finish()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: text for name, text in self.headers.items() if name.lower() not in _OF_ONE_HOP}
        self._behind.request(
            self.command, self.path, body or None, headers | {"Content-Length": str(len(body))}
        )
        answer = self._behind.getresponse()
        data = answer.read()
        lost = self.server.state.loses(self.command)
        if lost == "cut":
            self.close_connection = True
        elif lost == "error":
            self._send(
                500, {"Content-Type": "application/xml", "Content-Length": str(len(_FAILURE))}, _FAILURE
            )
        else:
            self._send(answer.status, _headers(answer, data), data)

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - the server asks for these names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _headers(answer: HTTPResponse, data: bytes) -> dict[str, str]:
    kept = {name: text for name, text in answer.getheaders() if name.lower() not in _OF_ONE_HOP}
    return kept | {"Content-Length": answer.getheader("Content-Length") or str(len(data))}
