"""A directory tree that is written whole or not at all, and flushed to the disk. Spec 0005.

Each file is written under a name in `.dreamdb-tmp/`, flushed, linked to its path, and then the directory that
holds the link is flushed. Killed at any point, this leaves the file in full or not there, and at worst a
temporary file that nobody lists.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from dreamdb_arrow.errors import CorruptDataError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.direct import DIRECT_BYTES
from dreamdb_arrow.store.interface import NewObject
from dreamdb_arrow.store.names import TEMPORARY
from dreamdb_arrow.store.threads import Threads

_ATTEMPTS: Final = 8  # at a step that another process can undo between two system calls


class DurableTree:
    """Writes below one root. `sync=False` flushes nothing; at most `threads` writes and flushes run together."""

    __slots__ = ("_settled", "_threads", "root", "sync")

    def __init__(self, root: str, *, sync: bool, threads: int) -> None:
        self.root, self.sync = root, sync
        self._threads = Threads(threads if sync else 1)  # they wait for the disk; copying needs none
        # Directories flushed together with all above them: of these, only they themselves need a flush again.
        self._settled: frozenset[str] = frozenset()

    def write_all(self, items: Sequence[NewObject]) -> None:
        """Write files that are not there yet; durable on return. Raises StoreError, CorruptDataError."""
        largest_last = sorted(items, key=lambda item: item.size)  # the last needs no other thread
        self._threads.run_all(self._write, largest_last)
        self.settle(f"{self.root}/{item.path}" for item in items)  # 0005-R2

    def with_directory(self, path: str, step: Callable[[], None]) -> None:
        """Do what needs the directory of `path`, making it as often as it turns out to be missing."""
        for _ in range(_ATTEMPTS):
            try:
                return step()
            except FileNotFoundError:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                self._settled = frozenset()
        return step()

    def settle(self, paths: Iterable[str]) -> None:
        """Flush the directories of these files, and those above them not flushed before. Raises StoreError."""
        if not self.sync:
            return
        leaves = {path.rpartition("/")[0] for path in paths}
        chains = {directory for leaf in leaves for directory in self._chain(leaf)}
        self._threads.run_all(_flush_directory, sorted(chains))
        self._settled |= chains

    def now_ns(self) -> int:
        """Return when a file that is written now is told to have been written. Raises StoreError."""
        path = f"{self.root}/{TEMPORARY}/{files.temporary_name()}"
        with files.writing(TEMPORARY):
            Path(path).parent.mkdir(exist_ok=True)
            try:
                files.write_new(path, [b""], sync=False)
                return Path(path).stat().st_mtime_ns
            finally:
                files.remove(path)

    def remove_old(self, path: str, before_ns: int) -> bool:
        """Remove a file last written, or put again, before this time; return whether it is gone. Raises StoreError.

        It is moved aside first and looked at again: who made it young in between finds it gone and writes it anew, or it is
        put back.
        """
        file, aside = f"{self.root}/{path}", f"{self.root}/{TEMPORARY}/{files.temporary_name()}"
        with files.writing(path):
            if not _is_older(file, before_ns):
                return not Path(file).exists()
            Path(aside).parent.mkdir(exist_ok=True)
            try:
                os.rename(file, aside)  # noqa: PTH104 - strings, as in `files`
            except FileNotFoundError:
                return True
            if not _is_older(aside, before_ns):
                with suppress(FileExistsError):
                    self.with_directory(file, lambda: files.link_new(aside, file))
                files.remove(aside)
                return False
            files.remove(aside)
        return True

    def sweep(self, before_ns: int) -> int:
        """Remove temporary files last written before this time; return how many. Raises StoreError."""
        count = 0
        with files.writing(TEMPORARY), suppress(FileNotFoundError):
            for left in Path(self.root, TEMPORARY).iterdir():
                with suppress(FileNotFoundError):
                    if left.stat().st_mtime_ns < before_ns:
                        left.unlink()
                        count += 1
        return count

    def _write(self, item: NewObject) -> None:
        path = f"{self.root}/{item.path}"
        with files.writing(item.path):
            if self._lies_there(path, item):
                return
            temporary = self._write_temporary(item)
            try:
                self.with_directory(path, lambda: files.link_new(temporary, path))
            except FileExistsError:  # somebody wrote it meanwhile
                self._lies_there(path, item)
            finally:
                files.remove(temporary)

    def _write_temporary(self, item: NewObject) -> str:
        path = f"{self.root}/{TEMPORARY}/{files.temporary_name()}"
        write = partial(files.write_new, path, item.parts, sync=self.sync, direct=item.size >= DIRECT_BYTES)
        try:
            write()  # 0005-R2
        except FileNotFoundError:
            Path(path).parent.mkdir(exist_ok=True)  # not the parents: a Space that was removed stays removed
            write()
        return path

    def _lies_there(self, path: str, item: NewObject) -> bool:
        try:
            with suppress(
                PermissionError
            ):  # somebody else's file, which a collector of theirs keeps for us, or not
                os.utime(path)  # 0005-R15
            found = os.stat(path).st_size  # noqa: PTH116 - asked last: a collector may have moved the file away
        except FileNotFoundError:
            return False
        if found != item.size:  # 0005-R1
            raise CorruptDataError(
                f"damaged object: {item.path} has {found} bytes, not {item.size}; remove it, then write again"
            )
        if self.sync:  # its writer may not have flushed it: the reference SDK never does
            files.sync_path(path)
        return True

    def _chain(self, directory: str) -> Iterator[str]:
        yield directory
        while directory not in self._settled and directory != self.root:
            directory = directory.rpartition("/")[0]
            yield directory


def _is_older(path: str, before_ns: int) -> bool:
    try:
        return os.stat(path).st_mtime_ns < before_ns  # noqa: PTH116 - a string
    except FileNotFoundError:
        return False


def _flush_directory(path: str) -> None:
    with files.writing(path):
        files.sync_path(path)
