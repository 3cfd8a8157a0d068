"""Large files written past the page cache, where the system can. Spec 0005, docs/adr/0019.

To copy into pages of the cache that were not used before costs a processor more than to hash the bytes, and a flush then
waits for all of them. The disk takes blocks straight from memory while other threads compute, and has them on return.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Buffer

U8 = np.ndarray[Any, np.dtype[np.uint8]]

DIRECT_BYTES: Final = 1 << 20  # smaller files are read again soon, and then from memory
_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)
_BLOCK: Final = 4096  # what lengths, offsets and places in memory have to be multiples of
_BOUNCE_BYTES: Final = 1 << 20
_idle: Final[deque[mmap.mmap]] = deque(maxlen=4)  # memory that was written to before costs nothing new


def fill_direct(fd: int, parts: Iterable[Buffer]) -> bool:
    """Write all parts to a new file past the page cache. Return False, the file still empty, when the system cannot.

    Raises OSError.
    """
    if not _DIRECT or not _switch(fd, on=True):
        return False
    try:
        size = _write_blocks(fd, parts)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a system that wants other multiples
            raise
        size = 0
        os.lseek(fd, 0, os.SEEK_SET)
    os.ftruncate(fd, size)
    _switch(fd, on=False)
    return size > 0


def _switch(fd: int, *, on: bool) -> bool:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | _DIRECT if on else flags & ~_DIRECT)
    except OSError:
        return False
    return True


def _write_blocks(fd: int, parts: Iterable[Buffer]) -> int:
    """Write the parts, filled up to whole blocks, and return their length."""
    size = filled = 0
    with _bounce() as block:
        for part in parts:
            rest = memoryview(part).cast("B")
            size += len(rest)
            while rest:
                taken = min(len(rest), len(block) - filled)
                block[filled : filled + taken] = np.frombuffer(
                    rest, np.uint8, taken
                )  # lets other threads go on
                rest, filled = rest[taken:], filled + taken
                if filled == len(block):
                    _write(fd, block)
                    filled = 0
        whole = -(-filled // _BLOCK) * _BLOCK
        block[filled:whole] = 0
        _write(fd, block[:whole])
    return size


def _write(fd: int, block: U8) -> None:
    rest = block.data
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextmanager
def _bounce() -> Iterator[U8]:
    """Lend memory that begins at a page."""
    memory = _idle.pop() if _idle else mmap.mmap(-1, _BOUNCE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        yield np.frombuffer(memory, np.uint8)
    finally:
        _idle.append(memory)
