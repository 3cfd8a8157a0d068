"""Growing: an object that is written to a directory while its bytes come in, before they tell its name. Spec 0005."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from dreamdb_arrow.codec.address import Address, Hashing
from dreamdb_arrow.store import files

if TYPE_CHECKING:
    from typing_extensions import Buffer

_Queue: TypeAlias = SimpleQueue[memoryview | None]
_Names: TypeAlias = SimpleQueue[
    tuple[str, int] | None
]  # the path of an object and its size; None to leave nothing
Name = Callable[[str, str, int], None]  # of a temporary file, the path of an object, its size


class Growing:
    """A temporary file that threads of its own hash, fill and name. Who begins one seals and finishes it, or abandons it.

    All that is given to `write` stays in memory until then, and must not change.
    """

    def __init__(self, temporary: str, name: Name, *, sync: bool) -> None:
        self._parts, self._names = (_Queue(), _Queue()), _Names()
        hashed, written = self._parts
        self._hashing, self._path = Hashing(iter(hashed.get, None)), ""
        write = partial(files.write_new, temporary, _Parts(written), sync=sync, direct=True)
        threads = ThreadPoolExecutor(2, "dreamdb-growing")
        self._hashed = threads.submit(deque, self._hashing, 0)
        self._named = threads.submit(_write, write, self._names, name, temporary)
        threads.shutdown(wait=False)
        self._forget = weakref.finalize(
            self, _forget, self._parts, self._names
        )  # so that no thread waits for ever
        self.size = 0

    def write(self, part: Buffer) -> None:
        """Take the next bytes."""
        view = memoryview(part).cast("B")
        self.size += len(view)
        _put(self._parts, view)

    def seal(self, directory: str) -> Address:
        """Take no more bytes, and let what is written be named `directory/<address>`; return the address.

        It is known before all is written: who wants to be sure calls `finish`.
        """
        _put(self._parts, None)
        self._hashed.result()
        address = self._hashing.address
        self._path = f"{directory}/{address}"
        if self._forget.detach():
            self._names.put((self._path, self.size))
        return address

    def finish(self) -> str:
        """Return the path of what was sealed, durable by then. Raises StoreError."""
        with files.writing(self._path):
            self._named.result()
        return self._path

    def abandon(self) -> None:
        """Leave nothing of it, but for what was sealed."""
        self._forget()
        wait([self._named])


def _put(queues: Iterable[_Queue], part: memoryview | None) -> None:
    for queue in queues:
        queue.put(part)


def _forget(parts: Iterable[_Queue], names: _Names) -> None:
    _put(parts, None)
    names.put(None)


def _write(write: Callable[[], None], names: _Names, name: Name, temporary: str) -> None:
    """Write the file, then give it its name, if it gets one."""
    write()
    try:
        if (found := names.get()) is not None:
            name(temporary, *found)
    finally:
        files.remove(temporary)


class _Parts:
    """What came so far and then what comes, any number of times over."""

    def __init__(self, queue: _Queue) -> None:
        self._held: list[memoryview] = []
        self._coming = iter(queue.get, None)

    def __iter__(self) -> Iterator[memoryview]:
        yield from self._held
        for part in self._coming:
            self._held.append(part)
            yield part
