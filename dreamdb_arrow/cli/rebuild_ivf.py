"""`dreamdb rebuild-ivf`: train the cells of a field anew and file every row in them."""

from __future__ import annotations

from argparse import Namespace

from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.reindexing import run_verb


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    ds = open_for_writing(args)
    return run_verb(
        args,
        lambda told: ds.rebuild_ivf(
            args.field, k=args.cells, seed=args.seed, sample=args.sample, progress=told
        ),
    )
