"""The store in memory: two dictionaries and a lock. Spec 0005."""

from __future__ import annotations

import builtins
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import CorruptDataError, ObjectNotFoundError, RefConflictError
from dreamdb_arrow.store.forks import renew_in_child
from dreamdb_arrow.store.interface import Absent, Aged, NewObject, Ref, holds
from dreamdb_arrow.store.names import check_object_path, check_ranges, check_ref_name

if TYPE_CHECKING:
    from typing_extensions import Buffer

# The one place where the package keeps state of its own: whoever opens memory://name in this process means this one.
NAMED_SPACES: Final[dict[str, MemoryStore]] = {}


class MemoryStore:
    """A store that ends with the process. `open_store("memory://name")` shares one by name."""

    __slots__ = ("__weakref__", "_lock", "_modified", "_objects", "_refs", "_url")

    def __init__(self, name: str = "") -> None:
        self._url = f"memory://{name}"
        self._objects: dict[str, bytes] = {}
        self._modified: dict[str, int] = {}  # nanoseconds since 1970
        self._refs: dict[str, Address] = {}
        self._lock = Lock()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Take a lock of its own."""
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"MemoryStore({self._url!r})"

    @property
    def concurrency(self) -> int:
        """One call at a time may be fastest."""
        return 1

    @property
    def url(self) -> str:
        """`memory://` and the name; a store without a name cannot be found again by it."""
        return self._url

    def get(self, path: str) -> bytes:
        """Return a whole object."""
        try:
            return self._objects[check_object_path(path)]
        except KeyError:
            raise ObjectNotFoundError(path) from None

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start`."""
        return self.get_ranges(path, [(start, length)])[0]

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Return several (start, length) ranges of one object, in order."""
        check_ranges(path, ranges)
        data = self.get(path)
        if any(start + length > len(data) for start, length in ranges):  # 0005-R4
            raise CorruptDataError(f"{path} ends before the bytes that were asked for")
        return [data[start : start + length] for start, length in ranges]

    def put(self, path: str, data: Buffer) -> None:
        """Keep an object, unless there is one, which is then as young as a new one."""
        new = bytes(data)
        with self._lock:
            old = self._objects.setdefault(check_object_path(path), new)
            self._modified[path] = self.now_ns()
        if len(old) != len(new):  # 0005-R1
            raise CorruptDataError(
                f"{path} already holds {len(old)} bytes, not the {len(new)} to be put there"
            )

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Keep several objects."""
        for item in items:
            check_object_path(item.path)
        for item in items:
            self.put(item.path, b"".join(item.parts))

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of all objects that start with these characters."""
        with self._lock:
            paths = list(self._objects)
        return (path for path in paths if path.startswith(prefix))

    def list_aged(self, prefix: str = "") -> Iterator[Aged]:
        """Yield what `list` yields, with sizes and ages."""
        with self._lock:
            found = [
                Aged(path, len(data), self._modified.get(path, 0))
                for path, data in self._objects.items()
                if path.startswith(prefix)
            ]
        yield from found

    def freshen(self, paths: Sequence[str]) -> None:
        """Make objects as young as if they had just been put."""
        with self._lock:
            for path in paths:
                if check_object_path(path) not in self._objects:
                    raise ObjectNotFoundError(path)
                self._modified[path] = self.now_ns()

    def now_ns(self) -> int:
        """Return the time by the clock of this machine."""
        return time.time_ns()

    def delete(self, path: str) -> None:
        """Forget an object."""
        with self._lock:
            self._forget(check_object_path(path))

    def delete_aged(self, paths: Sequence[str], before_ns: int) -> builtins.list[str]:
        """Forget those objects that are older than a time, and return their paths."""
        with self._lock:
            old = [
                path for path in paths if self._modified.get(check_object_path(path), before_ns) < before_ns
            ]
            for path in old:
                self._forget(path)
        return old

    def _forget(self, path: str) -> None:
        self._objects.pop(path, None)
        self._modified.pop(path, None)

    def size(self, path: str) -> int:
        """Return the length of an object in bytes."""
        return len(self.get(path))

    def exists(self, path: str) -> bool:
        """Whether there is an object at this path."""
        return check_object_path(path) in self._objects

    def read_ref(self, name: str) -> Ref | Absent:
        """Return what a ref holds."""
        address = self._refs.get(check_ref_name(name))
        return Absent() if address is None else Ref(address)

    def swap_ref(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Change a ref from `expect` to `new`, or raise RefConflictError."""
        with self._lock:
            found = self.read_ref(name)
            if not holds(found, expect):  # 0005-R8
                raise RefConflictError(name, str(expect), str(found))
            if isinstance(new, Absent):
                self._refs.pop(name, None)
                return new
            self._refs[name] = new
            return Ref(new)

    def list_refs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of all refs that start with these characters, sorted."""
        with self._lock:
            return sorted(name for name in self._refs if name.startswith(prefix))

    def local_path(self, path: str) -> Path | None:
        """Return None: there are no files."""
        check_object_path(path)
        return None

    def renew(self, path: str) -> bool:  # noqa: ARG002 - as in a store that has copies
        """There are no copies."""
        return False

    def sweep(self, before_ns: int) -> int:  # noqa: ARG002 - nothing can be left behind here
        """Nothing to do."""
        return 0


def named_space(name: str) -> MemoryStore:
    """Return the store that this process knows under a name, made on first use; a new one for the empty name."""
    if not name:
        return MemoryStore()
    return NAMED_SPACES.setdefault(name, MemoryStore(name))
