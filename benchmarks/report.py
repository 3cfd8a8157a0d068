"""Figures as JSON lines, and as Markdown: the checks with their limits, then a table a job with ratios."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.checks import Verdict, judge
from benchmarks.measure import Figure
from benchmarks.sizes import Sizes

PACKAGES: Final = (
    "dreamdb-arrow",
    "duckdb",
    "pyarrow",
    "numpy",
    "pylance",
    "deltalake",
    "faiss-cpu",
    "dreamdb",
)
SHOWN_UNITS: Final = ("ms", "s", "GB")  # the other names tell theirs
CHECK_HEAD: Final = "| | what must show | limit | found | |\n| --- | --- | ---: | ---: | --- |"


@dataclass(frozen=True, slots=True)
class Block:
    """What one job came to: the machine and versions, and its figures."""

    job: str
    facts: dict[str, Any]
    figures: tuple[Figure, ...]


def facts(size: str, sizes: Sizes, seconds: float) -> dict[str, Any]:
    """Return what has to be known about a run of a job; `size` is the name of the sizes."""
    return {
        "size": size,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "sizes": asdict(sizes),
        "seconds": round(seconds),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# ---------------------------------------------------------------- JSON lines


def read_blocks(path: Path) -> list[Block]:
    """Return the jobs of a file, in order; none where there is no file."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    blocks: dict[str, Block] = {}
    for line in lines:
        if "facts" in line:
            blocks[line["job"]] = Block(line["job"], line["facts"], ())
        else:
            known = blocks[line["job"]]
            blocks[line["job"]] = Block(known.job, known.facts, (*known.figures, Figure(**line)))
    return list(blocks.values())


def write_blocks(path: Path, blocks: Iterable[Block]) -> None:
    """Write jobs to a file: a line of facts, then a line a figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for block in blocks:
        lines += [json.dumps({"job": block.job, "facts": block.facts}), *(f.line() for f in block.figures)]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


# ---------------------------------------------------------------- Markdown


def markdown(blocks: Sequence[Block]) -> str:
    """Return the checks, then a table a job."""
    figures = [figure for block in blocks for figure in block.figures]
    return "\n\n".join([checks_table(judge(figures)), *map(job_section, blocks)]) + "\n"


def checks_table(verdicts: Iterable[Verdict]) -> str:
    """Return what must show, its limits, what was found, and whether that is kept."""
    return "\n".join([CHECK_HEAD, *map(_check_row, verdicts)])


def _check_row(verdict: Verdict) -> str:
    check = verdict.check
    unit = f" {check.unit}" if check.unit else ""
    sense = "at least" if check.least else "at most"
    what = f"{check.what} ({verdict.where})" if verdict.where else check.what
    kept = "kept" if verdict.kept else "**missed**"
    return f"| {check.letter} | {what} | {sense} {check.limit:,}{unit} | {number(verdict.value, 3)}{unit} | {kept} |"


def job_section(block: Block) -> str:
    """Return a heading, a table of figures by whose they are, and what is to be known besides."""
    told = block.facts
    when = f"Size {told['size']}, {told['date']}, {told['cpus']} cores, Python {told['python']}, {told['seconds']:,} s"
    notes = dict.fromkeys(f"{f.name}: {f.note}" for f in block.figures if f.note)
    parts = [f"## {block.job.capitalize()}", f"{when}.", figures_table(block.figures)]
    return "\n\n".join([*parts, *(["\n".join(f"- {note}" for note in notes)] if notes else [])])


def figures_table(figures: Sequence[Figure]) -> str:
    """Return a row a figure, a column for each whose it is; in brackets, how many times the first column's it is."""
    whos = list(dict.fromkeys(f.who for f in figures))
    names = list(dict.fromkeys((f.name, f.unit) for f in figures))
    cells = {(f.name, f.who): f.value for f in figures}
    head = f"| | {' | '.join(whos)} |\n| --- |{' ---: |' * len(whos)}"
    return "\n".join([head, *(_figure_row(name, unit, whos, cells) for name, unit in names)])


def _figure_row(name: str, unit: str, whos: Sequence[str], cells: dict[tuple[str, str], float]) -> str:
    told = [cells.get((name, who)) for who in whos]
    first = next(value for value in told if value is not None)
    row = [_cell(value, first, is_first=value is first) for value in told]
    return f"| {name}{f', {unit}' if unit in SHOWN_UNITS else ''} | {' | '.join(row)} |"


def _cell(value: float | None, first: float, *, is_first: bool) -> str:
    if value is None:
        return ""
    return number(value) if is_first or not first else f"{number(value)} ({value / first:.2f})"


def number(value: float, decimals: int = 2) -> str:
    """Return a number as people read it: all digits before the point, some after it when those are few."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.{decimals}f}"
