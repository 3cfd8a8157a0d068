"""A database for each caller: made when they first ask, kept while they do, with their rights and limits. Spec 0023."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.servers.access import check_time
from dreamdb_arrow.servers.grants import Grant, Limits, User
from dreamdb_arrow.servers.sandbox import Sandbox

SANDBOXES_MAX: Final = 64

Key = tuple[str, Grant]


@dataclass(slots=True)
class _Lent:
    """A sandbox, and how many use it just now."""

    sandbox: Sandbox
    uses: int = 0


@dataclass(slots=True)
class Sandboxes:
    """The sandboxes of one Space. Two callers share one only if they have the same name and may do the same."""

    space: Space
    limits: Limits
    _held: OrderedDict[Key, _Lent] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def lent(self, user: User) -> Iterator[Sandbox]:
        """Give a caller's sandbox while the block runs.

        Raises UnsupportedError for a token that has expired, StoreError where too many callers ask at once.
        """
        check_time(user)
        one = self._take(user)
        try:
            yield one.sandbox
        finally:
            with self._lock:
                one.uses -= 1

    def _take(self, user: User) -> _Lent:
        key = user.name, user.grant
        with self._lock:
            one = self._held.get(key)
            if one is None:
                self._make_room()
                one = self._held[key] = _Lent(Sandbox(self.space, self.limits, user.grant))
            self._held.move_to_end(key)
            one.uses += 1
        return one

    def _make_room(self) -> None:
        """Close the sandbox that was idle for longest, where there are as many as may be."""
        if len(self._held) < SANDBOXES_MAX:
            return
        idle = next((key for key, one in self._held.items() if one.uses == 0), None)
        if idle is None:
            raise StoreError(f"{SANDBOXES_MAX} callers ask at once, as many as may", retryable=True)
        self._held.pop(idle).sandbox.close()

    def close(self) -> None:
        """Take all databases apart."""
        with self._lock:
            for one in self._held.values():
                one.sandbox.close()
            self._held.clear()
