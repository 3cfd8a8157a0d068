"""`dreamdb demo`: real data, a Space, a tour. The work is done in `dreamdb_arrow.demo`, which needs an extra."""

from __future__ import annotations

from argparse import Namespace
from importlib import import_module

from dreamdb_arrow.cli.tables import Screen
from dreamdb_arrow.errors import UnsupportedError


def run(args: Namespace) -> int:
    """Run the verb and return the exit code."""
    try:
        demo = import_module("dreamdb_arrow.demo")
    except ImportError as error:
        hint = "pip install 'dreamdb-arrow[demo]'"
        raise UnsupportedError(
            f"the demo needs {error.name or error}, which is not installed: {hint}"
        ) from error
    return int(demo.run_demo(args.dir, args.query, Screen(highlight=False)))
