"""A directory tree that is written whole or not at all, and flushed to the disk. Spec 0005.

Each file is written under a name in `.dreamdb-tmp/`, flushed, linked to its path, and then the directory that
holds the link is flushed. Killed at any point, this leaves the file in full or not there, and at worst a
temporary file that nobody lists.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from dreamdb_arrow.errors import CorruptDataError, StoreError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.ages import ages_held, make_young
from dreamdb_arrow.store.direct import DIRECT_BYTES
from dreamdb_arrow.store.growing import Growing
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
        self._make_directories({f"{self.root}/{item.path}".rpartition("/")[0] for item in items})
        self._threads.run_all(self._write, largest_last)
        self.settle(f"{self.root}/{item.path}" for item in items)  # 0005-R2

    def _make_directories(self, wanted: set[str]) -> None:
        """Make what new files need: by itself each would find out that it has no directory, all at the same time."""
        for directory in wanted - self._settled:
            with suppress(OSError):  # it is there; or else, who writes into it is told
                self._make_directory(directory)

    def _make_directory(self, directory: str) -> None:
        try:
            os.mkdir(directory)  # noqa: PTH102 - asked of every commit
        except FileNotFoundError:
            above = directory.rpartition("/")[0]
            if above == self.root:  # a Space that was removed stays removed
                raise
            self._make_directory(above)
            os.mkdir(directory)  # noqa: PTH102 - as above
        self._settled = frozenset()

    def begin(self) -> Growing:
        """Begin an object that is named when it is whole. Raises StoreError."""
        path = f"{self.root}/{TEMPORARY}/{files.temporary_name()}"
        with files.writing(TEMPORARY):
            Path(path).parent.mkdir(exist_ok=True)  # not the parents: a Space that was removed stays removed
        return Growing(path, self._name, sync=self.sync)

    def _name(self, temporary: str, name: str, size: int) -> None:
        """Give a file that was written the path of an object; durable on return."""
        path = f"{self.root}/{name}"
        for _ in range(_ATTEMPTS):
            if self._lies_there(name, size) or self._linked(temporary, path):
                return self.settle([path])  # 0005-R2
        raise _busy(name)

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
            for _ in range(_ATTEMPTS):
                if self._lies_there(item.path, item.size) or self._link(path, item):
                    return
        raise _busy(item.path)

    def _link(self, path: str, item: NewObject) -> bool:
        """Write a file that was not there; False when somebody wrote it meanwhile."""
        temporary = self._write_temporary(item)
        try:
            return self._linked(temporary, path)
        finally:
            files.remove(temporary)

    def _linked(self, temporary: str, path: str) -> bool:
        try:
            self.with_directory(path, lambda: files.link_new(temporary, path))
        except FileExistsError:
            return False
        return True

    def _write_temporary(self, item: NewObject) -> str:
        path = f"{self.root}/{TEMPORARY}/{files.temporary_name()}"
        write = partial(files.write_new, path, item.parts, sync=self.sync, direct=item.size >= DIRECT_BYTES)
        try:
            write()  # 0005-R2
        except FileNotFoundError:
            Path(path).parent.mkdir(exist_ok=True)  # not the parents: a Space that was removed stays removed
            write()
        return path

    def _lies_there(self, name: str, size: int) -> bool:
        """Whether an object is there, which is made young then, so that no collector that runs takes it away."""
        path = f"{self.root}/{name}"
        try:
            found = os.stat(path).st_size  # noqa: PTH116 - asked of every object that is written
        except FileNotFoundError:
            return False
        if found != size:  # 0005-R1
            raise CorruptDataError(
                f"damaged object: {name} has {found} bytes, not {size}; remove it, then write again"
            )
        try:
            if self.sync:  # its writer may not have flushed it: the reference SDK never does
                files.sync_path(path)
        except FileNotFoundError:
            return False
        with ages_held(self.root, fcntl.LOCK_SH):
            return make_young(self.root, name)

    def _chain(self, directory: str) -> Iterator[str]:
        yield directory
        while directory not in self._settled and directory != self.root:
            directory = directory.rpartition("/")[0]
            yield directory


def _busy(path: str) -> StoreError:
    return StoreError(f"cannot write {path}: others write and remove it all the time", retryable=True)


def _flush_directory(path: str) -> None:
    with files.writing(path):
        files.sync_path(path)
