"""`dreamdb delete-ref`: delete a branch or a snapshot."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_dataset
from dreamdb_arrow.cli.values import json_text


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    open_dataset(args).delete_ref(args.gone)
    report = {"ref": args.ref, "deleted": args.gone}
    sys.stdout.write(f"{json_text(report) if args.json else f'{args.gone} is deleted'}\n")
    return OK
