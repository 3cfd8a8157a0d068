"""Hedges: a request that takes longer than usual is made a second time, and whoever answers first counts. Spec 0005.

Of a hundred answers a few come very late, for no reason that asking again would not help. Only reads are hedged. Hedges are a
small share of all requests, so that a server that is slow because it has much to do is not asked for much more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from statistics import median
from threading import Lock
from typing import Final, TypeVar

from dreamdb_arrow.store.forks import renew_in_child
from dreamdb_arrow.store.traffic import Traffic

T = TypeVar("T")

ASKED_MAX: Final = 3  # times, for one answer
SHARE: Final = 0.1  # hedges, of all requests
AT_FIRST: Final = 4.0  # hedges that are allowed before there were requests
PATIENCE: Final = 1.5  # times the usual
PATIENCE_S_MIN: Final = 0.03
PATIENCE_S: Final = 0.05  # before anything was answered
_REMEMBERED: Final = 64


class Hedge:
    """Makes requests in threads, some of them twice. Safe to share between threads.

    traffic   counts what was asked again, as `hedge`
    together  requests that may be under way, not counting those asked again
    """

    __slots__ = (
        "__weakref__",
        "_allowed",
        "_lock",
        "_patience_s",
        "_pool",
        "_times",
        "_together",
        "_traffic",
    )

    def __init__(self, traffic: Traffic, together: int) -> None:
        self._traffic, self._together = traffic, together
        self._times: deque[float] = deque(maxlen=_REMEMBERED)
        self._allowed, self._patience_s = AT_FIRST, PATIENCE_S
        self.after_fork()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Start threads anew when they are needed."""
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()

    def first(self, work: Callable[[], T]) -> T:
        """Return what the function gives, of whichever call ends first; raise when all calls did."""
        pool, patience = self._started()
        began = time.perf_counter()
        running = {pool.submit(work)}
        asked = 1
        while True:
            done, running = wait(running, patience if asked < ASKED_MAX else None, FIRST_COMPLETED)
            told = _answer(done, bool(running))
            if told is not None:
                self._learn(time.perf_counter() - began)
                return told.result()
            if not done and self._allows():
                running.add(pool.submit(work))
                asked += 1
            elif not done:
                asked = ASKED_MAX

    def _started(self) -> tuple[ThreadPoolExecutor, float]:
        """Return the threads, and after how many seconds to ask again."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(2 * self._together, "dreamdb-fetch")
            self._allowed += SHARE
            return self._pool, self._patience_s

    def _allows(self) -> bool:
        with self._lock:
            if self._allowed < 1:
                return False
            self._allowed -= 1
        self._traffic.add("hedge")
        return True

    def _learn(self, seconds: float) -> None:
        with self._lock:
            self._times.append(seconds)
            self._patience_s = max(PATIENCE_S_MIN, PATIENCE * median(self._times))


def _answer(done: set[Future[T]], others: bool) -> Future[T] | None:
    """Return a call that ended well, or else, when no others are running, one that did not."""
    for future in done:
        if future.exception() is None:
            return future
    return next(iter(done)) if done and not others else None
