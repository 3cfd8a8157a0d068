"""What was used last, up to a number of things. Safe to share between threads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that forgets the longest unused of more than `most` keys."""

    __slots__ = ("_held", "_lock", "_most")

    def __init__(self, most: int) -> None:
        self._held: OrderedDict[K, V] = OrderedDict()
        self._lock, self._most = Lock(), most

    def get(self, key: K) -> V | None:
        """Return what is kept under a key, or None."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> None:
        """Keep a value in the place of an earlier one."""
        with self._lock:
            self._held[key] = value
            self._trim(key)

    def keep(self, key: K, value: V) -> V:
        """Keep a value unless there is one already, and return what is kept now."""
        with self._lock:
            kept = self._held.setdefault(key, value)
            self._trim(key)
        return kept

    def drop(self, key: K) -> None:
        """Forget a key, if it is there."""
        with self._lock:
            self._held.pop(key, None)

    def _trim(self, key: K) -> None:
        self._held.move_to_end(key)
        while len(self._held) > self._most:
            self._held.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
