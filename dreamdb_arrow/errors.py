"""The errors of dreamdb_arrow, grouped by what the caller does next.

DreamDBError
├── NotFoundError (also KeyError)            look elsewhere
│   ├── ObjectNotFoundError(path)
│   └── RefNotFoundError(name)
├── ConflictError                            read again, then try again
│   ├── RefConflictError(name, expected, found)
│   │   └── RefExistsError(name, found)
│   ├── CommitError(name)
│   ├── MergeError
│   └── AnchorConflict(anchor)
├── CorruptDataError                         do not use these bytes
│   ├── DigestMismatchError(path, expected, found)
│   ├── CanonicalError(offset)
│   └── LayoutError
├── UnsupportedError                         newer or unknown
├── StoreError(retryable)                    wait, or tell a person
└── InvalidInputError (also ValueError)      fix the call
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DreamDBError(Exception):
    """The root: whatever this package raises on purpose is one of these."""

    def __str__(self) -> str:
        # KeyError would show the repr of its argument.
        return str(self.args[0]) if self.args else type(self).__name__


class NotFoundError(DreamDBError, KeyError):
    """Something that was named is not there."""


class ObjectNotFoundError(NotFoundError):
    """No Object lies at this path of the store."""

    def __init__(self, path: str, hint: str = "") -> None:
        super().__init__(f"object not found: {path}{hint and f' ({hint})'}")
        self.path = path


class RefNotFoundError(NotFoundError):
    """No Ref has this name."""

    def __init__(self, name: str, known: list[str] | None = None) -> None:
        hint = f"; known refs: {', '.join(known[:10])}" if known else ""
        super().__init__(f"ref {name!r} does not exist{hint}")
        self.name = name


class ConflictError(DreamDBError):
    """Somebody else was faster, or the Space already holds something else."""


class RefConflictError(ConflictError):
    """A Ref did not hold what the swap expected of it."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        super().__init__(f"ref {name!r} moved: expected {expected}, found {found}; open it again and retry")
        self.name, self.expected, self.found = name, expected, found


class RefExistsError(RefConflictError):
    """A Ref was to be made, and its name is taken."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(name, "no ref", found)
        self.args = (f"ref {name!r} exists already (at {found}); open it, or choose another name",)


class CommitError(ConflictError):
    """A commit lost the race for its Ref too often."""

    def __init__(self, name: str, attempts: int) -> None:
        super().__init__(f"commit to {name!r} lost the race {attempts} times; open it again and retry")
        self.name, self.attempts = name, attempts


class MergeError(ConflictError):
    """Two versions cannot become one; the message says why, and what to do first.

    `conflicts` has, by field, the anchors (int64 arrays, ascending) whose values differ, where that is the reason.
    """

    def __init__(self, message: str, conflicts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.conflicts = dict(conflicts or {})


class AnchorConflict(ConflictError):  # noqa: N818 - the name is part of the public contract
    """A row would take an anchor that is taken."""

    def __init__(self, anchor: int, message: str) -> None:
        super().__init__(message)
        self.anchor = anchor


class CorruptDataError(DreamDBError):
    """Bytes are not what their name or their format promises."""


class DigestMismatchError(CorruptDataError):
    """The bytes at a path do not hash to the address that names them."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f"corrupt object: {path} does not hash to its address (found {found})")
        self.path, self.expected, self.found = path, expected, found


class CanonicalError(CorruptDataError):
    """CBOR that is malformed, or not in the one canonical form; `offset` is where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} at byte {offset}")
        self.offset = offset


class LayoutError(CorruptDataError):
    """Well-formed bytes that break the layout of their Object kind."""


class UnsupportedError(DreamDBError):
    """A form, kind or algorithm that this version does not know."""


class StoreError(DreamDBError):
    """The store could not do its work; `retryable` says whether waiting may help."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class InvalidInputError(DreamDBError, ValueError):
    """The call itself is wrong; the message says how to mend it."""
