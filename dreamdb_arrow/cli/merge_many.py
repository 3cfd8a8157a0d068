"""`dreamdb merge-many`: bring the rows of several branches into one ref."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.values import json_text


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    ds = open_for_writing(args)
    after = ds.merge_many(args.branches)
    report = {"ref": args.ref, "branches": args.branches, "manifest": after}
    text = f"{args.ref} is {after}, with {len(args.branches)} {'branch' if len(args.branches) == 1 else 'branches'}"
    sys.stdout.write(f"{json_text(report) if args.json else text}\n")
    return OK
