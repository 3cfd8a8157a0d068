"""Fetching ahead: what will be asked for one by one is fetched together, when it comes from far away. Spec 0005.

Who reads goes on asking for each object as before, and finds it in the folder. So nothing here fails: an object that is missing
or damaged is for its reader to refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from dreamdb_arrow.errors import DreamDBError
from dreamdb_arrow.store.cached import CachedStore
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import call_each


def folder_of(store: Store) -> CachedStore | None:
    """Return the store if it is read through a folder."""
    return store if isinstance(store, CachedStore) else None


def fetch_ahead(store: Store, paths: Sequence[str]) -> None:
    """Have objects in the folder through which a store is read; nothing to do for any other store."""
    cached = folder_of(store)
    if cached is None or cached.offline:
        return
    missing = [path for path in dict.fromkeys(paths) if not cached.has(path)]
    if missing:
        call_each(lambda path: _bring(cached, path), missing, together=cached.concurrency)


def _bring(store: CachedStore, path: str) -> None:
    with suppress(DreamDBError):
        store.local_path(path)
        store.traffic.add("ahead")
