"""Fuzzing: every decoder against damaged copies of objects that it accepts.

    python -m dreamdb_arrow.testing.fuzz --rounds 200000 [SPACES ...]

A decoder may return something or raise one of our errors. Anything else is a finding: another exception, a call that takes a
second, memory beyond 200 MB, a process that dies. Each decoder runs in a process of its own, which has no more memory to take;
inputs come from a seed, so that a finding can be had again. SPACES are folders, or .tar.gz files, of objects to begin with,
beside those of a Space that is made for it (`testing.sample`).
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from dreamdb_arrow.errors import DreamDBError
from dreamdb_arrow.testing.decoders import DECODERS, Decoder, pages_of_cells, seeds_of
from dreamdb_arrow.testing.memory import forget_peak, peak_bytes
from dreamdb_arrow.testing.mutate import mutate
from dreamdb_arrow.testing.sample import write_sample

SECONDS_MAX: Final = 1.0
MEMORY_MAX: Final = 200 << 20
SEEDS_MAX: Final = 64  # of a decoder
SEED_BYTES_MAX: Final = 16 << 10
_HANGS_SECONDS: Final = 60.0
_FINDINGS_MAX: Final = 5


@dataclass(slots=True)
class Outcome:
    """What came of one decoder.

    rounds    inputs
    seeds     objects that they were made of
    accepted  how many were decoded all the same
    slowest   the longest call, in seconds
    seconds   all calls
    memory    how much the process grew, in bytes
    findings  what must not happen, with the number of its round
    """

    decoder: str
    rounds: int = 0
    seeds: int = 0
    accepted: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    memory: int = 0
    findings: list[str] = field(default_factory=list)


def fuzz(name: str, decode: Decoder, seeds: Sequence[bytes], rounds: int, seed: int = 0) -> Outcome:
    """Give a decoder so many damaged copies of seeds, and return what came of it."""
    forget_peak()
    outcome, before = Outcome(name, rounds, len(seeds)), peak_bytes()
    for number, data in enumerate(inputs(name, seeds, rounds, seed)):
        began = time.perf_counter()
        try:
            decode(data)
            outcome.accepted += 1
        except DreamDBError:
            pass
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            outcome.findings.append(f"round {number}: {type(error).__name__}: {error!s:.200}")
        taken = time.perf_counter() - began
        outcome.slowest, outcome.seconds = max(outcome.slowest, taken), outcome.seconds + taken
        if taken > SECONDS_MAX:
            outcome.findings.append(f"round {number}: {taken:.1f} s")
        if len(outcome.findings) >= _FINDINGS_MAX:
            break
    outcome.memory = peak_bytes() - before
    if outcome.memory > MEMORY_MAX:
        outcome.findings.append(f"the process grew by {outcome.memory >> 20} MB")
    return outcome


def inputs(name: str, seeds: Sequence[bytes], rounds: int, seed: int) -> Iterator[bytes]:
    """Yield the inputs of a run; the same ones for the same arguments."""
    chance = random.Random(f"{name} {seed}")  # noqa: S311 - no secret
    for _ in range(rounds):
        yield mutate(chance.choice(seeds), seeds, chance)


# --- what to begin with -------------------------------------------------------------------------------------


def read_corpus(places: Sequence[Path]) -> list[bytes]:
    """Return the distinct small objects in folders and .tar.gz files, and the names that they have."""
    found: dict[bytes, None] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder))
        _read_into(found, [Path(folder), *places])
    found |= dict.fromkeys(pages_of_cells(found))
    return [data for data in found if len(data) <= SEED_BYTES_MAX]


def _read_into(found: dict[bytes, None], places: Sequence[Path]) -> None:
    for place in places:
        for name, data in _files_in(place):
            found[data] = None
            found |= dict.fromkeys(part.encode() for part in name.split("/"))


def _files_in(place: Path) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        for file in sorted(place.rglob("*")):
            if file.name.endswith(".tar.gz"):
                yield from _files_in(file)
            elif file.is_file():
                yield file.relative_to(place).as_posix(), file.read_bytes()
        return
    with tarfile.open(place) as archive:
        for member in archive:
            held = archive.extractfile(member) if member.isfile() else None
            if held is not None:
                yield member.name, held.read()


# --- running ------------------------------------------------------------------------------------------------


def run_one(name: str, places: Sequence[Path], rounds: int, seed: int) -> Outcome:
    """Fuzz one decoder in this process, whose memory is limited from here on."""
    decode = DECODERS[name]
    seeds = seeds_of(decode, read_corpus(places), (DreamDBError,), SEEDS_MAX)
    if not seeds:
        return Outcome(name, findings=["no object to begin with"])
    faulthandler.dump_traceback_later(_HANGS_SECONDS + rounds * 0.01, exit=True)
    limit = (
        _address_space() + 2 * MEMORY_MAX
    )  # a wall beyond what is judged, so that the machine does not suffer
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        return fuzz(name, decode, seeds, rounds, seed)
    finally:
        faulthandler.cancel_dump_traceback_later()


def run_all(
    places: Sequence[Path], rounds: int, seed: int, names: Sequence[str] = tuple(DECODERS), processes: int = 2
) -> Iterator[Outcome]:
    """Fuzz decoders in processes of their own; yield what came of each, in order."""
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(lambda name: _apart(name, places, rounds, seed), names)


def _apart(name: str, places: Sequence[Path], rounds: int, seed: int) -> Outcome:
    command = [
        sys.executable,
        "-m",
        __spec__.name,
        "--only",
        name,
        "--rounds",
        str(rounds),
        "--seed",
        str(seed),
    ]
    done = subprocess.run(  # noqa: S603 - our own module
        [*command, "--json", *map(str, places)], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1) or not done.stdout:
        said = " ".join(done.stderr.split())[-300:]
        return Outcome(name, rounds, findings=[f"the process died with {done.returncode}: {said}"])
    return Outcome(**json.loads(done.stdout))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return 1 when something was found."""
    parser = argparse.ArgumentParser(
        prog="python -m dreamdb_arrow.testing.fuzz", description="Fuzz every decoder."
    )
    parser.add_argument(
        "places", metavar="SPACE", nargs="*", type=Path, help="a folder or .tar.gz file of objects"
    )
    parser.add_argument("--rounds", type=int, default=2000, help="inputs of each decoder (2000)")
    parser.add_argument("--seed", type=int, default=zlib.crc32(b"dreamdb"), help="of the inputs")
    parser.add_argument(
        "--only", metavar="NAME", choices=tuple(DECODERS), help="one decoder, in this process"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    asked = parser.parse_args(arguments)
    outcomes = (
        iter([run_one(asked.only, asked.places, asked.rounds, asked.seed)])
        if asked.only
        else run_all(asked.places, asked.rounds, asked.seed)
    )
    found = False
    for outcome in outcomes:
        found |= bool(outcome.findings)
        print(json.dumps(asdict(outcome)) if asked.json else line_of(outcome), flush=True)  # noqa: T201
    return int(found)


def line_of(outcome: Outcome) -> str:
    """Return an outcome as a line to read."""
    told = "; ".join(outcome.findings) or "ok"
    return (
        f"{outcome.decoder:24} {outcome.rounds:>9,} inputs of {outcome.seeds:>2} seeds, {outcome.accepted:>8,} accepted, "
        f"{outcome.seconds:7.1f} s, slowest {outcome.slowest * 1e3:6.1f} ms, {outcome.memory >> 20:>4} MB: {told}"
    )


if __name__ == "__main__":
    sys.exit(main())
