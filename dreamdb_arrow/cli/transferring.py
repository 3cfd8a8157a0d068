"""What clone, push, pull and mirror have in common: a line of progress where somebody looks, and the report."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from dreamdb_arrow.cli.cells import size_text
from dreamdb_arrow.cli.failures import OK, UsageError
from dreamdb_arrow.cli.tables import screen
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted


def wanted_refs(args: Namespace) -> list[str] | None:
    """Return the Refs that a line names, None for all. Raises UsageError when it names none."""
    if bool(args.refs) == args.all:
        raise UsageError("name refs, or say --all", args.verb)
    return None if args.all else args.refs


def run_transfer(args: Namespace, work: Callable[..., dict[str, Any]]) -> int:
    """Call the verb's function with a `progress`, tell what it did, and return the exit code."""
    report = _with_progress(args.verb, work)
    sys.stdout.write(f"{json_text(report) if args.json else told(report)}\n")
    return OK


def _with_progress(verb: str, work: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    console = screen(stderr=True)
    if not console.is_terminal:
        return work(progress=None)
    columns = (
        TextColumn(verb),
        BarColumn(),
        TextColumn("{task.fields[objects]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(verb, total=None, objects="")

        def show(done: int, known: int, size: int) -> None:
            bar.update(task, completed=size, objects=f"{done:,} of {known:,} objects so far")

        return work(progress=show)


def told(report: dict[str, Any]) -> str:
    """Return what was done, in words."""
    moved = [f"{name} is {address}" for name, address in report["refs"].items()]
    moved += [f"{name} is removed" for name in report["removed"]]
    copied = f"{counted(report['objects'], 'object')}, {size_text(report['bytes'])} copied"
    if report["present"]:
        copied += f", {report['present']:,} there already"
    return (
        "\n".join([*moved, f"{counted(report['versions'], 'version')}: {copied}"]) if moved else "up to date"
    )
