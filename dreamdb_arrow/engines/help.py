"""What the SQL functions say of themselves: the comments of `sql/`, of which docs/sql.md and `dreamdb_help` are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import pyarrow as pa

from dreamdb_arrow.engines.macros import macro_texts
from dreamdb_arrow.errors import InvalidInputError

COMMENT: Final = "--"
EXAMPLE: Final = "Example: "
HELP: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("function", "signature", "about")),
        ("examples", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, slots=True)
class Help:
    """The comment of one file: its first line, what stands between, and its examples, statements that end with `;`."""

    function: str
    signature: str
    about: str
    examples: tuple[str, ...]


def read_help(function: str, text: str) -> Help:
    """Return what the comment at the top of a macro's file says."""
    lines = []
    for line in text.splitlines():
        if not line.startswith(COMMENT):
            break
        lines.append(line.removeprefix(COMMENT).removeprefix(" "))
    about = [line for line in lines[1:] if not line.startswith(EXAMPLE)]
    examples = tuple(line.removeprefix(EXAMPLE) for line in lines if line.startswith(EXAMPLE))
    return Help(function, lines[0], "\n".join(about).strip("\n"), examples)


def all_help(below: str = "") -> list[Help]:
    """Return what is said of each function, or of those `below`, by name."""
    return [read_help(name, text) for name, text in sorted(macro_texts(below).items())]


def help_table(name: str | None) -> pa.Table:
    """Return the help of one function, named with or without `dreamdb_`, or of all. Raises InvalidInputError."""
    found = {told.function: told for told in all_help()}
    if name is not None:
        full = f"dreamdb_{name.removeprefix('dreamdb_')}"
        if full not in found:
            short = ", ".join(known.removeprefix("dreamdb_") for known in found)
            raise InvalidInputError(f"no function {name!r}; there are: {short}")
        found = {full: found[full]}
    return pa.Table.from_pylist([asdict(told) for told in found.values()], schema=HELP)
