"""The prompt of `dreamdb sql`: statements over several lines, a history, and a few words that begin with a dot."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from dreamdb_arrow.cli.failures import OK, failure_line, is_interrupt
from dreamdb_arrow.engines.plans import literal
from dreamdb_arrow.errors import InvalidInputError

HISTORY_LINES: Final = 2000
FIRST: Final = "dreamdb> "
NEXT: Final = "    ...> "
QUIT: Final = (".quit", ".exit")

GREETING: Final = "SQL on DreamDB: .help for help, .quit to leave\n"
HELP: Final = """\
Statements end with ';' and may run over several lines. Ctrl-C drops what was typed, Ctrl-D or .quit leaves.

  .refs           the refs of the Space
  .schema REF     the fields of a ref
  .help           this
  .quit           leave

  FROM hello;                                              the rows of the ref hello
  FROM dreamdb_scan('hello', as_of := 'first');            the same as they were at the snapshot 'first'
  FROM dreamdb_search('hello', 'v', [0.1, 0.7], k := 5);   the five nearest to a vector
  FROM dreamdb_history('hello');                           the versions
"""

Run = Callable[[str], None]


def prompt(con: Any, run: Run, history: Path) -> int:
    """Read statements and run them until the user leaves; a failure is one line, and the prompt goes on."""
    with _history(history):
        sys.stderr.write(GREETING)
        for text in _inputs(con):
            try:
                run(_query_of(text))
            except BrokenPipeError:
                raise
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the next statement may be fine
                told = "interrupted" if is_interrupt(error) else f"dreamdb: {failure_line(error)}"
                sys.stderr.write(f"{told}\n")
    return OK


def _inputs(con: Any) -> Iterator[str]:
    """Yield what the user enters: words with a dot at once, SQL when it is complete."""
    lines: list[str] = []
    while True:
        try:
            line = input(NEXT if lines else FIRST)
        except EOFError:
            sys.stderr.write("\n")
            return
        except KeyboardInterrupt:
            lines.clear()
            sys.stderr.write("\n")
            continue
        if not lines and line.strip() in QUIT:
            return
        if lines or line.strip():
            lines.append(line)
        if lines and (lines[0].lstrip().startswith(".") or is_complete(con, "\n".join(lines))):
            text = "\n".join(lines)
            lines.clear()
            yield text


def is_complete(con: Any, text: str) -> bool:
    """Whether a text ends with a `;` that ends a statement, not one inside of quotes or a comment."""
    if not text.rstrip().endswith(";"):
        return False
    try:
        con.extract_statements(text)
    except Exception as error:  # noqa: BLE001 - DuckDB's: any other mistake does not mend with more lines
        return "unterminated" not in str(error)
    return True


def _query_of(text: str) -> str:
    """Return the SQL of what was entered. Raises InvalidInputError for an unknown word with a dot."""
    word, _, rest = text.strip().rstrip(";").partition(" ")
    if not word.startswith("."):
        return text
    if word == ".refs":
        return "FROM dreamdb_refs()"
    if word == ".schema" and rest.strip():
        return f"FROM dreamdb_schema({literal(rest.strip())})"
    if word == ".help":
        sys.stdout.write(HELP)
        return ""
    raise InvalidInputError(
        ".schema wants the name of a ref" if word == ".schema" else f"unknown word {word}; see .help"
    )


@contextlib.contextmanager
def _history(file: Path) -> Iterator[None]:
    """Keep what is entered in a file, where Python has readline and the file can be written."""
    try:
        readline: Any = import_module("readline")
    except ImportError:
        yield
        return
    readline.set_history_length(HISTORY_LINES)
    with contextlib.suppress(OSError):
        readline.read_history_file(file)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            readline.write_history_file(file)
