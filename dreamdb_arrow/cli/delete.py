"""`dreamdb delete`: hide rows, named by anchor, time or a condition, after telling how many."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from typing import Any

from dreamdb_arrow.cli.failures import FAILED, OK, UsageError
from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.sql import read_text
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset import dataset
from dreamdb_arrow.dataset.delete import as_anchors
from dreamdb_arrow.engines.frames import Dataset
from dreamdb_arrow.errors import InvalidInputError


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    _check(args)
    ds = open_for_writing(args)
    anchors = as_anchors(_wanted(args, ds))
    rows = ds.take(anchors, fields=[]).num_rows
    if not args.dry_run and len(anchors):
        if not (args.yes or _confirmed(args.ref, rows)):
            sys.stderr.write("nothing was deleted\n")
            return FAILED
        ds.delete(anchors, args.reason)
    _report(args, ds, rows, len(anchors))
    return OK


def _check(args: Namespace) -> None:
    by_anchor = bool(args.anchor or args.anchors_file)
    by_condition = bool(args.where) or args.t0 is not None or args.t1 is not None
    if by_anchor == by_condition:
        raise UsageError(
            "name the rows: either --anchor and --anchors-file, or --where, --t0 and --t1", "delete"
        )


def _wanted(args: Namespace, ds: dataset.Dataset) -> I64 | list[int]:
    if args.where or args.t0 is not None or args.t1 is not None:
        return Dataset(ds.space, args.ref, ds.version).matching(args.where, args.t0 or 0, args.t1)
    return [*args.anchor, *(read_anchors(args.anchors_file) if args.anchors_file else ())]


def read_anchors(name: str) -> list[int]:
    """Return the anchors that a file lists. Raises InvalidInputError, naming the line, for anything else in it."""
    anchors: list[int] = []
    for number, line in enumerate(read_text(name).splitlines(), 1):
        for word in re.split(r"[\s,]+", line.strip(" ,\t")):
            if not word:
                continue
            if not re.fullmatch(r"[0-9]{1,19}", word):
                raise InvalidInputError(f"{name}, line {number}: {word[:40]!r} is no anchor")
            anchors.append(int(word))
    return anchors


def _confirmed(ref: str, rows: int) -> bool:
    """Ask, where there is somebody to answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.write(f"delete {counted(rows, 'row')} of {ref}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _report(args: Namespace, ds: dataset.Dataset, rows: int, anchors: int) -> None:
    facts: dict[str, Any] = {"ref": args.ref, "rows": rows, "anchors": anchors, "dry_run": args.dry_run}
    done = "would delete" if args.dry_run else "deleted"
    text = f"{done} {counted(rows, 'row')} of {args.ref}"
    if anchors > rows:
        text += f"; {counted(anchors - rows, 'anchor')} without a live row"
    sys.stdout.write(f"{json_text({**facts, 'manifest': ds.current_manifest()}) if args.json else text}\n")
