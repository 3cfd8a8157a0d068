"""`dreamdb sql`: SQL on a Space, from the command line, a file, a pipe or a prompt."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from dreamdb_arrow.cli.environment import cache_dir, history_file
from dreamdb_arrow.cli.failures import OK, UsageError
from dreamdb_arrow.cli.interrupts import interruptible
from dreamdb_arrow.cli.opening import open_space
from dreamdb_arrow.cli.results import show, to_file, to_stdout, write_arrow_stream, write_csv, write_json
from dreamdb_arrow.cli.shell import prompt
from dreamdb_arrow.dataset.federation import SUFFIX
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import InvalidInputError

ENGINE: Final[Any] = import_module("dreamdb_arrow.engines.duckdb")  # the one importer of DuckDB

Output = Callable[[Any, int | None], str]


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    interactive = not (args.query or args.command or args.file) and sys.stdin.isatty() and sys.stdout.isatty()
    texts = [] if interactive else list(_texts(args))
    output = _output(args)
    with _session(args) as con:
        if interactive:
            return prompt(con, lambda text: run_text(con, text, output, args.max_rows), history_file())
        statements = [s for text in texts for s in con.extract_statements(text)]
        if args.arrow and sum(map(_asks, statements)) > 1:
            raise UsageError("--arrow takes the result of one statement, this is more than one", "sql")
        for statement in statements:
            run_statement(con, statement, output, args.max_rows)
    return OK


@contextmanager
def _session(args: Namespace) -> Iterator[Any]:
    """Give a DuckDB connection on what the line names: a Space, or a federation by its document."""
    if not args.backend.endswith(SUFFIX):
        with session(open_space(args)) as con:
            yield con
        return
    federations = import_module("dreamdb_arrow.engines.federation")
    cache = cache_dir(args.cache_dir)
    federation = federations.Federation.open(args.backend, cache_dir=cache, offline=args.offline)
    with _attached(federation.attach) as con:
        yield con
    if missing := [one["name"] for one in federation.report if one["place"] is None]:
        sys.stderr.write(f"without {', '.join(missing)}: FROM dreamdb_federation_members() tells why\n")


@contextmanager
def session(space: Space) -> Iterator[Any]:
    """Give a DuckDB connection on a Space."""
    with _attached(lambda con: ENGINE.attach(con, space)) as con:
        yield con


@contextmanager
def _attached(attach: Callable[[Any], Any]) -> Iterator[Any]:
    """Give a new connection to which something is attached, and take both apart: DuckDB complains of what is left."""
    con = ENGINE.duckdb.connect()
    try:
        con.execute("SET enable_progress_bar = false")  # it is drawn on stdout, where the rows go
        attached = attach(con)
        try:
            with interruptible(con):
                yield con
        finally:
            attached.close()
    finally:
        con.close()


def _texts(args: Namespace) -> Iterator[str]:
    """Yield the SQL to run, in order: arguments, -c, --file; without any, what stdin holds."""
    yield from args.query
    yield from args.command or ()
    for name in args.file or ():
        yield read_text(name)
    if not (args.query or args.command or args.file):
        yield read_text("-")


def read_text(name: str) -> str:
    """Return what a file holds, or stdin for `-`. Raises InvalidInputError for what is no text."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{'stdin' if name == '-' else name} is no UTF-8 text: {error.reason}"
        ) from None


def _output(args: Namespace) -> Output:
    if args.arrow == "-":
        return lambda relation, most: to_stdout(relation, most, write_arrow_stream)
    if args.arrow:
        return lambda relation, most: to_file(relation, most, Path(args.arrow))
    if args.json or args.csv:
        write = write_json if args.json else write_csv
        return lambda relation, most: to_stdout(relation, most, write)
    return show


def run_text(con: Any, text: str, output: Output, max_rows: int | None) -> None:
    """Run all statements of a text."""
    for statement in con.extract_statements(text):
        run_statement(con, statement, output, max_rows)


def run_statement(con: Any, statement: Any, output: Output, max_rows: int | None) -> None:
    """Run a statement, put out its rows, and on a terminal tell how many there were and how long it took."""
    started = time.perf_counter()
    relation = con.sql(statement)
    remark = output(relation, max_rows) if _answers(statement, relation) else "done"
    if sys.stderr.isatty():
        sys.stdout.flush()
        sys.stderr.write(f"{remark} in {time.perf_counter() - started:.3f} s\n")


def _answers(statement: Any, relation: Any) -> bool:
    """Whether rows came back that were asked for: a statement such as SET answers with an empty formality."""
    return relation is not None and (_asks(statement) or relation.columns not in (["Count"], ["Success"]))


def _asks(statement: Any) -> bool:
    return [kind.name for kind in statement.expected_result_type] == ["QUERY_RESULT"]
