"""The store in a directory: the layout that the reference SDK reads and writes too. Spec 0005."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.store import ages, files, local_refs
from dreamdb_arrow.store.growing import Growing
from dreamdb_arrow.store.interface import Absent, Aged, NewObject, Ref
from dreamdb_arrow.store.names import check_object_path, check_ranges, check_ref_name, is_object_path
from dreamdb_arrow.store.tree import DurableTree

if TYPE_CHECKING:
    from typing_extensions import Buffer


class LocalStore:
    """A Space in a directory, shared with any process that keeps to the same layout. Reading writes nothing.

    sync     flush files and directories to the disk before a write counts as done. Without it a power cut may
             take acknowledged writes away; a killed process never does.
    threads  how many writes and flushes of one put_many may be under way together.
    """

    __slots__ = ("_root", "_tree")

    def __init__(self, root: str | os.PathLike[str], *, sync: bool = True, threads: int = 8) -> None:
        directory = Path(root).absolute()
        self._root = str(directory)
        self._tree = DurableTree(self._root, sync=sync, threads=threads)

    def __repr__(self) -> str:
        return f"LocalStore({self._root!r})"

    @property
    def concurrency(self) -> int:
        """One call at a time may be fastest."""
        return 1

    @property
    def url(self) -> str:
        """`file://` and the absolute path of the directory, whatever the working directory becomes."""
        return f"file://{self._root}"

    def get(self, path: str) -> bytes:
        """Return a whole object."""
        with files.reading(path):
            return files.read_whole(self._file(path))

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start`."""
        return self.get_ranges(path, [(start, length)])[0]

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Return several (start, length) ranges of one object, in order; the file is opened once."""
        check_ranges(path, ranges)
        with files.reading(path), files.opened(self._file(path)) as fd:
            return [files.read_at(fd, start, length) for start, length in ranges]

    def put(self, path: str, data: Buffer) -> None:
        """Write an object unless one lies there; durable on return."""
        self.put_many([NewObject(path, data)])

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Put objects together: their flushes overlap, and each directory is flushed once."""
        for item in items:
            check_object_path(item.path)
        self._tree.write_all(items)

    def begin(self) -> Growing:
        """Begin an object whose name will be known when all its bytes are."""
        return self._tree.begin()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of all objects that start with these characters."""
        directory = prefix[: prefix.rfind("/") + 1]
        if directory and not is_object_path(directory[:-1]):
            return
        with files.reading(prefix):
            for path in files.walk(f"{self._root}/{directory}", directory):
                if path.startswith(prefix) and is_object_path(path):  # 0005-R5
                    yield path

    def list_aged(self, prefix: str = "") -> Iterator[Aged]:
        """Yield what `list` yields, with sizes and the times of the files."""
        directory = prefix[: prefix.rfind("/") + 1]
        if directory and not is_object_path(directory[:-1]):
            return
        with files.reading(prefix):
            for found in ages.list_aged(f"{self._root}/{directory}", directory):
                if found.path.startswith(prefix):
                    yield found

    def freshen(self, paths: Sequence[str]) -> None:
        """Make objects as young as if they had just been put."""
        ages.freshen(self._root, [check_object_path(path) for path in paths])

    def now_ns(self) -> int:
        """Return the time by the clock of the disk."""
        return ages.now_ns(self._root)

    def delete_aged(self, paths: Sequence[str], before_ns: int) -> builtins.list[str]:
        """Remove those objects that are older than a time, durably, and return their paths."""
        removed = ages.delete_aged(self._root, [check_object_path(path) for path in paths], before_ns)
        self._tree.settle(f"{self._root}/{path}" for path in removed)  # 0005-R17
        return removed

    def delete(self, path: str) -> None:
        """Remove an object; no error when there is none."""
        with files.writing(path):
            files.remove(self._file(path))

    def size(self, path: str) -> int:
        """Return the length of an object in bytes."""
        with files.reading(path):
            return files.size_of(self._file(path))

    def exists(self, path: str) -> bool:
        """Whether a file lies at this path."""
        return Path(self._file(path)).is_file()

    def read_ref(self, name: str) -> Ref | Absent:
        """Return what a ref holds."""
        return local_refs.read_ref(self._root, check_ref_name(name))

    def swap_ref(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Change a ref from `expect` to `new`, waiting for its lock, or raise RefConflictError."""
        local_refs.swap_ref(self._tree, check_ref_name(name), expect, new)
        return new if isinstance(new, Absent) else Ref(new)

    def list_refs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of all refs that start with these characters, sorted."""
        return local_refs.list_refs(self._root, prefix)

    def local_path(self, path: str) -> Path | None:
        """Return the file that holds (or would hold) an object."""
        return Path(self._file(path))

    def renew(self, path: str) -> bool:  # noqa: ARG002 - as in a store that has copies
        """There are no copies."""
        return False

    def sweep(self, before_ns: int) -> int:
        """Remove the temporary files that writers left who were killed before this time."""
        return self._tree.sweep(before_ns)

    def _file(self, path: str) -> str:
        return f"{self._root}/{check_object_path(path)}"
