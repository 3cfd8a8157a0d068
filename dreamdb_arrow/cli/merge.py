"""`dreamdb merge`: bring the rows of another ref into this one."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.values import json_text


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    ds = open_for_writing(args)
    before = ds.current_manifest()
    after = ds.merge(args.branch, args.strategy, args.conflicts)
    report = {"ref": args.ref, "branch": args.branch, "strategy": args.strategy, "manifest": after}
    text = (
        f"{args.ref} is {after}, with {args.branch}"
        if after != before
        else f"{args.ref} has {args.branch} already"
    )
    sys.stdout.write(f"{json_text(report) if args.json else text}\n")
    return OK
