"""What a store was asked for: requests by kind, and bytes both ways. Spec 0005."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from dreamdb_arrow.store.forks import renew_in_child


class Traffic:
    """Counts requests and bytes. Safe to share between threads."""

    __slots__ = ("__weakref__", "_counts", "_lock")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = Lock()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Take a lock of its own."""
        self._lock = Lock()

    def add(self, kind: str, *, received: int = 0, sent: int = 0) -> None:
        """Count one request of a kind (`get`, `put`, `head`, `list`, `delete`) and its bytes, or what spared or added one.

        `hit`: the folder had it. `ahead`: a get before anybody asked. `hedge`: a get made again, as the first was late.
        """
        with self._lock:
            self._counts[kind] += 1
            self._counts["bytes_received"] += received
            self._counts["bytes_sent"] += sent

    def receive(self, size: int) -> None:
        """Count bytes that came, of a request that was counted."""
        with self._lock:
            self._counts["bytes_received"] += size

    def counts(self) -> dict[str, int]:
        """Return what was counted so far, by kind, `bytes_received` and `bytes_sent`."""
        with self._lock:
            return dict(self._counts)
