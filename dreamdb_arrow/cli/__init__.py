"""The command line: `dreamdb VERB ...`, one file a verb. Spec 0006.

`main` is the console script. docs/cli.md is generated from the parsers; `environment.py` is the only reader of
environment variables in the package.
"""

from dreamdb_arrow.cli.dispatch import main

__all__ = ["main"]
