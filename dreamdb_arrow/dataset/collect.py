"""Collect: remove from a Space what no Ref leads to any more. Specs 0006 and 0008."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from dreamdb_arrow.codec.address import is_address_text, parse_address
from dreamdb_arrow.dataset.space import Backend
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.commit import Clock
from dreamdb_arrow.history.gc import find_garbage, sweep
from dreamdb_arrow.store.urls import open_store


def gc(
    backend: Backend,
    keep_manifests: int = 10,
    keep_since_secs: int = 0,
    dry_run: bool = True,
    *,
    roots: Sequence[str] | None = None,
    writers_paused: bool = False,
    clock: Clock = time.time_ns,
) -> dict[str, Any]:
    """Find the objects that no Ref leads to, and remove them unless this is a dry run.

    Args:
        backend: a URL, a path or a store.
        keep_manifests: how many versions behind each Ref's tip are kept too, by first parents.
        keep_since_secs: keep what was written within so many seconds; where a store does not tell, everything.
        dry_run: only tell.
        roots: versions to keep beside those of Refs, as the text form of their Manifests' addresses.
        writers_paused: that nobody writes to the Space until this returns, which cannot be found out from here. An object
            that is garbage now may be what a writer is about to use again.
        clock: nanoseconds since 1970.

    Returns a dict: `dry_run`, `refs`, `reachable`, `listed`, `live`, `skipped_recent`, `deletable`, `deleted`, `bytes` (of
    what is deletable) and `paths` (all of that).

    Raises InvalidInputError; NotFoundError or CorruptDataError when something that a Ref leads to is missing or damaged;
    UnsupportedError when it is of an unknown kind; RefConflictError when a Ref moves meanwhile. Nothing is removed then.
    """
    if keep_manifests < 0 or keep_since_secs < 0:
        raise InvalidInputError("keep_manifests and keep_since_secs are numbers of at least 0")
    if not dry_run and not writers_paused:
        raise InvalidInputError(
            "to remove objects, stop all writers to the space and pass writers_paused=True; a dry run needs neither"
        )
    wanted = list(roots or ())
    if unknown := [root for root in wanted if not is_address_text(root)]:
        raise InvalidInputError(
            f"not a version: {unknown[0]!r:.80}; roots are addresses of Manifests as text"
        )
    store = open_store(backend)
    addresses = [parse_address(root) for root in wanted]
    found, refs = find_garbage(store, keep_manifests, keep_since_secs, clock(), addresses)
    deleted = 0 if dry_run else sweep(store, found, refs)
    return {
        "dry_run": dry_run,
        "refs": found.refs,
        "reachable": found.reachable,
        "listed": found.listed,
        "live": found.live,
        "skipped_recent": found.recent,
        "deletable": len(found.paths),
        "deleted": deleted,
        "bytes": found.size_bytes,
        "paths": list(found.paths),
    }
