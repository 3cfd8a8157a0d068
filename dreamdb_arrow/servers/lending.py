"""Lending: what is made for a caller when they first ask, shared by who may share it, and kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, Protocol, TypeVar

from dreamdb_arrow.errors import StoreError


class Closing(Protocol):
    """Anything that can be closed."""

    def close(self) -> None:
        """Take it apart."""
        ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Closing)


@dataclass(slots=True)
class Lent(Generic[V]):
    """One thing, and how many use it just now."""

    thing: V
    uses: int = 0


@dataclass(slots=True)
class Lending(Generic[K, V]):
    """Things by key, those used longest ago first.

    make    makes the one of a key
    most    how many to keep; those that are idle are closed to make room
    strict  whether there are never more; otherwise there are as many as are in use
    """

    make: Callable[[K], V]
    most: int
    strict: bool = False
    _held: OrderedDict[K, Lent[V]] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def take(self, key: K) -> Lent[V]:
        """Lend the thing of a key; `give_back` ends that. Raises StoreError where there may be no more."""
        with self._lock:
            one = self._held.get(key)
            if one is None:
                self._make_room()
                one = self._held[key] = Lent(self.make(key))
            self._held.move_to_end(key)
            one.uses += 1
        return one

    def give_back(self, one: Lent[V]) -> None:
        """End the use of a thing; it is kept for who comes next."""
        with self._lock:
            one.uses -= 1

    def _make_room(self) -> None:
        idle = [key for key, one in self._held.items() if one.uses == 0]
        for key in idle[: max(0, len(self._held) - self.most + 1)]:
            self._held.pop(key).thing.close()
        if self.strict and len(self._held) >= self.most:
            raise StoreError(f"{self.most} callers ask at once, as many as may", retryable=True)

    def close(self) -> None:
        """Take all of them apart."""
        with self._lock:
            for one in self._held.values():
                one.thing.close()
            self._held.clear()
