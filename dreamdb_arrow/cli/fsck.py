"""`dreamdb fsck`: check what refs lead to, and bring back what is lost."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from dreamdb_arrow.cli.cells import size_text
from dreamdb_arrow.cli.counting import with_counter
from dreamdb_arrow.cli.failures import FAILED, OK
from dreamdb_arrow.cli.opening import open_space
from dreamdb_arrow.cli.tables import Column, print_table, screen
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted, printable
from dreamdb_arrow.dataset.fsck import fsck


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    store = open_space(args).store
    sources = args.repair_from if args.repair_from or args.repair else None
    report = with_counter(
        lambda progress: fsck(
            store,
            args.refs or None,
            unreachable=args.unreachable,
            repair_from=sources,
            progress=progress,
        )
    )
    return tell(report, as_json=args.json)


def tell(report: dict[str, Any], *, as_json: bool) -> int:
    """Print what a check found, and return the exit code."""
    if as_json:
        sys.stdout.write(f"{json_text(report)}\n")
        return FAILED if report["findings"] else OK
    if report["findings"]:
        _print_findings(report["findings"])
    for line in report["skipped"]:
        sys.stdout.write(f"not looked into: {printable(line)}\n")
    restored = f", {counted(len(report['restored']), 'object')} restored" if report["restored"] else ""
    wrong = counted(len(report["findings"]), "finding") if report["findings"] else "nothing wrong"
    sys.stdout.write(
        f"{wrong}{restored}: {counted(report['versions'], 'version')}, {counted(report['objects'], 'object')}, "
        f"{size_text(report['size_bytes'])}\n"
    )
    return FAILED if report["findings"] else OK


def _print_findings(findings: list[dict[str, str]]) -> None:
    columns = {
        "kind": [found["kind"] for found in findings],
        "wrong": [printable(found["wrong"]) for found in findings],
        "path": [found["path"] or found["address"] for found in findings],
    }
    print_table(screen(), [Column(name, cells) for name, cells in columns.items()])
