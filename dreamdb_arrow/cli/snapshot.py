"""`dreamdb snapshot`: name a version for good."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_dataset
from dreamdb_arrow.cli.values import json_text


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    ds = open_dataset(args)
    ds.timeline()  # a version that cannot be read gets no name
    made = ds.snapshot(args.label)
    text = json_text(made) if args.json else f"{made['label']} is {made['manifest']}"
    sys.stdout.write(f"{text}\n")
    return OK
