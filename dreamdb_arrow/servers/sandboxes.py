"""A database for each caller: made when they first ask, kept while they do, with their rights and limits. Spec 0023."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.servers.access import check_time
from dreamdb_arrow.servers.grants import Grant, Limits, User
from dreamdb_arrow.servers.lending import Lending
from dreamdb_arrow.servers.sandbox import Sandbox

SANDBOXES_MAX: Final = 64

Key = tuple[str, Grant]


class Sandboxes:
    """The sandboxes of one Space. Two callers share one only if they have the same name and may do the same."""

    def __init__(self, space: Space, limits: Limits) -> None:
        def make(key: Key) -> Sandbox:
            return Sandbox(space, limits, key[1])

        self._held: Lending[Key, Sandbox] = Lending(make, SANDBOXES_MAX, strict=True)

    @contextmanager
    def lent(self, user: User) -> Iterator[Sandbox]:
        """Give a caller's sandbox while the block runs.

        Raises UnsupportedError for a token that has expired, StoreError where too many callers ask at once.
        """
        check_time(user)
        one = self._held.take((user.name, user.grant))
        try:
            yield one.thing
        finally:
            self._held.give_back(one)

    def close(self) -> None:
        """Take all databases apart."""
        self._held.close()
