"""Pieces: bytes in memory as they came, looked at as one file without being put together."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import accumulate

from dreamdb_arrow.store.growing import Growing


class Pieces:
    """A file to be read of bytes that follow one another. PyArrow takes it as one, and copies nothing out of a single piece.

    growing   an object that begins with these bytes, as many as it has, and may be made of them; None once it was
    """

    def __init__(self, pieces: Sequence[bytes], growing: Growing | None = None) -> None:
        self.growing = growing
        self._views = [memoryview(piece) for piece in pieces]
        self._starts = list(accumulate(map(len, pieces), initial=0))
        self._at = 0
        self.size = self._starts[-1]
        self.closed = False

    def between(self, start: int, stop: int) -> list[memoryview]:
        """Return a range of the bytes, as parts of the pieces."""
        cut = zip(self._views, self._starts, strict=False)
        parts = [view[max(start - first, 0) : max(stop - first, 0)] for view, first in cut]
        return [part for part in parts if part]

    def whole(self, start: int, stop: int) -> memoryview:
        """Return a range of the bytes in one piece."""
        parts = self.between(start, stop)
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    # ---------------------------------------------------------------- as PyArrow reads

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is not."""
        return False

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return where the next bytes are read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the start, from here or from the end."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def read_buffer(self, size: int = -1) -> memoryview:
        """Return the next bytes."""
        start = self._at
        self._at = self.size if size < 0 else min(start + size, self.size)
        return self.whole(start, self._at)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, copied."""
        return bytes(self.read_buffer(size))

    def flush(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Let nobody read any more."""
        self.closed = True
