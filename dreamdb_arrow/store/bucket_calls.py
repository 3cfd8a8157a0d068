"""Calls to a bucket that may have to be made again, and what their answers tell. Spec 0005.

Reads are made again by the client itself. Writes go through one that makes none twice, as it would not say so, and are made
again here, by whoever knows what a second time means.

A server that has too much to do says for how long to stay away (`Retry-After`), which clients of `obstore` do not pass on. So
pauses double, up to ten seconds: longer than any provider asks for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

import obstore

from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.store.answers import answers
from dreamdb_arrow.store.traffic import Traffic

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
TRIES: Final = 10
PATIENCE_SECONDS: Final = 120.0  # after which no try begins
_PAUSE_SECONDS: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 10.0


def again(work: Callable[[], T]) -> T:
    """Do what may be done twice, and do it again while it fails for a reason that may pass. Raises StoreError."""
    began = time.monotonic()
    for attempt in count(1):
        try:
            return work()
        except StoreError as error:
            if not error.retryable or is_last(attempt, began):
                raise
        pause(attempt)
    raise AssertionError


def is_last(attempt: int, began: float) -> bool:
    """Whether there have been enough attempts, counted from 1, since a time of `time.monotonic`."""
    return attempt >= TRIES or time.monotonic() - began > PATIENCE_SECONDS


def pause(attempt: int) -> None:
    """Wait before trying again; longer each time, and no two for as long."""
    time.sleep(random.random() * min(_PAUSE_SECONDS * 2**attempt, _PAUSE_SECONDS_MAX))  # noqa: S311 - no secret


def get_whole(
    client: ObjectStore, url: str, path: str, traffic: Traffic, limit: int | None = None
) -> tuple[bytes, str]:
    """Return an object and its version; of one that is larger than the limit, nothing."""
    with answers(url, path):
        result = obstore.get(client, path)
        small = limit is None or result.meta["size"] <= limit
        data = bytes(result.bytes()) if small else b""
    traffic.add("get", received=len(data))
    return data, told_version(result.meta)


def version_of(told: str) -> Any:
    """Return the condition that an object is still what it was, as its store compares it."""
    e_tag, _, version = told.partition("\n")
    return {"e_tag": e_tag, "version": version} if version else {"e_tag": e_tag}


def told_version(told: Any) -> str:
    """Return the version of an object, from what its store told of it."""
    e_tag, version = told.get("e_tag") or "", told.get("version") or ""
    return f"{e_tag}\n{version}" if version else e_tag


def age_of(meta: Any) -> int:
    """Return when an object was written, in nanoseconds since 1970 by its store's clock."""
    return int(meta["last_modified"].timestamp() * 1e9)
