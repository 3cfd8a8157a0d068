"""`dreamdb mirror`: make the refs of a backend those of another, after asking about what goes."""

from __future__ import annotations

import sys
from argparse import Namespace
from functools import partial
from typing import Any

from dreamdb_arrow.cli.environment import cache_dir
from dreamdb_arrow.cli.failures import FAILED, OK
from dreamdb_arrow.cli.transferring import run_transfer
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted
from dreamdb_arrow.dataset.transfer import mirror


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    work = partial(mirror, args.backend, args.remote, depth=args.depth, cache_dir=cache_dir(args.cache_dir))
    planned = work(dry_run=True)
    if args.dry_run:
        sys.stdout.write(f"{json_text(planned) if args.json else _told(planned)}\n")
        return OK
    if planned["removed"] and not (args.yes or _confirmed(planned["removed"], args.remote)):
        sys.stderr.write("nothing was changed\n")
        return FAILED
    return run_transfer(args, work)


def _told(planned: dict[str, Any]) -> str:
    lines = [f"{name} would be {address}" for name, address in planned["refs"].items()]
    lines += [f"{name} would be removed" for name in planned["removed"]]
    return "\n".join(lines) or "up to date"


def _confirmed(names: list[str], target: str) -> bool:
    """Ask, where there is somebody to answer; without --yes nothing goes elsewhere."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        sys.stderr.write(f"{', '.join(names)} would be removed from {target}; --yes says so\n")
        return False
    sys.stderr.write(f"remove {counted(len(names), 'ref')} of {target}: {', '.join(names)}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
