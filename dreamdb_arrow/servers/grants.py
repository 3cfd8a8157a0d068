"""What a caller may do: verbs, a scope of Refs and time, limits; and who the caller is. Spec 0023."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

from dreamdb_arrow.dataset.scope import EVERYTHING, Scope
from dreamdb_arrow.engines.effects import EFFECTS
from dreamdb_arrow.errors import UnsupportedError

READ, APPEND = "read", "append"
VERBS: Final = (READ, APPEND, *sorted(EFFECTS))  # 0023-R7
OWN: Final = "dreamdb_"  # what the names of our SQL functions begin with


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be used: bytes of memory by all statements of one caller together; seconds and rows by each of them."""

    memory_bytes: int = 4_000_000_000
    seconds: float = 300.0
    rows: int | None = None

    def at_most(self, other: Limits) -> Limits:
        """Return the lower of each."""
        rows = [n for n in (self.rows, other.rows) if n is not None]
        return Limits(
            min(self.memory_bytes, other.memory_bytes),
            min(self.seconds, other.seconds),
            min(rows, default=None),
        )


NO_LIMITS: Final = Limits(2**63 - 1, float("inf"), None)


@dataclass(frozen=True, slots=True)
class Grant:
    """What may be done: which verbs, on what of the Space, and within which limits."""

    verbs: frozenset[str] = frozenset(VERBS)
    scope: Scope = EVERYTHING
    limits: Limits = NO_LIMITS

    def check_verb(self, verb: str) -> None:
        """Raise UnsupportedError for a verb that is not granted (0023-R7)."""
        if verb not in self.verbs:
            allowed = ", ".join(v for v in VERBS if v in self.verbs)
            raise UnsupportedError(f"{verb} is not granted, only {allowed}: this caller may only {allowed}")

    def check_append(self, ref: str) -> str:
        """Return a Ref that rows may be appended to. Raises UnsupportedError."""
        self.check_verb(APPEND)
        return self.scope.check_ref(ref)

    def check_read(self, ref: str) -> str:
        """Return a Ref that may be read. Raises UnsupportedError."""
        self.check_verb(READ)
        return self.scope.check_ref(ref)

    def check_function(self, macro: str, *, may_write: bool) -> None:
        """Raise UnsupportedError for a table function of ours that is not granted, or cannot be cut to the scope."""
        kind = macro.removeprefix(OWN)
        if kind not in EFFECTS:
            self.check_verb(READ)
            self.scope.check_kind(kind)
            return
        if not may_write:
            raise UnsupportedError(f"{macro} writes, and only reading is possible here")
        self.check_verb(kind)


FULL: Final = Grant()
READING: Final = Grant(frozenset({READ}))


@dataclass(frozen=True, slots=True)
class User:
    """A caller: a name, what is granted, the id of the token that says so, and until when it counts (seconds since 1970)."""

    name: str
    grant: Grant = FULL
    token_id: str = ""
    until_s: float = float("inf")

    @property
    def may_write(self) -> bool:
        """Whether anything but reading is granted."""
        return self.grant.verbs != READING.verbs

    @property
    def shown(self) -> str:
        """The name as logs have it: with the id of the token, which tells who was given it."""
        return f"{self.name}#{self.token_id}" if self.token_id else self.name

    def left_s(self) -> float:
        """Return for how many seconds what is granted still counts."""
        return self.until_s - time.time()

    def limited(self, limits: Limits) -> User:
        """Return the user with limits that are no higher than these."""
        return replace(self, grant=replace(self.grant, limits=self.grant.limits.at_most(limits)))
