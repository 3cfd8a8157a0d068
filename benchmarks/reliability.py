"""docs/reliability.md from benchmarks/results/reliability.jsonl: `--write` writes it, without it a stale page is an error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.measure import ROOT
from benchmarks.soak import PARTS, Line, Part, read_results

PAGE: Final = ROOT / "docs" / "reliability.md"
NAMES: Final = ("part", "promise", "what")
LARGEST: Final = ("slowest_ms", "memory_mb", "peak_mb")  # of which the whole is not the sum

HEAD: Final = """\
# Reliability

What is promised, how each promise is tested, and what the last full run came to. Written by `make soak` from
`benchmarks/results/reliability.jsonl`. A short version of each part runs with `make test`; `make soak PART=kills` runs one part in
full. What is not promised, and against whom, is told in [SECURITY.md](../SECURITY.md); the exact words are in
[spec 0005](../spec/0005-backend-interface.md) and [spec 0008](../spec/0008-versioning.md).

A verb is one row of `dreamdb_arrow/testing/verbs.py`; kills, power cuts and store faults go over all of them.
"""


def page(lines: Sequence[Line]) -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_section(name, part, lines) for name, part in PARTS.items())])


def _section(name: str, part: Part, lines: Sequence[Line]) -> str:
    own = [line for line in lines if line["part"] == name]
    told = [line for line in own if "what" in line]
    words = [
        f"## {name}",
        part.promise,
        f"{part.how} Tests: `{part.tests}`; in full: `make soak PART={name}`.",
    ]
    words += [_ran(line) for line in own if "what" not in line] or ["No full run has been kept yet."]
    words += [_table(group, told) for group in dict.fromkeys(line["promise"] for line in told)]
    return "\n\n".join(words) + "\n"


def _ran(line: Line) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in line["packages"].items())
    return (
        f"Last full run: {line['date']}, {line['seconds']:,} s on {line['system']} with {line['cpus']} cores, "
        f"Python {line['python']}, {packages}. All passed."
    )


def _table(group: str, told: Sequence[Line]) -> str:
    rows = [line for line in told if line["promise"] == group]
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in NAMES]
    cells = [[row["what"], *(_shown(row.get(key)) for key in keys)] for row in rows]
    if len(rows) > 1:
        cells.append(["**all**", *(_shown(_whole(key, rows)) for key in keys)])
    head = [
        f"| {group} | {' | '.join(key.replace('_', ' ') for key in keys)} |",
        f"| --- |{' ---: |' * len(keys)}",
    ]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in cells)])


def _whole(key: str, rows: Sequence[Line]) -> Any:
    values = [row[key] for row in rows if key in row]
    return max(values) if key in LARGEST else sum(values)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def main() -> int:
    """Write the page, or say whether it is current."""
    text = page(read_results())
    if "--write" in sys.argv[1:]:
        PAGE.write_text(text, "utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text("utf-8") == text:
        return 0
    sys.stderr.write(f"{PAGE} is not current; run: python -m benchmarks.reliability --write\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
