"""The store in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure. Spec 0005.

Objects lie under their paths, a Ref is an object of 33 bytes below `refs/`. All that decides between writers is the server's
own condition on a write: an object is created if there is none, a Ref is replaced if its ETag is the one that was read.
"""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import obstore

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import (
    CorruptDataError,
    ObjectNotFoundError,
    StoreError,
)
from dreamdb_arrow.store.answers import LOST, answers, is_upload_gone
from dreamdb_arrow.store.bucket_calls import again, age_of, get_whole, version_of
from dreamdb_arrow.store.bucket_refs import BucketRefs
from dreamdb_arrow.store.interface import Absent, Aged, NewObject, Ref
from dreamdb_arrow.store.names import (
    LOCKS,
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
STREAM_BYTES: Final = 1 << 20  # few enough to be still near the processor when they are hashed and written
FRESH_NS: Final = 600_000_000_000  # what is older is written again when it is put again: collectors spare an hour, by their clock
CLOCK: Final = f"{LOCKS}/clock"  # an object whose age tells the server's time
# The threads of all clients belong to the process that made the first request. A fork takes none along, and a request would
# wait for them for ever.
_STARTED: Final[dict[str, int]] = {}


class BucketStore:
    """A Space in a bucket, or below a prefix of one.

    client  the bucket
    url     what names it
    once    the same, making no request twice; None if the client makes none twice
    locks   guard Refs by lock objects, where the server ignores conditions
    """

    __slots__ = ("_client", "_locks", "_once", "_refs", "_threads", "_url", "traffic")

    def __init__(
        self, client: ObjectStore, url: str, *, once: ObjectStore | None = None, locks: bool = False
    ) -> None:
        self._client, self._once = client, once or client
        self._url, self._locks = url, locks
        self._threads = Threads(REQUESTS)
        self.traffic = Traffic()
        self._refs = BucketRefs(client, self._once, url, self.traffic, locks=locks)

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

    def stream(self, path: str) -> Iterator[Buffer]:
        """Return the parts of an object, which come as they are asked for; that it is there is known on return."""
        client = self._asked(check_object_path(path))
        with answers(self._url, path):
            answer = obstore.get(client, path)
        self.traffic.add("get")
        return self._parts(path, answer)

    def _parts(self, path: str, answer: Any) -> Iterator[Buffer]:
        with answers(self._url, path):
            for part in answer.stream(min_chunk_size=STREAM_BYTES):
                self.traffic.receive(len(part))
                yield part

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
        return (listed.path for listed in self.list_aged(prefix))

    def list_aged(self, prefix: str = "") -> Iterator[Aged]:
        """Yield the same with sizes and ages."""
        directory = prefix[: prefix.rfind("/") + 1]
        if directory and not is_object_path(directory[:-1]):
            return
        for meta in self._list(directory):
            if meta["path"].startswith(prefix) and is_object_path(meta["path"]):  # 0005-R5
                yield Aged(meta["path"], meta["size"], age_of(meta))

    def now_ns(self) -> int:
        """Return the server's time: when an object that is written now is told to have been written."""
        client = self._asked(CLOCK)
        with answers(self._url, CLOCK):
            obstore.put(client, CLOCK, b"")
            found = age_of(obstore.head(client, CLOCK))
        self.traffic.add("put")
        self.traffic.add("head")
        return found

    def freshen(self, paths: Sequence[str]) -> None:
        """Make objects young: each is written again, if it is still the one that was read."""
        for path in paths:
            check_object_path(path)
        self._threads.run_all(lambda path: again(partial(self._freshen, path)), paths)

    def _freshen(self, path: str) -> None:
        data, version = self._get(path)
        self.traffic.add("put", sent=len(data))
        try:
            with answers(self._url, path):
                obstore.put(
                    self._once,
                    path,
                    data,
                    mode="overwrite" if self._locks else version_of(version),
                )
        except LOST:
            self.size(path)  # somebody else wrote it again, or it is gone

    def delete_aged(self, paths: Sequence[str], before_ns: int) -> builtins.list[str]:
        """Remove those objects that are older than a time.

        Servers know no condition on that: each is looked at right before, and a put in between is lost (see ADR 0040).
        """
        for path in paths:
            check_object_path(path)
        gone: builtins.list[str] = []
        self._threads.run_all(partial(self._delete_if_old, before_ns, gone), paths)
        return gone

    def _delete_if_old(self, before_ns: int, gone: builtins.list[str], path: str) -> None:
        """Look and remove; after a lost answer look again, as somebody may have put it anew."""
        tried: builtins.list[str] = []

        def work() -> None:
            self.traffic.add("head")
            with answers(self._url, path):
                old = age_of(obstore.head(self._asked(path), path)) < before_ns
            if old:
                tried.append(path)
                self._delete(path)
                gone.append(path)

        try:
            again(work)
        except ObjectNotFoundError:
            gone.extend(tried[:1])

    def delete(self, path: str) -> None:
        """Remove an object; no error when there is none."""
        self._asked(check_object_path(path))
        again(lambda: self._delete(path))

    def _delete(self, path: str) -> None:
        self.traffic.add("delete")
        with suppress(ObjectNotFoundError), answers(self._url, path):
            obstore.delete(self._once, path)

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

    def renew(self, path: str) -> bool:  # noqa: ARG002 - as in a store that has copies
        """There are no copies."""
        return False

    def sweep(self, before_ns: int) -> int:  # noqa: ARG002 - of uploads that were broken off, only the server knows
        """Nothing to do: parts of broken uploads go by a lifecycle rule of the bucket."""
        return 0

    # ---------------------------------------------------------------- refs

    def read_ref(self, name: str) -> Ref | Absent:
        """Return what a ref holds, with its ETag."""
        self._asked(check_ref_name(name))
        return self._refs.read(name)

    def swap_ref(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Change a ref from `expect` to `new`, by a conditional write, or raise RefConflictError.

        A ref that goes is read right before: servers know no condition on that.
        """
        self._asked(check_ref_name(name))
        return self._refs.swap(name, expect, new)

    def list_refs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of all refs that start with these characters, sorted."""
        names = (meta["path"][len(REFS) + 1 :] for meta in self._list(f"{REFS}/"))
        return sorted(name for name in names if name.startswith(prefix) and is_ref_name(name))

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

    def _get(self, path: str) -> tuple[bytes, str]:
        return get_whole(self._asked(path), self._url, path, self.traffic)

    def _put(self, item: NewObject) -> None:
        """Put an object; what was written by a request whose answer was lost is found there."""
        self._asked(item.path)
        try:
            again(lambda: self._put_once(item))
        except LOST:
            self._settle(item)

    def _put_once(self, item: NewObject) -> None:
        self.traffic.add("put", sent=item.size)
        with answers(self._url, item.path):
            if item.size > WHOLE_BYTES:  # its bytes are what its path says: writing it again changes nothing
                self._put_parts(item)
            elif self._locks:  # the server may refuse what has a condition
                self._put_unless_there(item)
            else:
                obstore.put(self._once, item.path, b"".join(item.parts), mode="create")

    def _put_parts(self, item: NewObject) -> None:
        try:
            obstore.put(self._client, item.path, item.parts, chunk_size=PART_BYTES)
        except (
            FileNotFoundError
        ) as error:  # of a whole whose parts were put together before, by a request without an answer
            if not is_upload_gone(error):
                raise
            self._settle(item)

    def _put_unless_there(self, item: NewObject) -> None:
        try:
            self._settle(item)
        except ObjectNotFoundError:
            obstore.put(self._once, item.path, b"".join(item.parts))

    def _settle(self, item: NewObject) -> None:
        """Make sure that what lies there already is what was to be put, and young."""
        self.traffic.add("head")
        with answers(self._url, item.path):
            found = obstore.head(self._client, item.path)
        if found["size"] != item.size:  # 0005-R1
            raise CorruptDataError(
                f"{item.path} already holds {found['size']} bytes, not the {item.size} to be put there"
            )
        if time.time_ns() - age_of(found) > FRESH_NS:  # 0005-R15
            self.traffic.add("put", sent=item.size)
            with answers(self._url, item.path):
                obstore.put(self._client, item.path, b"".join(item.parts))

    def _list(self, directory: str) -> Iterator[Any]:
        client = self._asked(directory)
        with answers(self._url, directory):
            for chunk in obstore.list(client, prefix=directory.rstrip("/") or None):
                self.traffic.add("list")
                yield from chunk
