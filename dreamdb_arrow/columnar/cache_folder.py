"""The folder of the local cache as a whole: what is in it, and how it is made smaller. Spec 0021.

All of it may be made or fetched again. What came out of buckets is bounded while it is written (`store.kept`), decoded rows
are too; projections and layouts are not: their files are opened by name after they were checked, so none may go while a query
runs. They go when somebody says so, and a query that runs meanwhile may have to be asked again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dreamdb_arrow.errors import InvalidInputError, StoreError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.kept import KeptObjects

# Folders below the root, and what is in them; what is elsewhere belongs to jobs that go on after an interruption.
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fetched": "objects that came out of buckets",
        "objects": "projections, layouts and copies of stripes",
        "rows": "row groups, decoded",
        "notes": "notes about versions",
        "checked": "records of files that were checked",
        "macros": "macros of DuckDB, ready made",
    }
)
_KEPT_NAMES: Final = ("evict.lock",)


@dataclass(frozen=True, slots=True)
class Held:
    """A file of the cache: its kind, where it is, its bytes, and when it was used last, in seconds since 1970."""

    kind: str
    path: str
    size: int
    used: float


def held_files(root: Path) -> list[Held]:
    """Return all files that may go, those used longest ago first; none when there is no cache.

    Raises InvalidInputError for a folder that is a Space.
    """
    _check(root)
    return sorted((held for kind in KINDS for held in _files(root, kind)), key=lambda held: held.used)


def _check(root: Path) -> None:
    if (root / "manifests").is_dir() or (root / "refs").is_dir():
        raise InvalidInputError(f"{root} is a Space, not a cache; its objects are nowhere else")


def _files(root: Path, kind: str) -> Iterator[Held]:
    for name in files.walk(f"{root / kind}/", ""):
        with suppress(OSError):
            if name.rpartition("/")[2] not in _KEPT_NAMES:
                status = os.stat(path := f"{root / kind}/{name}")  # noqa: PTH116 - a string
                yield Held(kind, path, status.st_size, max(status.st_mtime, status.st_atime))


def fetched_limit(root: Path) -> int | None:
    """Return how many bytes out of buckets are kept at most, unless a Space is opened with another limit; None without a cache."""
    return KeptObjects(root / "fetched" / "objects").limit_bytes if root.is_dir() else None


def counts_of(held: list[Held]) -> dict[str, tuple[int, int]]:
    """Return how many files and bytes there are of each kind."""
    found = dict.fromkeys(KINDS, (0, 0))
    for one in held:
        count, size = found[one.kind]
        found[one.kind] = count + 1, size + one.size
    return found


def shrink(root: Path, limit_bytes: int) -> tuple[int, int]:
    """Remove what was not used for longest until no more than so many bytes are left; return files and bytes that went.

    With 0 all goes. Raises StoreError when a file cannot be removed.
    """
    held = held_files(root)
    total, gone, count = sum(one.size for one in held), 0, 0
    for one in held:
        if limit_bytes and total - gone <= limit_bytes:
            break
        try:
            files.remove(one.path)
        except OSError as error:
            raise StoreError(f"cannot remove {one.path}: {error.strerror}") from error
        gone, count = gone + one.size, count + 1
    return count, gone
