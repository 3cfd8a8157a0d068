"""`dreamdb flush`: bring the Tracks up to date, with a progress bar where somebody looks."""

from __future__ import annotations

import sys
from argparse import Namespace

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.tables import screen
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted
from dreamdb_arrow.dataset.dataset import Dataset


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    ds = open_for_writing(args)
    stripes = _flush(ds)
    report = {"ref": args.ref, "stripes": stripes, "manifest": ds.current_manifest()}
    text = f"flushed {counted(stripes, 'stripe')} of {args.ref}" if stripes else f"{args.ref} was up to date"
    sys.stdout.write(f"{json_text(report) if args.json else text}\n")
    return OK


def _flush(ds: Dataset) -> int:
    console = screen(stderr=True)
    if not console.is_terminal:
        return ds.flush()
    columns = (
        TextColumn("flush"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("stripes"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("flush", total=None)
        return ds.flush(lambda done, total: bar.update(task, completed=done, total=total))
