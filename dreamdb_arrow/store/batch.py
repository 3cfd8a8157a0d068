"""The objects of one commit, written together. Spec 0005."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Final

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.outboard import encode_outboards
from dreamdb_arrow.store.growing import Growing
from dreamdb_arrow.store.interface import NewObject, Store

if TYPE_CHECKING:
    from typing_extensions import Buffer

OUTBOARDS: Final = "bao-outboard"
PENDING_BYTES_MAX: Final = 64 << 20
LARGE_BYTES: Final = 1 << 20  # an object that is worth a wait of its own
YOUNG_S: Final = (
    1.0  # what was written longer ago is made young again by the last flush, before the ref is swapped
)
YOUNG_MEANWHILE_S: Final = 300.0  # and by the flushes before that, which may be many


class Batch:
    """Collects objects under their addresses, to write them with few, overlapping flushes.

    At most `limit_bytes` wait at any time: beyond that they are written at once, which is harmless, as no ref names
    them yet. So is a large object, by the thread that adds it. All are durable once `flush` has returned. What is
    added must not change before. Threads may add together.

    A collector leaves what is young. So a batch that has written for long makes its objects young again, and fails when one
    of them is gone, rather than let a ref lead to it.
    """

    __slots__ = (
        "_growing",
        "_limit_bytes",
        "_lock",
        "_payloads",
        "_pending",
        "_pending_bytes",
        "_store",
        "_written",
    )

    def __init__(self, store: Store, *, limit_bytes: int = PENDING_BYTES_MAX) -> None:
        self._store, self._limit_bytes, self._pending_bytes = store, limit_bytes, 0
        self._pending: dict[str, NewObject] = {}
        self._payloads: dict[
            Address, Buffer
        ] = {}  # whose outboards are made in one go: many cost little more than one
        self._growing: list[Growing] = []
        self._lock = Lock()
        self._written: list[tuple[float, list[str]]] = []  # when, by the monotonic clock, and what

    def take_written(self) -> list[str]:
        """Return the paths of all objects written and held so far, for another batch to hold; this one forgets them."""
        with self._lock:
            written, self._written = self._written, []
        return [path for _, paths in written for path in paths]

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

    def add_growing(self, directory: str, growing: Growing) -> Address:
        """Add an object, `directory/<address>`, that is written as it comes; return its address. `flush` waits for the disk."""
        address = growing.seal(directory)
        with self._lock:
            self._growing.append(growing)
        return address

    def add_payload(self, directory: str, data: Buffer) -> Address:
        """Add a payload and, under `bao-outboard/`, the outboard by which ranges of it are verified."""
        address = address_of(data)
        with self._lock:
            self._payloads[address] = data  # 0002-R9
        self._enqueue(NewObject(f"{directory}/{address}", data), waits=True)
        return address

    def hold(self, paths: Iterable[str]) -> None:
        """Make objects young that the commit will lead to and that are in the store already, and keep them so.

        What the version that is committed on leads to need not be held. Raises ObjectNotFoundError when one is gone.
        """
        held, at = list(paths), monotonic()
        if held:
            self._store.freshen(held)
            with self._lock:
                self._written.append((at, held))

    def flush(self) -> None:
        """Write what is waiting; durable on return. May be called at any time, also after a failure.

        Raises ObjectNotFoundError when something that was written or held before has been removed.
        """
        with self._lock:
            self._write_pending()
            self._finish_growing()
            self._renew(YOUNG_S)

    def _write_pending(self) -> None:
        if not self._pending:
            return
        outboards = encode_outboards(self._payloads.values())
        made = [
            NewObject(f"{OUTBOARDS}/{address}", outboard)
            for address, outboard in zip(self._payloads, outboards, strict=True)
        ]
        items, at = [*self._pending.values(), *made], monotonic()
        self._store.put_many(items)
        self._written.append((at, [item.path for item in items]))
        self._pending.clear()
        self._payloads.clear()
        self._pending_bytes = 0

    def _finish_growing(self) -> None:
        while self._growing:
            at, growing = monotonic(), self._growing.pop()
            self._written.append((at, [growing.finish()]))

    def _renew(self, seconds: float) -> None:
        """Make young what was written longer ago."""
        now = monotonic()
        old = [path for at, paths in self._written if now - at > seconds for path in paths]
        if old:
            self._store.freshen(old)
            self._written = [(at, paths) for at, paths in self._written if now - at <= seconds] + [(now, old)]

    def _enqueue(self, item: NewObject, *, waits: bool = False) -> None:
        size = item.size
        if size >= LARGE_BYTES and not waits:
            at = monotonic()
            self._store.put_many([item])
            with self._lock:
                self._written.append((at, [item.path]))
            return
        with self._lock:
            if item.path in self._pending:
                return
            self._pending[item.path] = item
            self._pending_bytes += size
            if self._pending_bytes >= self._limit_bytes:
                self._write_pending()
                self._renew(YOUNG_MEANWHILE_S)
