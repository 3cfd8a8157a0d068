"""Statements that run for clients: as streams of batches, with limits of time and rows, ended when nobody listens. ADR 0041."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Lock, Thread
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.errors import StoreError

EVERY_S: Final = 0.2  # how often clients are looked after: one that hangs up is noticed within this time
BATCH_ROWS: Final = 1 << 15


@dataclass(slots=True)
class Watched:
    """A statement that runs: whether its client is gone, how to stop it, when its time is up, what to say then, and why it was stopped."""

    is_gone: Callable[[], bool]
    stop: Callable[[], None]
    until: float
    over: str
    why: str = ""


@dataclass(slots=True)
class Watch:
    """One thread that stops statements whose client is gone, or whose time is up; `close` ends it.

    `seconds` is what one statement may take, of those that are told no less.
    """

    seconds: float
    _running: dict[int, Watched] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _ended: Event = field(default_factory=Event)
    _keys: count[int] = field(default_factory=count)
    _thread: Thread | None = None

    def start(self) -> None:
        """Start to look."""
        self._thread = Thread(target=self._look, name="dreamdb-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking, and whatever still runs."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for one in self._running.values():
                one.why = "stopped, since the server ends"
                one.stop()

    def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing runs; return whether that is so within a time."""
        end = time.monotonic() + seconds
        while self._running and time.monotonic() < end:
            time.sleep(EVERY_S / 10)
        return not self._running

    def __len__(self) -> int:
        return len(self._running)

    @contextmanager
    def watching(
        self,
        is_gone: Callable[[], bool],
        stop: Callable[[], None],
        seconds: float = math.inf,
        left_s: float = math.inf,
    ) -> Iterator[Watched]:
        """Look after a statement while the block runs; `is_gone` is not called after it.

        Args:
            is_gone: whether the client has hung up.
            stop: stops the statement.
            seconds: how long it may take, if that is less than the watch allows.
            left_s: for how long the caller's token still counts.
        """
        seconds = min(seconds, self.seconds)
        over = f"stopped after {seconds:g} s, which is what one statement may take"
        if left_s < seconds:
            over = "stopped, since the token has expired"
        one = Watched(is_gone, stop, time.monotonic() + min(seconds, left_s), over)
        key = next(self._keys)
        with self._lock:
            self._running[key] = one
        try:
            yield one
        finally:
            with self._lock:
                del self._running[key]

    def end(self, one: Watched, why: str) -> None:
        """Stop a statement, if it still runs, now and each time that the watch looks."""
        with self._lock:
            if one in self._running.values():
                one.why = why
                one.until = 0.0
                one.over = why
                one.stop()

    def _look(self) -> None:
        while not self._ended.wait(EVERY_S):
            now = time.monotonic()
            with self._lock:
                for one in self._running.values():
                    if why := self._over(one, now):
                        one.why = why
                        one.stop()  # again each time: a statement may not have begun yet

    @staticmethod
    def _over(one: Watched, now: float) -> str:
        if now > one.until:
            return one.over
        return "stopped, since the client is gone" if one.is_gone() else ""


def batches_of(reader: Any, watched: Watched, most_rows: int | None) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a reader. Raises StoreError where time is up or more rows come than a statement may have."""
    rows = 0
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        rows += batch.num_rows
        if watched.why:
            raise StoreError(watched.why)
        if most_rows is not None and rows > most_rows:
            raise StoreError(f"stopped: more than {most_rows} rows, which is what one statement may give")
        yield batch
