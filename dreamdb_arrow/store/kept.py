"""A folder of objects that were fetched: bounded, shared by processes, its files named by what they hash to. Spec 0005.

A file appears whole, by a rename. When it was used is its modification time, which is set anew at most once an hour. Whoever
has written `CHECK_SHARE` of the limit looks whether all files together are too many, and removes those that were not used for
longest; one process at a time does so. A file that is gone is fetched again, so nothing here needs to be synced.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dreamdb_arrow.codec.address import Address, Hashing, address_of, is_address_text
from dreamdb_arrow.store import files
from dreamdb_arrow.store.checked import Signature, signature_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

LIMIT_BYTES: Final = 10 << 30
LIMIT_SHARE: Final = 0.1  # of the disk
CHECK_SHARE: Final = 0.05
KEPT_SHARE: Final = 0.9  # of the limit, after removing
REMEMBERED: Final = 1 << 16  # files that this process wrote
SPARED_SECONDS: Final = 60.0  # somebody may be about to open what was used so recently
_USED_AGAIN_SECONDS: Final = 3600.0
_LOCK: Final = "evict.lock"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the folder: where, how large, and when it was used last, in seconds since 1970."""

    path: str
    size: int
    used: float


class KeptObjects:
    """The folder. Safe to share between threads and processes.

    root         where it is
    limit_bytes  how much it may hold; None for 10 GiB, or a tenth of the disk if that is less
    """

    __slots__ = ("_limit_bytes", "_root", "_signatures", "_written")

    def __init__(self, root: Path, limit_bytes: int | None = None) -> None:
        self._root, self._limit_bytes = root, limit_bytes
        self._written = 0
        self._signatures: dict[Address, Signature] = {}

    @property
    def limit_bytes(self) -> int:
        """How much it may hold."""
        if self._limit_bytes is None:
            self._root.mkdir(parents=True, exist_ok=True)
            self._limit_bytes = min(LIMIT_BYTES, int(LIMIT_SHARE * shutil.disk_usage(self._root).total))
        return self._limit_bytes

    def path_of(self, address: Address) -> Path:
        """Return where an object is, or would be."""
        return Path(self._file(str(address)))

    def find(self, address: Address) -> Path | None:
        """Return the file of an object, which then counts as used; None when it is not there. It is not verified."""
        path = self._file(str(address))
        try:
            used = os.stat(path).st_mtime  # noqa: PTH116 - asked for every object that is read
            if time.time() - used > _USED_AGAIN_SECONDS:
                os.utime(path)
        except OSError:
            return None
        return Path(path)

    def read(self, address: Address) -> bytes | None:
        """Return an object that is here and whole; one that is damaged goes."""
        path = self.find(address)
        if path is None:
            return None
        try:
            data = files.read_whole(str(path))
        except (OSError, EOFError):
            return None
        if address_of(data) == address:
            return data
        self.remove(address)
        return None

    def keep(self, address: Address, parts: Sequence[Buffer]) -> None:
        """Keep an object whose bytes were verified. Where that cannot be done (a full disk), it is left."""
        with suppress(OSError):
            self._place(self._write(parts), address)
            self._count(sum(memoryview(part).nbytes for part in parts))

    def take_in(self, address: Address, parts: Iterable[Buffer]) -> bool:
        """Keep an object, hashed and written as its parts come; return whether it is what its address says and there was room."""
        hashing = Hashing(parts)
        try:
            temporary = self._write(hashing)
            if hashing.address != address:  # 0002-R3
                files.remove(temporary)
                return False
            self._place(temporary, address)
        except OSError:
            return False
        self._count(hashing.size)
        return True

    def written(self, address: Address) -> Signature | None:
        """Return how the file of an object looked when this process wrote it, out of bytes that were verified; or None."""
        return self._signatures.get(address)

    def _write(self, parts: Iterable[Buffer]) -> str:
        """Write a file that has no name to last yet, and return the one it has."""
        temporary = f"{self._root}/{files.temporary_name()}"
        try:
            files.write_new(temporary, parts, sync=False)
        except FileNotFoundError:  # the folder; nothing was taken of the parts
            self._root.mkdir(parents=True, exist_ok=True)
            files.write_new(temporary, parts, sync=False)
        return temporary

    def _place(self, temporary: str, address: Address) -> None:
        """Give a file the name of an object; its folder is made when it turns out to be missing."""
        path = self._file(str(address))
        try:
            os.replace(temporary, path)  # noqa: PTH105 - strings, as in `files`
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, path)  # noqa: PTH105
        if len(self._signatures) >= REMEMBERED:
            self._signatures.clear()  # they are hashed once, then
        self._signatures[address] = signature_of(os.stat(path))  # noqa: PTH116

    def _count(self, size: int) -> None:
        self._written += size
        if self._written > CHECK_SHARE * self.limit_bytes:
            self._written = 0
            self.evict()

    def remove(self, address: Address) -> None:
        """Remove an object; no error when there is none."""
        with suppress(OSError):
            files.remove(self._file(str(address)))

    def held(self) -> list[Kept]:
        """Return all files, those used longest ago first."""
        found = []
        for name in files.walk(f"{self._root}/", ""):
            if is_address_text(name.rpartition("/")[2]):
                with suppress(OSError):
                    status = os.stat(f"{self._root}/{name}")  # noqa: PTH116 - a string
                    found.append(Kept(f"{self._root}/{name}", status.st_size, status.st_mtime))
        return sorted(found, key=lambda kept: kept.used)

    def evict(self, limit_bytes: int | None = None) -> int:
        """Remove what was not used for longest, until no more than the limit is left; return how many bytes went."""
        limit = self.limit_bytes if limit_bytes is None else limit_bytes
        with self._alone() as alone:
            if not alone:
                return 0
            held = self.held()
            total = sum(kept.size for kept in held)
            too_many = 0 if total <= limit else total - int(KEPT_SHARE * limit)
            return self._remove_oldest(held, too_many, time.time() - (SPARED_SECONDS if limit else 0))

    def _remove_oldest(self, held: Sequence[Kept], wanted: int, before: float) -> int:
        gone = 0
        for kept in held:
            if gone >= wanted or kept.used > before:
                break
            with suppress(OSError):
                files.remove(kept.path)
                gone += kept.size
        return gone

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process evicts meanwhile."""
        self._root.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(fd)

    def _file(self, text: str) -> str:
        return f"{self._root}/{text[-2:]}/{text}"
