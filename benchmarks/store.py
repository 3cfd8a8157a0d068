"""A store behind a few calls: what every peer, and ours, is measured by.

A store is made at a folder for a schema and takes Arrow tables, a commit each; what else it can do, it does, and raises
NotImplementedError for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pyarrow as pa

from benchmarks.rows import SCHEMA


@dataclass(frozen=True, slots=True)
class Relation:
    """A DuckDB connection, and what stands after FROM in a query of it."""

    con: duckdb.DuckDBPyConnection
    source: str

    def answer(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the few rows of a result; unlike `ask`, which makes a relation first, it plans the query once."""
        return self.con.execute(sql.replace("{t}", self.source)).fetchall()

    def ask(self, sql: str) -> pa.Table:
        """Return the result of a query in which `{t}` stands for the table."""
        return self.con.sql(sql.replace("{t}", self.source)).to_arrow_table()


class Store:
    """A table of one peer in a folder. Versions are named by what `append` returns."""

    name: ClassVar[str]
    needs: ClassVar[str | None] = None  # the module to be installed

    def __init__(self, path: Path, schema: pa.Schema = SCHEMA) -> None:
        self.path, self.schema = path, schema

    def load(self) -> None:
        """Import what it needs, so that it is not measured."""
        if self.needs:
            import_module(self.needs)

    def create(self) -> None:
        """Make it, empty."""
        self.path.mkdir(parents=True)

    def append(self, batch: pa.Table) -> Any:
        """Add rows as one commit and return the version, if versions stay."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish what was written, and let go of it."""

    def relation(self) -> Relation:
        """Return it as a table of DuckDB."""
        raise NotImplementedError

    def program(self) -> str:
        """Return a program that opens it in DuckDB and prints how many rows it has."""
        raise NotImplementedError

    def open(self, version: Any = None) -> Callable[[], int]:
        """Open it, at its latest version or at another, and return how to count its rows."""
        raise NotImplementedError

    def count(self, version: Any = None) -> int:
        """Open it and count its rows."""
        return self.open(version)()

    def delete(self, anchors: Sequence[int]) -> None:
        """Delete rows, as one commit."""
        raise NotImplementedError

    def getter(self) -> Callable[[list[int]], pa.Table]:
        """Open it and return how to get the whole rows of some anchors."""
        raise NotImplementedError

    def one_getter(self) -> Callable[[int], dict[str, Any] | None]:
        """Open it and return how to get the row of an anchor as a dict."""
        get = self.getter()
        return lambda key: get([key]).to_pylist()[0]


def sql_counter(relation: Relation) -> Callable[[], int]:
    """Return how to count rows with SQL."""
    return lambda: relation.con.sql(f"SELECT count(*) FROM {relation.source}").fetchall()[0][0]


def sql_getter(relation: Relation) -> Callable[[list[int]], pa.Table]:
    """Return how to get rows by anchor with SQL."""
    return lambda keys: relation.ask(f"SELECT * FROM {{t}} WHERE _anchor IN ({', '.join(map(str, keys))})")
