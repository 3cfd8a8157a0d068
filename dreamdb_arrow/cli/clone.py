"""`dreamdb clone`: copy a Space, or some of its refs, to another backend."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from dreamdb_arrow.cli.environment import cache_dir
from dreamdb_arrow.cli.transferring import run_transfer
from dreamdb_arrow.dataset.transfer import clone


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    cache = cache_dir(args.cache_dir)
    work = partial(clone, args.backend, args.remote, args.refs or None, depth=args.depth, cache_dir=cache)
    return run_transfer(args, work)
