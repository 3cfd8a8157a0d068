"""The command line: `dreamdb VERB ...`, one file a verb. Spec 0006.

`program` is the console script, `main` what it runs. docs/cli.md is generated from the parsers; `environment.py` is the only reader of
environment variables in the package.
"""

from dreamdb_arrow.cli.dispatch import main, program

__all__ = ["main", "program"]
