"""`dreamdb cache`: tell what the local cache holds, and make it smaller."""

from __future__ import annotations

import sys
from argparse import Namespace

from dreamdb_arrow.cli.cells import size_text
from dreamdb_arrow.cli.environment import cache_dir
from dreamdb_arrow.cli.failures import OK
from dreamdb_arrow.cli.tables import Column, print_table, screen
from dreamdb_arrow.cli.values import json_text
from dreamdb_arrow.cli.words import counted
from dreamdb_arrow.columnar.cache_folder import KINDS, counts_of, fetched_limit, held_files, shrink


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    root = cache_dir(args.cache_dir).expanduser().absolute()
    removed = (0, 0)
    if args.clear or args.limit is not None:
        removed = shrink(root, 0 if args.clear else args.limit)
    counts = counts_of(held_files(root))
    limit = fetched_limit(root)
    if args.json:
        kinds = [{"kind": k, "files": n, "bytes": size, "what": KINDS[k]} for k, (n, size) in counts.items()]
        facts = {"cache_dir": str(root), "fetched_limit": limit, "kinds": kinds}
        gone = {"removed_files": removed[0], "removed_bytes": removed[1]}
        sys.stdout.write(f"{json_text({**facts, **gone})}\n")
        return OK
    if args.clear or args.limit is not None:
        sys.stdout.write(f"removed {counted(removed[0], 'file')}, {size_text(removed[1])}\n")
    bound = "" if limit is None else f"; what is fetched stays within {size_text(limit)}"
    total = sum(size for _, size in counts.values())
    sys.stdout.write(f"{root}: {size_text(total)}{bound}\n")
    print_table(
        screen(),
        [
            Column("kind", list(counts)),
            Column("files", [f"{n:,}" for n, _ in counts.values()], right=True),
            Column("size", [size_text(size) for _, size in counts.values()], right=True),
            Column("what", [KINDS[kind] for kind in counts]),
        ],
    )
    return OK
