"""Growing: an object that is written to a directory while its bytes come in, before they tell its name. Spec 0005."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from dreamdb_arrow.codec.address import Address, Hashing
from dreamdb_arrow.store import files

if TYPE_CHECKING:
    from typing_extensions import Buffer

STEP_BYTES: Final = 1 << 20  # hashed and then written while they are in the processor's cache

Name = Callable[[str, str, int], None]  # of a temporary file, the path of an object, its size


class Growing:
    """A temporary file that a thread of its own hashes and fills. Who begins one calls `finish` or `abandon`.

    All that is given to `write` stays in memory until then, and must not change.
    """

    def __init__(self, temporary: str, name: Name, *, sync: bool) -> None:
        self._temporary, self._name = temporary, name
        queue: SimpleQueue[memoryview | None] = SimpleQueue()
        self._parts = _Parts(queue)
        self._put = queue.put
        thread = ThreadPoolExecutor(1, "dreamdb-growing")
        self._written = thread.submit(
            partial(files.write_new, temporary, self._parts, sync=sync, direct=True)
        )
        thread.shutdown(wait=False)
        self._end = weakref.finalize(self, queue.put, None)  # nor does the thread wait for who forgets it
        self.size = 0

    def write(self, part: Buffer) -> None:
        """Take the next bytes."""
        view = memoryview(part).cast("B")
        self.size += len(view)
        for at in range(0, len(view), STEP_BYTES):
            self._put(view[at : at + STEP_BYTES])

    def finish(self, directory: str) -> Address:
        """Name what was written `directory/<address>`, durable on return; return the address. Raises StoreError."""
        self._end()
        with files.writing(directory):
            self._written.result()
            try:
                address = self._parts.address
                self._name(self._temporary, f"{directory}/{address}", self.size)
            finally:
                files.remove(self._temporary)
        return address

    def abandon(self) -> None:
        """Leave nothing of it."""
        self._end()
        if self._written.exception() is None:  # which leaves nothing either
            files.remove(self._temporary)


class _Parts:
    """What came so far and then what comes, any number of times over."""

    def __init__(self, queue: SimpleQueue[memoryview | None]) -> None:
        self._held: list[Buffer] = []
        self._hashing = Hashing(iter(queue.get, None))

    def __iter__(self) -> Iterator[Buffer]:
        yield from self._held
        for part in self._hashing:
            self._held.append(part)
            yield part

    @property
    def address(self) -> Address:
        """That of all parts."""
        return self._hashing.address
