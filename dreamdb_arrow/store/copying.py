"""Copying objects from store to store: what is missing there, many at a time, each verified on the way. Specs 0002, 0005.

Whoever copies adds objects and waits with `settle`; what was copied stays copied, so that a copy that was broken off goes on
where it was. In memory is no more than `ROOM_BYTES`, or one object if that is larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore, Condition, Lock
from typing import Final, Self

from dreamdb_arrow.codec.address import Address, address_texts
from dreamdb_arrow.codec.outboard import is_outboard_of
from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.store.batch import OUTBOARDS
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch

THREADS: Final = 16
THREADS_FAR: Final = 48  # they wait for answers
ROOM_BYTES: Final = 256 << 20
LISTED_MAX: Final = 1 << 20  # paths that are remembered; of what is beyond, the target is asked again
_GUESS_BYTES: Final = 1 << 20  # of an object, before one of its directory was seen

Progress = Callable[[int, int, int], object]  # objects done, objects known of so far, bytes copied


@dataclass(slots=True)
class Count:
    """What was done: objects and bytes that were copied, and objects that the target had."""

    objects: int = 0
    size_bytes: int = 0
    present: int = 0


class Copier:
    """Copies objects in threads of its own, which end with the `with` block.

    Args:
        source: where payloads are read.
        target: where all is written.
        near: where metadata is read: the source, or a folder through which it is read.
        held: paths that a target without Refs has, as it lists them; None when it is to be asked about each.
        progress: is told how far it is.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        *,
        near: Store | None = None,
        held: frozenset[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._source, self._target, self._near = source, target, near or source
        self._held, self._progress = held, progress
        threads = THREADS_FAR if max(source.concurrency, target.concurrency) > 1 else THREADS
        self._pool = ThreadPoolExecutor(threads, "dreamdb-copy")
        self._queued = BoundedSemaphore(4 * threads)
        self._room = _Room(ROOM_BYTES)
        self._lock = Condition(Lock())
        self._waiting, self._known = 0, 0
        self._error: BaseException | None = None
        self._seen: set[str] = set()
        self.lost: list[Address] = []
        self.count = Count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._error = self._error or InterruptedError()  # what is queued is left when somebody broke off
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(
        self, directory: str, addresses: Iterable[Address], *, outboards: bool = False, near: bool = False
    ) -> None:
        """Copy objects of a directory, now or later; waits while many are queued. Raises what went wrong so far."""
        self._submit(partial(self._copy, outboards=outboards, near=near), [directory], addresses)

    def add_found(self, directories: Sequence[str], addresses: Iterable[Address]) -> None:
        """Copy payloads to all of these directories that the source has them in; those it has in none are `lost`."""
        self._submit(self._copy_found, directories, addresses)

    def _submit(
        self,
        work: Callable[[list[str], Address], None],
        directories: Sequence[str],
        addresses: Iterable[Address],
    ) -> None:
        names = list(addresses)
        for address, text in zip(names, address_texts(names), strict=True):
            paths = [f"{directory}/{text}" for directory in directories]
            if not self._is_new(paths[0]):
                continue
            self._raise_error()
            self._queued.acquire()
            with self._lock:
                self._waiting += 1
                self._known += 1
            self._pool.submit(self._run, work, paths, address)

    def skip(self, directory: str, addresses: Iterable[Address]) -> None:
        """Take objects for copied."""
        for text in address_texts(list(addresses)):
            self._is_new(f"{directory}/{text}")

    def settle(self) -> None:
        """Wait until all that was added is there, durably. Raises what went wrong first."""
        with self._lock:
            self._lock.wait_for(lambda: not self._waiting)
        self._raise_error()

    def _is_new(self, path: str) -> bool:
        if path in self._seen:
            return False
        if len(self._seen) >= LISTED_MAX:
            self._seen.clear()
        self._seen.add(path)
        return True

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self, work: Callable[[list[str], Address], None], paths: list[str], address: Address) -> None:
        try:
            if self._error is None:
                work(paths, address)
        except BaseException as error:  # noqa: BLE001 - is raised again by whoever waits
            self._error = self._error or error
        finally:
            self._queued.release()
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    self._lock.notify_all()

    def _copy_found(self, paths: list[str], address: Address) -> None:
        found = 0
        for path in paths:
            with suppress(ObjectNotFoundError):
                self._copy([path], address, outboards=True)
                found += 1
        if not found:
            self.lost.append(address)

    def _copy(self, paths: list[str], address: Address, *, outboards: bool, near: bool = False) -> None:
        (path,) = paths
        if self._is_held(path, address, outboards=outboards):
            self._done(0, present=True)
            return
        kind = path[: path.rfind("/")]
        taken = self._room.take(kind)
        try:
            data = fetch(self._near if near else self._source, path, address)  # 0002-R3, 0012-R9
            taken = self._room.settle(kind, taken, len(data))
            if outboards:  # first, so that a payload that is there has its own
                self._copy_outboard(address, len(data))
            self._target.put(path, data)
        finally:
            self._room.give(taken)
        self._done(len(data))

    def _is_held(self, path: str, address: Address, *, outboards: bool) -> bool:
        """Whether the target has an object; it is young then, so that no collector beside takes it before a Ref leads to it.

        Where it was listed, the target had no Refs, and nothing is collected without Refs.
        """
        if self._held is not None:
            return path in self._held
        try:
            self._target.freshen([path])  # 0005-R15
        except ObjectNotFoundError:
            return False
        if outboards:
            with suppress(ObjectNotFoundError):
                self._target.freshen([f"{OUTBOARDS}/{address}"])
        return True

    def _copy_outboard(self, address: Address, size: int) -> None:
        """Copy the outboard of a payload if it has one; a damaged one is left, as readers can do without."""
        path = f"{OUTBOARDS}/{address}"
        try:
            data = self._source.get(path)
        except ObjectNotFoundError:
            return
        if is_outboard_of(data, address, size):
            self._target.put(path, data)

    def _done(self, size: int, *, present: bool = False) -> None:
        with self._lock:
            self.count.objects += not present
            self.count.present += present
            self.count.size_bytes += size
            if self._progress:
                done = self.count.objects + self.count.present
                self._progress(done, self._known, self.count.size_bytes)


def held_by(target: Store) -> frozenset[str] | None:
    """Return what a target has, listed at once. None where it is near, so that asking costs little, or has too much."""
    if target.concurrency == 1:
        return None
    found = set()
    for path in target.list():
        found.add(path)
        if len(found) > LISTED_MAX:
            return None
    return frozenset(found)


class _Room:
    """Bytes that objects under way may take together; how large one is shows only when it is there, so it is guessed."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
        self._guesses: dict[str, int] = {}
        self._freed = Condition(Lock())

    def take(self, kind: str) -> int:
        """Wait for room for an object of a kind, as large as the largest one so far."""
        with self._freed:
            self._freed.wait_for(lambda: not self._used or self._used + self._guess(kind) <= self._limit)
            wanted = self._guess(kind)
            self._used += wanted
        return wanted

    def settle(self, kind: str, taken: int, size: int) -> int:
        """Say how large it was, and return that."""
        with self._freed:
            self._used += size - taken
            if len(self._guesses) > 1 << 12:  # arrays have a directory an anchor
                self._guesses.clear()
            self._guesses[kind] = max(size, self._guesses.get(kind, 0))
            self._freed.notify_all()
        return size

    def give(self, taken: int) -> None:
        """Free the room of an object."""
        with self._freed:
            self._used -= taken
            self._freed.notify_all()

    def _guess(self, kind: str) -> int:
        return self._guesses.get(kind, _GUESS_BYTES)
