"""`dreamdb branch`: make a ref that goes on from another one."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_dataset
from dreamdb_arrow.cli.values import json_text


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    made = open_dataset(args).branch(args.new_ref, as_of=args.as_of)
    report = {"ref": args.new_ref, "branch_of": args.ref, "manifest": made.current_manifest()}
    text = f"{args.new_ref} is {made.current_manifest()}, a branch of {args.ref}"
    sys.stdout.write(f"{json_text(report) if args.json else text}\n")
    return OK
