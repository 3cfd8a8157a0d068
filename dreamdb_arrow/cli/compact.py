"""`dreamdb compact`: bring the small buckets of many appends together."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    ds = open_for_writing(args)
    report = ds.compact(args.modality, args.threshold)
    text = f"{args.ref} has nothing to compact"
    if report["manifest"] is not None:
        cells, held = counted(report["cells_compacted"], "cell"), report["fragments_collapsed"]
        text = f"compacted {cells} of {args.ref}, which had {held:,} entries"
    sys.stdout.write(f"{json_text({'ref': args.ref, **report}) if args.json else text}\n")
    return OK
