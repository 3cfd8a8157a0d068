"""Run jobs beside the peers, in one run, and print tables with ratios. See benchmarks/README.md."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.jobs import (
    access,
    branches,
    catalog,
    copying,
    deletes,
    far,
    growth,
    history,
    ingest,
    memory,
    reference,
    scaling,
    scans,
    search,
    vector_bytes,
    versions,
)
from benchmarks.measure import Figure
from benchmarks.ours import Stripes
from benchmarks.peers import INDEXES, OUR_NAMES, STORES, missing
from benchmarks.report import Block, facts, markdown, read_blocks, write_blocks
from benchmarks.sizes import SIZES, Setup, Sizes

JOBS: Final[dict[str, Callable[[Setup], Iterator[Figure]]]] = {
    job.JOB: job.run
    for job in (
        ingest,
        scans,
        versions,
        deletes,
        history,
        branches,
        access,
        copying,
        reference,
        memory,
        scaling,
        search,
        growth,
        vector_bytes,
        far,
        catalog,
    )
}
PEERS: Final = (*(name for name in STORES if name not in {*OUR_NAMES, Stripes.name}), *INDEXES)
PACKAGES: Final = tuple(
    dict.fromkeys(name.split(",")[0] for name in PEERS)
)  # "lance" stands for "lance, btree" too
RESULTS: Final = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 when a job failed."""
    parser = arguments_parser()
    args = parser.parse_args(arguments)
    try:
        sizes, jobs, peers = sizes_of(args), listed(args.jobs, JOBS, "job"), peers_of(args)
    except ValueError as error:
        parser.error(str(error))
    work = args.work or Path(tempfile.mkdtemp(prefix="dreamdb-bench-"))
    setup = Setup(sizes, peers, work)
    out = args.out or RESULTS / ("full.jsonl" if args.size == "full" else "latest.jsonl")
    try:
        blocks, failed = run_jobs(setup, jobs, args.size)
    finally:
        if args.work is None:
            shutil.rmtree(work, ignore_errors=True)
    kept = [block for block in read_blocks(out) if block.job not in jobs]
    order = list(JOBS)
    write_blocks(out, sorted([*kept, *blocks], key=lambda block: order.index(block.job)))
    print(markdown([block for block in read_blocks(out) if block.job in jobs]), end="")
    return 1 if failed else 0


def arguments_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--size", choices=list(SIZES), default="quick", help="how much each job does (default: quick)"
    )
    parser.add_argument(
        "--jobs", default="", metavar="A,B", help=f"which of {', '.join(JOBS)} (default: all)"
    )
    parser.add_argument(
        "--peers", default="", metavar="A,B", help=f"which of {', '.join(PACKAGES)} (default: all)"
    )
    parser.add_argument("--skip", default="", metavar="A,B", help="peers to leave out")
    parser.add_argument("--rows", type=int, help="rows of ingest, scans and deletes")
    parser.add_argument("--work", type=Path, help="a scratch folder that stays (default: a temporary one)")
    parser.add_argument(
        "--out",
        type=Path,
        help="the file of JSON lines (default: latest.jsonl or full.jsonl in results/); other jobs' lines in it stay",
    )
    return parser


def sizes_of(args: argparse.Namespace) -> Sizes:
    """Return the sizes that are asked for."""
    sizes = SIZES[args.size]
    if args.rows is None:
        return sizes
    if args.rows < sizes.commits:
        raise ValueError(f"--rows {args.rows} is fewer than the {sizes.commits} commits they go into")
    return replace(sizes, rows=args.rows // sizes.commits * sizes.commits)


def listed(text: str, known: dict[str, object] | tuple[str, ...], what: str) -> list[str]:
    """Return the names in a list, or all there are; ValueError names one that is not known."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ValueError(f"no {what} is called {name!r}; there are {', '.join(known)}")
    return names or list(known)


def peers_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the peers to take part, having told which cannot."""
    wanted = listed(args.peers, PACKAGES, "peer")
    if args.skip:
        unwanted = listed(args.skip, PACKAGES, "peer")
        wanted = [name for name in wanted if name not in unwanted]
    names = [name for name in PEERS if name.split(",")[0] in wanted]
    lacking = {name: module for name in names if (module := missing(name))}
    for module in dict.fromkeys(lacking.values()):
        gone = " and ".join(repr(n) for n, m in lacking.items() if m == module)
        sys.stderr.write(f"skipped {gone}: {module} is not installed; pip install 'dreamdb-arrow[bench]'\n")
    return tuple(name for name in names if name not in lacking)


def run_jobs(setup: Setup, jobs: list[str], size: str) -> tuple[list[Block], list[str]]:
    """Return what the jobs came to, and the names of those that failed; the others go on."""
    blocks, failed = [], []
    for job in jobs:
        started, figures = time.perf_counter(), []
        try:
            figures.extend(JOBS[job](setup))
        except Exception:  # noqa: BLE001 - the figures of the other jobs are worth having
            failed.append(job)
            setup.tell(f"{job} failed:\n{traceback.format_exc()}")
        if figures:
            blocks.append(Block(job, facts(size, setup.sizes, time.perf_counter() - started), tuple(figures)))
    setup.say("")
    return blocks, failed


if __name__ == "__main__":
    sys.exit(main())
