"""Ages of objects in a directory: what makes one young never meets what removes an old one. Spec 0005.

The time of a file is its age. Who puts an object that is there makes it young under a shared lock; who removes garbage
looks at the age and removes under the exclusive one. Either the object is gone before the put looks, which then writes it,
or it is young when the collector looks. A killed process lets go of the lock, and leaves each object there or not.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time_ns
from typing import Final

from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.interface import Aged
from dreamdb_arrow.store.names import LOCKS, TEMPORARY, is_object_path

LOCK: Final = "ages.lock"
_LOCK_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


@contextmanager
def ages_held(root: str, kind: int) -> Iterator[None]:
    """Hold the lock of ages: LOCK_SH to make young, LOCK_EX to remove what is old. Raises OSError."""
    fd = open_lock(f"{root}/{LOCKS}/{LOCK}")
    try:
        fcntl.flock(fd, kind)  # 0005-R15
        yield
    finally:
        os.close(fd)


def open_lock(path: str) -> int:
    """Open the file of a lock, making it and its folder as needed; return the descriptor. Raises OSError."""
    try:
        return os.open(path, _LOCK_FLAGS, 0o666)
    except FileNotFoundError:
        Path(path).parent.mkdir(exist_ok=True)
        return os.open(path, _LOCK_FLAGS, 0o666)


def list_aged(directory: str, prefix: str) -> Iterator[Aged]:
    """Yield the objects below a directory, whose paths begin with `prefix`. Raises OSError."""
    for path, entry in files.walk_entries(directory, prefix):
        if is_object_path(path):
            with suppress(FileNotFoundError):
                status = entry.stat()
                yield Aged(path, status.st_size, status.st_mtime_ns)


def freshen(root: str, paths: Sequence[str]) -> None:
    """Make objects young. Raises ObjectNotFoundError for the first that is not there, StoreError."""
    with files.writing(paths[0] if paths else ""), ages_held(root, fcntl.LOCK_SH):
        for path in paths:
            if not make_young(root, path):
                raise ObjectNotFoundError(path)


def make_young(root: str, path: str) -> bool:
    """Make one object young, while ages are held; False when it is not there. Raises OSError."""
    return files.make_young(f"{root}/{path}", f"{root}/{TEMPORARY}/{files.temporary_name()}")


def delete_aged(root: str, paths: Sequence[str], before_ns: int) -> list[str]:
    """Remove those objects that are older than a time; return their paths. Raises StoreError."""
    removed = []
    with files.writing(paths[0] if paths else ""), ages_held(root, fcntl.LOCK_EX):
        for path in paths:
            with suppress(FileNotFoundError):
                if os.stat(f"{root}/{path}").st_mtime_ns < before_ns:  # noqa: PTH116 - asked of all garbage
                    files.remove(f"{root}/{path}")
                    removed.append(path)
    return removed


def now_ns(root: str) -> int:
    """Return the time that a file written now has, which is that of the disk's clock, not always of this machine's."""
    path = f"{root}/{TEMPORARY}/{files.temporary_name()}"
    try:
        Path(path).parent.mkdir(exist_ok=True)
        files.write_new(path, [], sync=False)
        found = os.stat(path).st_mtime_ns  # noqa: PTH116 - strings, as in `files`
        files.remove(path)
    except OSError:  # it can be read only, so nothing is removed either
        return time_ns()
    return found
