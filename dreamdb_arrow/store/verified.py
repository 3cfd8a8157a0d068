"""Objects whose bytes are checked against their address before anybody uses them. Spec 0002.

`fetch` checks what it has read. For files that an engine will map into memory by itself, a `Verifier` checks the
file once, and remembers that it did by the file's time, size and inode.
"""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Final, TypeAlias

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.errors import DigestMismatchError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.interface import Store

Signature: TypeAlias = tuple[int, int, int, int]  # mtime_ns, size, inode, device

THREADS: Final = 8
REMEMBERED_FILES: Final = 1 << 16
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

    Starts alone, which is fastest for small objects in memory, and calls in `threads` once that turns out slow.
    Raises as fetch does.
    """
    done: list[bytes] = []
    started = perf_counter()
    for path, address in wanted:
        done.append(fetch(store, path, address))
        if perf_counter() - started > _PATIENCE_S + _SLOW_S * len(done):
            break
    rest = wanted[len(done) :]
    if not rest:
        return done
    with ThreadPoolExecutor(min(threads, len(rest))) as pool:
        return done + list(pool.map(lambda item: fetch(store, *item), rest))


class Verifier:
    """Remembers which local files were found to hash to their address. Safe to share between threads.

    Whoever maps files into memory holds one; it forgets the longest unused of more than `capacity` files.
    """

    __slots__ = ("_capacity", "_lock", "_seen")

    def __init__(self, capacity: int = REMEMBERED_FILES) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[tuple[str, Address], Signature] = OrderedDict()
        self._lock = Lock()

    def verified_path(self, store: Store, path: str, address: Address) -> Path | None:
        """Return the file of an object, checked unless it was checked before as it is now; None without files.

        Raises DigestMismatchError, ObjectNotFoundError, StoreError.
        """
        local = store.local_path(path)
        if local is None:
            return None
        key = (str(local), address)
        with files.reading(path), files.opened(key[0]) as fd:
            signature = _signature(fd)
            if not self._remembers(key, signature):
                _check(path, address, _address_of_file(fd, signature[1]))
                self._remember(key, signature)
        return local

    def is_unchanged(self, local: str, address: Address) -> bool:
        """Whether a file was checked, and its time, size and inode are still what they were; one system call."""
        try:
            status = os.stat(local)  # noqa: PTH116 - this is asked for every file of every query
        except OSError:
            return False
        return self._seen.get((local, address)) == _signature_of(status)

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
    return _signature_of(os.fstat(fd))


def _signature_of(status: os.stat_result) -> Signature:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _address_of_file(fd: int, size: int) -> Address:
    if not size:  # nothing to map
        return address_of(b"")
    with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as data:
        return address_of(data)
