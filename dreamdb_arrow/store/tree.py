"""A directory tree that is written whole or not at all, and flushed to the disk. Spec 0005.

Each file is written under a name in `.dreamdb-tmp/`, flushed, linked to its path, and then the directory that
holds the link is flushed. Killed at any point, this leaves the file in full or not there, and at worst a
temporary file that nobody lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from dreamdb_arrow.errors import CorruptDataError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.interface import NewObject
from dreamdb_arrow.store.names import TEMPORARY

T = TypeVar("T")
_ATTEMPTS: Final = 8  # at a step that another process can undo between two system calls


class DurableTree:
    """Writes below one root. `sync=False` flushes nothing; at most `threads` writes and flushes run together."""

    __slots__ = ("_settled", "_threads", "root", "sync")

    def __init__(self, root: Path, *, sync: bool, threads: int) -> None:
        self.root, self.sync, self._threads = root, sync, threads
        # Directories flushed together with all above them: of these, only they themselves need a flush again.
        self._settled: frozenset[Path] = frozenset()

    def write_all(self, items: Sequence[NewObject]) -> None:
        """Write files that are not there yet; durable on return. Raises StoreError, CorruptDataError."""
        largest_first = sorted(items, key=lambda item: memoryview(item.data).nbytes, reverse=True)
        self._together(self._write, largest_first)
        self.settle(self.root / item.path for item in items)  # 0005-R2

    def with_directory(self, path: Path, step: Callable[[], None]) -> None:
        """Do what needs the directory of `path`, making it as often as it turns out to be missing."""
        for _ in range(_ATTEMPTS):
            try:
                return step()
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._settled = frozenset()
        return step()

    def settle(self, paths: Iterable[Path]) -> None:
        """Flush the directories of these files, and those above them not flushed before. Raises StoreError."""
        if not self.sync:
            return
        chains = {directory for leaf in {path.parent for path in paths} for directory in self._chain(leaf)}
        self._together(_flush_directory, sorted(chains))
        self._settled |= chains

    def sweep(self, before_ns: int) -> int:
        """Remove temporary files last written before this time; return how many. Raises StoreError."""
        count = 0
        with files.writing(TEMPORARY), suppress(FileNotFoundError):
            for left in (self.root / TEMPORARY).iterdir():
                with suppress(FileNotFoundError):
                    if left.stat().st_mtime_ns < before_ns:
                        left.unlink()
                        count += 1
        return count

    def _write(self, item: NewObject) -> None:
        path = self.root / item.path
        with files.writing(item.path):
            if self._lies_there(path, item):
                return
            temporary = self._write_temporary(item)
            try:
                self.with_directory(path, lambda: files.link_new(temporary, path))
            except FileExistsError:  # somebody wrote it meanwhile
                self._lies_there(path, item)
            finally:
                temporary.unlink(missing_ok=True)

    def _write_temporary(self, item: NewObject) -> Path:
        path = self.root / TEMPORARY / files.temporary_name()
        try:
            files.write_new(path, item.data, sync=self.sync)  # 0005-R2
        except FileNotFoundError:
            path.parent.mkdir(exist_ok=True)  # not the parents: a Space that was removed stays removed
            files.write_new(path, item.data, sync=self.sync)
        return path

    def _lies_there(self, path: Path, item: NewObject) -> bool:
        try:
            found = path.stat().st_size
        except FileNotFoundError:
            return False
        wanted = memoryview(item.data).nbytes
        if found != wanted:  # 0005-R1
            raise CorruptDataError(
                f"damaged object: {item.path} has {found} bytes, not {wanted}; remove it, then write again"
            )
        if self.sync:  # its writer may not have flushed it: the reference SDK never does
            files.sync_path(path)
        return True

    def _chain(self, directory: Path) -> Iterator[Path]:
        yield directory
        while directory not in self._settled and directory != self.root:
            directory = directory.parent
            yield directory

    def _together(self, work: Callable[[T], None], items: Sequence[T]) -> None:
        threads = (
            min(self._threads, len(items)) if self.sync else 1
        )  # threads wait for the disk; copying needs none
        if threads <= 1:
            for item in items:
                work(item)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, items):
                pass


def _flush_directory(path: Path) -> None:
    with files.writing(str(path)):
        files.sync_path(path)
