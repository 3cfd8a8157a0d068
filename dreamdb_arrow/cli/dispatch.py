"""From the words of a command line to a verb, and from what happened to an exit code."""

from __future__ import annotations

import atexit
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from dreamdb_arrow.cli.failures import FAILED, INTERRUPTED, OK, USAGE, UsageError, failure_line, is_interrupt
from dreamdb_arrow.cli.parsers import parse


def program() -> NoReturn:
    """Run the command line of this process, and end the process.

    Python is not taken down: that takes longer than most verbs, and a thread of Arrow that is still putting away what it has
    read would meet an interpreter that is gone, and abort.
    """
    code = main()
    atexit._run_exitfuncs()  # noqa: SLF001 - scratch folders, metrics on their way; Python has no public name for it
    for stream in (sys.stdout, sys.stderr):
        with suppress(
            OSError, ValueError
        ):  # `main` has told of a full disk, and a reader may have seen enough
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 1 failed, 2 misused, 130 interrupted.

    Whatever goes wrong is told in one line on stderr; `--debug` adds the traceback.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    _print_anything()
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door: no traceback leaves but by --debug
        if is_interrupt(error):
            return INTERRUPTED
        return _tell(error, debug="--debug" in words)
    return code


def _run(words: Sequence[str]) -> int:
    try:
        args = parse(words)
    except SystemExit:  # --help and --version have printed
        return OK
    # Loaded by name, so that `dreamdb --help` loads no engine.
    return int(import_module(f"dreamdb_arrow.cli.{args.verb.replace('-', '_')}").run(args))


def _tell(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    sys.stderr.write(f"dreamdb: {failure_line(error)}\n")
    return USAGE if isinstance(error, UsageError) else FAILED


def _print_anything() -> None:
    """Let characters that the terminal has not be spelled out, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
