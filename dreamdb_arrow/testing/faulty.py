"""A store of whose calls the n-th goes wrong, in one of the ways that MODES names. Spec 0005.

The loop to write around it: for n = 1, 2, 3 ... run the operation on a FaultyStore with `fail_at=n`, call `settle`,
reopen, and find the Space as before or as after; stop when the operation ends with `failed` still False.
"""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import DreamDBError, StoreError
from dreamdb_arrow.store.interface import Absent, Aged, NewObject, Ref, Store

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")
DELAY_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a store.

    name   what it is called with
    work   does it
    half   does the first half of a call that does several things, or None
    short  gives the first half of the answer of a call that reads bytes, or None
    """

    name: str
    work: Callable[[], Any]
    half: Callable[[], object] | None = None
    short: Callable[[], Any] | None = None


class FaultyStore:
    """Wraps any store and is one.

    fail_at  the call that goes wrong, counted from 1 over all calls that reach the store; 0 for none
    mode     how, a key of MODES

    `calls` counts, `failed` tells whether the fault has happened, `log` names the calls.
    """

    def __init__(self, store: Store, fail_at: int = 0, mode: str = "once") -> None:
        self._store, self._fail_at, self._mode = store, fail_at, mode
        self._lock = Lock()
        self._late: list[tuple[int, Callable[[], object]]] = []
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
        return self._call(
            f"get {path}", lambda: self._store.get(path), short=lambda: _cut(self._store.get(path))
        )

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return a range, or fail."""
        return self._call(
            f"get_range {path}",
            lambda: self._store.get_range(path, start, length),
            short=lambda: _cut(self._store.get_range(path, start, length)),
        )

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Return ranges, or fail."""
        return self._call(
            f"get_ranges {path}",
            lambda: self._store.get_ranges(path, ranges),
            short=lambda: [_cut(part) for part in self._store.get_ranges(path, ranges)],
        )

    def put(self, path: str, data: Buffer) -> None:
        """Write an object, or fail."""
        self._call(f"put {path}", lambda: self._store.put(path, data))

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Write objects, or fail, perhaps after the first half of them."""
        half = items[: len(items) // 2]
        self._call(
            f"put_many {len(items)}", lambda: self._store.put_many(items), lambda: self._store.put_many(half)
        )

    def list(self, prefix: str = "") -> Iterator[str]:
        """List objects, or fail."""
        return self._call(
            f"list {prefix}",
            lambda: self._store.list(prefix),
            short=lambda: _broken_off(self._store.list(prefix)),
        )

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

    def settle(self) -> None:
        """Have the calls take effect that their callers gave up waiting for."""
        self._overtake(None)

    def postpone(self, work: Callable[[], object]) -> None:
        """Do this work later: when the next call but one is made, so that one call still finds it undone."""
        self._late.append((self.calls + 2, work))

    def _overtake(self, number: int | None) -> None:
        with self._lock:
            due = [work for when, work in self._late if number is None or when <= number]
            self._late = [late for late in self._late if late[1] not in due]
        for work in due:
            try:
                work()
            except DreamDBError:
                continue  # nobody waits for its answer

    def _call(
        self,
        name: str,
        work: Callable[[], T],
        half: Callable[[], object] | None = None,
        short: Callable[[], T] | None = None,
    ) -> T:
        with self._lock:
            self.log.append(name)
            number = len(self.log)
        self._overtake(number)
        if number == self._fail_at or (self._mode == "forever" and 0 < self._fail_at < number):
            answer: T = MODES[self._mode](self, Call(f"call {number}, {name}", work, half, short))
            return answer
        return work()


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _broken_off(paths: Iterator[str]) -> Iterator[str]:
    found = list(paths)
    yield from found[: len(found) // 2]
    raise StoreError("injected fault: a listing broke off", retryable=True)


def _fails(_: FaultyStore, call: Call) -> Any:
    raise StoreError(f"injected fault: {call.name}", retryable=True)


def _works_and_fails(store: FaultyStore, call: Call) -> Any:
    call.work()
    return _fails(store, call)


def _does_half(store: FaultyStore, call: Call) -> Any:
    if call.half is not None:
        call.half()
    return _fails(store, call)


def _answers_half(store: FaultyStore, call: Call) -> Any:
    return _fails(store, call) if call.short is None else call.short()


def _works_twice(_: FaultyStore, call: Call) -> Any:
    call.work()
    return call.work()


def _dawdles(_: FaultyStore, call: Call) -> Any:
    time.sleep(DELAY_SECONDS)
    return call.work()


def _works_later(store: FaultyStore, call: Call) -> Any:
    store.postpone(call.work)
    return _fails(store, call)


MODES: Final[Mapping[str, Callable[[FaultyStore, Call], Any]]] = MappingProxyType(
    {
        "once": _fails,  # and does nothing; the next calls work
        "forever": _fails,  # and so do all later ones
        "after": _works_and_fails,  # its answer is lost
        "halfway": _does_half,  # put_many writes the first half of its items; any other call as once
        "truncate": _answers_half,  # what is read is cut short, a listing breaks off; any other call as once
        "repeat": _works_twice,  # as a network does that sends a request again
        "delay": _dawdles,  # other threads go first
        "late": _works_later,  # the caller is told of a failure, and then it happens
    }
)
