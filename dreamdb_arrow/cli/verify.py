"""`dreamdb verify`: check one version."""

from __future__ import annotations

from argparse import Namespace

from dreamdb_arrow.cli.counting import with_counter
from dreamdb_arrow.cli.fsck import tell
from dreamdb_arrow.cli.opening import open_space
from dreamdb_arrow.dataset.fsck import verify


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    store = open_space(args).store
    report = with_counter(lambda progress: verify(store, args.ref, args.as_of, progress=progress))
    return tell(report, as_json=args.json)
