"""What the verbs that make cells anew have in common: a progress bar where somebody looks, and the report."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any, TypeVar

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.tables import screen
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted

Told = Callable[[int, int], None]
T = TypeVar("T")


def run_verb(args: Namespace, work: Callable[[Told | None], dict[str, Any]]) -> int:
    """Run the work of a verb, tell what it did, and return the exit code."""
    report = with_bar(args.verb, work)
    text = json_text(report) if args.json else "; ".join(_told(report))
    sys.stdout.write(f"{text}\n")
    return OK


def with_bar(verb: str, work: Callable[[Told | None], T]) -> T:
    """Return what the work gives, which is told whom to tell how far it is: a bar, or nobody."""
    console = screen(stderr=True)
    if not console.is_terminal:
        return work(None)
    columns = (TextColumn(verb), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(verb, total=None)
        return work(lambda done, total: bar.update(task, completed=done, total=total))


def _told(report: dict[str, Any]) -> list[str]:
    """Return what is known after a stage in a few words each."""
    told = [f"{report['field']}: {_cells(report, '')} for {counted(report['rows'], 'row')}"]
    if report["stage"] == "measure":
        return told
    if report["index"] is None:
        return [*told, "nothing to do"]
    if "largest_after" in report:
        became = "became" if report["manifest"] else "become, when published,"
        return [*told, f"{became} {_cells(report, '_after')}"]
    return [*told, f"become {counted(report['cells_after'], 'cell')}"]


def _cells(report: dict[str, Any], when: str) -> str:
    largest, skew = report[f"largest{when}"], report[f"skew{when}"]
    return f"{counted(report[f'cells{when}'], 'cell')}, the largest of {counted(largest, 'row')} ({skew:.1f} times the mean)"
