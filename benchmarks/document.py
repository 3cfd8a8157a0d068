"""docs/performance.md from benchmarks/results/full.jsonl: `--write` writes it, without it a stale page is an error."""

from __future__ import annotations

import sys
from typing import Final

from benchmarks.measure import ROOT
from benchmarks.report import Block, markdown, read_blocks

PAGE: Final = ROOT / "docs" / "performance.md"
RESULTS: Final = ROOT / "benchmarks" / "results" / "full.jsonl"

HEAD: Final = """\
# Performance

Made by `make bench-docs` from `benchmarks/results/full.jsonl`, which `make bench-full` writes: figures of this store beside those
of peers, measured in one run on one machine. How each job works is told in [benchmarks](../benchmarks/README.md).

How to read it:

- Each section says in which size it was measured: `full` is what the limits are meant for, `quick` a smaller one.
- The absolute figures are those of one small machine, which other work may have slowed. The ratios hold better: whoever is
  compared takes turns, batch by batch or query by query, in an order that is drawn anew, and a time is the median.
- The first table is what must show, with its limit. Where a line speaks of every query, the worst one counts and is named. `kept`
  and `missed` are judged by the figures of the tables below, and nothing is left out when it is missed.
- In the tables a row is a figure. The number in brackets says how many times that of the first column it is: of times, less than
  1 is faster than the first; of rows a second, more than 1 is.
- "ours, fsync" is the default: a commit counts when it is on the disk. "ours, os" leaves the writing to the operating system, as
  Parquet, Lance and Delta always do; compare like with like. DuckDB flushes to the disk too.
- All that we write is hashed, and verified before it is used. The peers do neither.
- "warm" is a query that was asked just before, too; single searches are asked 200 in a row, then it is the next one's turn.
- "cold" is a new process that has its modules imported, opening included, with the system's page cache warm; not the first one that
  reads these files, which hashes them. "a program" is Python from its start to its end, imports included.
"""


def page(blocks: list[Block]) -> str:
    """Return the page."""
    return f"{HEAD}\n{_machine(blocks)}\n\n{markdown(blocks)}"


def _machine(blocks: list[Block]) -> str:
    systems = dict.fromkeys(f"{b.facts['system']}, {b.facts['cpus']} cores" for b in blocks)
    packages = {name: version for b in blocks for name, version in b.facts["packages"].items()}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"Measured on {' and '.join(systems)}, with {versions}."


def main() -> int:
    """Write the page, or say whether it is current."""
    text = page(read_blocks(RESULTS))
    if "--write" in sys.argv[1:]:
        PAGE.write_text(text, "utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text("utf-8") == text:
        return 0
    sys.stderr.write(f"{PAGE} is not current; run: make bench-docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
