"""Where a Space lives, said in one string: URLs to stores. Spec 0005."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dreamdb_arrow.errors import InvalidInputError, NotFoundError, StoreError
from dreamdb_arrow.store.files import make_directory
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import named_space


def open_store(
    url: str | os.PathLike[str] | Store, *, create: bool = False, durability: str = "fsync"
) -> Store:
    """Return the store that a URL names; a store is returned as it is.

        memory://name            shared by name within this process; without a name, a new one
        file:///data/space       a directory; `file://data/space` is relative, as in the reference SDK
        data/space, ~/space      a directory
        s3://bucket/prefix       a bucket; so are http://host:9000/bucket, gs:// and az:// (`store.clients`)
        zip://::/data/space.zip  whatever else fsspec opens, to be read only (`store.fsspec_store`)

    create      make the directory when it is missing
    durability  `fsync`: what was written is on the disk before it counts as done. `os`: it was handed to the
                operating system, which keeps it when the process is killed, but not when the power fails

    Raises NotFoundError for a directory that is missing, InvalidInputError for an unknown scheme, option or durability,
    StoreError when the directory cannot be used.
    """
    if durability not in DURABILITIES:
        raise InvalidInputError(f"durability must be one of {', '.join(DURABILITIES)}, not {durability!r}")
    sync = durability == "fsync"
    if isinstance(url, os.PathLike):
        return _open_directory(os.fspath(url), create, sync)
    if not isinstance(url, str):
        return url
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _open_directory(_expand_home(url), create, sync)
    if scheme in BUCKET_SCHEMES:
        found: Store = import_module(_BUCKETS).open_bucket(url)
        return found
    if scheme not in SCHEMES:
        return _open_readable(url)
    return SCHEMES[scheme](rest, create, sync)


def _open_readable(url: str) -> Store:
    """Return what fsspec opens, to be read only."""
    found: Store | None = import_module(_FSSPEC).open_fsspec(url)
    if found is None:
        known = ", ".join(f"{name}://" for name in (*SCHEMES, *BUCKET_SCHEMES))
        raise InvalidInputError(f"unknown scheme in {url!r}; use one of {known} or a plain path")
    return found


def is_far(store: Store) -> bool:
    """Whether a store is to be read through a folder nearby, as buckets are: it wants many calls under way from the first on."""
    return store.concurrency > 1


def read_through(
    store: Store, folder: Path, *, limit_bytes: int | None = None, offline: bool = False
) -> Store:
    """Return a bucket that is read through a folder (`store.cached`)."""
    found: Store = import_module(_CACHED).CachedStore(store, folder, limit_bytes=limit_bytes, offline=offline)
    return found


def _open_directory(path: str, create: bool, sync: bool) -> Store:
    if not path or "\0" in path:
        raise InvalidInputError(f"not the path of a Space: {path!r}; '.' is the working directory")
    try:
        root = Path(path).resolve()
        if create:
            make_directory(root, sync=sync)
        found, is_directory = root.exists(), root.is_dir()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise StoreError(f"cannot open {path}: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        raise NotFoundError(f"no Space at {root}: the directory does not exist")
    if not is_directory:
        raise InvalidInputError(f"no Space at {root}: it is a file, not a directory")
    return LocalStore(root, sync=sync)


def _expand_home(path: str) -> str:
    try:
        return str(Path(path).expanduser()) if path else path
    except RuntimeError as error:  # ~name of nobody
        raise InvalidInputError(f"not the path of a Space: {path!r}: {error}") from error


def _open_memory(name: str, _create: bool, _sync: bool) -> Store:
    return named_space(name)


_BUCKETS: Final = "dreamdb_arrow.store.clients"  # its client takes longer to load than a small Space to open
_FSSPEC: Final = "dreamdb_arrow.store.fsspec_store"  # of which the same is true
_CACHED: Final = "dreamdb_arrow.store.cached"
BUCKET_SCHEMES: Final = ("s3", "http", "https", "gs", "az")
DURABILITIES: Final = ("fsync", "os")
SCHEMES: Final[MappingProxyType[str, Callable[[str, bool, bool], Store]]] = MappingProxyType(
    {"file": _open_directory, "memory": _open_memory}
)
