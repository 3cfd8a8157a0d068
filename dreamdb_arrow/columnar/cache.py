"""The local cache: files beside no Space, named by address, that engines may map. Spec 0021.

It holds stripes made from Tracks that others wrote (projections), and copies of stripes whose store has no local
files. Everything in it comes from immutable objects, so nothing in it can be stale; all of it may be deleted.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, address_of
from dreamdb_arrow.columnar.row_cache import RowCache
from dreamdb_arrow.columnar.stripe import open_stripe, stripe_columns, stripe_fragment
from dreamdb_arrow.columnar.vectors import I64, VectorStripe, open_vectors
from dreamdb_arrow.errors import CorruptDataError, NotFoundError, ObjectNotFoundError
from dreamdb_arrow.store.ahead import fetch_ahead
from dreamdb_arrow.store.checked import CheckedFiles
from dreamdb_arrow.store.files import temporary_name
from dreamdb_arrow.store.forks import renew_in_child
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.names import TEMPORARY
from dreamdb_arrow.store.urls import open_store
from dreamdb_arrow.store.verified import Verifier, Watched, call_each, fetch

if TYPE_CHECKING:
    import pyarrow.dataset as pads
    from typing_extensions import Buffer

MAPPED_BYTES: Final = (
    768 << 20
)  # of vectors that stay mapped: pages that were looked at count as memory of the process
FRAGMENTS_MAX: Final = 1024
ROWS: Final = "rows"
CHECKED: Final = "checked"
DEFAULT_ROOT: Final = Path("~/.cache/dreamdb-arrow")


_NOWHERE: Final = ("", Path())
Files: TypeAlias = Watched  # local files that were checked, for whoever has an engine open them


class LocalCache:
    """A folder of verified objects, and of notes about them.

    Args:
        root: the folder. None takes a temporary one that goes with this object.
    """

    def __init__(self, root: str | os.PathLike[str] | None = DEFAULT_ROOT) -> None:
        self.is_temporary = root is None
        if root is None:
            root = tempfile.mkdtemp(prefix="dreamdb-arrow-")
            self._cleanup = weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)
        self.root = Path(root).expanduser().absolute()
        self._files = open_store(self.root, create=True, durability="os")
        records = None if self.is_temporary else CheckedFiles(self.root / CHECKED)  # 0021-R11
        self.verifier = Verifier(records=records)
        self.groups = RowCache(self.root / ROWS)
        self._mapped: OrderedDict[Address, tuple[tuple[int, int], VectorStripe]] = OrderedDict()
        self._mapped_bytes = 0
        self._lock = Lock()
        self.making = Lock()  # held by who makes copies, so that two threads do not make the same
        self._columns: dict[Address, frozenset[str]] = {}
        self._num_rows: dict[Address, int] = {}
        self.apart: dict[Address, frozenset[Address]] = {}  # what `columnar.apart` knows of stripes
        # By version and stripe, what `columnar.runs` reads in its place, less which anchors.
        self.live: dict[tuple[Address, Address], tuple[Any, I64]] = {}
        self._held: dict[
            Address, tuple[str, Path]
        ] = {}  # where `hold` found an object; small, and checked before use

        self._fragments: OrderedDict[Address, pads.ParquetFileFragment] = OrderedDict()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Take a lock of its own, leave a temporary folder to the parent, and let go of what Arrow may have locked."""
        self._lock = Lock()
        self.making = Lock()
        self._fragments = OrderedDict()
        if self.is_temporary:
            self._cleanup.detach()

    def __repr__(self) -> str:
        return f"LocalCache({str(self.root)!r})"

    def put(self, data: Buffer) -> Address:
        """Keep an object and return its address."""
        address = address_of(data)
        if not self.has_whole(address):
            self._replace(_object_path(address), data)
        return address

    def adopt(self, file: Path) -> Address:
        """Keep a file that was made under `work_file`, and return its address; it goes from where it was."""
        with file.open("rb") as held, mmap.mmap(held.fileno(), 0, access=mmap.ACCESS_READ) as data:
            address = address_of(data)
        place = self.root / _object_path(address)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
        return address

    @contextlib.contextmanager
    def work_file(self) -> Iterator[Path]:
        """Give the name of a file to write, for `adopt`; what is left there at the end is removed."""
        folder = self.root / TEMPORARY
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / temporary_name()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def remove(self, address: Address) -> None:
        """Forget a kept object; no error when there is none."""
        self._files.delete(_object_path(address))

    def local(self, address: Address) -> Path:
        """Return the verified file of a kept object. Raises ObjectNotFoundError, DigestMismatchError."""
        path = _object_path(address)
        found = self.verifier.verified_path(self._files, path, address)
        if found is None:
            raise ObjectNotFoundError(path)
        return found

    def hold(self, store: Store, path: str, address: Address) -> Path:
        """Return a verified local file with the bytes of a store's object, copied here if need be."""
        name, found = self._held.get(address, _NOWHERE)
        if not self.verifier.is_unchanged(name, address):
            found = self._find(store, path, address)
            self._held[address] = (str(found), found)
        return found

    def hold_all(self, store: Store, wanted: Sequence[tuple[str, Address]]) -> Files:
        """Return verified local files of several objects, in order; an empty path names one that is kept here."""
        fetch_ahead(store, [path for path, address in wanted if path and not self._is_held(address)])
        found = call_each(lambda w: self.hold(store, *w) if w[0] else self.local(w[1]), wanted)
        return self.verifier.watch([(str(f), a) for f, (_, a) in zip(found, wanted, strict=True)])

    def _is_held(self, address: Address) -> bool:
        return self.verifier.is_unchanged(self._held.get(address, _NOWHERE)[0], address)

    def _find(self, store: Store, path: str, address: Address) -> Path:
        in_store = self.verifier.verified_path(store, path, address)  # 0021-R11
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
            replaced = self._mapped.pop(address, None)
            self._mapped[address] = (identity, stripe)
            self._mapped_bytes += stripe.vectors.nbytes - (replaced[1].vectors.nbytes if replaced else 0)
            while len(self._mapped) > 1 and self._mapped_bytes > MAPPED_BYTES:
                self._mapped_bytes -= self._mapped.popitem(last=False)[1][1].vectors.nbytes
        return stripe

    def columns(self, file: Path, address: Address) -> frozenset[str]:
        """Return the names of the columns of a verified stripe; they are what its address says, so they are kept."""
        known = self._columns.get(address)
        if known is None:
            known = self._columns[address] = stripe_columns(file)
        return known

    def knows_columns(self, addresses: Sequence[Address]) -> bool:
        """Whether `columns` has been told of all of these."""
        return all(address in self._columns for address in addresses)

    def learn_columns(self, addresses: Sequence[Address], columns: Sequence[frozenset[str]]) -> None:
        """Have `columns` know these, too."""
        self._columns.update(zip(addresses, columns, strict=True))

    def num_rows(self, file: Path, address: Address) -> int:
        """Return how many rows a verified stripe has; kept as `columns` are."""
        known = self._num_rows.get(address)
        if known is None:
            known = self._num_rows[address] = open_stripe(file).metadata.num_rows
        return known

    def fragment(self, file: Path, address: Address) -> pads.ParquetFileFragment:
        """Return a verified stripe as Arrow scans it; it remembers its footer, so those used last are kept."""
        with self._lock:
            known = self._fragments.get(address)
            if known is None or known.path != str(file):
                known = self._fragments[address] = stripe_fragment(file)
            self._fragments.move_to_end(address)
            while len(self._fragments) > FRAGMENTS_MAX:
                self._fragments.popitem(last=False)
        return known

    def forget(self) -> None:
        """Unmap the vector stripes that are mapped, and let go of footers."""
        with self._lock:
            self._mapped.clear()
            self._mapped_bytes = 0
            self._fragments.clear()
            self.live.clear()
        self.groups.forget()

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
