"""`dreamdb diff`: rows and fields that changed from one version to another."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from typing import Any

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_dataset
from dreamdb_arrow.cli.tables import Column, print_table, screen
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted, printable


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    counts: Counter[str] = Counter()
    shown: list[dict[str, Any]] = []
    for batch in open_dataset(args).diff(args.other):
        counts.update(batch["change"].to_pylist())
        if args.json:
            sys.stdout.writelines(f"{json_text(row)}\n" for row in batch.to_pylist())
        elif len(shown) < args.max_rows:
            shown += batch.slice(0, args.max_rows - len(shown)).to_pylist()
    if args.json:
        return OK
    if shown:
        print_table(screen(), _columns(shown))
    total = ", ".join(f"{count:,} {change}" for change, count in counts.items()) or "nothing changed"
    more = f"; {counted(len(shown), 'line')} shown" if len(shown) < counts.total() else ""
    sys.stdout.write(f"{args.ref} to {args.other}: {total}{more}\n")
    return OK


def _columns(rows: list[dict[str, Any]]) -> list[Column]:
    anchors = ["" if row["_anchor"] is None else str(row["_anchor"]) for row in rows]
    return [
        Column("_anchor", anchors, right=True),
        Column("change", [row["change"] for row in rows]),
        Column("fields", [printable(", ".join(row["fields"])) for row in rows]),
    ]
