"""`dreamdb pull`: bring refs of another backend into a Space."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from dreamdb_arrow.cli.environment import cache_dir
from dreamdb_arrow.cli.transferring import run_transfer, wanted_refs
from dreamdb_arrow.dataset.transfer import pull


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    options = {"force": args.force, "depth": args.depth, "cache_dir": cache_dir(args.cache_dir)}
    return run_transfer(args, partial(pull, args.backend, args.remote, wanted_refs(args), **options))
