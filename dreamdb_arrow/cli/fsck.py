"""`dreamdb fsck`: read everything and tell what is wrong, with a progress bar where somebody looks; restore what can be."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable

from dreamdb_arrow.cli.environment import cache_dir
from dreamdb_arrow.cli.failures import FAILED, OK
from dreamdb_arrow.cli.reindexing import Told, with_bar
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted
from dreamdb_arrow.dataset.fsck import Checked, fsck


def run(args: Namespace) -> int:
    """Run the verb and return the exit code: 1 when something is wrong."""
    return tell(
        args,
        lambda told: fsck(
            args.backend,
            args.refs or None,
            depth=args.max_depth,
            rows=not args.objects_only,
            repair_from=args.repair_from,
            cache_dir=cache_dir(args.cache_dir),
            progress=told,
        ),
    )


def tell(args: Namespace, check: Callable[[Told | None], Checked]) -> int:
    """Run a check, tell what it found, and return the exit code."""
    checked = with_bar(args.verb, check)
    if args.json:
        sys.stdout.write(f"{json_text(checked.as_dict())}\n")
        return OK if checked.ok else FAILED
    for path in checked.repaired:
        sys.stdout.write(f"restored {path}\n")
    for finding in checked.findings:
        sys.stdout.write(
            f"{finding.path}: {finding.problem}{'' if finding.live else ' (no ref leads to it)'}\n"
        )
    found = counted(len(checked.findings), "problem") if checked.findings else "nothing is wrong"
    seen = f"{counted(checked.refs, 'ref')}, {counted(checked.versions, 'version')}, {counted(checked.live, 'object')}"
    sys.stdout.write(f"{found}: {seen}\n")
    return OK if checked.ok else FAILED
