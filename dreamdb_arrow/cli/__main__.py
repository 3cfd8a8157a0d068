"""`python -m dreamdb_arrow.cli`: the same as `dreamdb`, where the script is not on the path."""

from dreamdb_arrow.cli.dispatch import program

program()
