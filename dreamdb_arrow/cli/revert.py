"""`dreamdb revert`: make a new version that is as an old one was."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.values import json_text


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    made = open_for_writing(args).revert(args.version)
    report = {"ref": args.ref, "version": args.version, "manifest": made}
    text = f"{args.ref} is {made}, as {args.version} was"
    sys.stdout.write(f"{json_text(report) if args.json else text}\n")
    return OK
