"""Records of files that were checked, for processes that come later. Spec 0002, ADR 0018.

A record is an address and how a file that hashes to it looked then: its times, size, inode and device. Records are appended
to a file a day, which counts on that day and on the next, so that every file is hashed again once in two days. They are
believed only when nobody but this user may write them.
"""

from __future__ import annotations

import fcntl
import operator
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final, TypeAlias

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.store.files import opened, read_at

Signature: TypeAlias = tuple[int, int, int, int, int]  # mtime_ns, ctime_ns, size, inode, device
SIZE: Final = 2  # where a signature has the size

RECORDS_MAX: Final = 1 << 16  # of a day
SETTLED_NS: Final = 2_000_000_000  # a file that changed later than that may change again and not show it
DAY_NS: Final = 86_400_000_000_000
_RECORD: Final = Struct("<33s2q3Q")


signature_of: Callable[[os.stat_result], Signature] = operator.attrgetter(
    "st_mtime_ns", "st_ctime_ns", "st_size", "st_ino", "st_dev"
)


class CheckedFiles:
    """The records in a folder, read once, when first asked for. Safe to share between threads and with other processes.

    Where records cannot be read or written, there are none: files are hashed then.
    """

    __slots__ = ("_clock", "_folder", "_known")

    def __init__(self, folder: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self._folder, self._clock = folder, clock
        self._known: frozenset[bytes] | None = None

    def now(self) -> int:
        """Return the time, as `add` wants to be told it, in nanoseconds."""
        return self._clock()

    def has(self, address: Address, signature: Signature) -> bool:
        """Whether a file that looks like this was found to hash to the address."""
        if self._known is None:
            today = self._day()
            self._known = _read(self._file(today)) | _read(self._file(today - 1))
        return _RECORD.pack(address, *signature) in self._known

    def add(self, address: Address, signature: Signature, looked_ns: int) -> None:
        """Record a file that was hashed after it had looked like this; `looked_ns` is what `now` said before that look.

        A file that had just changed then is left out: its times need not show the next change.
        """
        if max(signature[:SIZE]) + SETTLED_NS > looked_ns:
            return
        today = self._day()
        with suppress(OSError):  # a full disk, or a cache that is not ours to write
            record = _RECORD.pack(address, *signature)
            try:
                first = _append(self._file(today), record)
            except FileNotFoundError:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                first = _append(self._file(today), record)
            if first:
                self._remove_before(today - 1)

    def _day(self) -> int:
        return self._clock() // DAY_NS

    def _file(self, day: int) -> Path:
        return self._folder / str(day)

    def _remove_before(self, day: int) -> None:
        for file in self._folder.iterdir():
            if file.name.isdigit() and int(file.name) < day:
                file.unlink(missing_ok=True)


def _read(file: Path) -> frozenset[bytes]:
    """Return the records of a file; what is torn at the end is not among them, and would equal no record anyway."""
    length = _RECORD.size
    try:
        with opened(str(file)) as fd:
            status = os.fstat(fd)
            if not _is_private(status):
                return frozenset()
            data = read_at(fd, 0, min(status.st_size, RECORDS_MAX * length))
    except (OSError, EOFError):
        return frozenset()
    return frozenset(data[at : at + length] for at in range(0, len(data) - length + 1, length))


def _append(file: Path, record: bytes) -> bool:
    """Append a record and return whether it is the first. A file that is full stays; one that is torn goes."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(file, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # a record that is half written looks torn
        size = os.fstat(fd).st_size
        if size % len(record):
            file.unlink(missing_ok=True)
        elif size < RECORDS_MAX * len(record):
            os.write(fd, record)
    finally:
        os.close(fd)
    return size == 0


def _is_private(status: os.stat_result) -> bool:
    """Whether a regular file is this user's, and nobody else's to write."""
    others = stat.S_IWGRP | stat.S_IWOTH
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & others
