"""What the tour prints: numbered steps, SQL as it runs, results as tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

ROWS_SHOWN: Final = 20
SHORT: Final = 24
GAP: Final = 2


@dataclass(slots=True)
class Stage:
    """Where steps are shown, one after the other, with numbers."""

    console: Console
    steps: int = 0

    def begin(self, says: str) -> None:
        """Open the next step with a line that says what it does."""
        self.steps += 1
        self.console.print()
        self.console.print(Text(f"{self.steps}. {says}", style="bold"))

    def code(self, text: str, language: str = "sql") -> None:
        """Show code, as it will run."""
        self.console.print(
            Syntax(text, language, theme="ansi_dark", background_color="default", word_wrap=True)
        )

    def table(self, run: Callable[[], pa.Table]) -> pa.Table:
        """Run something that gives a table, show it and how long it took, and return it."""
        begun = perf_counter()
        found = run()
        took = perf_counter() - begun
        self.console.print(as_rich(found, self.console.width))
        self.note(f"{found.num_rows:,} row{'' if found.num_rows == 1 else 's'} in {duration(took)}")
        return found

    def note(self, text: str) -> None:
        """Add a line in small print."""
        self.console.print(Text(text, style="dim"))

    def lines(self, lines: list[str]) -> None:
        """Show lines of characters as they are."""
        for line in lines:
            self.console.print(Text(line), no_wrap=True, overflow="crop")


def as_rich(found: pa.Table, width: int) -> Table:
    """Return an Arrow table, or its first rows, for a terminal: a row a line, numbers to the right.

    Short columns are shown whole, long ones are cut to share what room is left.
    """
    table = Table(header_style="bold", box=None, pad_edge=False)
    head = found.slice(0, ROWS_SHOWN)
    columns = [[as_text(value) for value in _plain(column)] for column in head.columns]
    widths = [max(map(len, [name, *texts])) for name, texts in zip(head.column_names, columns, strict=True)]
    long = sum(w > SHORT for w in widths)
    left = width - sum(w for w in widths if w <= SHORT) - GAP * (len(widths) - 1)
    for field, needed in zip(head.schema, widths, strict=True):
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        room = needed if needed <= SHORT else max(SHORT, left // long)
        table.add_column(
            Text(field.name), justify="right" if number else "left", no_wrap=True, max_width=room
        )
    for row in zip(*columns, strict=True):
        table.add_row(*map(Text, row))
    return table


def _plain(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type):  # Python's times have no nanoseconds
        column = pc.cast(column, pa.timestamp("us"), safe=False)
    values: list[Any] = column.to_pylist()
    return values


def as_text(value: Any) -> str:
    """Return a value in few characters: bytes as their number, times without what is zero, lists in brackets."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list):
        return f"[{', '.join(as_text(v) for v in value[:4])}{', ...' if len(value) > 4 else ''}]"
    if isinstance(value, datetime):
        return str(value).removesuffix(":00")
    return str(value).lower() if isinstance(value, bool) else str(value)


def duration(seconds: float) -> str:
    """Return a time in milliseconds or, when it is long, in seconds."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
