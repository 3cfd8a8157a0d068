"""What a store is: objects under paths, refs under names, and one compare-and-swap. Spec 0005.

A store keeps two kinds of things. Objects are named by their content: the same path always means the same
bytes, so writing twice is harmless and nothing is ever overwritten. Refs are the only things that change, and
`swap_ref` is the only way to change one.

    MemoryStore     store.memory     tests, and Spaces that need not outlive the process
    LocalStore      store.local      a directory
    BucketStore     store.bucket     S3 and its like
    FsspecStore     store.fsspec_store   what else fsspec opens, to be read only
    CachedStore     store.cached     a bucket, read through a folder nearby
    FaultyStore     testing.faulty   any of them, with the n-th call failing
    FarStore        testing.far      any of them, behind a network
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dreamdb_arrow.codec.address import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(frozen=True, slots=True)
class Ref:
    """What a ref holds: the address of a Manifest.

    `version` is for stores that compare by a token of their own, such as an ETag; it is empty where the address
    itself is compared.
    """

    address: Address
    version: str = ""

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Absent:
    """No ref has this name; as the new value of a swap: remove the ref."""

    def __str__(self) -> str:
        return "no ref"


@dataclass(frozen=True, slots=True)
class NewObject:
    """Bytes on their way to a path: one contiguous buffer, or several that follow one another.

    They must not change until they are written.
    """

    path: str
    data: Buffer | tuple[Buffer, ...]

    @property
    def parts(self) -> tuple[memoryview, ...]:
        """The buffers, as bytes."""
        data = self.data if isinstance(self.data, tuple) else (self.data,)
        return tuple(memoryview(part).cast("B") for part in data)

    @property
    def size(self) -> int:
        """How many bytes they are together."""
        return sum(len(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Aged:
    """An object as a list shows it: where it lies, its bytes, and when it was put or freshened last, by the store's clock."""

    path: str
    size: int
    modified_ns: int


class Store(Protocol):
    """A place where a Space lives. Safe to share between threads.

    Paths and ref names that break the grammar of `store.names` raise InvalidInputError; trouble below (disk,
    network, permissions) raises StoreError.
    """

    @property
    def url(self) -> str:
        """Where this is, in the form that open_store understands."""
        ...

    @property
    def concurrency(self) -> int:
        """How many calls to have under way together from the first one on; 1 where a call may take microseconds."""
        ...

    def get(self, path: str) -> bytes:
        """Return a whole object, unverified. Raises ObjectNotFoundError."""
        ...

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start`, unverified.

        Raises ObjectNotFoundError, and CorruptDataError when the object ends earlier.
        """
        ...

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Return several (start, length) ranges of one object, in order. Raises as get_range does."""
        ...

    def put(self, path: str, data: Buffer) -> None:
        """Write an object unless one lies there, which is then as young as a new one; durable on return.

        Raises CorruptDataError when one of another length lies there: it cannot be what the path names.
        """
        ...

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Put objects together, which costs less than one by one; all are durable on return.

        When it raises, some may have been written: each whole, or not there at all.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of all objects that start with these characters, in no promised order.

        Refs, locks and what a killed writer left behind are no objects.
        """
        ...

    def list_aged(self, prefix: str = "") -> Iterator[Aged]:
        """Yield what `list` yields, with sizes and ages."""
        ...

    def freshen(self, paths: Sequence[str]) -> None:
        """Make objects as young as if they had just been put. Raises ObjectNotFoundError for the first that is not there."""
        ...

    def now_ns(self) -> int:
        """Return the time, in nanoseconds since 1970, by the clock that ages are told by."""
        ...

    def delete(self, path: str) -> None:
        """Remove an object; no error when there is none. Who collects garbage calls `delete_aged`."""
        ...

    def delete_aged(self, paths: Sequence[str], before_ns: int) -> builtins.list[str]:
        """Remove those objects that are older than a time, and return their paths.

        No put or freshen comes between the look at the age and the removal: an object whose put or freshen has returned stays.
        """
        ...

    def size(self, path: str) -> int:
        """Return the length of an object in bytes. Raises ObjectNotFoundError."""
        ...

    def exists(self, path: str) -> bool:
        """Whether an object lies at this path."""
        ...

    def read_ref(self, name: str) -> Ref | Absent:
        """Return what a ref holds. Raises CorruptDataError, naming it, when that is no address."""
        ...

    def swap_ref(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Change a ref from `expect` to `new` in one step, durably, and return what it now holds.

        Raises RefConflictError when it holds something else, and nothing changes. After a StoreError the swap
        may or may not have happened: `store.readback.swap_confirmed` finds out.
        """
        ...

    def list_refs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of all refs that start with these characters, sorted."""
        ...

    def local_path(self, path: str) -> Path | None:
        """Return the file that holds (or would hold) an object, or None where objects are not files."""
        ...

    def renew(self, path: str) -> bool:
        """Let go of a copy nearby that turned out to be damaged, so that it is fetched again; False where there is none."""
        ...

    def sweep(self, before_ns: int) -> int:
        """Remove what writers that were killed before this time left behind; return how many things."""
        ...


def holds(found: Ref | Absent, wanted: Ref | Address | Absent) -> bool:
    """Whether a ref that was read holds this address, or is absent as wanted."""
    if isinstance(found, Absent) or isinstance(wanted, Absent):
        return isinstance(found, Absent) and isinstance(wanted, Absent)
    return found.address == (wanted.address if isinstance(wanted, Ref) else wanted)
