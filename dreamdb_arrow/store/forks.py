"""Forks: what a child process must not take over from its parent. Spec 0005.

A fork copies memory and only the thread that forks. A lock that another thread held stays held for ever, and whatever
counts on threads or on being the only owner is no longer true. Objects with such state register here; the child has
them put it right before it does anything else.
"""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet


class Forked(Protocol):
    """An object with state that a child process cannot share with its parent."""

    def after_fork(self) -> None:
        """Take new locks, and let go of what belongs to the parent. Runs in the child, which has one thread."""


_OWNERS: Final[WeakSet[Forked]] = WeakSet()


def renew_in_child(owner: Forked) -> None:
    """Have `owner.after_fork` called in every child process, as long as the owner lives."""
    _OWNERS.add(owner)


def _renew() -> None:
    for owner in list(_OWNERS):
        owner.after_fork()


os.register_at_fork(after_in_child=_renew)
