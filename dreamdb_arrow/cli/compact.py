"""`dreamdb compact`: make few large pieces of many small ones, with a progress bar where somebody looks."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dreamdb_arrow.cli.cells import size_text
from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.tables import screen
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted
from dreamdb_arrow.dataset.dataset import Dataset


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    report = _compact(open_for_writing(args), args)
    text = "; ".join(_told(report)) or f"{args.ref} has nothing to compact"
    sys.stdout.write(f"{json_text({'ref': args.ref, **report}) if args.json else text}\n")
    return OK


def _compact(ds: Dataset, args: Namespace) -> dict[str, Any]:
    stripes, tracks = not args.tracks_only, not args.stripes_only
    console = screen(stderr=True)
    if not console.is_terminal:
        return ds.compact(args.modality, args.threshold, stripes=stripes, tracks=tracks)
    columns = (
        TextColumn("compact"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("stripes"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("compact", total=None)
        return ds.compact(
            args.modality,
            args.threshold,
            stripes=stripes,
            tracks=tracks,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _told(report: dict[str, Any]) -> list[str]:
    """Return what was done in a few words each."""
    told = []
    if report["cells_compacted"]:
        cells, held = counted(report["cells_compacted"], "cell"), report["fragments_collapsed"]
        told.append(f"compacted {cells} of Tracks, which had {held:,} entries")
    if report["bytes_written"] or report["stripes_before"] != report["stripes_after"]:
        before, after = counted(report["stripes_before"], "stripe"), report["stripes_after"]
        gone = f", without {counted(report['rows_dropped'], 'deleted row')}" if report["rows_dropped"] else ""
        told.append(f"{before} became {after:,}{gone}: {size_text(report['bytes_written'])} written")
    if report["manifest"] is not None and not told:
        told.append("noted that stripes hold all rows of the Tracks")
    return told
