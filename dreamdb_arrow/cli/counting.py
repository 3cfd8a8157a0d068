"""How far a verb has come that does not know how much there is: a number that runs, where somebody looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dreamdb_arrow.cli.tables import screen

T = TypeVar("T")
Told = Callable[[str, int], None]


def with_counter(work: Callable[[Told | None], T]) -> T:
    """Do the work, which tells its stage and how many objects it has seen in it; return what it returns."""
    console = screen(stderr=True)
    if not console.is_terminal:
        return work(None)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        return work(lambda stage, count: bar.update(task, description=f"{stage}: {count:,} objects"))
