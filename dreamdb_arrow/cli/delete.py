"""`dreamdb delete`: hide rows, named by anchor or by a condition, after telling how many."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from typing import Any

import numpy as np

from dreamdb_arrow.cli.failures import FAILED, OK, UsageError, failure_line
from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.sql import ENGINE, read_text, session
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.delete import as_anchors
from dreamdb_arrow.engines.plans import literal
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
    if by_anchor == bool(args.where):
        raise UsageError("name the rows: either --anchor and --anchors-file, or --where", "delete")


def _wanted(args: Namespace, ds: Dataset) -> I64 | list[int]:
    if args.where:
        return matching(ds, args.where)
    return [*args.anchor, *(read_anchors(args.anchors_file) if args.anchors_file else ())]


def matching(ds: Dataset, condition: str) -> I64:
    """Return the anchors of live rows that satisfy an SQL condition. It is parsed as one expression, never pasted."""
    version = literal(ds.current_manifest())
    with session(ds.space) as con:
        rows = con.sql(f"FROM dreamdb_scan({literal(ds.ref_name())}, as_of := {version})")
        try:
            held = rows.filter(ENGINE.duckdb.SQLExpression(condition)).project("_anchor").to_arrow_table()
        except ENGINE.duckdb.Error as error:
            raise InvalidInputError(f"--where {condition!r}: {failure_line(error)}") from None
    return np.asarray(held["_anchor"].combine_chunks(), dtype=np.int64)


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


def _report(args: Namespace, ds: Dataset, rows: int, anchors: int) -> None:
    facts: dict[str, Any] = {"ref": args.ref, "rows": rows, "anchors": anchors, "dry_run": args.dry_run}
    done = "would delete" if args.dry_run else "deleted"
    text = f"{done} {counted(rows, 'row')} of {args.ref}"
    if anchors > rows:
        text += f"; {counted(anchors - rows, 'anchor')} without a live row"
    sys.stdout.write(f"{json_text({**facts, 'manifest': ds.current_manifest()}) if args.json else text}\n")
