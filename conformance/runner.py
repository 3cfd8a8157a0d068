"""Run the conformance vectors against an implementation.

The implementation is an adapter: a program that reads requests from stdin, one JSON object a line, and writes an answer
a line to stdout. README.md beside this file says what the lines are.
"""

from __future__ import annotations

import argparse
import json
import queue
import shlex
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

VECTORS: Final = Path(__file__).resolve().parent / "vectors"
EXAMPLES: Final = """examples:
  python conformance/runner.py --adapter "python conformance/adapters/python/adapter.py"
  python conformance/runner.py --adapter "node conformance/adapters/javascript/adapter.js" --group 0002 0003
  python conformance/runner.py --list --group 0004/probes
  python conformance/runner.py --adapter ./mine --json > report.json

exit code: 0 all that ran passed, 1 something failed, 2 the call was wrong.
Operations that an adapter does not know are counted as unsupported; with --strict they are failures.
"""
TOLERANCE: Final = 1e-5  # of float32 arrays, relative to the largest number in them
REFUSALS: Final = frozenset({"invalid", "unsupported"})
PASSED, FAILED, UNSUPPORTED = "passed", "failed", "unsupported"


@dataclass(frozen=True, slots=True)
class Step:
    """One request: what is asked, and what must come back; `expected` None means that it must be refused."""

    group: str
    file: str
    case: str
    op: str
    input: dict[str, Any]
    valid: bool
    expected: Any = None
    requirement: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the full name of the case."""
        return f"{self.group}/{self.file}/{self.case}"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a step."""

    step: Step
    outcome: str
    message: str = ""


# --- vectors ------------------------------------------------------------------------------------------------


def read_steps(root: Path = VECTORS, groups: Sequence[str] = ()) -> Iterator[Step]:
    """Yield the steps of all vectors, or of those whose group/file begins with one of `groups`."""
    for path in sorted(root.glob("*/*.json")):
        name = f"{path.parent.name}/{path.stem}"
        if not groups or any(_within(name, wanted) for wanted in groups):
            document = json.loads(path.read_text(encoding="utf-8"))
            for case in document["cases"]:
                yield from _steps_of(path, document, case)


def _within(name: str, wanted: str) -> bool:
    """Whether 0004-spatial-indexing/probes is meant by 0004, 0004-spatial-indexing, 0004/probes or all of it."""
    number = name[:4] + name[name.index("/") :]
    return name == wanted or any(each.startswith(wanted) for each in (name, number))


def _steps_of(path: Path, document: dict[str, Any], case: dict[str, Any]) -> Iterator[Step]:
    group, file, op = path.parent.name, path.stem, document["op"]
    valid, expected = case["result"] == "valid", case.get("expected")

    def ask(of: str, given: dict[str, Any], wanted: Any) -> Step:
        return Step(group, file, case["id"], of, given, valid, wanted, tuple(case["requirement"]))

    if not document["codec"]:
        yield ask(op, case["input"], expected)
        return
    yield ask(f"{op}.decode", case["input"], expected)
    if valid and "decode-only" not in case["flags"]:
        context = {key: item for key, item in case["input"].items() if key != "hex"}
        yield ask(f"{op}.encode", {**context, "value": expected}, _flat_hex(case["input"]["hex"]))


def _flat_hex(said: Any) -> str:
    return said if isinstance(said, str) else "".join(part * times for part, times in said)


# --- the adapter --------------------------------------------------------------------------------------------


class AdapterError(Exception):
    """The adapter ended, said nothing in time, or said something that is no answer."""


@dataclass(slots=True)
class Adapter:
    """A program that answers; started when it is first asked, and again when it has ended."""

    command: Sequence[str]
    timeout: float
    _process: subprocess.Popen[str] | None = None
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)
    _asked: int = 0

    def ask(self, op: str, given: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request. Raises AdapterError."""
        process = self._start()
        assert process.stdin is not None
        self._asked += 1
        try:
            process.stdin.write(json.dumps({"id": self._asked, "op": op, "input": given}) + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=self.timeout)
        except (BrokenPipeError, queue.Empty) as error:
            ended = process.poll()
            self.stop()
            raise AdapterError(
                f"no answer within {self.timeout:g} s" if ended is None else f"adapter ended with {ended}"
            ) from error
        if line is None:
            ended = process.wait()
            self.stop()
            raise AdapterError(f"adapter ended with {ended}")
        return self._check(line)

    def stop(self) -> None:
        """End the program if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._lines = queue.Queue()
            self._process = subprocess.Popen(  # noqa: S603 - the user names the program
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
            threading.Thread(target=_read_lines, args=(self._process, self._lines), daemon=True).start()
        return self._process

    def _check(self, line: str) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError as error:
            raise AdapterError(f"not an answer: {line[:100]!r}") from error
        if (
            not isinstance(found, dict)
            or found.get("id") != self._asked
            or not isinstance(found.get("ok"), bool)
        ):
            raise AdapterError(f"not the answer to request {self._asked}: {line[:100]!r}")
        return found


def _read_lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.put(line)
    except ValueError:  # closed while it was read: stop() was faster
        pass
    lines.put(None)


# --- judging ------------------------------------------------------------------------------------------------


def run(adapter: Adapter, steps: Sequence[Step]) -> Iterator[Result]:
    """Yield the result of each step."""
    for step in steps:
        try:
            yield judge(step, adapter.ask(step.op, step.input))
        except AdapterError as error:
            yield Result(step, FAILED, str(error))


def judge(step: Step, answer: dict[str, Any]) -> Result:
    """Return what an answer is worth."""
    error, message = answer.get("error"), str(answer.get("message", ""))
    if answer["ok"]:
        if not step.valid:
            return Result(step, FAILED, f"accepted, must be refused: {_shown(answer.get('output'))}")
        if not same(step.expected, answer.get("output")):
            return Result(step, FAILED, f"{_shown(answer.get('output'))} instead of {_shown(step.expected)}")
        return Result(step, PASSED)
    if error == "unknown-op":
        return Result(step, UNSUPPORTED, step.op)
    if error in REFUSALS and not step.valid:
        return Result(step, PASSED)
    return Result(step, FAILED, f"{error}: {message}" if message else str(error))


def same(expected: Any, found: Any) -> bool:
    """Whether two values of the notation are the same; float32 arrays within the tolerance."""
    if isinstance(expected, dict) and "$f32" in expected:
        return isinstance(found, dict) and _near(expected["$f32"], found.get("$f32", found.get("$bytes")))
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(expected[key], found[key]) for key in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    return type(expected) is type(found) and expected == found


def _near(expected: str, found: Any) -> bool:
    if not isinstance(found, str) or len(found) != len(expected):
        return False
    wanted, got = (
        [x for (x,) in struct.iter_unpack("<f", bytes.fromhex(text))] for text in (expected, found)
    )
    limit = TOLERANCE * max(map(abs, wanted), default=0.0)
    return all(abs(a - b) <= limit for a, b in zip(wanted, got, strict=True))


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else f"{text[:157]}..."


# --- reports ------------------------------------------------------------------------------------------------


def summarize(results: Sequence[Result]) -> dict[str, Any]:
    """Return the counts a group and the lists of what failed and what is not supported."""
    groups: dict[str, Counter[str]] = {}
    for result in results:
        groups.setdefault(f"{result.step.group}/{result.step.file}", Counter())[result.outcome] += 1
    return {
        "groups": {name: _counts(counter) for name, counter in groups.items()},
        "total": _counts(Counter(result.outcome for result in results)),
        "failures": [
            {
                "case": r.step.name,
                "op": r.step.op,
                "requirement": r.step.requirement,
                "message": r.message,
            }
            for r in results
            if r.outcome == FAILED
        ],
        "unsupported_operations": sorted({r.step.op for r in results if r.outcome == UNSUPPORTED}),
    }


def _counts(counter: Counter[str]) -> dict[str, int]:
    return {outcome: counter[outcome] for outcome in (PASSED, FAILED, UNSUPPORTED)}


def print_report(report: dict[str, Any]) -> None:
    """Print a report for people."""
    width = max(map(len, report["groups"]), default=5)
    print(f"{'vectors':<{width}}  passed  failed  unsupported")
    for name, counts in [*report["groups"].items(), ("total", report["total"])]:
        print(f"{name:<{width}}  {counts[PASSED]:>6}  {counts[FAILED]:>6}  {counts[UNSUPPORTED]:>11}")
    for failure in report["failures"]:
        cited = ", ".join(failure["requirement"])
        print(f"FAILED {failure['case']} ({failure['op']}; {cited}): {failure['message']}")
    if report["unsupported_operations"]:
        print(f"unsupported operations: {', '.join(report['unsupported_operations'])}")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="runner.py",
        description=(__doc__ or "").partition("\n")[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--adapter", metavar="COMMAND", help="the program to run, with its arguments")
    parser.add_argument("--group", nargs="+", default=[], metavar="NNNN", help="such as 0002 or 0004/probes")
    parser.add_argument("--vectors", type=Path, default=VECTORS, metavar="DIR", help="where the vectors are")
    parser.add_argument(
        "--timeout", type=float, default=20.0, metavar="S", help="for one answer (20 seconds)"
    )
    parser.add_argument("--strict", action="store_true", help="operations that are not known are failures")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--list", action="store_true", help="print the cases, run nothing")
    options = parser.parse_args(arguments)
    if not options.list and not options.adapter:
        parser.error("--adapter is needed: the program to run")
    return options


def main(arguments: Sequence[str]) -> int:
    """Run the vectors, print the report, return the exit code."""
    options = parse_arguments(arguments)
    steps = list(read_steps(options.vectors, options.group))
    if not steps:
        print(
            f"no vectors in {options.vectors} are called {' '.join(options.group) or 'anything'}",
            file=sys.stderr,
        )
        return 2
    if options.list:
        for step in steps:
            print(f"{step.name}  {step.op}  {'valid' if step.valid else 'invalid'}")
        return 0
    adapter = Adapter(shlex.split(options.adapter), options.timeout)
    try:
        report = summarize(list(run(adapter, steps)))
    except OSError as error:
        print(f"the adapter cannot be started: {error}", file=sys.stderr)
        return 2
    finally:
        adapter.stop()
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        print_report(report)
    total = report["total"]
    return 1 if total[FAILED] or (options.strict and total[UNSUPPORTED]) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
