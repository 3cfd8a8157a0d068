"""The long tests of what must survive, part by part: `python -m benchmarks.soak [PART ...]`. Spec 0005.

Each part is one file of tests, whose slow ones run for minutes and tell figures. When they pass, the figures take the place of
those that the part told before in benchmarks/results/reliability.jsonl; a part that fails leaves them. docs/reliability.md is
written from that file (benchmarks/reliability.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from benchmarks.measure import ROOT

RESULTS: Final = ROOT / "benchmarks" / "results" / "reliability.jsonl"
PACKAGES: Final = ("duckdb", "pyarrow", "numpy")

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One file of tests.

    promise    what must hold
    how        what is done to see it
    tests      the file
    processes  how many run its tests together; 1 where they want the machine for themselves
    marks      which tests of it
    """

    promise: str
    how: str
    tests: str
    processes: int = 2
    marks: str = "slow"


PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        "kills": Part(
            "A process may be killed at any moment.",
            "A real process runs a verb and gets SIGKILL, after a random time or at a random operation on files. Then the Space "
            "opens, shows what was acknowledged or the next state, `fsck` finds nothing, and the verb is run again to its end.",
            "tests/faults/test_kill.py",
        ),
        "power": Part(
            'The power may fail at any moment, and what was acknowledged is there (`durability="fsync"`); under `os`, what is '
            "left is whole or known to be damaged.",
            "All that a verb does to files is taken down, and the disk put together as POSIX allows it to be after a cut: what "
            "was not flushed lost, kept, torn, or names without bytes. Then as for kills; under `os`, each Ref shows a state "
            "that it had, or an error that `fsck` tells too.",
            "tests/faults/test_power_loss.py",
        ),
        "faults": Part(
            "A failing store leaves the Space as before or as after.",
            "Each call of the store goes wrong in a run of its own: once, for ever, after it worked, half, cut short, twice, "
            "late, or later than told. Then the verb is run again to its end.",
            "tests/faults/test_fault_loop.py",
        ),
        "rot": Part(
            "A damaged object is told by `fsck`, and no query gives a wrong value.",
            "A bit is flipped in a random object, kinds by turns; each way of reading gives the true rows or an error.",
            "tests/faults/test_bit_rot.py",
        ),
        "fuzz": Part(
            "No input crashes a decoder, takes a second or 200 MB.",
            "Every decoder gets damaged copies of objects that it accepts, in a process of limited memory.",
            "tests/faults/test_fuzz.py",
            1,
        ),
        "hostile": Part(
            "An object that was made to do harm gives one clear error, in a second and 200 MB.",
            "Objects with right addresses and wrong contents: deep and huge CBOR, counts that lie, trees that fold back on "
            "themselves, packed rows beyond all size, names that look like paths.",
            "tests/faults/test_hostile.py",
            1,
            "not slow",
        ),
        "processes": Part(
            "Processes on one Ref lose nothing and add nothing.",
            "Eight processes append, two merge, one deletes; the rows at the end are those that were acknowledged.",
            "tests/faults/test_concurrent_processes.py",
            1,
        ),
        "collector": Part(
            "A collector takes away garbage only, beside writers, and in little memory.",
            "Four processes write while one collects; and 10,000 versions are collected, compared with a plain walk.",
            "tests/faults/test_gc_beside_writers.py",
            1,
        ),
    }
)


def facts(name: str, seconds: float) -> Line:
    """Return the line that a part begins with: where and when it ran, and how long."""
    return {
        "part": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "seconds": round(seconds),
    }


def run_part(name: str) -> list[Line] | None:
    """Run the long tests of a part; return its lines, or None when one failed."""
    part, began = PARTS[name], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "figures")
        options = [] if part.processes == 1 else ["-n", str(part.processes)]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            part.marks,
            *options,
            part.tests,
            "--figures",
            str(kept),
        ]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            return None
        found = [json.loads(line) for line in kept.read_text("utf-8").splitlines()] if kept.exists() else []
    return [facts(name, time.monotonic() - began), *({"part": name, **line} for line in found)]


def read_results() -> list[Line]:
    """Return all lines there are."""
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.exists() else []


def keep(name: str, lines: Sequence[Line]) -> None:
    """Put the lines of a part in the place of those that it had."""
    others = [line for line in read_results() if line["part"] != name]
    ordered = sorted([*others, *lines], key=lambda line: list(PARTS).index(line["part"]))
    RESULTS.write_text("".join(f"{json.dumps(line)}\n" for line in ordered), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run parts, all of them unless some are named; return 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Run the long tests.")
    parser.add_argument("parts", metavar="PART", nargs="*", help=f"of {', '.join(PARTS)}")
    asked = parser.parse_args(arguments).parts or list(PARTS)
    if unknown := [name for name in asked if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    failed = []
    for name in asked:
        sys.stdout.write(f"--- {name}: {PARTS[name].promise}\n")
        sys.stdout.flush()
        lines = run_part(name)
        if lines is None:
            failed.append(name)
        else:
            keep(name, lines)
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "all passed\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
