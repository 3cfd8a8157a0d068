"""Clone, push, pull and mirror: Refs, and all that they lead to, from one backend to another. Spec 0012."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.columnar.cache import DEFAULT_ROOT
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.refs import delete_ref
from dreamdb_arrow.history.transfer import Move, plan_moves, transfer
from dreamdb_arrow.store.copying import Count, Progress
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.urls import open_store

CacheDir = str | os.PathLike[str] | None
NOTHING: Final = Count()


def clone(
    source: Backend,
    target: Backend,
    refs: Iterable[str] | None = None,
    *,
    depth: int | None = None,
    cache_dir: CacheDir = DEFAULT_ROOT,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Copy Refs of a Space, snapshots too, with all that they lead to. After an interruption, call it again.

    Args:
        source: a URL, a path or a store.
        target: where to; a directory is made when it is missing.
        refs: only these; None for all.
        depth: how many versions behind each Ref to copy; None for all that are there. Of versions that the target has behind
            Refs of its own, none is copied again, nor is any behind them.
        cache_dir: where the metadata of a bucket is kept.
        progress: is told objects done, objects known of so far, and bytes copied.

    Returns a dict: `refs` (name to version, of those that moved), `versions`, `objects` and `bytes` (that were copied),
    `present` (objects that were there), `removed` (names of Refs; of `mirror`).

    Raises InvalidInputError when there is nothing to copy; RefNotFoundError; ConflictError when a Ref of the target has
    commits that the source's has not, and nothing is copied then; DigestMismatchError for a damaged object.
    """
    return _transfer(source, target, refs, False, depth, cache_dir, progress)


def push(
    space: Backend,
    remote: Backend,
    refs: Iterable[str] | None = None,
    *,
    force: bool = False,
    depth: int | None = None,
    cache_dir: CacheDir = DEFAULT_ROOT,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Bring Refs of a Space to another backend: those named, or all. As `clone`, but that `force` moves them in any case.

    Raises as clone does; with `force`, no ConflictError but for a Ref that moves meanwhile.
    """
    return _transfer(space, remote, refs, force, depth, cache_dir, progress)


def pull(
    space: Backend,
    remote: Backend,
    refs: Iterable[str] | None = None,
    *,
    force: bool = False,
    depth: int | None = None,
    cache_dir: CacheDir = DEFAULT_ROOT,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Bring Refs of another backend into a Space: those named, or all. As `push`, the other way round."""
    return _transfer(remote, space, refs, force, depth, cache_dir, progress)


def mirror(
    source: Backend,
    target: Backend,
    *,
    depth: int | None = None,
    dry_run: bool = False,
    cache_dir: CacheDir = DEFAULT_ROOT,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the Refs of a backend those of another: all of them, wherever they are now; others are removed.

    With `dry_run`, only tell which would move and be removed. Raises as clone does.
    """
    ends = _open(source, target, cache_dir)
    moves = plan_moves(ends.near, ends.target, ends.near.list_refs(), force=True)
    extra = sorted(set(ends.target.list_refs()) - set(ends.near.list_refs()))
    if dry_run:
        return _report(moves, removed=extra)
    done = _copy(ends, moves, depth, progress)
    for name in extra:
        delete_ref(ends.target, name)
    return {**done, "removed": extra}


@dataclass(frozen=True, slots=True)
class _Ends:
    """Where from and where to; of a bucket, `near` is the folder through which its metadata is read."""

    source: Store
    near: Store
    target: Store


def _open(source: Backend, target: Backend, cache_dir: CacheDir) -> _Ends:
    """Return both ends. Raises InvalidInputError when they are the same, NotFoundError when the source is missing."""
    from_, to = open_store(source), open_store(target, create=True)
    if from_.url == to.url:
        raise InvalidInputError(f"source and target are both {to.url}")
    return _Ends(from_, Space(from_, cache_dir=cache_dir).store, to)


def _transfer(
    source: Backend,
    target: Backend,
    refs: Iterable[str] | None,
    force: bool,
    depth: int | None,
    cache_dir: CacheDir,
    progress: Progress | None,
) -> dict[str, Any]:
    ends = _open(source, target, cache_dir)
    names = ends.near.list_refs() if refs is None else list(refs)
    if not names:
        raise InvalidInputError(f"{ends.source.url} has no ref, so there is nothing to copy")
    return _copy(ends, plan_moves(ends.near, ends.target, names, force=force), depth, progress)


def _copy(ends: _Ends, moves: Sequence[Move], depth: int | None, progress: Progress | None) -> dict[str, Any]:
    if not moves:
        return _report(moves)
    if depth is not None and depth < 0:
        raise InvalidInputError("depth is a number of at least 0, or None for all versions")
    count, versions = transfer(
        ends.source, ends.target, moves, near=ends.near, depth=depth, progress=progress
    )
    return _report(moves, count, versions)


def _report(
    moves: Sequence[Move], count: Count = NOTHING, versions: int = 0, removed: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "refs": {move.name: str(move.new) for move in moves},
        "versions": versions,
        "objects": count.objects,
        "bytes": count.size_bytes,
        "present": count.present,
        "removed": list(removed),
    }
