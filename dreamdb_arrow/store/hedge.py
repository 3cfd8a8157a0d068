"""Hedges: a request that takes longer than usual is made a second time, and whoever answers first counts. Spec 0005.

Of a hundred answers a few come very late, for no reason that asking again would not help. Only reads are hedged. Hedges are a
small share of all requests, so that a server that is slow because it has much to do is not asked for much more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from statistics import median
from threading import Event, Lock, Thread
from typing import Final, Generic, TypeVar

from dreamdb_arrow.store.forks import renew_in_child
from dreamdb_arrow.store.traffic import Traffic

T = TypeVar("T")
R = TypeVar("R")

ASKED_MAX: Final = 4  # times, for one answer
SHARE: Final = 0.15  # hedges, of all requests
AT_FIRST: Final = 8.0  # hedges that are allowed before there were requests
PATIENCE: Final = 1.5  # times the usual
PATIENCE_S_MIN: Final = 0.03
FEW: Final = 3  # answers that tell nothing of what is usual
PATIENCE_S: Final = 0.05  # before anything was answered
_REMEMBERED: Final = 64


@dataclass(slots=True)
class _Asked(Generic[T, R]):
    """A request: the calls that were made for it, and when each of them began, once a thread has taken it up.

    `told` has the seconds that the first good answer took, once that was dealt with.
    """

    item: T
    work: Callable[[T], R]
    then: Callable[[T, R], object]
    took: list[float]  # of all requests that belong together, the seconds
    told: Future[float] = field(default_factory=Future)
    futures: list[Future[None]] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _calls: int = 0
    _answers: int = 0
    _failures: int = 0

    def ask(self, submit: Callable[[Callable[[], None]], Future[None]]) -> None:
        self._calls += 1  # before it can have failed
        self.futures.append(submit(self._call))

    def _call(self) -> None:
        began = time.perf_counter()
        self.began.append(began)
        try:
            answer = self.work(self.item)
            seconds = time.perf_counter() - began
            with self._lock:
                self._answers += 1
                if self._answers > 1:
                    return
            self.took.append(seconds)
            self.then(self.item, answer)
            self.told.set_result(seconds)
        except BaseException as error:  # noqa: BLE001 - told to who waits
            with self._lock:
                self._failures += 1
                last = self._answers or self._failures == self._calls
            if last and not self.told.done():
                self.told.set_exception(error)

    def is_late(self, now: float, patience_s: float) -> bool:
        """Whether the last call began, has no answer, and takes longer than usual."""
        waits = 0 < len(self.began) == self._calls < ASKED_MAX and not self._answers
        return waits and not self.told.done() and now - self.began[-1] > patience_s

    def cancel(self) -> None:
        for future in self.futures:
            future.cancel()


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
                running.add(_at_once(work))
                asked += 1
            elif not done:
                asked = ASKED_MAX

    def in_order(
        self,
        work: Callable[[T], R],
        then: Callable[[T, R], object],
        items: Sequence[T],
        most: int,
        together: int | None = None,
    ) -> Iterator[None]:
        """Yield once for each item, in order, when its answer is there and was dealt with; `most` items are asked for ahead.

        `work` asks; `then` deals with the first answer, in the same thread. Raises as these do. At most `together` items are under way
        at a time, and no more than there are threads.
        """
        if not items:
            return
        pool, _ = self._started()
        lanes = None if together is None or together >= self._together else ThreadPoolExecutor(together)
        waiting = iter(items)
        asked: deque[_Asked[T, R]] = deque()
        took = list[float]()

        def ask_next() -> None:
            for item in waiting:
                self._grow()
                asked.append(_Asked(item, work, then, took))
                asked[-1].ask((lanes or pool).submit)
                return

        done = Event()
        watcher = Thread(target=self._watch, args=(asked, took, done), daemon=True)
        try:
            for _ in range(most):
                ask_next()
            watcher.start()
            while asked:
                seconds = asked[0].told.result()
                self._learn(seconds)
                asked.popleft()
                ask_next()
                yield
        finally:
            done.set()
            for late in asked:
                late.cancel()
            if lanes is not None:
                lanes.shutdown(wait=False)

    def _watch(self, asked: deque[_Asked[T, R]], took: list[float], done: Event) -> None:
        """Ask again for what is late, until all is done; once most answers are there, since large ones take long together."""
        while not done.wait(self._patience_s / 4):
            now, under_way = time.perf_counter(), asked.copy()
            if len(took) < sum(late.told.done() is False and bool(late.began) for late in under_way) > FEW:
                continue
            patience = max(PATIENCE_S_MIN, PATIENCE * median(took)) if len(took) > FEW else self._patience_s
            for late in under_way:
                if late.is_late(now, patience) and self._allows():
                    late.ask(_at_once)

    def _started(self) -> tuple[ThreadPoolExecutor, float]:
        """Return the threads, and after how many seconds to ask again."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._together, "dreamdb-fetch")
            self._allowed += SHARE
            return self._pool, self._patience_s

    def _grow(self) -> None:
        with self._lock:
            self._allowed += SHARE

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


def _at_once(work: Callable[[], R]) -> Future[R]:
    """Call a function in a thread of its own: a pool would take up late what it was given last."""
    future: Future[R] = Future()

    def call() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - told to who waits
            future.set_exception(error)

    Thread(target=call, daemon=True, name="dreamdb-hedge").start()
    return future


def _answer(done: set[Future[T]], others: bool) -> Future[T] | None:
    """Return a call that ended well, or else, when no others are running, one that did not."""
    for future in done:
        if future.exception() is None:
            return future
    return next(iter(done)) if done and not others else None
