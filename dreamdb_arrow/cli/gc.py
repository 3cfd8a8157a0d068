"""`dreamdb gc`: tell what no ref leads to any more, and remove it when asked to."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.cells import size_text
from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.opening import open_space
from dreamdb_arrow.cli.reindexing import with_bar
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted
from dreamdb_arrow.dataset.collect import gc


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    store = open_space(args).store
    report = with_bar(
        args.verb,
        lambda told: gc(
            store,
            keep_manifests=args.keep_manifests,
            keep_since_secs=args.keep_since_secs,
            dry_run=not args.delete,
            roots=args.root,
            shard=args.shard,
            writers_paused=args.writers_paused,
            progress=told,
        ),
    )
    if args.json:
        sys.stdout.write(f"{json_text(report)}\n")
        return OK
    done = "removed" if args.delete else "would remove"
    recent = f", {counted(report['skipped_recent'], 'object')} too young" if report["skipped_recent"] else ""
    sys.stdout.write(
        f"{done} {counted(report['deletable'], 'object')}, {size_text(report['bytes'])}; "
        f"{counted(report['refs'], 'ref')} {'keeps' if report['refs'] == 1 else 'keep'} {report['live']:,}{recent}\n"
    )
    return OK
