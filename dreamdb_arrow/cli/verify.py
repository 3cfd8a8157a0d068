"""`dreamdb verify`: check one version, and all that it leads to."""

from __future__ import annotations

from argparse import Namespace

from dreamdb_arrow.cli.environment import cache_dir
from dreamdb_arrow.cli.fsck import tell
from dreamdb_arrow.dataset.fsck import verify


def run(args: Namespace) -> int:
    """Run the verb and return the exit code: 1 when something is wrong."""
    kept = cache_dir(args.cache_dir)
    return tell(args, lambda told: verify(args.backend, args.ref, args.as_of, cache_dir=kept, progress=told))
