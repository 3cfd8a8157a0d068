"""`dreamdb ada-ivf-step`: cut cells that hold too much and give up small ones, in stages that may be processes of their own."""

from __future__ import annotations

from argparse import Namespace

from dreamdb_arrow.cli.opening import open_for_writing
from dreamdb_arrow.cli.reindexing import run_verb


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    ds = open_for_writing(args)
    return run_verb(
        args,
        lambda told: ds.ada_ivf_step(
            args.field, stage=args.stage, target=args.target, seed=args.seed, progress=told
        ),
    )
