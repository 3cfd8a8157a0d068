"""Locks made of objects, for servers that ignore conditions on writes. Spec 0005.

Whoever wants a Ref writes an object of its own below `.dreamdb-cas-locks/<ref>/` and lists that folder. Alone there, it has
the lock; otherwise it takes its object back and tries again after a while. Of two that come at once, at least the later
one sees both, so never two are alone. That needs listings that show what was written before, as S3 gives them.

A killed holder's object counts for `LEASE_SECONDS` by the server's clock. A holder that takes longer than that is not guarded:
this is for servers that offer nothing better.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import obstore

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import ObjectNotFoundError, StoreError
from dreamdb_arrow.store.answers import answers
from dreamdb_arrow.store.bucket_calls import again
from dreamdb_arrow.store.names import LOCKS

if TYPE_CHECKING:
    from obstore.store import ObjectStore

LEASE_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 120.0
_PAUSE_SECONDS: Final = 0.02
_PAUSE_SECONDS_MAX: Final = 1.0


class LockObjects:
    """The locks of one bucket."""

    __slots__ = ("_client", "_once", "_url")

    def __init__(self, client: ObjectStore, once: ObjectStore, url: str) -> None:
        self._client, self._once, self._url = client, once, url

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold the lock of a name. Raises StoreError when others hold it for too long."""
        folder = f"{LOCKS}/{address_of(name.encode())}"
        mine = f"{folder}/{secrets.token_hex(16)}"
        self._take(folder, mine, name)
        try:
            yield
        finally:
            self._remove(mine)

    def _take(self, folder: str, mine: str, name: str) -> None:
        until, pause = time.monotonic() + PATIENCE_SECONDS, _PAUSE_SECONDS
        while time.monotonic() < until:
            again(lambda: self._write(mine))
            if self._alone(folder, mine):
                return
            self._remove(mine)
            time.sleep(random.random() * pause)  # noqa: S311 - no secret
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)
        raise StoreError(f"{self._url}: others hold the lock of {name} for too long", retryable=True)

    def _alone(self, folder: str, mine: str) -> bool:
        """Whether nobody else wants the lock; what a killed holder left long ago goes."""
        with answers(self._url, folder):
            found = obstore.list(self._client, prefix=folder).collect()
        now = next((meta["last_modified"] for meta in found if meta["path"] == mine), None)
        if now is None:  # others took it for one that a killed holder left
            return False
        others = [meta for meta in found if meta["path"] != mine]
        expired = [meta for meta in others if _seconds(now, meta) > LEASE_SECONDS]
        for meta in expired:
            self._remove(meta["path"])
        return len(others) == len(expired)

    def _write(self, path: str) -> None:
        with answers(self._url, path):
            obstore.put(self._once, path, b"")

    def _remove(self, path: str) -> None:
        again(lambda: self._delete(path))

    def _delete(self, path: str) -> None:
        with suppress(ObjectNotFoundError), answers(self._url, path):
            obstore.delete(self._once, path)


def _seconds(now: Any, meta: Any) -> float:
    return float((now - meta["last_modified"]).total_seconds())
