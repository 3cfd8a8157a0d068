"""Refs in a directory: 33 bytes in a file each, swapped under a lock that the reference SDK takes too. Spec 0005.

    refs/<name>                               the ref
    .dreamdb-cas-locks/<address>.lock         empty, held by `flock` during a swap; the address is of b"refs/<name>"
    .dreamdb-cas-locks/<address>.lock.tmp     the next content of the ref, written under the lock

Below `refs/` nothing but refs may lie, not even for an instant: the SDK's garbage collection reads every file there.
The SDK updates a ref under the lock, but creates it by a link and without the lock, so creating is a link here too.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, address_of, as_address
from dreamdb_arrow.errors import (
    ConflictError,
    CorruptDataError,
    LayoutError,
    ObjectNotFoundError,
    RefConflictError,
)
from dreamdb_arrow.store import files
from dreamdb_arrow.store.ages import open_lock
from dreamdb_arrow.store.interface import Absent, Ref, holds
from dreamdb_arrow.store.names import LOCKS, REFS, is_ref_name
from dreamdb_arrow.store.tree import DurableTree


def read_ref(root: str, name: str) -> Ref | Absent:
    """Return what a ref holds. Raises CorruptDataError, naming it, when that is no address; StoreError."""
    try:
        with files.reading(f"{REFS}/{name}"):
            data = files.read_whole(f"{root}/{REFS}/{name}")
    except ObjectNotFoundError:
        return Absent()
    try:
        return Ref(as_address(data))  # 0005-R7
    except LayoutError:
        raise CorruptDataError(
            f"ref {name!r} is malformed: its {len(data)} bytes are not the {ADDRESS_BYTES} of an address"
        ) from None


def list_refs(root: str, prefix: str) -> list[str]:
    """Return the names of all refs that start with these characters, sorted. Raises StoreError."""
    with files.reading(REFS):
        names = files.walk(f"{root}/{REFS}/", "")
        return sorted(name for name in names if name.startswith(prefix) and is_ref_name(name))


def swap_ref(tree: DurableTree, name: str, expect: Ref | Absent, new: Address | Absent) -> None:
    """Change a ref in one step, durably. Raises RefConflictError, CorruptDataError, StoreError."""
    path = f"{tree.root}/{REFS}/{name}"
    with files.writing(f"{REFS}/{name}"), _locked(tree.root, name) as lock:
        found = read_ref(tree.root, name)
        if not holds(found, expect):  # 0005-R8
            raise RefConflictError(name, str(expect), str(found))
        if isinstance(new, Absent):
            files.remove(path)
        else:
            # 0005-R10
            _write(tree, name, path, f"{lock}.tmp", new, exists=isinstance(found, Ref))
        if Path(path).parent.is_dir():
            tree.settle([path])  # 0005-R8


@contextmanager
def _locked(root: str, name: str) -> Iterator[str]:
    """Hold the lock of a ref, waiting for it; yield the path of the lock file. A killed process lets go of it."""
    path = f"{root}/{LOCKS}/{address_of(f'{REFS}/{name}'.encode())}.lock"
    fd = open_lock(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # 0005-R13
        yield path
    finally:
        os.close(fd)


def _write(tree: DurableTree, name: str, path: str, temporary: str, new: Address, *, exists: bool) -> None:
    files.remove(temporary)  # never written over: a writer killed after its link left it as a name of the ref
    files.write_new(temporary, [new], sync=tree.sync)
    try:
        if exists:
            os.replace(temporary, path)  # noqa: PTH105 - strings, as in `files`
        else:
            _create(tree, name, path, temporary)
    finally:
        files.remove(temporary)


def _create(tree: DurableTree, name: str, path: str, temporary: str) -> None:
    _remove_empty_directories(path)
    try:
        tree.with_directory(path, lambda: files.link_new(temporary, path))  # 0005-R13
    except FileExistsError:
        found = read_ref(tree.root, name)
        if isinstance(found, Ref):  # the reference SDK was faster
            raise RefConflictError(name, str(Absent()), str(found)) from None
        raise ConflictError(f"ref {name!r} cannot be made beside {name}/... or below a ref") from None
    except NotADirectoryError:
        raise ConflictError(f"ref {name!r} cannot be made beside {name}/... or below a ref") from None


def _remove_empty_directories(path: str) -> None:
    """Remove what refs that were removed left behind, where a ref is to be."""
    for directory, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):
            Path(directory).rmdir()
