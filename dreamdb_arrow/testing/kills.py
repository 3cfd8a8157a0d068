"""Verbs in a process that is killed at a random moment, with SIGKILL. Specs 0005 and 0006.

    with Killer() as killer:
        killed = killer.run("append", place, 0, Moment(seconds=0.02))

A process loads the package once and forks for every run, so that a start costs no time; nobody else may use threads in it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Final, Self

from dreamdb_arrow.testing.verbs import VERBS, Place

# Threads of BLAS do not live on in a fork.
_ALONE: Final = ("/usr/bin/env", "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1")
_FILE_EVENTS: Final = ("os.", "fcntl.", "mmap.", "shutil.")


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: after some seconds, or at the n-th operation on files, whichever comes first; None and 0 for never."""

    seconds: float | None = None
    operation: int = 0


@dataclass(frozen=True, slots=True)
class Life:
    """What became of a run.

    ended       whether it ended by itself
    said        how many steps it acknowledged, of all that the verb has
    operations  how many operations on files it did, if it ended by itself
    seconds     how long it took
    error       what it failed with, if anything
    """

    ended: bool
    said: int
    operations: int
    seconds: float
    error: str


class Killer:
    """A process that runs verbs in children of its own, and kills them. Used as a context."""

    def __enter__(self) -> Self:
        command = [*_ALONE, sys.executable, "-m", "dreamdb_arrow.testing.kills"]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(self, verb: str, place: Place, done: int = 0, moment: Moment = Moment()) -> Life:
        """Run the steps of a verb but those done before, and kill it at the moment; return what became of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"verb": verb, "place": asdict(place), "done": done, "moment": asdict(moment)}
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        return Life(**json.loads(self._process.stdout.readline()))


def _serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        place, moment = Place(**order["place"]), Moment(**order["moment"])
        life = _live(order["verb"], place, order["done"], moment)
        sys.stdout.write(f"{json.dumps(asdict(life))}\n")
        sys.stdout.flush()


def _live(verb: str, place: Place, done: int, moment: Moment) -> Life:
    began = time.monotonic()
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        _work(verb, place, done, moment.operation, said)
    os.close(said)
    if moment.seconds is not None:
        time.sleep(moment.seconds)
        os.kill(child, signal.SIGKILL)
    with open(heard, encoding="utf-8") as answers:  # noqa: PTH123 - a pipe
        words = [json.loads(word) for word in answers.read().splitlines()]
    os.waitpid(child, 0)
    ends = [word for word in words if "operations" in word]
    last = ends[0] if ends else {"operations": 0, "error": ""}
    return Life(bool(ends), done + len(words) - len(ends), seconds=time.monotonic() - began, **last)


def _work(verb: str, place: Place, done: int, last: int, said: int) -> None:
    """Run a verb in this process, and end it. Each line that it says is written in one go."""
    operations, error = [0], ""

    def watch(event: str, _: Any) -> None:
        if event == "open" or event.startswith(_FILE_EVENTS):
            operations[0] += 1
            if operations[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    try:
        VERBS[verb].run(place, done, lambda: os.write(said, b"{}\n"))
    except BaseException as failure:  # noqa: BLE001 - it is told
        error = f"{type(failure).__name__}: {failure}"
    os.write(said, f"{json.dumps({'operations': operations[0], 'error': error})}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    _serve()
