"""A Space that is open: its store, its local cache, and the versions that were looked at. Spec 0006."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Lock
from typing import Final, TypeVar

from dreamdb_arrow.codec.address import Address, is_address_text, parse_address
from dreamdb_arrow.columnar.cache import DEFAULT_ROOT, LocalCache
from dreamdb_arrow.columnar.rows import resolve_rows
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.bundle import unpack
from dreamdb_arrow.history.manifests import load_manifest, manifest_path
from dreamdb_arrow.history.refs import resolve_as_of, resolve_ref
from dreamdb_arrow.store.ahead import fetch_ahead
from dreamdb_arrow.store.forks import Forked, renew_in_child
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.urls import is_far, open_store, read_through
from dreamdb_arrow.store.verified import call_each

VERSIONS_KEPT: Final = 64
SPACES_SHARED: Final = 8
FETCHED: Final = "fetched"  # below the cache's folder: what came out of buckets

T = TypeVar("T")
Backend = str | os.PathLike[str] | Store


class Space:
    """A store with what reading it needs. Safe to share between threads.

    Args:
        backend: a URL, a path or a store.
        create: make the directory when it is missing.
        cache_dir: where projections and copies are kept; None for a temporary folder.
        durability: `fsync` (what is written is on the disk before it counts) or `os` (it survives a killed process,
            not a power cut).
        cache_bytes: how much of a bucket the cache may keep; None for 10 GiB, or a tenth of the disk if that is less.
        offline: ask a bucket for nothing; what the cache has is what there is.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        create: bool = False,
        cache_dir: str | os.PathLike[str] | None = DEFAULT_ROOT,
        durability: str = "fsync",
        cache_bytes: int | None = None,
        offline: bool = False,
    ) -> None:
        self.store = open_store(backend, create=create, durability=durability)
        self.cache = LocalCache(cache_dir)
        if is_far(self.store):
            self.store = read_through(
                self.store, self.cache.root / FETCHED, limit_bytes=cache_bytes, offline=offline
            )
        self._versions: OrderedDict[Address, RowSet] = OrderedDict()
        self._lock = Lock()
        self._durability, self._offline = durability, offline
        renew_in_child(self)

    def after_fork(self) -> None:
        """Take a lock of its own."""
        self._lock = Lock()

    def renew_in_child(self, owner: Forked) -> None:
        """Have `owner.after_fork` called in every child process: for what holds locks or connections on this Space."""
        renew_in_child(owner)

    def __reduce__(self) -> tuple[Callable[..., Space], tuple[str, str | None, str, bool]]:
        """Pickle to where it is. Raises InvalidInputError for a store that another process cannot open."""
        if self.store.url.startswith("memory://"):
            raise InvalidInputError(
                f"{self.store.url} ends with this process; a Space in files or in a bucket is pickled"
            )
        kept = None if self.cache.is_temporary else str(self.cache.root)
        return shared_space, (self.store.url, kept, self._durability, self._offline)

    def __repr__(self) -> str:
        return f"Space({self.store.url!r})"

    def rows(self, version: Address, *, for_search: bool = False) -> RowSet:
        """Return the rows of a version; they cannot change, so they are kept, as long as the local cache is.

        `for_search`: vectors will be looked for in them, so what names their cells is fetched with them from far away.
        """
        with self._lock:
            known = self._versions.get(version)
            if known is not None:
                self._versions.move_to_end(version)
        if known is not None and known.whole:
            return known
        manifest = load_manifest(self.store, version)
        unpack(self.store, manifest, for_search=for_search)
        found = resolve_rows(self.store, self.cache, manifest, version)
        with self._lock:
            self._versions[version] = found
            while len(self._versions) > VERSIONS_KEPT:
                self._versions.popitem(last=False)
        return found

    def of_each(self, look: Callable[[str], T], refs: Sequence[str]) -> list[T]:
        """Return what a function gives for each Ref. A bucket is asked about many together; nearby, threads would only wait for one another."""
        together = self.store.concurrency
        return call_each(look, refs, threads=together, together=together)

    def forget(self) -> None:
        """Let go of the versions and files that were looked at; they are looked at again when asked for."""
        with self._lock:
            self._versions.clear()
        self.cache.forget()

    def resolve(self, ref: str, as_of: object = None) -> Address:
        """Return the version that a Ref, and perhaps `as_of`, name."""
        found = resolve_ref(self.store, ref) if as_of is None else resolve_as_of(self.store, ref, as_of)
        fetch_ahead(self.store, [manifest_path(found)])
        return found

    def find(self, name: str) -> Address:
        """Return the version that one text names: an address, a Ref, or `<ref>@<label or time>`."""
        if is_address_text(name):
            return parse_address(name)
        ref, _, as_of = name.partition("@")
        return self.resolve(ref, as_of or None)


@lru_cache(SPACES_SHARED)
def shared_space(url: str, cache_dir: str | None, durability: str, offline: bool = False) -> Space:
    """Return the Space that all handles unpickled in this process share, so that a worker checks each file once."""
    return Space(url, cache_dir=cache_dir, durability=durability, offline=offline)
