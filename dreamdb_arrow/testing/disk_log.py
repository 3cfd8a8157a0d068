"""What is done to the files below a folder, taken down call by call, as a file system is told of it. Spec 0005.

    with recorded(folder) as log:
        ...                     # whatever goes through Python's `os`, in any thread
        log.said()              # from here on, what was done counts as acknowledged

What goes past `os` (the built-in `open`, other libraries) is not seen; `Disk.latest` of `testing.power_loss` shows it, as it
is then not equal to the folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, Final
from unittest import mock

DIRECTORY: Final = -1  # what an entry holds that is a directory


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a file, by its number, from a place on."""

    file: int
    start: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A file got this length."""

    file: int
    length: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory now stands for this file, a DIRECTORY, or nothing (None)."""

    path: str
    holds: int | None


@dataclass(frozen=True, slots=True)
class SyncFile:
    """What was written to a file is on the disk."""

    file: int


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    """The names in a directory are on the disk."""

    path: str


@dataclass(frozen=True, slots=True)
class Said:
    """Somebody was told that what was done until now is done."""


Event = Write | Resize | Entry | SyncFile | SyncDirectory | Said


@dataclass(slots=True)
class DiskLog:
    """What lay below a folder at first, by path relative to it, and what was done then.

    entries  files by number, or DIRECTORY
    contents of files by number, as they were at first
    """

    root: str
    entries: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)  # of the files there are, by inode
    _open: dict[int, str] = field(default_factory=dict)  # what was opened, by descriptor
    _count: int = 0
    _lock: Any = field(default_factory=RLock)  # a step of pathlib may call another

    def said(self) -> None:
        """Take down that all that was done is acknowledged."""
        with self._lock:
            self.events.append(Said())

    def read_folder(self) -> None:
        """Take down what lies there."""
        for place, directories, files in os.walk(self.root):
            for name in directories:
                self.entries[os.path.relpath(Path(place, name), self.root)] = DIRECTORY
            for name in files:
                path = Path(place, name)
                number = self._number_of(path.stat().st_ino)
                self.entries[os.path.relpath(path, self.root)] = number
                self.contents[number] = path.read_bytes()

    # ---------------------------------------------------------------- calls of `os`

    def open(self, real: Callable[..., int], path: Any, flags: int, *rest: Any, **options: Any) -> int:
        """Take down that a file was made, or emptied."""
        inside = self._inside(path)
        if inside is None:
            return real(path, flags, *rest, **options)
        there = os.path.lexists(path)
        fd = real(path, flags, *rest, **options)
        self._open[fd] = inside
        if not there:
            self._forget(fd)
            self.events.append(Entry(inside, self._number(fd)))
        elif flags & os.O_TRUNC:
            self.events.append(Resize(self._number(fd), 0))
        return fd

    def close(self, real: Callable[..., None], fd: int) -> None:
        """Forget a descriptor."""
        self._open.pop(fd, None)
        real(fd)

    def write(self, real: Callable[..., int], fd: int, data: Any) -> int:
        """Take down what was written."""
        if fd not in self._open:
            return real(fd, data)
        start = os.lseek(fd, 0, os.SEEK_CUR)
        written = real(fd, data)
        self.events.append(Write(self._number(fd), start, bytes(memoryview(data).cast("B")[:written])))
        return written

    def ftruncate(self, real: Callable[..., None], fd: int, length: int) -> None:
        """Take down the new length."""
        real(fd, length)
        if fd in self._open:
            self.events.append(Resize(self._number(fd), length))

    def fsync(self, _: Callable[..., None], fd: int) -> None:
        """Take down what would be on the disk now. That it gets there is not waited for."""
        if (path := self._open.get(fd)) is None:
            return
        is_directory = Path(self.root, path).is_dir()
        self.events.append(SyncDirectory(path) if is_directory else SyncFile(self._number(fd)))

    def link(self, real: Callable[..., None], source: Any, path: Any, **options: Any) -> None:
        """Take down the second name."""
        real(source, path, **options)
        self._named(path, Path(path).stat().st_ino)

    def rename(self, real: Callable[..., None], source: Any, path: Any, **options: Any) -> None:
        """Take down the new name of a file, and that the old one is gone."""
        real(source, path, **options)
        self._named(path, Path(path).stat().st_ino)
        self._gone(source)

    def unlink(self, real: Callable[..., None], path: Any, **options: Any) -> None:
        """Take down that a name is gone."""
        real(path, **options)
        self._gone(path)

    def mkdir(self, real: Callable[..., None], path: Any, *rest: Any, **options: Any) -> None:
        """Take down a new directory."""
        real(path, *rest, **options)
        if (inside := self._inside(path)) is not None:
            self.events.append(Entry(inside, DIRECTORY))

    # ---------------------------------------------------------------- numbers and paths

    def _inside(self, path: Any) -> str | None:
        whole = os.path.abspath(os.fspath(path))  # noqa: PTH100 - links stay what they are
        return os.path.relpath(whole, self.root) if f"{whole}/".startswith(f"{self.root}/") else None

    def _named(self, path: Any, inode: int) -> None:
        if (inside := self._inside(path)) is not None:
            self.events.append(Entry(inside, self._number_of(inode)))

    def _gone(self, path: Any) -> None:
        if (inside := self._inside(path)) is not None:
            self.events.append(Entry(inside, None))

    def _number(self, fd: int) -> int:
        return self._number_of(os.fstat(fd).st_ino)

    def _number_of(self, inode: int) -> int:
        if inode not in self._numbers:
            self._numbers[inode] = self._count
            self._count += 1
        return self._numbers[inode]

    def _forget(self, fd: int) -> None:
        """A file that was just made may have the inode of one that is gone."""
        self._numbers.pop(os.fstat(fd).st_ino, None)

    def answering(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return what takes the place of a function of `os`: calls are taken down in the order in which they are done."""
        take_down = getattr(self, name)

        def call(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                return take_down(real, *arguments, **options)

        return call


# Functions of `os`, and what takes down their calls.
CALLS: Final = {
    "open": "open",
    "close": "close",
    "write": "write",
    "ftruncate": "ftruncate",
    "fsync": "fsync",
    "fdatasync": "fsync",
    "link": "link",
    "rename": "rename",
    "replace": "rename",
    "unlink": "unlink",
    "remove": "unlink",
    "rmdir": "unlink",
    "mkdir": "mkdir",
}


@contextmanager
def recorded(folder: Path) -> Iterator[DiskLog]:
    """Take down what is done below an existing folder. Everything that lies there counts as on the disk."""
    log = DiskLog(str(folder.resolve()))
    log.read_folder()
    with ExitStack() as patches:
        for name, taken_by in CALLS.items():
            patches.enter_context(mock.patch.object(os, name, log.answering(taken_by, getattr(os, name))))
        yield log
