"""A store whose n-th call fails: once, for ever, after having worked, or halfway. Spec 0005.

The loop to write around it: for n = 1, 2, 3 ... run the operation on a FaultyStore with `fail_at=n`, reopen, and
find the Space as before or as after; stop when the operation ends with `failed` still False.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.store.interface import Absent, Aged, NewObject, Ref, Store

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")
Mode: TypeAlias = Literal["once", "forever", "after", "halfway"]


class FaultyStore:
    """Wraps any store and is one.

    fail_at  the call that fails, counted from 1 over all calls that reach the store; 0 for none
    mode     "once"     it fails and does nothing; the next calls work
             "forever"  it fails, and so do all later ones
             "after"    it works, and its answer is lost
             "halfway"  put_many, freshen and delete_aged do the first half and fail; any other call as "once"

    `calls` counts, `failed` tells whether the fault has happened, `log` names the calls.
    """

    def __init__(self, store: Store, fail_at: int = 0, mode: Mode = "once") -> None:
        self._store, self._fail_at, self._mode = store, fail_at, mode
        self._lock = Lock()
        self.log: list[str] = []

    @property
    def calls(self) -> int:
        """How many calls have been made."""
        return len(self.log)

    @property
    def failed(self) -> bool:
        """Whether the fault has happened."""
        return 0 < self._fail_at <= self.calls

    @property
    def concurrency(self) -> int:
        """That of the store below."""
        return self._store.concurrency

    @property
    def url(self) -> str:
        """That of the store below."""
        return self._store.url

    def get(self, path: str) -> bytes:
        """Return a whole object, or fail."""
        return self._call(f"get {path}", lambda: self._store.get(path))

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return a range, or fail."""
        return self._call(f"get_range {path}", lambda: self._store.get_range(path, start, length))

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Return ranges, or fail."""
        return self._call(f"get_ranges {path}", lambda: self._store.get_ranges(path, ranges))

    def put(self, path: str, data: Buffer) -> None:
        """Write an object, or fail."""
        self._call(f"put {path}", lambda: self._store.put(path, data))

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Write objects, or fail; in mode "halfway" after the first half of them."""
        half = items[: len(items) // 2]
        self._call(
            f"put_many {len(items)}", lambda: self._store.put_many(items), lambda: self._store.put_many(half)
        )

    def list(self, prefix: str = "") -> Iterator[str]:
        """List objects, or fail."""
        return self._call(f"list {prefix}", lambda: self._store.list(prefix))

    def list_aged(self, prefix: str = "") -> Iterator[Aged]:
        """List objects with their ages, or fail."""
        return self._call(f"list_aged {prefix}", lambda: self._store.list_aged(prefix))

    def freshen(self, paths: Sequence[str]) -> None:
        """Make objects young, or fail; in mode "halfway" after the first half of them."""
        half = paths[: len(paths) // 2]
        self._call(
            f"freshen {len(paths)}", lambda: self._store.freshen(paths), lambda: self._store.freshen(half)
        )

    def now_ns(self) -> int:
        """Tell the time, or fail."""
        return self._call("now_ns", self._store.now_ns)

    def delete(self, path: str) -> None:
        """Remove an object, or fail."""
        self._call(f"delete {path}", lambda: self._store.delete(path))

    def delete_aged(self, paths: Sequence[str], before_ns: int) -> builtins.list[str]:
        """Remove what is old, or fail; in mode "halfway" after the first half of it."""
        half = paths[: len(paths) // 2]
        return self._call(
            f"delete_aged {len(paths)}",
            lambda: self._store.delete_aged(paths, before_ns),
            lambda: self._store.delete_aged(half, before_ns),
        )

    def size(self, path: str) -> int:
        """Return a size, or fail."""
        return self._call(f"size {path}", lambda: self._store.size(path))

    def exists(self, path: str) -> bool:
        """Whether there is an object, or fail."""
        return self._call(f"exists {path}", lambda: self._store.exists(path))

    def read_ref(self, name: str) -> Ref | Absent:
        """Read a ref, or fail."""
        return self._call(f"read_ref {name}", lambda: self._store.read_ref(name))

    def swap_ref(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Swap a ref, or fail."""
        return self._call(f"swap_ref {name}", lambda: self._store.swap_ref(name, expect, new))

    def list_refs(self, prefix: str = "") -> builtins.list[str]:
        """List refs, or fail."""
        return self._call(f"list_refs {prefix}", lambda: self._store.list_refs(prefix))

    def local_path(self, path: str) -> Path | None:
        """Ask the store below; that reaches no disk, so it neither counts nor fails."""
        return self._store.local_path(path)

    def renew(self, path: str) -> bool:
        """Ask the store below; that is for copies nearby, so it neither counts nor fails."""
        return self._store.renew(path)

    def sweep(self, before_ns: int) -> int:
        """Sweep, or fail."""
        return self._call(f"sweep {before_ns}", lambda: self._store.sweep(before_ns))

    def _call(self, what: str, work: Callable[[], T], half: Callable[[], object] | None = None) -> T:
        with self._lock:
            self.log.append(what)
            number = len(self.log)
        if (
            self._fail_at == 0
            or number < self._fail_at
            or (number > self._fail_at and self._mode != "forever")
        ):
            return work()
        if self._mode == "after":
            work()
        elif self._mode == "halfway" and half is not None:
            half()
        raise StoreError(f"injected fault: call {number}, {what}", retryable=True)
