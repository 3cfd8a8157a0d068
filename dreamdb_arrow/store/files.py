"""Files as a store needs them: read at an offset, written whole or not at all, errors in one line. Spec 0005.

Paths are strings here: a `Path` costs more to make than a small object to read.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dreamdb_arrow.errors import CorruptDataError, DreamDBError, ObjectNotFoundError, StoreError
from dreamdb_arrow.store.direct import fill_direct

if TYPE_CHECKING:
    from typing_extensions import Buffer

# What may go away by itself. A full disk, a quota or a missing permission takes a person.
_PASSING: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NOT_THERE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what goes wrong while a file is read into ObjectNotFoundError, CorruptDataError or StoreError."""
    try:
        yield
    except EOFError:
        raise CorruptDataError(f"{path} ends before the bytes that were asked for") from None
    except _NOT_THERE:
        raise ObjectNotFoundError(path) from None
    except OSError as error:
        raise _store_error("read", path, error) from error


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn what the system says while a file is written into StoreError."""
    try:
        yield
    except OSError as error:
        raise _store_error("write", path, error) from error


def _store_error(verb: str, path: str, error: OSError) -> DreamDBError:
    where = f" ({error.filename})" if error.filename else ""
    return StoreError(
        f"cannot {verb} {path}: {error.strerror or error}{where}", retryable=error.errno in _PASSING
    )


def read_whole(path: str) -> bytes:
    """Return all bytes of a file. Raises OSError."""
    with opened(path) as fd:
        return read_at(fd, 0, os.fstat(fd).st_size)


def size_of(path: str) -> int:
    """Return the length of a file in bytes. Raises OSError, FileNotFoundError for anything but a file."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return status.st_size


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a file or a directory for reading, and close it. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def read_at(fd: int, start: int, length: int) -> bytes:
    """Return exactly `length` bytes from `start`. Raises OSError, EOFError when the file ends earlier."""
    # 0005-R4
    if start + length > os.fstat(fd).st_size:  # asked first, as pread makes room for all it is asked for
        raise EOFError
    data = os.pread(fd, length, start)
    if len(data) == length:
        return data
    parts = [data]
    while parts[-1] and (length := length - len(parts[-1])):  # the system reads at most 2 GiB at once
        start += len(parts[-1])
        parts.append(os.pread(fd, length, start))
    if length:
        raise EOFError
    return b"".join(parts)


def read_into(fd: int, start: int, buffer: memoryview) -> None:
    """Fill a writable buffer of bytes with what lies from `start` on. Raises OSError, EOFError when the file ends earlier."""
    while buffer:
        read = os.preadv(fd, [buffer], start)
        if not read:
            raise EOFError
        buffer, start = buffer[read:], start + read


def write_new(path: str, parts: Iterable[Buffer], *, sync: bool, direct: bool = False) -> None:
    """Create a file of these parts, flushed to the disk if `sync`. Raises OSError, and then leaves no file.

    `direct` is for a large file that is not read again at once: it goes past the page cache, where the system can.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        if not (direct and fill_direct(fd, parts)):
            _fill(fd, parts)
        if sync:
            os.fsync(fd)
    except BaseException:
        remove(path)
        raise
    finally:
        os.close(fd)


def _fill(fd: int, parts: Iterable[Buffer]) -> None:
    for part in parts:
        rest = memoryview(part).cast("B")
        while rest:
            rest = rest[os.write(fd, rest) :]


def link_new(source: str, path: str) -> None:
    """Give a file a second name, in one step. Raises FileExistsError when that name is taken, or OSError."""
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(path):  # two writers may both pass here, with the same bytes
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        os.rename(source, path)  # noqa: PTH104 - a Path costs more to make than a small object to write


def remove(path: str) -> None:
    """Remove a file, if it is there. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - as above


def make_young(path: str, temporary: str) -> bool:
    """Set the time of a file to now, by the clock of its disk; False when there is no file. Raises OSError.

    Whoever may write to the directory can: a file of somebody else, whose time they may not set, gets an equal one of their
    own, written as `temporary`, in its place.
    """
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except PermissionError:
        try:
            write_new(temporary, [read_whole(path)], sync=True)
            os.replace(temporary, path)  # noqa: PTH105 - as above
        finally:
            remove(temporary)
    return True


def temporary_name() -> str:
    """Return a file name that nobody else uses and that is no address."""
    return f"{os.getpid()}-{secrets.token_hex(8)}.tmp"  # 0005-R14


def sync_path(path: str) -> None:
    """Flush a file or a directory to the disk. Raises OSError."""
    with opened(path) as fd:
        os.fsync(fd)


def make_directory(directory: Path, *, sync: bool) -> None:
    """Make a directory and those above it that are missing, each flushed to the disk if `sync`. Raises OSError."""
    there = directory
    while not there.exists():
        there = there.parent
    missing = directory.relative_to(there).parts
    if (
        sync
    ):  # a process may have been killed that had just made it; what is not ours to read was not made by us
        with suppress(PermissionError):
            sync_path(str(there.parent))
    for name in missing:
        (there / name).mkdir(exist_ok=True)
        if sync:
            sync_path(str(there))
        there /= name


def walk(directory: str, path: str) -> Iterator[str]:
    """Yield `path/...` for each file anywhere below a directory, which may vanish meanwhile. Raises OSError.

    Links to files count as files; links to directories are not followed, as they may lead in a circle.
    """
    return (below for below, _ in walk_entries(directory, path))


def walk_entries(directory: str, path: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what walk yields, each with its entry of the directory. Raises OSError."""
    pending = [(directory, path)]
    while pending:
        directory, path = pending.pop()
        with suppress(*_NOT_THERE), os.scandir(directory) as entries:
            for entry in entries:
                below = f"{path}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, f"{below}/"))
                elif entry.is_file():
                    yield below, entry
