"""`dreamdb snapshot`: name a version for good."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.cells import json_text
from dreamdb_arrow.cli.environment import cache_dir
from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.dataset.dataset import Dataset


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    ds = Dataset.open_ref(args.ref, args.backend, cache_dir=cache_dir(args.cache_dir))
    made = ds.snapshot(args.label)
    sys.stdout.write(f"{json_text(made) if args.json else f'{made["label"]} is {made["manifest"]}'}\n")
    return OK
