"""Collect: remove from a Space what no Ref leads to any more. Specs 0006 and 0008."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dreamdb_arrow.dataset.space import Backend
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.gc import Kept, Progress, find_garbage, known_roots, since, sweep
from dreamdb_arrow.store.urls import open_store

GRACE_SECONDS: Final = 3600  # longer than any commit takes from its first object to its Ref
_LEAST_GRACE_SECONDS: Final = 60


def gc(
    backend: Backend,
    keep_manifests: int = 10,
    keep_since_secs: int | None = None,
    dry_run: bool = True,
    *,
    roots: Sequence[str] | None = None,
    shard: tuple[int, int] | None = None,
    writers_paused: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Find the objects that no Ref leads to, and remove them unless this is a dry run.

    Writers may go on meanwhile: what was written, or put again, within `keep_since_secs` stays, with all that such versions
    lead to. So it must be longer than any commit takes.

    Args:
        backend: a URL, a path or a store.
        keep_manifests: how many versions behind each Ref's tip are kept too, by first parents.
        keep_since_secs: the grace period in seconds, by the store's own clock: an hour unless told, nothing with
            `writers_paused`.
        dry_run: only tell.
        roots: versions to keep beside those of Refs, as the text form of their Manifests' addresses.
        shard: (i, n) removes only the i-th of n parts of all addresses, i from 1 to n, so that n jobs can share the work.
        writers_paused: that nobody writes to the Space until this returns, which cannot be found out from here.
        progress: is told how many objects of how many have been removed.

    Returns a dict: `dry_run`, `refs`, `reachable`, `listed`, `live`, `skipped_recent`, `deletable`, `deleted`, `bytes` (of
    what is deletable) and `paths` (all of that).

    Raises InvalidInputError; NotFoundError or CorruptDataError when something that a Ref leads to is missing or damaged;
    UnsupportedError when it is of an unknown kind; RefConflictError when writers are said to be paused and a Ref moves.
    """
    grace = _grace(keep_manifests, keep_since_secs, dry_run=dry_run, paused=writers_paused)
    store = open_store(backend)
    kept = Kept(keep_manifests, since(store.now_ns(), grace), known_roots(roots or ()), _checked(shard))
    found = find_garbage(store, kept)
    deleted = 0 if dry_run else sweep(store, found, kept, progress, paused=writers_paused)
    return {
        "dry_run": dry_run,
        "refs": len(found.refs),
        "reachable": len(found.reached.live),
        "listed": found.listed,
        "live": found.live,
        "skipped_recent": found.recent,
        "deletable": len(found.versions) + len(found.others),
        "deleted": deleted,
        "bytes": found.size_bytes,
        "paths": found.paths,
    }


def _grace(keep_manifests: int, keep_since_secs: int | None, *, dry_run: bool, paused: bool) -> int:
    if keep_manifests < 0 or (keep_since_secs is not None and keep_since_secs < 0):
        raise InvalidInputError("keep_manifests and keep_since_secs are numbers of at least 0")
    grace = (0 if paused else GRACE_SECONDS) if keep_since_secs is None else keep_since_secs
    if not dry_run and not paused and grace < _LEAST_GRACE_SECONDS:
        raise InvalidInputError(
            f"keep_since_secs={grace} would remove what a writer is about to use: keep {_LEAST_GRACE_SECONDS} seconds at least, "
            "or stop all writers and pass writers_paused=True"
        )
    return grace


def _checked(shard: tuple[int, int] | None) -> tuple[int, int] | None:
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise InvalidInputError(f"shard {shard[0]}/{shard[1]} is none: the first is 1/{max(1, shard[1])}")
    return shard
