"""The store in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure. Spec 0005.

Objects lie under their paths, a Ref is an object of 33 bytes below `refs/`. All that decides between writers is the server's
own condition on a write: an object is created if there is none, a Ref is replaced if its ETag is the one that was read.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import obstore

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, as_address
from dreamdb_arrow.errors import (
    CorruptDataError,
    LayoutError,
    ObjectNotFoundError,
    RefConflictError,
    StoreError,
)
from dreamdb_arrow.store.answers import LOST, answers
from dreamdb_arrow.store.conditions import check_conditions
from dreamdb_arrow.store.interface import Absent, NewObject, Ref, holds
from dreamdb_arrow.store.lock_object import LockObjects
from dreamdb_arrow.store.names import (
    REFS,
    check_object_path,
    check_ranges,
    check_ref_name,
    is_object_path,
    is_ref_name,
)
from dreamdb_arrow.store.threads import Threads
from dreamdb_arrow.store.traffic import Traffic

if TYPE_CHECKING:
    from obstore.store import ObjectStore
    from typing_extensions import Buffer

REQUESTS: Final = 64  # under way together
WHOLE_BYTES: Final = 64 << 20  # what is larger goes up in parts
PART_BYTES: Final = 16 << 20
# The threads of all clients belong to the process that made the first request. A fork takes none along, and a request would
# wait for them for ever.
_STARTED: Final[dict[str, int]] = {}


class BucketStore:
    """A Space in a bucket, or below a prefix of one.

    client  the bucket
    url     what names it
    locks   how Refs are guarded where the server ignores conditions; None trusts the conditions, once they were tried
    """

    __slots__ = ("_checked", "_client", "_locks", "_threads", "_url", "traffic")

    def __init__(self, client: ObjectStore, url: str, locks: bool = False) -> None:
        self._client, self._url = client, url
        self._locks = LockObjects(client, url) if locks else None
        self._checked = False
        self._threads = Threads(REQUESTS)
        self.traffic = Traffic()

    def __repr__(self) -> str:
        return f"BucketStore({self._url!r})"

    @property
    def concurrency(self) -> int:
        """How many requests to have under way together."""
        return REQUESTS

    @property
    def url(self) -> str:
        """What `open_store` was given."""
        return self._url

    # ---------------------------------------------------------------- objects

    def get(self, path: str) -> bytes:
        """Return a whole object."""
        return self._get(check_object_path(path))[0]

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start`."""
        return self.get_ranges(path, [(start, length)])[0]

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Return several (start, length) ranges of one object, in order; near ones travel as one."""
        check_ranges(path, ranges)
        asked = [(start, length) for start, length in ranges if length]
        if not asked:
            self.size(path)
            return [b""] * len(ranges)
        client = self._asked(check_object_path(path))
        with answers(self._url, path):
            starts, lengths = zip(*asked, strict=True)
            found = obstore.get_ranges(client, path, starts=starts, lengths=lengths)
        parts = iter([bytes(part) for part in found])
        held = [next(parts) if length else b"" for _, length in ranges]
        self.traffic.add("get", received=sum(map(len, held)))
        if [len(part) for part in held] != [length for _, length in ranges]:  # 0005-R4
            raise CorruptDataError(f"{path} ends before the bytes that were asked for")
        return held

    def put(self, path: str, data: Buffer) -> None:
        """Write an object unless one lies there; durable on return."""
        self.put_many([NewObject(path, data)])

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Put objects, many at a time."""
        for item in items:
            check_object_path(item.path)
        distinct = builtins.list({item.path: item for item in items}.values())
        self._threads.run_all(self._put, distinct)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of all objects that start with these characters."""
        directory = prefix[: prefix.rfind("/") + 1]
        if directory and not is_object_path(directory[:-1]):
            return
        for meta in self._list(directory):
            if meta["path"].startswith(prefix) and is_object_path(meta["path"]):  # 0005-R5
                yield meta["path"]

    def delete(self, path: str) -> None:
        """Remove an object; no error when there is none."""
        client = self._asked(check_object_path(path))
        self.traffic.add("delete")
        try:
            with answers(self._url, path):
                obstore.delete(client, path)
        except ObjectNotFoundError:
            return

    def size(self, path: str) -> int:
        """Return the length of an object in bytes."""
        client = self._asked(check_object_path(path))
        self.traffic.add("head")
        with answers(self._url, path):
            return int(obstore.head(client, path)["size"])

    def exists(self, path: str) -> bool:
        """Whether an object lies at this path."""
        try:
            self.size(path)
        except ObjectNotFoundError:
            return False
        return True

    def local_path(self, path: str) -> Path | None:
        """Return None: there are no files."""
        check_object_path(path)
        return None

    def sweep(self, before_ns: int) -> int:  # noqa: ARG002 - of uploads that were broken off, only the server knows
        """Nothing to do: parts of broken uploads go by a lifecycle rule of the bucket."""
        return 0

    # ---------------------------------------------------------------- refs

    def read_ref(self, name: str) -> Ref | Absent:
        """Return what a ref holds, with its ETag."""
        path = f"{REFS}/{check_ref_name(name)}"
        try:
            data, version = self._get(path, limit=ADDRESS_BYTES)
            return Ref(as_address(data), version)  # 0005-R7
        except ObjectNotFoundError:
            return Absent()
        except LayoutError:
            raise CorruptDataError(
                f"ref {name!r} is malformed: it does not hold the {ADDRESS_BYTES} bytes of an address"
            ) from None

    def swap_ref(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Change a ref from `expect` to `new`, by a conditional write, or raise RefConflictError.

        A ref that goes is read right before: servers know no condition on that.
        """
        path = f"{REFS}/{check_ref_name(name)}"
        if self._locks is not None:
            with self._locks.held(path):
                return self._swap_read(name, path, expect, new)
        if not self._checked:
            self._asked(path)
            check_conditions(self._client, self._url, self.traffic)
            self._checked = True
        if isinstance(new, Absent) or (isinstance(expect, Ref) and not expect.version):
            return self._swap_read(name, path, expect, new)
        return self._swap(name, path, expect, new)

    def list_refs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of all refs that start with these characters, sorted."""
        names = (meta["path"][len(REFS) + 1 :] for meta in self._list(f"{REFS}/"))
        return sorted(name for name in names if name.startswith(prefix) and is_ref_name(name))

    def _swap_read(self, name: str, path: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Do as swap_ref does, after a look at what the ref holds."""
        found = self.read_ref(name)
        if not holds(found, expect):  # 0005-R8
            raise RefConflictError(name, str(expect), str(found))
        if not isinstance(new, Absent):
            return self._swap(name, path, found, new)
        self.traffic.add("delete")
        with answers(self._url, path):
            obstore.delete(self._client, path)
        return new

    def _swap(self, name: str, path: str, expect: Ref | Absent, new: Address) -> Ref:
        mode: Any = "create" if isinstance(expect, Absent) else _version_of(expect)
        if self._locks is not None:
            mode = "overwrite"
        client = self._asked(path)
        self.traffic.add("put", sent=len(new))
        try:
            with answers(self._url, path):
                made = obstore.put(client, path, bytes(new), mode=mode)
        except LOST:
            raise RefConflictError(name, str(expect), str(self.read_ref(name))) from None
        except ObjectNotFoundError:  # what a condition was on is gone
            raise RefConflictError(name, str(expect), str(Absent())) from None
        return Ref(new, _told_version(made))

    # ---------------------------------------------------------------- requests

    def _asked(self, path: str) -> ObjectStore:
        """Return the client, for one request. Raises StoreError in a process that was forked after the first one."""
        _STARTED.setdefault("by", os.getpid())
        if _STARTED["by"] != os.getpid():
            raise StoreError(
                f"{self._url} cannot be asked for {path} in a forked process whose parent has asked such a store; start "
                "workers with spawn"
            )
        return self._client

    def _get(self, path: str, limit: int | None = None) -> tuple[bytes, str]:
        """Return an object and its version; of one that is larger than the limit, nothing."""
        client = self._asked(path)
        with answers(self._url, path):
            result = obstore.get(client, path)
            small = limit is None or result.meta["size"] <= limit
            data = bytes(result.bytes()) if small else b""
        self.traffic.add("get", received=len(data))
        return data, _told_version(result.meta)

    def _put(self, item: NewObject) -> None:
        client, size = self._asked(item.path), item.size
        self.traffic.add("put", sent=size)
        try:
            with answers(self._url, item.path):
                if size > WHOLE_BYTES:  # its bytes are what its path says: writing it again changes nothing
                    obstore.put(client, item.path, item.parts, chunk_size=PART_BYTES)
                else:
                    mode: Any = "create" if self._locks is None else "overwrite"  # some refuse all conditions
                    obstore.put(client, item.path, b"".join(item.parts), mode=mode)
        except LOST:
            found = self.size(item.path)
            if found != size:  # 0005-R1
                raise CorruptDataError(
                    f"{item.path} already holds {found} bytes, not the {size} to be put there"
                ) from None

    def _list(self, directory: str) -> Iterator[Any]:
        client = self._asked(directory)
        with answers(self._url, directory):
            for chunk in obstore.list(client, prefix=directory.rstrip("/") or None):
                self.traffic.add("list")
                yield from chunk


def _version_of(ref: Ref) -> dict[str, str]:
    """Return the condition that a ref is still what it was, as its store compares it."""
    e_tag, _, version = ref.version.partition("\n")
    return {"e_tag": e_tag, "version": version} if version else {"e_tag": e_tag}


def _told_version(told: Any) -> str:
    e_tag, version = told.get("e_tag") or "", told.get("version") or ""
    return f"{e_tag}\n{version}" if version else e_tag
