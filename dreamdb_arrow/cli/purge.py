"""`dreamdb purge`: take the bytes of deleted rows out of a Space, and report it."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from dreamdb_arrow.cli.cells import size_text
from dreamdb_arrow.cli.counting import with_counter
from dreamdb_arrow.cli.delete import read_anchors
from dreamdb_arrow.cli.environment import cache_dir
from dreamdb_arrow.cli.failures import FAILED, OK
from dreamdb_arrow.cli.opening import open_space
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted
from dreamdb_arrow.dataset.purge import purge


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    store = open_space(args).store
    anchors = _anchors(args)

    def call(*, dry_run: bool) -> dict[str, Any]:
        return with_counter(
            lambda progress: purge(
                store,
                args.refs or None,
                anchors=anchors,
                reason=args.reason,
                dry_run=dry_run,
                writers_paused=args.writers_paused,
                cache_dir=cache_dir(args.cache_dir),
                progress=progress,
            )
        )

    if _asks(args) and not _confirmed(call(dry_run=True)):
        sys.stderr.write("nothing was purged\n")
        return FAILED
    report = call(dry_run=args.dry_run)
    if args.report:
        Path(args.report).write_text(f"{json_text(report)}\n", encoding="utf-8")
    sys.stdout.write(f"{json_text(report) if args.json else _text(report, dry_run=args.dry_run)}\n")
    return OK


def _anchors(args: Namespace) -> list[int] | None:
    if not args.anchor and not args.anchors_file:
        return None
    return [*args.anchor, *(read_anchors(args.anchors_file) if args.anchors_file else ())]


def _asks(args: Namespace) -> bool:
    """Whether there is somebody to ask, and something to ask for."""
    return not (args.dry_run or args.yes) and sys.stdin.isatty() and sys.stderr.isatty()


def _confirmed(told: dict[str, Any]) -> bool:
    sys.stderr.write(f"{_text(told, dry_run=True)}\nfor good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _text(report: dict[str, Any], *, dry_run: bool) -> str:
    rows, versions = counted(report["anchors"], "deleted row"), counted(len(report["versions"]), "version")
    refs = ", ".join(sorted(report["refs"])) or "no ref"
    if dry_run:
        lines = [f"would purge {rows}: {versions} to be written again, of {refs}"]
    else:
        gone = f"{counted(report['objects'], 'object')} removed, {size_text(report['size_bytes'])}"
        lines = [f"purged {rows}: {versions} written again, of {refs}; {gone}"]
        scanned = counted(report["scanned_versions"], "version")
        lines.append(
            f"read once more: none of the rows in {scanned} and {counted(report['scanned_objects'], 'object')}"
        )
    if report["live_elsewhere"]:
        lines.append(
            f"{counted(report['live_elsewhere'], 'row')} deleted on one branch and live on another stay"
        )
    if report["left_alone"]:
        lines.append(f"not looked at: {', '.join(report['left_alone'])}")
    if report["taken_up"]:
        lines.append(
            f"taken up by a writer meanwhile, so left: {counted(len(report['taken_up']), 'object')}; run it again"
        )
    return "\n".join(lines)
