"""Timers, medians, sizes on disk, new processes, and the line that each figure becomes."""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
CHILD_LIMIT_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: of which job, what it tells, who it is of, and in which unit. `note` says what else is to be known."""

    job: str
    name: str
    who: str
    value: float
    unit: str
    note: str = ""

    def line(self) -> str:
        """Return it as a JSON line, to four digits."""
        return json.dumps({**asdict(self), "value": float(f"{self.value:.4g}")})


def milliseconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def turns(names: Iterable[str], rounds: int) -> Iterator[list[str]]:
    """Yield the names in an order that is drawn anew each round: some leave threads behind that are at work when the next one is asked."""
    order, drawn = list(names), random.Random(0)
    for _ in range(rounds):
        drawn.shuffle(order)
        yield order


def alternate(
    calls: Mapping[str, Callable[[], object]], rounds: int, *, warm: bool = False
) -> dict[str, list[float]]:
    """Return the milliseconds of each call, `rounds` of them, after one that is not counted; the calls take turns.

    With `warm` each turn begins with a call that is not counted: others have had the processor's caches meanwhile.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for order in turns(calls, rounds):
        for name in order:
            if warm:
                calls[name]()
            times[name].append(milliseconds(calls[name]))
    return times


def median(values: Sequence[float]) -> float:
    """Return the middle of some numbers."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the number that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def disk_use(path: Path) -> tuple[int, int]:
    """Return the bytes and the number of the files under a folder."""
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    return sum(sizes), len(sizes)


def fresh(path: Path) -> Path:
    """Return a path with nothing at it, in a folder that is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def in_child(function: str, *arguments: Any) -> Any:
    """Return what `module:function` returns in a new process; arguments and result go there and back as JSON."""
    command = [sys.executable, "-m", "benchmarks.measure", function, json.dumps(arguments, default=str)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=CHILD_LIMIT_S
    )
    if done.returncode:
        raise RuntimeError(f"{function} failed in its process: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_program(text: str) -> str:
    """Run a program in Python, as if installed: what it imports may be compiled before. Return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", text]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, timeout=CHILD_LIMIT_S
    )
    return done.stdout


def _main() -> None:
    module, _, name = sys.argv[1].partition(":")
    result = getattr(import_module(module), name)(*json.loads(sys.argv[2]))
    print(json.dumps(result))


if __name__ == "__main__":
    _main()
