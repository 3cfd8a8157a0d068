"""The PostgreSQL server: a Space for psql and whatever speaks as it does. ADR 0048."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.servers.access import Access, Audit
from dreamdb_arrow.servers.flight_sql.statements import Statements
from dreamdb_arrow.servers.grants import Limits
from dreamdb_arrow.servers.postgres.catalog import catalogs_over
from dreamdb_arrow.servers.postgres.connection import Wire
from dreamdb_arrow.servers.postgres.passwords import Door, Keys
from dreamdb_arrow.servers.postgres.session import Services, Session
from dreamdb_arrow.servers.postgres.views import VERSION_TEXT
from dreamdb_arrow.servers.running import Watch
from dreamdb_arrow.servers.sandboxes import Sandboxes

THREADS: Final = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server serves: users with the keys of their passwords, log, limits, and certificate and key in PEM for TLS."""

    access: Access = field(default_factory=Access)
    keys: Mapping[str, Keys] = field(default_factory=dict)
    audit: Audit = field(default_factory=Audit)
    limits: Limits = field(default_factory=Limits)
    certificate: Path | None = None
    key: Path | None = None


class PostgresServer:
    """A Space on the PostgreSQL wire. It listens once made; `halt` stops what runs, `shutdown` the rest, `close` takes it apart.

    Args:
        space: the Space. Its cache should hold nothing of other Spaces.
        host: where to listen.
        port: 0 takes a free one, which is `port`.
        settings: see Settings.
    """

    def __init__(self, space: Space, host: str, port: int, settings: Settings) -> None:
        self._space, self._sandboxes = space, Sandboxes(space, settings.limits)
        self._watch = Watch(settings.limits.seconds)
        self._threads = ThreadPoolExecutor(THREADS, "dreamdb-postgres")
        statements = Statements(self._sandboxes, self._watch)
        self._catalogs = catalogs_over(self._sandboxes, self._watch)
        services = Services(statements, self._catalogs, settings.audit, self._threads)
        self._wire = Wire(lambda: Session(services), server_version=VERSION_TEXT)
        self._wire.door, self._wire.audit = Door(settings.access, settings.keys), settings.audit
        self._wire.secure = _context(settings)
        self._loop, self._ready, self._failed = asyncio.new_event_loop(), Event(), list[BaseException]()
        self._thread = Thread(target=self._serve, args=(host, port), name="dreamdb-postgres", daemon=True)
        self._watch.start()
        self._thread.start()
        self._ready.wait()
        if self._failed:
            self._watch.close()
            self.close()
            raise self._failed[0]

    @property
    def port(self) -> int:
        """The port it listens at."""
        port: int = self._wire.sockets()[0].getsockname()[1]
        return port

    @property
    def running(self) -> int:
        """How many statements run now."""
        return len(self._watch)

    def halt(self, seconds: float) -> bool:
        """Stop the statements that run; return whether all of them have ended within a time."""
        self._watch.close()
        return self._watch.wait_idle(seconds)

    def shutdown(self) -> None:
        """Hang up, and listen no more."""
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._wire.close)
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def close(self) -> None:
        """Take the databases apart, after `shutdown`."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._catalogs.close()
        self._sandboxes.close()

    def discard(self) -> None:
        """Remove a temporary cache, where the process is to end at once."""
        if self._space.cache.is_temporary:
            shutil.rmtree(self._space.cache.root, ignore_errors=True)

    def _serve(self, host: str, port: int) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._wire.start_server(host, port))
        except OSError as error:
            self._failed.append(error)
            self._loop.close()
            return
        finally:
            self._ready.set()
        self._loop.run_forever()
        self._end()

    def _end(self) -> None:
        """Let each client's task see that it was cancelled."""
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()


def _context(settings: Settings) -> Any:
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.certificate, settings.key)
    return context
