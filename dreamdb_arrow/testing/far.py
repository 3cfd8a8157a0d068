"""A store that is far away: any store behind latency, a slow tail, request rates and bandwidth, and what it was asked. Spec 0005.

It takes the time that a bucket would take, and keeps when each request began and ended, so that a test can say how many there
were and how many had to wait for one another. `Network` with no latency only counts: so a real bucket is watched.
"""

from __future__ import annotations

import builtins
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, Self, TypeVar

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.store.interface import Absent, Aged, NewObject, Ref, Store
from dreamdb_arrow.store.threads import Threads
from dreamdb_arrow.store.traffic import Traffic

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")

TOGETHER: Final = 64  # requests under way, as of `store.bucket`
REF_BYTES: Final = 33


@dataclass(frozen=True, slots=True)
class Network:
    """What lies between us and a bucket.

    latency_s          until the first byte of an answer
    tail_s             the same for a share of `tail` of the requests
    puts_per_s         requests that write, by prefix; 0 for any number
    gets_per_s         requests that read, by prefix; 0 for any number
    bytes_per_s        what all requests share; 0 for any number
    """

    latency_s: float = 0.030
    tail: float = 0.05
    tail_s: float = 0.500
    puts_per_s: float = 3500
    gets_per_s: float = 5500
    bytes_per_s: float = 1.25e9


NO_DELAY: Final = Network(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its kind (`get`, `put`, `head`, `list`, `delete`), its path, its bytes, and from when to when, in seconds."""

    kind: str
    path: str
    size: int
    start: float
    end: float


class FarStore:
    """Wraps any store and is one, which is read through a folder like a bucket.

    store    what it holds
    network  how it is reached
    seed     which requests are slow
    """

    def __init__(self, store: Store, network: Network = Network(), seed: int = 0) -> None:
        self._store, self._network = store, network
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._free_at: dict[tuple[str, bool], float] = {}
        self._link_free_at = 0.0
        self._lock = Lock()
        self._threads = Threads(TOGETHER)
        self.traffic = Traffic()
        self.asked: list[Asked] = []

    def __repr__(self) -> str:
        return f"FarStore({self._store!r})"

    @property
    def url(self) -> str:
        """That of the store below."""
        return self._store.url

    @property
    def concurrency(self) -> int:
        """How many requests to have under way together."""
        return TOGETHER

    # ---------------------------------------------------------------- what was asked

    def clear(self) -> Self:
        """Forget what was asked so far."""
        self.asked.clear()
        return self

    def count(self, kind: str) -> int:
        """Return how many requests of a kind there were."""
        return Counter(asked.kind for asked in self.asked)[kind]

    @property
    def round_trips(self) -> int:
        """How many requests one had to wait for, one after another: the longest chain in which each began after the last ended."""
        trips, end = 0, float("-inf")
        for asked in sorted(self.asked, key=lambda a: a.end):
            if asked.start >= end:
                trips, end = trips + 1, asked.end
        return trips

    # ---------------------------------------------------------------- objects

    def get(self, path: str) -> bytes:
        """Return a whole object."""
        return self._ask("get", path, lambda: self._store.get(path), len)

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start`."""
        return self._ask("get", path, lambda: self._store.get_range(path, start, length), len)

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Return several ranges of one object, as one request."""
        return self._ask(
            "get", path, lambda: self._store.get_ranges(path, ranges), lambda found: sum(map(len, found))
        )

    def put(self, path: str, data: Buffer) -> None:
        """Write an object."""
        self.put_many([NewObject(path, data)])

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Write objects, each by a request of its own, many at a time."""
        self._threads.run_all(self._put, items)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of all objects that start with these characters."""
        yield from self._ask("list", prefix, lambda: builtins.list(self._store.list(prefix)))

    def list_aged(self, prefix: str = "") -> Iterator[Aged]:
        """Yield the same with sizes and ages."""
        yield from self._ask("list", prefix, lambda: builtins.list(self._store.list_aged(prefix)))

    def now_ns(self) -> int:
        """Return the time of the store below."""
        return self._ask("put", "clock", self._store.now_ns)

    def freshen(self, paths: Sequence[str]) -> None:
        """Make objects young, each by a request of its own, many at a time."""
        self._threads.run_all(lambda path: self._ask("put", path, lambda: self._store.freshen([path])), paths)

    def delete_aged(self, paths: Sequence[str], before_ns: int) -> builtins.list[str]:
        """Remove those objects that are older than a time."""
        return self._ask("delete", "", lambda: self._store.delete_aged(paths, before_ns))

    def renew(self, path: str) -> bool:  # noqa: ARG002 - as in a store that has copies
        """There are no copies."""
        return False

    def delete(self, path: str) -> None:
        """Remove an object."""
        self._ask("delete", path, lambda: self._store.delete(path))

    def size(self, path: str) -> int:
        """Return the length of an object in bytes."""
        return self._ask("head", path, lambda: self._store.size(path))

    def exists(self, path: str) -> bool:
        """Whether an object lies at this path."""
        return self._ask("head", path, lambda: self._store.exists(path))

    def local_path(self, path: str) -> Path | None:  # noqa: ARG002 - a far store has none
        """Return None: what is far away is no file."""
        return None

    def sweep(self, before_ns: int) -> int:
        """Remove what killed writers left behind."""
        return self._store.sweep(before_ns)

    # ---------------------------------------------------------------- refs

    def read_ref(self, name: str) -> Ref | Absent:
        """Return what a ref holds."""
        return self._ask("get", f"refs/{name}", lambda: self._store.read_ref(name), lambda _: REF_BYTES)

    def swap_ref(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Change a ref, by one request."""
        return self._ask(
            "put", f"refs/{name}", lambda: self._store.swap_ref(name, expect, new), lambda _: REF_BYTES
        )

    def list_refs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of all refs that start with these characters, sorted."""
        return self._ask("list", f"refs/{prefix}", lambda: self._store.list_refs(prefix))

    # ---------------------------------------------------------------- time

    def _put(self, item: NewObject) -> None:
        self._ask("put", item.path, lambda: self._store.put_many([item]), lambda _: item.size)

    def _ask(
        self, kind: str, path: str, work: Callable[[], T], size_of: Callable[[T], int] = lambda _: 0
    ) -> T:
        """Do what is asked, take the time that it would take, and note it, also when it fails."""
        start, size = time.perf_counter(), 0
        try:
            found = work()
            size = size_of(found)
            return found
        finally:
            self._wait(kind, path, start, size)
            end = time.perf_counter()
            with self._lock:
                self.asked.append(Asked(kind, path, size, start, end))
            received = size if kind == "get" else 0
            self.traffic.add(kind, received=received, sent=size if kind == "put" else 0)

    def _wait(self, kind: str, path: str, start: float, size: int) -> None:
        network, writes = self._network, kind in ("put", "delete")
        rate = network.puts_per_s if writes else network.gets_per_s
        with self._lock:
            slow = self._random.random() < network.tail
            lane = path.rpartition("/")[0], writes
            begin = max(start, self._free_at.get(lane, 0.0))
            self._free_at[lane] = begin + (1 / rate if rate else 0.0)
            arrives = begin + (network.tail_s if slow else network.latency_s)
            if network.bytes_per_s and size:
                self._link_free_at = max(begin, self._link_free_at) + size / network.bytes_per_s
                arrives = max(arrives, self._link_free_at)
        time.sleep(max(0.0, arrives - time.perf_counter()))
