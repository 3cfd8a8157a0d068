"""Threads that live as long as a store: they wait for the disk, so that a commit waits once for many files. Spec 0005."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import TypeVar

from dreamdb_arrow.store.forks import renew_in_child

T = TypeVar("T")


class Threads:
    """At most `limit` threads, started when they are first needed, and again after a fork, which takes none along."""

    __slots__ = ("__weakref__", "_limit", "_lock", "_pool")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.after_fork()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Start threads anew when they are needed."""
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()

    def run_all(self, work: Callable[[T], None], items: Sequence[T]) -> None:
        """Do the work for every item, the last of them in this thread; raise what went wrong first, once all are done."""
        if self._limit <= 1 or len(items) <= 1:
            for item in items:
                work(item)
            return
        pool = self._started()
        futures = [pool.submit(work, item) for item in items[:-1]]
        try:
            work(items[-1])
        finally:
            wait(futures)
        for future in futures:
            future.result()

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._limit, "dreamdb-store")
            return self._pool
