"""Collect: remove from a Space what no Ref leads to any more. Specs 0006 and 0008."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dreamdb_arrow.codec.address import is_address_text, parse_address
from dreamdb_arrow.dataset.space import Backend
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.gc import Plan, Progress, Shard, collect
from dreamdb_arrow.history.marking import NEVER
from dreamdb_arrow.store.urls import open_store

GRACE_SECS: Final = 3600
_SECOND_NS: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _SECOND_NS
_SHARDS_MAX: Final = 1 << 16


def gc(
    backend: Backend,
    keep_manifests: int = 10,
    keep_since_secs: int | None = None,
    dry_run: bool = True,
    *,
    keep_days: float = 0,
    roots: Sequence[str] | None = None,
    shard: tuple[int, int] = (1, 1),
    writers_paused: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Find the objects that no Ref leads to, and remove them unless this is a dry run.

    Writers of this package go on meanwhile; those of the reference SDK do not make young again what they use again, so pause
    them. May be interrupted at any point, and run again.

    Args:
        backend: a URL, a path or a store.
        keep_manifests: how many versions behind each Ref's tip are kept too, by first parents.
        keep_since_secs: the grace period. What was written within so many seconds is kept, and what a Ref named within
            them. It must be longer than any commit takes. 3600 by default, or 0 with `writers_paused`.
        dry_run: only tell.
        keep_days: keep also the versions that were a Ref's tip within so many days.
        roots: versions to keep beside those of Refs, as the text form of their Manifests' addresses.
        shard: look at part i of n only, counted from 1. All parts together do what (1, 1) does, in any order or at once.
        writers_paused: that nobody writes to the Space until this returns, which cannot be found out from here.
        progress: is told the stage, `mark` or `sweep`, and how many objects were found in it.

    Returns a dict: `dry_run`, `refs`, `reachable`, `listed`, `live`, `skipped_recent`, `deletable`, `deleted`, `bytes` (of
    what is deletable) and `paths` (the first 10,000 of that).

    Raises InvalidInputError; NotFoundError or CorruptDataError when something that a Ref leads to is missing or damaged;
    UnsupportedError when it is of an unknown kind; RefConflictError when a Ref moves and nobody was to write. Nothing is
    removed then.
    """
    if keep_since_secs is None:
        keep_since_secs = 0 if writers_paused else GRACE_SECS
    if keep_manifests < 0 or keep_since_secs < 0 or not keep_days >= 0:
        raise InvalidInputError("keep_manifests, keep_since_secs and keep_days are numbers of at least 0")
    if not keep_since_secs and not dry_run and not writers_paused:
        raise InvalidInputError(
            "to remove what was written just now, stop all writers to the space and pass writers_paused=True; "
            "or let it get older: keep_since_secs=3600"
        )
    store = open_store(backend)
    plan = Plan(
        keep_manifests,
        store.now_ns() - int(keep_days * _DAY_NS) if keep_days else NEVER,
        keep_since_secs * _SECOND_NS,
        tuple(parse_address(_check_root(root)) for root in roots or ()),
        _check_shard(shard),
    )
    found = collect(store, plan, dry_run=dry_run, progress=progress)
    return {
        "dry_run": dry_run,
        "refs": found.refs,
        "reachable": found.reachable,
        "listed": found.listed,
        "live": found.live,
        "skipped_recent": found.recent,
        "deletable": found.deletable,
        "deleted": found.deleted,
        "bytes": found.size_bytes,
        "paths": found.paths,
    }


def _check_root(root: str) -> str:
    if not is_address_text(root):
        raise InvalidInputError(f"not a version: {root!r:.80}; roots are addresses of Manifests as text")
    return root


def _check_shard(shard: tuple[int, int]) -> Shard:
    part, of = shard
    if not 1 <= part <= of <= _SHARDS_MAX:
        raise InvalidInputError(f"not a shard: {part}/{of}; use i/n with 1 <= i <= n <= {_SHARDS_MAX}")
    return Shard(part - 1, of)
