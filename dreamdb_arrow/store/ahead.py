"""Fetching ahead: what will be asked for one by one is fetched together, when it comes from far away. Spec 0005.

Who reads goes on asking for each object as before, and finds it in the folder. So nothing here fails: an object that is missing
or damaged is for its reader to refuse.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from dreamdb_arrow.store.cached import CachedStore
from dreamdb_arrow.store.interface import Store

TOGETHER_MAX: Final = (
    1024  # that wait for their turn; how many requests there are together is for the store to say
)


def folder_of(store: Store) -> CachedStore | None:
    """Return the store if it is read through a folder."""
    return store if isinstance(store, CachedStore) else None


def fetch_ahead(store: Store, paths: Sequence[str]) -> None:
    """Have objects in the folder through which a store is read; nothing to do for any other store."""
    cached = folder_of(store)
    if cached is not None:
        deque(cached.bring(list(dict.fromkeys(paths)), TOGETHER_MAX), 0)
