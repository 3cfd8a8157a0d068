"""The local cache: files beside no Space, named by address, that engines may map. Spec 0021.

It holds stripes made from Tracks that others wrote (projections), and copies of stripes whose store has no local
files. Everything in it comes from immutable objects, so nothing in it can be stale; all of it may be deleted.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, address_of
from dreamdb_arrow.columnar.stripe import stripe_columns
from dreamdb_arrow.columnar.vectors import VectorStripe, open_vectors
from dreamdb_arrow.errors import CorruptDataError, NotFoundError, ObjectNotFoundError
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.urls import open_store
from dreamdb_arrow.store.verified import Verifier, fetch

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAPPED_MAX: Final = 4096
DEFAULT_ROOT: Final = Path("~/.cache/dreamdb-arrow")


_NOWHERE: Final = ("", Path())


class LocalCache:
    """A folder of verified objects, and of notes about them.

    Args:
        root: the folder. None takes a temporary one that goes with this object.
    """

    def __init__(self, root: str | os.PathLike[str] | None = DEFAULT_ROOT) -> None:
        if root is None:
            folder = tempfile.TemporaryDirectory(prefix="dreamdb-arrow-", ignore_cleanup_errors=True)
            weakref.finalize(self, folder.cleanup)
            root = folder.name
        self.root = Path(root).expanduser().absolute()
        self._files = open_store(self.root, create=True, sync=False)
        self._verifier = Verifier()
        self._mapped: OrderedDict[Address, tuple[tuple[int, int], VectorStripe]] = OrderedDict()
        self._lock = Lock()
        self._columns: dict[Address, frozenset[str]] = {}
        self._held: dict[
            Address, tuple[str, Path]
        ] = {}  # where `hold` found an object; small, and checked before use

    def __repr__(self) -> str:
        return f"LocalCache({str(self.root)!r})"

    def put(self, data: Buffer) -> Address:
        """Keep an object and return its address."""
        address = address_of(data)
        if not self.has_whole(address):
            self._replace(_object_path(address), data)
        return address

    def local(self, address: Address) -> Path:
        """Return the verified file of a kept object. Raises ObjectNotFoundError, DigestMismatchError."""
        path = _object_path(address)
        found = self._verifier.verified_path(self._files, path, address)
        if found is None:
            raise ObjectNotFoundError(path)
        return found

    def hold(self, store: Store, path: str, address: Address) -> Path:
        """Return a verified local file with the bytes of a store's object, copied here if need be."""
        name, found = self._held.get(address, _NOWHERE)
        if not self._verifier.is_unchanged(name, address):
            found = self._find(store, path, address)
            self._held[address] = (str(found), found)
        return found

    def _find(self, store: Store, path: str, address: Address) -> Path:
        in_store = self._verifier.verified_path(store, path, address)  # 0021-R11
        if in_store is not None:
            return in_store
        if not self.has_whole(address):
            self._replace(_object_path(address), fetch(store, path, address))
        return self.local(address)

    def vectors(self, store: Store, path: str, address: Address, dim: int) -> VectorStripe:
        """Return a vector stripe, mapped; it stays mapped as long as its file is what it was."""
        file = self.hold(store, path, address) if path else self.local(address)
        status = file.stat()
        # Another file of that name may have taken the place of a damaged one: the old mapping shows the damaged one.
        identity = status.st_dev, status.st_ino
        with self._lock:
            known = self._mapped.get(address)
            if known is not None and known[0] == identity and known[1].vectors.shape[1] == dim:
                self._mapped.move_to_end(address)
                return known[1]
        stripe = open_vectors(file, dim)
        with self._lock:
            self._mapped[address] = (identity, stripe)
            while len(self._mapped) > MAPPED_MAX:
                self._mapped.popitem(last=False)
        return stripe

    def columns(self, file: Path, address: Address) -> frozenset[str]:
        """Return the names of the columns of a verified stripe; they are what its address says, so they are kept."""
        known = self._columns.get(address)
        if known is None:
            known = self._columns[address] = stripe_columns(file)
        return known

    def forget(self) -> None:
        """Unmap the vector stripes that are mapped."""
        with self._lock:
            self._mapped.clear()

    def has_whole(self, address: Address) -> bool:
        """Whether `local` would succeed."""
        try:
            self.local(address)
        except (CorruptDataError, NotFoundError):
            return False
        return True

    def read_note(self, key: str) -> bytes | None:
        """Return the note of this key, or None when there is none that is whole."""
        try:
            data = self._files.get(_note_path(key))
        except NotFoundError:
            return None
        head, body = data[:ADDRESS_BYTES], data[ADDRESS_BYTES:]
        return body if head == address_of(body) else None

    def write_note(self, key: str, body: bytes) -> None:
        """Keep a note under a key, in place of an older one."""
        self._replace(_note_path(key), bytes(address_of(body)) + body)

    def _replace(self, path: str, data: Buffer) -> None:
        # The cache is no Space: what went bad here may be thrown away, and the folder itself may have been.
        self.root.mkdir(parents=True, exist_ok=True)
        self._files.delete(path)
        with contextlib.suppress(CorruptDataError):  # another process was faster, with as good a note
            self._files.put(path, data)


def _object_path(address: Address) -> str:
    text = str(address)
    return f"objects/{text[-2:]}/{text}"


def _note_path(key: str) -> str:
    return f"notes/{address_of(key.encode())}"
