"""Objects whose bytes are checked against their address before anybody uses them. Spec 0002.

`fetch` checks what it has read. For files that an engine will map into memory by itself, a `Verifier` checks the
file once, and remembers that it did by the file's times, size and inode, in `store.checked` for later processes too.
"""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.errors import DigestMismatchError, StoreError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.checked import SIZE, CheckedFiles, Signature, signature_of
from dreamdb_arrow.store.forks import renew_in_child
from dreamdb_arrow.store.interface import Store

if TYPE_CHECKING:
    from typing_extensions import Buffer

Part: TypeAlias = tuple[int, memoryview]
T = TypeVar("T")
R = TypeVar("R")

THREADS: Final = 8
REMEMBERED_FILES: Final = 1 << 16
CHANGES_MAX: Final = 16  # of the times of a file, while it is read
_MAPPED_BYTES: Final = 1 << 20
_PATIENCE_S: Final = 1e-3
_SLOW_S: Final = 200e-6  # an object; handing one to a thread costs about 50 microseconds


def fetch(store: Store, path: str, address: Address) -> bytes:
    """Return a whole object that hashes to its address; asks for no outboard (0002-R10).

    Raises DigestMismatchError, ObjectNotFoundError, StoreError.
    """
    data = store.get(path)
    _check(path, address, address_of(data))
    return data


def fetch_many(store: Store, wanted: Sequence[tuple[str, Address]], *, threads: int = THREADS) -> list[bytes]:
    """Return several whole objects, in order, each checked.

    Starts alone, which is fastest for small objects in memory, and calls in `threads` once that turns out slow; of a store
    that is far away, in as many as it wants. Raises as fetch does.
    """
    return call_each(lambda item: fetch(store, *item), wanted, threads=threads, together=store.concurrency)


def bytes_of(store: Store, path: str) -> Buffer:
    """Return the bytes of an object, unverified: a file of some size is mapped into memory, not read.

    Raises ObjectNotFoundError, StoreError.
    """
    local = store.local_path(path)
    if local is None:
        return store.get(path)
    with files.reading(path), files.opened(str(local)) as fd:
        size = os.fstat(fd).st_size
        return (
            files.read_at(fd, 0, size)
            if size < _MAPPED_BYTES
            else mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        )


def call_each(
    work: Callable[[T], R], items: Sequence[T], *, threads: int = THREADS, together: int = 1
) -> list[R]:
    """Return what the function gives for each item, in order: called alone while that is fast, then in `threads`.

    With `together` above 1, in so many threads from the first one on.
    """
    done: list[R] = []
    started = perf_counter()
    threads = max(threads, together)
    for item in items if together == 1 or len(items) == 1 else ():
        done.append(work(item))
        if perf_counter() - started > _PATIENCE_S + _SLOW_S * len(done):
            break
    rest = items[len(done) :]
    if not rest or threads == 1:
        return done + list(map(work, rest))
    with ThreadPoolExecutor(min(threads, len(rest))) as pool:
        return done + list(pool.map(work, rest))


@dataclass(frozen=True, slots=True)
class Watched:
    """Files that were checked, and how they were then."""

    paths: tuple[str, ...]
    signatures: tuple[Signature, ...]

    def unchanged(self) -> bool:
        """Whether times, size and inode of every file are still what they were; one system call a file."""
        try:
            found = map(signature_of, map(os.stat, self.paths))
            return tuple(found) == self.signatures
        except OSError:
            return False

    @property
    def sizes(self) -> tuple[int, ...]:
        """The bytes of each file."""
        return tuple(signature[SIZE] for signature in self.signatures)


class Verifier:
    """Remembers which local files were found to hash to their address. Safe to share between threads.

    Whoever maps files into memory holds one; it forgets the longest unused of more than `capacity` files. `records`
    are what other processes found, and are told what this one finds.
    """

    __slots__ = ("__weakref__", "_capacity", "_lock", "_names", "_records", "_seen")

    def __init__(self, capacity: int = REMEMBERED_FILES, records: CheckedFiles | None = None) -> None:
        self._capacity, self._records = capacity, records
        self._seen: OrderedDict[tuple[str, Address], Signature] = OrderedDict()
        self._names: dict[tuple[str, str, Address], str] = {}  # where read_parts found the file of an object
        self._lock = Lock()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Take a lock of its own."""
        self._lock = Lock()

    def verified_path(self, store: Store, path: str, address: Address) -> Path | None:
        """Return the file of an object, checked unless it was checked before as it is now; None without files.

        Raises DigestMismatchError, ObjectNotFoundError, StoreError.
        """
        try:
            return self._checked_path(store, path, address)
        except DigestMismatchError:
            if not store.renew(path):
                raise
        return self._checked_path(store, path, address)

    def _checked_path(self, store: Store, path: str, address: Address) -> Path | None:
        local = store.local_path(path)
        if local is None:
            return None
        name = str(local)
        if not (self._finds_checked(name, address) or self._was_written(store, path, name, address)):
            with files.reading(path), files.opened(name) as fd:
                self._check_file(path, name, address, fd)
        return local

    def _finds_checked(self, name: str, address: Address) -> bool:
        """Whether a file was checked as it is now, by us or by an earlier process; one system call."""
        try:
            signature = signature_of(os.stat(name))  # noqa: PTH116 - this is asked for every file of a scan
        except OSError:
            return False
        key = name, address
        if self._remembers(key, signature):
            return True
        if self._records is None or not self._records.has(address, signature):
            return False
        self._remember(key, signature)
        return True

    def _was_written(self, store: Store, path: str, name: str, address: Address) -> bool:
        """Whether a file is as this process wrote it when it had verified the bytes."""
        written = getattr(store, "written", None)  # of a store that is read through a folder
        signature = None if written is None else written(path)
        with suppress(OSError):
            if signature is not None and signature == signature_of(os.stat(name)):  # noqa: PTH116
                self._remember((name, address), signature)
                return True
        return False

    def _check_file(self, path: str, name: str, address: Address, fd: int) -> None:
        """Hash a file and remember that. Raises DigestMismatchError."""
        looked_ns = self._records.now() if self._records else 0
        signature = _signature(fd)
        _check(path, address, _address_of_file(fd, signature[SIZE]))
        self._remember((name, address), signature)
        if self._records:
            self._records.add(address, signature, looked_ns)

    def read_parts(
        self, store: Store, directory: str, address: Address, cut: Callable[[int], Sequence[Part]]
    ) -> bool:
        """Read parts of an object whose file is checked as `verified_path` does; False without files, and nothing is read.

        `cut` is told the object's size, and returns its parts: where each starts, and the buffer that it fills; none
        may end behind the object. Raises as `verified_path`, and what `cut` raises.
        """
        key = (store.url, directory, address)
        if self._read_known(self._names.get(key, ""), address, cut):
            return True
        path = f"{directory}/{address}"
        for _ in range(CHANGES_MAX):
            local = self.verified_path(store, path, address)
            if local is None:
                return False
            if len(self._names) >= self._capacity:
                self._names.clear()  # they are soon found again
            self._names[key] = str(local)
            if self._read_known(self._names[key], address, cut):
                return True
            # it was made young meanwhile, by who writes the same bytes again
        raise StoreError(f"{path} changes while it is read", retryable=True)

    def has_read(self, store: Store, directory: str, address: Address) -> bool:
        """Whether `read_parts` has found the file of an object before, so that it is likely to be quick."""
        return (store.url, directory, address) in self._names

    def _read_known(self, name: str, address: Address, cut: Callable[[int], Sequence[Part]]) -> bool:
        """Read parts of a file that was checked as it is now; False for any other, or one that cannot be read."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            signature = _signature(fd)
            if not self._remembers((name, address), signature):
                return False
            for start, buffer in cut(signature[SIZE]):
                files.read_into(fd, start, buffer)
        except (OSError, EOFError):
            return False
        finally:
            os.close(fd)
        return True

    def is_unchanged(self, local: str, address: Address) -> bool:
        """Whether a file was checked, and its times, size and inode are still what they were; one system call."""
        try:
            status = os.stat(local)  # noqa: PTH116 - this is asked for every file of every query
        except OSError:
            return False
        return self._seen.get((local, address)) == signature_of(status)

    def watch(self, checked: Sequence[tuple[str, Address]]) -> Watched:
        """Return files (name, address) that were checked as one thing to ask about again."""
        found = tuple(self._seen.get(key, _FORGOTTEN) for key in checked)
        return Watched(tuple(name for name, _ in checked), found)

    def _remembers(self, key: tuple[str, Address], signature: Signature) -> bool:
        with self._lock:
            if self._seen.get(key) != signature:
                return False
            self._seen.move_to_end(key)
            return True

    def _remember(self, key: tuple[str, Address], signature: Signature) -> None:
        with self._lock:
            self._seen[key] = signature
            self._seen.move_to_end(key)
            while len(self._seen) > self._capacity:
                self._seen.popitem(last=False)


def _check(path: str, address: Address, found: Address) -> None:
    if found != address:  # 0002-R3
        raise DigestMismatchError(path, str(address), str(found))


def _signature(fd: int) -> Signature:
    return signature_of(os.fstat(fd))


_FORGOTTEN: Final[Signature] = (-1, -1, -1, -1, -1)  # what no file has: whoever forgot must check again


def _address_of_file(fd: int, size: int) -> Address:
    if not size:  # nothing to map
        return address_of(b"")
    with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as data:
        return address_of(data)
