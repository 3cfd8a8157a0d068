"""The demo as one verb: fetch, build, tour, and how to go on."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.text import Text

from dreamdb_arrow.demo.build import prepare_space
from dreamdb_arrow.demo.embed import load_model
from dreamdb_arrow.demo.show import duration
from dreamdb_arrow.demo.tour import DEFAULT_QUERY, give_tour
from dreamdb_arrow.errors import InvalidInputError


def run_demo(directory: Path, query: str | None, console: Console) -> int:
    """Fetch the data and build the Space unless both are there, give the tour, and return 0.

    Args:
        directory: where downloads and the Space are kept, `demo-data` by default.
        query: the sentence to search for; None takes the demo's own.
        console: where all of it is printed; bars only when it is a terminal.

    Raises DreamDBError, with what to do about it: StoreError when a registry does not give what the demo cannot do
    without, UnsupportedError when the demo's extra is not installed, InvalidInputError for a folder that holds
    something else or a query without a word.
    """
    if query is not None and not query.strip():
        raise InvalidInputError("the query is empty: give a sentence")
    begun = perf_counter()
    model = cache(load_model)
    space, datasets = prepare_space(directory, model, console)
    steps = give_tour(space, datasets, model, query or DEFAULT_QUERY, console)
    console.print()
    console.print(
        Text(f"That was it: {steps} steps, {duration(perf_counter() - begun)} in all. Go on:", style="bold")
    )
    for line in _go_on(directory, space):
        console.print(Text(f"  {line}"), soft_wrap=True)  # never cut: they are to be copied
    return 0


def _go_on(directory: Path, space: Path) -> list[str]:
    where = "" if directory == Path("demo-data") else f"--dir {directory} "
    busiest = "SELECT dest, count(*) FROM flights GROUP BY dest ORDER BY 2 DESC LIMIT 5"
    violin = "SELECT embedding FROM words WHERE word = 'violin'"
    return [
        f'dreamdb demo {where}--query "a place where books are kept"',
        f'dreamdb sql {space} "{busiest}"',
        f"dreamdb sql {space} \"SELECT word, gloss FROM dreamdb_search('words', 'embedding', ({violin}))\"",
        f"dreamdb sql {space}              # a prompt",
        f"dreamdb inspect {space} flights  # fields, Tracks, versions",
    ]
