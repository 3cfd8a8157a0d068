"""Failures, as people see them: one line on stderr and an exit code."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from dreamdb_arrow.cli.words import printable
from dreamdb_arrow.errors import DreamDBError

OK: Final = 0
FAILED: Final = 1  # the data, the store or the query
USAGE: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it

EXIT_CODES: Final = MappingProxyType(
    {
        OK: "done",
        FAILED: "the data, the store or the query is at fault, or the question was answered with no",
        USAGE: "the command line is at fault",
        INTERRUPTED: "interrupted from the keyboard",
    }
)

_ENGINES: Final = frozenset({"duckdb", "_duckdb", "pyarrow"})
_OURS: Final = re.compile(r"(?s).*?\bdreamdb: (.*)")
_UDF: Final = re.compile(r"(?s).*Python exception occurred while executing the UDF: (?:\w+: )?(.*)")
_POINTER: Final = re.compile(r"(?s)\n\s*LINE (\d+): .*")


class UsageError(Exception):
    """The command line is wrong; `verb` is the one it was meant for, if any."""

    def __init__(self, message: str, verb: str = "") -> None:
        super().__init__(message)
        self.verb = verb

    def __str__(self) -> str:
        return f"{self.args[0]} (see {' '.join(['dreamdb', *self.verb.split(), '--help'])})"


def failure_line(error: BaseException) -> str:
    """Return what went wrong as one line of printable characters."""
    root = type(error).__module__.partition(".")[0]
    if isinstance(error, DreamDBError | UsageError):
        text = str(error)
    elif root in _ENGINES:
        text = _engine_text(str(error))
    elif isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, OSError):  # Arrow has none but this for what went wrong inside of a stream
        text = error.strerror or _engine_text(str(error))
    else:
        text = f"internal error: {type(error).__name__}: {error}; --debug shows where, please report it"
    return printable(" ".join(text.split()))


def is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C was behind it: DuckDB stops a query with an error of its own."""
    return isinstance(error, KeyboardInterrupt) or str(error).endswith(("Query interrupted", "Interrupted!"))


def _engine_text(text: str) -> str:
    """Return the sentence in an engine's message: ours where we raised it, else without the drawing of the query."""
    for ours in (_OURS, _UDF):
        if found := ours.match(text):
            return _POINTER.sub("", found[1])
    return _POINTER.sub(lambda found: f" (line {found[1]})" if found[1] != "1" else "", text)
