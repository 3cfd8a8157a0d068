"""The objects of one commit, written together. Spec 0005."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.outboard import encode_outboards
from dreamdb_arrow.store.interface import NewObject, Store

if TYPE_CHECKING:
    from typing_extensions import Buffer

OUTBOARDS: Final = "bao-outboard"
PENDING_BYTES_MAX: Final = 64 << 20
LARGE_BYTES: Final = 1 << 20  # an object that is worth a wait of its own


class Batch:
    """Collects objects under their addresses, to write them with few, overlapping flushes.

    At most `limit_bytes` wait at any time: beyond that they are written at once, which is harmless, as no ref names
    them yet. So is a large object, by the thread that adds it. All are durable once `flush` has returned. What is
    added must not change before. Threads may add together.
    """

    __slots__ = ("_limit_bytes", "_lock", "_payloads", "_pending", "_pending_bytes", "_store")

    def __init__(self, store: Store, *, limit_bytes: int = PENDING_BYTES_MAX) -> None:
        self._store, self._limit_bytes, self._pending_bytes = store, limit_bytes, 0
        self._pending: dict[str, NewObject] = {}
        self._payloads: dict[
            Address, Buffer
        ] = {}  # whose outboards are made in one go: many cost little more than one
        self._lock = Lock()

    @property
    def pending_bytes(self) -> int:
        """How many bytes wait to be written, not counting outboards."""
        return self._pending_bytes

    def find(self, path: str) -> bytes | None:
        """Return an object that waits to be written."""
        with self._lock:
            item = self._pending.get(path)
        return None if item is None else b"".join(item.parts)

    def add(self, directory: str, *parts: Buffer) -> Address:
        """Add an object, of one buffer or of several in a row, at `directory/<address>`; return its address."""
        address = address_of(*parts)
        self._enqueue(NewObject(f"{directory}/{address}", parts))
        return address

    def add_payload(self, directory: str, data: Buffer) -> Address:
        """Add a payload and, under `bao-outboard/`, the outboard by which ranges of it are verified."""
        address = address_of(data)
        with self._lock:
            self._payloads[address] = data  # 0002-R9
        self._enqueue(NewObject(f"{directory}/{address}", data), waits=True)
        return address

    def flush(self) -> None:
        """Write what is waiting; durable on return. May be called at any time, also after a failure."""
        with self._lock:
            if not self._pending:
                return
            outboards = encode_outboards(self._payloads.values())
            made = [
                NewObject(f"{OUTBOARDS}/{address}", outboard)
                for address, outboard in zip(self._payloads, outboards, strict=True)
            ]
            self._store.put_many([*self._pending.values(), *made])
            self._pending.clear()
            self._payloads.clear()
            self._pending_bytes = 0

    def _enqueue(self, item: NewObject, *, waits: bool = False) -> None:
        size = item.size
        if size >= LARGE_BYTES and not waits:
            self._store.put_many([item])
            return
        with self._lock:
            if item.path in self._pending:
                return
            self._pending[item.path] = item
            self._pending_bytes += size
            full = self._pending_bytes >= self._limit_bytes
        if full:
            self.flush()
