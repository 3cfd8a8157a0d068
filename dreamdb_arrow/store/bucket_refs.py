"""Refs in a bucket: objects of 33 bytes below `refs/`, each replaced only if it is still what was read. Spec 0005.

An answer may be lost after the server has acted, and whoever then asks again is told that somebody else was faster. So the
client here never asks again by itself. Who asks again, here, knows that the first answer is missing, and reads the Ref.
"""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any

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
from dreamdb_arrow.store.bucket_calls import get_whole, is_last, pause, told_version, version_of
from dreamdb_arrow.store.conditions import check_conditions
from dreamdb_arrow.store.interface import Absent, Ref, holds
from dreamdb_arrow.store.lock_object import LockObjects
from dreamdb_arrow.store.names import REFS
from dreamdb_arrow.store.traffic import Traffic

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class BucketRefs:
    """The Refs of one bucket.

    client   for reads
    once     for writes: makes no request twice
    locks    whether Refs are guarded by lock objects; otherwise the server's conditions are trusted, once they were tried
    """

    __slots__ = ("_checked", "_client", "_locks", "_once", "_traffic", "_url")

    def __init__(
        self, client: ObjectStore, once: ObjectStore, url: str, traffic: Traffic, *, locks: bool
    ) -> None:
        self._client, self._once, self._url, self._traffic = client, once, url, traffic
        self._locks = LockObjects(client, once, url) if locks else None
        self._checked = locks

    def read(self, name: str) -> Ref | Absent:
        """Return what a Ref holds, with its ETag."""
        try:
            data, version = get_whole(
                self._client, self._url, f"{REFS}/{name}", self._traffic, limit=ADDRESS_BYTES
            )
            return Ref(as_address(data), version)  # 0005-R7
        except ObjectNotFoundError:
            return Absent()
        except LayoutError:
            raise CorruptDataError(
                f"ref {name!r} is malformed: it does not hold the {ADDRESS_BYTES} bytes of an address"
            ) from None

    def swap(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Change a Ref. Raises RefConflictError, StoreError when it cannot be said whether it changed."""
        if self._locks is not None:
            with self._locks.held(f"{REFS}/{name}"):
                return self._swap_surely(name, expect, new)
        if not self._checked:
            check_conditions(self._client, self._url, self._traffic)
            self._checked = True
        return self._swap_surely(name, expect, new)

    def _swap_surely(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        """Ask until there is an answer."""
        began, unsure = time.monotonic(), False  # whether an answer is missing
        for attempt in count(1):
            try:
                return self._swap(name, expect, new)
            except RefConflictError as error:
                if unsure:
                    return self._find_out(name, new, error)
                raise
            except StoreError as error:
                if not error.retryable or is_last(attempt, began):
                    raise
            unsure = True
            pause(attempt)
        raise AssertionError

    def _find_out(self, name: str, new: Address | Absent, conflict: RefConflictError) -> Ref | Absent:
        """Return the Ref if it is as wanted; if not, others may have gone on from there, or been faster."""
        found = self.read(name)
        if not holds(found, new):  # 0005-R9
            raise StoreError(
                f"{self._url} did not say whether ref {name!r} moved, and others have moved it since"
            ) from conflict
        return found

    def _swap(self, name: str, expect: Ref | Absent, new: Address | Absent) -> Ref | Absent:
        unconditional = self._locks is not None or (isinstance(expect, Ref) and not expect.version)
        if isinstance(new, Absent) or unconditional:  # servers know no condition on a removal
            found = self.read(name)
            if not holds(found, expect):  # 0005-R8
                raise RefConflictError(name, str(expect), str(found))
            expect = found
        return self._remove(name) if isinstance(new, Absent) else self._write(name, expect, new)

    def _remove(self, name: str) -> Absent:
        path = f"{REFS}/{name}"
        self._traffic.add("delete")
        with answers(self._url, path):
            obstore.delete(self._once, path)
        return Absent()

    def _write(self, name: str, expect: Ref | Absent, new: Address) -> Ref:
        path = f"{REFS}/{name}"
        mode: Any = "create" if isinstance(expect, Absent) else version_of(expect.version)
        if self._locks is not None:
            mode = "overwrite"
        self._traffic.add("put", sent=len(new))
        try:
            with answers(self._url, path):
                made = obstore.put(self._once, path, bytes(new), mode=mode)
        except LOST:
            raise RefConflictError(name, str(expect), str(self.read(name))) from None
        except ObjectNotFoundError:  # what a condition was on is gone
            raise RefConflictError(name, str(expect), str(Absent())) from None
        return Ref(new, told_version(made))
