"""Tables on a terminal: as many columns as fit, as wide as fits; whole where the output is a file or a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final, NoReturn

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

SEPARATOR: Final = "  "
GAP: Final = len(SEPARATOR)
WIDEST: Final = 1_000_000
NARROWEST: Final = 8  # a column is left out before it gets narrower than this


class Screen(Console):
    """A console that leaves a closed pipe to `main`."""

    def on_broken_pipe(self) -> NoReturn:
        """Say so, where rich would end the process."""
        raise BrokenPipeError


@dataclass(frozen=True, slots=True)
class Column:
    """A column of texts; `right` is for numbers."""

    name: str
    cells: Sequence[str]
    right: bool = False

    @property
    def width(self) -> int:
        """How many characters it takes to show it whole."""
        return max(map(cell_len, (self.name, *self.cells)))

    @property
    def least(self) -> int:
        """How many it must have: a number cut short would be another number."""
        return self.width if self.right else min(self.width, NARROWEST)


def screen(file: IO[str] | None = None, *, stderr: bool = False) -> Screen:
    """Return a console for plain texts: nothing in them is markup."""
    made = Screen(file=file, stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)
    if not made.is_terminal:  # a file or a pipe is as wide as it takes
        made.width = WIDEST
    return made


def print_table(console: Console, columns: Sequence[Column]) -> int:
    """Print columns side by side and return how many were left out because the terminal is narrow.

    The lines are put together here: rich would take minutes for a million of them.
    """
    shown, widths = list(columns), [c.width for c in columns]
    if console.is_terminal:
        shown, widths = fit(columns, console.width)
    padded = [
        [_padded(text, w, right=c.right) for text in c.cells] for c, w in zip(shown, widths, strict=True)
    ]
    names = (_padded(c.name, w, right=c.right) for c, w in zip(shown, widths, strict=True))
    console.print(Text(SEPARATOR.join(names), style="bold"))
    console.print("─" * (sum(widths) + GAP * (len(widths) - 1)))
    console.file.writelines(f"{SEPARATOR.join(row).rstrip()}\n" for row in zip(*padded, strict=True))
    return len(columns) - sum(any(c is given for given in columns) for c in shown)


def _padded(text: str, width: int, *, right: bool) -> str:
    """Return a text in a cell of this width; what does not fit ends with an ellipsis."""
    size = cell_len(text)
    if size > width:
        return f"{set_cell_size(text, width - 1)}…"
    blank = " " * (width - size)
    return blank + text if right else text + blank


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], list[int]]:
    """Return the columns that a terminal has room for, and their widths.

    Narrow columns keep their width and the widest give way first; when that is not enough, those in the middle go.
    """
    kept, count = list(columns), len(columns)
    while count > 1 and sum(c.least + GAP for c in kept) > width:
        count -= 1
        tail = columns[len(columns) - count // 2 :]
        kept = [*columns[: (count + 1) // 2], Column("…", ["…"] * len(columns[0].cells)), *tail]
    return kept, _share(kept, width - GAP * len(kept))


def _share(columns: Sequence[Column], room: int) -> list[int]:
    """Return widths of `room` together: the least of each, and more by turns until each has what it takes."""
    granted = [c.least for c in columns]
    left = room - sum(granted)
    order = sorted(range(len(columns)), key=lambda i: columns[i].width)
    for rank, at in enumerate(order):
        total = left // (len(order) - rank) + granted[at]
        more = max(0, min(columns[at].width, total) - granted[at])
        granted[at] += more
        left -= more
    return granted
