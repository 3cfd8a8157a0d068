"""Uploads: a Parquet file that comes in pieces, on its way to a Ref. Spec 0006.

It waits in memory or, when it is large, in the local cache. In a directory a stripe is begun with it at once: by the time
its end tells that it is whole, most of it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from dreamdb_arrow.dataset.parquet import append_file
from dreamdb_arrow.dataset.pieces import Pieces
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.store.growing import Growing
from dreamdb_arrow.store.names import check_ref_name

MEMORY_MAX: Final = 64 << 20  # bytes of a file that wait in memory; more of them go to the disk
AHEAD_BYTES: Final = 1 << 20  # that are worth a thread
FOOTER_BYTES: Final = 128 << 10  # that a footer hardly ever has
MAGIC: Final = b"PAR1"  # at both ends of a Parquet file


class Upload:
    """A Parquet file to be written; `made` is told the Ref when it is new."""

    def __init__(self, space: Space, ref: str, made: Callable[[str], None]) -> None:
        self._space, self._ref, self._made = space, check_target(ref), made
        self._pieces: list[bytes] = []  # while they are few
        self._file: IO[bytes] | None = None
        self._growing: Growing | None = None  # what came so far, on its way to the disk already
        self._size = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        """Take the next bytes. Raises InvalidInputError for another format than Parquet."""
        if self._size == 0 and bytes(data[: len(MAGIC)]) != MAGIC:
            raise InvalidInputError(
                "dreamdb:// takes rows as Parquet: COPY ... TO 'dreamdb://ref' (FORMAT parquet)"
            )
        self._size += len(data)
        if self._file is None and self._size > MEMORY_MAX:
            self._file = TemporaryFile(dir=self._space.cache.root)  # noqa: SIM115 - `close` closes it
            self._file.writelines(self._pieces)
            self._pieces = []
            self._abandon()
        if self._file is None:
            self._pieces.append(data)
            self._write_ahead()
        else:
            self._file.write(data)
        return len(data)

    def _write_ahead(self) -> None:
        """Write what came of a large file to where its stripe will be, but for the end, which may be its footer."""
        begin = getattr(self._space.store, "begin", None)
        ahead = 0 if self._growing is None else self._growing.size
        stop = self._size - FOOTER_BYTES
        if begin is None or stop - ahead < AHEAD_BYTES:
            return
        if self._growing is None:
            self._growing = begin()
        for part in Pieces(self._pieces).between(ahead, stop):
            self._growing.write(part)

    def _abandon(self) -> None:
        if self._growing is not None:
            self._growing.abandon()
        self._growing = None

    def tell(self) -> int:
        """Return how many bytes there are."""
        return self._size

    def flush(self) -> None:
        """Do nothing: the rows are on the disk when the commit is."""

    def close(self) -> None:
        """Append the rows as one commit, if the file is whole."""
        if self.closed:
            return
        self.closed = True
        file, pieces = self._file, Pieces(self._pieces, self._growing)
        self._file, self._pieces = None, []
        try:
            whole = open_whole(pieces if file is None else file, self._size)
            held = pieces if file is None else None
            if whole is not None and append_file(self._space, self._ref, held, whole):
                self._made(self._ref)
        finally:
            self._abandon()
            if file is not None:
                file.close()


def open_whole(file: IO[bytes] | Pieces, size: int) -> pq.ParquetFile | None:
    """Return a Parquet file that was written to its end, None for what a failing query left."""
    if size < 3 * len(MAGIC):
        return None
    file.seek(size - len(MAGIC))
    if file.read() != MAGIC:
        return None
    file.seek(0)
    with suppress(pa.ArrowInvalid):  # bytes of a row that look like an end
        return pq.ParquetFile(file)
    return None


def check_target(ref: str) -> str:
    """Return the name of a Ref that rows can be appended to. Raises InvalidInputError."""
    if "@" in check_ref_name(ref):
        raise InvalidInputError(
            f"{ref!r} is a snapshot, which does not change; append to {ref.partition('@')[0]!r}"
        )
    return ref
