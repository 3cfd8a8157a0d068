"""Growing: an object that is written to a directory while its bytes come in, before they tell its name. Spec 0005."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from dreamdb_arrow.codec.address import Address, Hashing
from dreamdb_arrow.store import files

if TYPE_CHECKING:
    from typing_extensions import Buffer

_Queue: TypeAlias = SimpleQueue[memoryview | None]
Name = Callable[[str, str, int], None]  # of a temporary file, the path of an object, its size


class Growing:
    """A temporary file that a thread of its own hashes and fills. Who begins one calls `finish` or `abandon`.

    All that is given to `write` stays in memory until then, and must not change.
    """

    def __init__(self, temporary: str, name: Name, *, sync: bool) -> None:
        self._temporary, self._name = temporary, name
        hashed, written = _Queue(), _Queue()
        self._queues = hashed, written
        self._hashing = Hashing(iter(hashed.get, None))
        write = partial(files.write_new, temporary, _Parts(written), sync=sync, direct=True)
        threads = ThreadPoolExecutor(2, "dreamdb-growing")
        self._hashed, self._written = threads.submit(deque, self._hashing, 0), threads.submit(write)
        threads.shutdown(wait=False)
        self._end = weakref.finalize(
            self, _put, self._queues, None
        )  # nor does a thread wait for who forgets it
        self.size = 0

    def write(self, part: Buffer) -> None:
        """Take the next bytes."""
        view = memoryview(part).cast("B")
        self.size += len(view)
        _put(self._queues, view)

    def seal(self) -> Address:
        """Take no more bytes; return the address, which is known before all of them are written."""
        self._end()
        self._hashed.result()
        return self._hashing.address

    def finish(self, directory: str) -> Address:
        """Name what was written `directory/<address>`, durable on return; return the address. Raises StoreError."""
        address = self.seal()
        with files.writing(directory):
            self._written.result()
            try:
                self._name(self._temporary, f"{directory}/{address}", self.size)
            finally:
                files.remove(self._temporary)
        return address

    def abandon(self) -> None:
        """Leave nothing of it, but for what has its name already."""
        self._end()
        if self._written.exception() is None:  # which leaves nothing either
            files.remove(self._temporary)


def _put(queues: Iterable[_Queue], part: memoryview | None) -> None:
    for queue in queues:
        queue.put(part)


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
