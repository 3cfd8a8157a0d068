"""A store far away, read through a folder nearby. Specs 0002 and 0005.

Objects cannot change, so what was fetched once is read from the folder from then on, and engines read its files. Refs are
asked for each time. With `offline`, nothing is asked for at all: what the folder has is what there is.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dreamdb_arrow.codec.address import (
    ADDRESS_BYTES,
    Address,
    address_of,
    as_address,
    is_address_text,
    parse_address,
)
from dreamdb_arrow.errors import CorruptDataError, DigestMismatchError, DreamDBError, LayoutError, StoreError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.batch import OUTBOARDS
from dreamdb_arrow.store.checked import Signature
from dreamdb_arrow.store.hedge import Hedge
from dreamdb_arrow.store.interface import Absent, Aged, NewObject, Ref, Store
from dreamdb_arrow.store.kept import KeptObjects
from dreamdb_arrow.store.names import check_object_path, check_ranges, check_ref_name
from dreamdb_arrow.store.traffic import Traffic

if TYPE_CHECKING:
    from typing_extensions import Buffer

OBJECTS: Final = "objects"
REFS_SEEN: Final = "refs"


class CachedStore:
    """A store far away and what was fetched from it.

    store    a bucket, or any other store that is far away
    folder   where objects are kept; other Spaces and processes may share it
    offline  ask the store for nothing
    """

    __slots__ = ("_folder", "_hedge", "_kept", "_offline", "_store", "traffic")

    def __init__(
        self, store: Store, folder: Path, *, limit_bytes: int | None = None, offline: bool = False
    ) -> None:
        self._store, self._folder, self._offline = store, folder, offline
        self._kept = KeptObjects(folder / OBJECTS, limit_bytes)
        counted: Traffic | None = getattr(store, "traffic", None)
        self.traffic = (
            Traffic() if counted is None else counted
        )  # what is asked for, and how often the folder had it
        self._hedge = Hedge(self.traffic, store.concurrency)

    def __repr__(self) -> str:
        return f"CachedStore({self._store!r}, {str(self._folder)!r})"

    @property
    def url(self) -> str:
        """That of the bucket."""
        return self._store.url

    @property
    def concurrency(self) -> int:
        """That of the bucket."""
        return self._store.concurrency

    @property
    def offline(self) -> bool:
        """Whether the store is asked for nothing."""
        return self._offline

    # ---------------------------------------------------------------- objects

    def get(self, path: str) -> bytes:
        """Return a whole object."""
        address = _address_in(path)
        held = None if address is None else self._kept.read(address)
        if held is not None:
            self.traffic.add("hit")
            return held
        data = self._fetch(path)
        if address is not None and address_of(data) == address:  # what is damaged is for the reader to refuse
            self._kept.keep(address, [data])
        return data

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start`."""
        return self.get_ranges(path, [(start, length)])[0]

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Return several (start, length) ranges of one object, in order."""
        check_ranges(path, ranges)
        address = _address_in(path)
        held = None if address is None else self._kept.find(address)
        if held is None:
            return self._asked(path).get_ranges(path, ranges)
        self.traffic.add("hit")
        with files.reading(path), files.opened(str(held)) as fd:
            return [files.read_at(fd, start, length) for start, length in ranges]

    def put(self, path: str, data: Buffer) -> None:
        """Write an object unless one lies there; durable on return."""
        self.put_many([NewObject(path, data)])

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Put objects together, and keep them: who writes rows is likely to read them."""
        for item in items:
            self._asked(item.path)
        self._store.put_many(items)
        for item in items:
            address = _address_in(item.path)
            if (
                address is not None
                and self._kept.find(address) is None
                and address_of(*item.parts) == address
            ):
                self._kept.keep(address, item.parts)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of all objects that start with these characters."""
        return self._asked(prefix).list(prefix)

    def list_aged(self, prefix: str = "") -> Iterator[Aged]:
        """Yield the same with sizes and ages."""
        return self._asked(prefix).list_aged(prefix)

    def now_ns(self) -> int:
        """Return the time of the bucket."""
        return self._asked("the clock").now_ns()

    def freshen(self, paths: Sequence[str]) -> None:
        """Make objects of the bucket young."""
        self._asked(paths[0] if paths else "").freshen(paths)

    def delete_aged(self, paths: Sequence[str], before_ns: int) -> builtins.list[str]:
        """Remove those objects that are older than a time, here too."""
        gone = self._asked(paths[0] if paths else "").delete_aged(paths, before_ns)
        for address in filter(None, map(_address_in, gone)):
            self._kept.remove(address)
        return gone

    def delete(self, path: str) -> None:
        """Remove an object, here too."""
        self._asked(path).delete(path)
        address = _address_in(path)
        if address is not None:
            self._kept.remove(address)

    def size(self, path: str) -> int:
        """Return the length of an object in bytes."""
        address = _address_in(path)
        held = None if address is None else self._kept.find(address)
        if held is not None:
            with suppress(OSError):
                return held.stat().st_size
        return self._asked(path).size(path)

    def exists(self, path: str) -> bool:
        """Whether the bucket has an object at this path."""
        return self._asked(path).exists(path)

    def local_path(self, path: str) -> Path | None:
        """Return the file of an object, fetched now if it was not. None for what has no address of its own.

        Raises ObjectNotFoundError, DigestMismatchError, StoreError.
        """
        address = _address_in(path)
        if address is None:
            return None
        held = self._kept.find(address)
        if held is not None:
            self.traffic.add("hit")
            return held
        data = self._fetch(path)
        found = address_of(data)
        if found != address:  # 0002-R3
            raise DigestMismatchError(path, str(address), str(found))
        self._kept.keep(address, [data])
        return self._kept.find(address)

    def written(self, path: str) -> Signature | None:
        """Return how a file was when this process wrote it, of bytes that hash to its address; None for any other."""
        address = _address_in(path)
        return None if address is None else self._kept.written(address)

    def renew(self, path: str) -> bool:
        """Let go of what the folder has at a path."""
        address = _address_in(path)
        if address is None or self._kept.find(address) is None:
            return False
        self._kept.remove(address)
        return True

    def has(self, path: str) -> bool:
        """Whether the folder has an object; nothing is asked for."""
        address = _address_in(path)
        return address is not None and self._kept.find(address) is not None

    def bring(self, paths: Sequence[str], most: int, together: int | None = None) -> Iterator[str]:
        """Yield paths, in order, each once its object is in the folder; the next `most` are fetched meanwhile, so many `together`.

        What is missing or damaged is yielded, too: who reads it will be told.
        """
        wanted = [path for path in paths if not self.has(path)] if not self._offline else []
        fetched = self._hedge.in_order(self._try_open, self._keep_parts, wanted, most, together)
        left = set(wanted)
        for path in paths:
            if path in left:
                left.discard(path)
                next(fetched, None)
            yield path

    def _try_open(self, path: str) -> Iterable[Buffer]:
        """Return the parts of an object, none of one that cannot be had; who asks waits for the first answer only."""
        try:
            stream = getattr(self._store, "stream", None)
            return (self._store.get(path),) if stream is None else stream(path)
        except DreamDBError:
            return ()

    def _keep_parts(self, path: str, parts: Iterable[Buffer]) -> None:
        address = _address_in(path)
        with suppress(DreamDBError):  # an answer that breaks off
            if address is not None and self._kept.take_in(address, parts):
                self.traffic.add("ahead")

    def admit(self, objects: Sequence[bytes]) -> None:
        """Keep objects that came together, under what their bytes hash to."""
        for data in objects:
            address = address_of(data)
            if self._kept.find(address) is None:
                self._kept.keep(address, [data])

    def sweep(self, before_ns: int) -> int:
        """Remove what killed writers left behind in the bucket."""
        return self._store.sweep(before_ns)

    # ---------------------------------------------------------------- refs

    def read_ref(self, name: str) -> Ref | Absent:
        """Return what a ref holds; offline, what it held when it was last asked for."""
        check_ref_name(name)
        if self._offline:
            return self._seen(name)
        found = self._store.read_ref(name)
        self._remember(name, found)
        return found

    def swap_ref(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Change a ref from `expect` to `new`, or raise RefConflictError."""
        self._asked(name)
        found = self._store.swap_ref(name, expect, new)
        self._remember(name, found)
        return found

    def list_refs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of all refs that start with these characters, sorted."""
        if not self._offline:
            return self._store.list_refs(prefix)
        if not Path(self._refs_folder()).is_dir():
            self._asked(f"{REFS_SEEN}/")
        names = files.walk(f"{self._refs_folder()}/", "")
        return sorted(name for name in names if name.startswith(prefix))

    # ---------------------------------------------------------------- inside

    def _fetch(self, path: str) -> bytes:
        store = self._asked(path)
        return self._hedge.first(lambda: store.get(path))

    def _asked(self, path: str) -> Store:
        if self._offline:
            raise StoreError(
                f"{path} of {self.url} is not in {self._folder}, and offline=True asks for nothing"
            )
        return self._store

    def _refs_folder(self) -> str:
        return f"{self._folder}/{REFS_SEEN}/{address_of(self.url.encode())}"

    def _remember(self, name: str, found: Ref | Absent) -> None:
        """Note what a ref holds, for those who are offline later."""
        path = f"{self._refs_folder()}/{name}"
        temporary = f"{self._folder}/{files.temporary_name()}"
        with suppress(OSError):
            if isinstance(found, Absent):
                files.remove(path)
                return
            if self._seen(name) == Ref(found.address):
                return
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            files.write_new(temporary, [bytes(found.address)], sync=False)
            Path(temporary).replace(path)

    def _seen(self, name: str) -> Ref | Absent:
        try:
            data = files.read_whole(f"{self._refs_folder()}/{name}")
        except OSError:
            return Absent()
        try:
            return Ref(as_address(data))
        except LayoutError:
            raise CorruptDataError(
                f"ref {name!r} is noted as {len(data)} bytes, not {ADDRESS_BYTES}"
            ) from None


def _address_in(path: str) -> Address | None:
    """Return what the bytes at a path hash to; None where the name says something else."""
    directory, _, name = check_object_path(path).rpartition("/")
    return parse_address(name) if directory != OUTBOARDS and is_address_text(name) else None
