"""What PostgreSQL's clients ask about tables, answered by a database that has the Refs as empty tables. ADR 0048.

It is not the one that has the rows: it sees no file, no Space and none of its functions, whatever a statement says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.engines.duckdb import DuckDBError, open_database
from dreamdb_arrow.engines.plans import identifier
from dreamdb_arrow.errors import InvalidInputError, StoreError
from dreamdb_arrow.servers.grants import User
from dreamdb_arrow.servers.lending import Lending
from dreamdb_arrow.servers.postgres.rewrite import asks_catalog, rewritten
from dreamdb_arrow.servers.postgres.views import PLACE, catalog_sql
from dreamdb_arrow.servers.running import Watch
from dreamdb_arrow.servers.sandbox import HIDDEN, nodes_of
from dreamdb_arrow.servers.sandboxes import Sandboxes

MEMORY: Final = "256MB"
ROWS_MAX: Final = 1_000_000
FUNCTIONS: Final = frozenset({"unnest", "generate_series", "range"})
COLUMNS_SQL: Final = """
    SELECT table_name, list((column_name, data_type) ORDER BY column_index) FROM duckdb_columns()
    WHERE NOT internal AND schema_name = 'main' GROUP BY table_name ORDER BY table_name"""
TREE_SQL: Final = "SELECT json_serialize_sql($1::VARCHAR)"
KEPT_MAX: Final = 16  # catalogs; more only where more users are connected
Tables = dict[str, list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Question:
    """A statement about the catalog, in DuckDB's SQL, with the names of its parameters."""

    text: str
    parameters: tuple[str, ...]
    tree: Any


@dataclass(slots=True)
class Catalog:
    """The database of names and types that a user may know. `close` takes it apart."""

    sandboxes: Sandboxes
    user: User
    watch: Watch
    tables: Tables = field(default_factory=dict)
    _con: Any = field(default_factory=lambda: open_database(memory_limit=MEMORY, threads="1"))
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Make the views, and lock what could reach out."""
        self._con.execute(catalog_sql())
        self._con.execute(
            "SET temp_directory = ''; SET enable_external_access = false; SET python_enable_replacements = false;"
            "SET lock_configuration = true"
        )

    def close(self) -> None:
        """Take the database apart."""
        self._con.close()

    def tree(self, sql: str) -> Any:
        """Return the tree of a query, or None for what DuckDB does not read as one."""
        with self._con.cursor() as cursor:
            parsed = json.loads(cursor.execute(TREE_SQL, [sql]).fetchone()[0])
        return None if parsed["error"] or len(parsed["statements"]) != 1 else parsed["statements"][0]

    def question(self, sql: str) -> Question | None:
        """Return a statement as a question about the catalog; None for one that is about the rows of Refs.

        Raises InvalidInputError for one that is about the catalog, and cannot be read or may not run.
        """
        if not asks_catalog(sql) or self._names_rows(sql):
            return None
        text = rewritten(sql)
        tree = self.tree(text)
        if tree is None:
            raise InvalidInputError("this question about the catalog is not understood")
        for node in nodes_of(tree):
            _check(node)
        named = sorted(tree.get("named_param_map", ()), key=lambda one: one["value"])
        return Question(text, tuple(one["key"] for one in named), tree)

    def _names_rows(self, sql: str) -> bool:
        """Return whether a statement names tables that are none of the catalog's."""
        tree = self.tree(sql)
        if tree is None:
            return False
        own = {e["key"].lower() for n in nodes_of(tree) for e in (n.get("cte_map") or {}).get("map", [])}
        for node in nodes_of(tree):
            name, schema = str(node.get("table_name", "")).lower(), str(node.get("schema_name", "")).lower()
            is_ref = schema in {"", "main"} and name not in own and not name.startswith("pg_")
            if node.get("type") == "TABLE_FUNCTION" and "dreamdb" in str(
                node["function"].get("function_name")
            ):
                return True
            if node.get("type") == "BASE_TABLE" and (is_ref or (schema == "" and name in self.tables)):
                return True
        return False

    def refresh(self) -> None:
        """Look which Refs there are now, and what their columns are."""
        with self.sandboxes.lent(self.user) as sandbox:
            sandbox.refresh()
            with sandbox.cursor() as cursor:
                rows = cursor.execute(COLUMNS_SQL).fetchall()
        found: Tables = {name: list(map(tuple, made)) for name, made in rows}
        with self._lock:
            for name in self.tables.keys() - found.keys():
                self._con.execute(f"DROP TABLE IF EXISTS main.{identifier(name)}")
            for name, columns in found.items():
                if self.tables.get(name) != columns:
                    said = ", ".join(f"{identifier(column)} {kind}" for column, kind in columns)
                    with suppress(DuckDBError):  # a type that cannot be said again: such a Ref is not listed
                        self._con.execute(f"CREATE OR REPLACE TABLE main.{identifier(name)} ({said})")
            self.tables = found

    def columns(self, tree: Any) -> dict[str, str]:
        """Return the types of the columns of the tables that a tree names, by name in lower case."""
        names = {n["table_name"].lower() for n in nodes_of(tree) if n.get("type") == "BASE_TABLE"}
        found: dict[str, str] = {}
        for name, columns in self.tables.items():
            if name.lower() in names:
                found |= {column.lower(): kind for column, kind in columns}
        return found

    def answer(self, question: Question, arguments: list[Any], is_gone: Callable[[], bool]) -> pa.Table:
        """Return the rows of a question, whole: they are few. Raises StoreError where that takes too long."""
        self.refresh()
        named = dict(zip(question.parameters, arguments, strict=True))
        with self._con.cursor() as cursor, self.watch.watching(is_gone, cursor.interrupt) as watched:
            try:
                table: pa.Table = _relation(cursor, question, named).limit(ROWS_MAX).to_arrow_table()
            except DuckDBError:
                if watched.why:
                    raise StoreError(watched.why) from None
                raise
        return table

    def schema(self, question: Question) -> pa.Schema:
        """Return the columns of a question's answer, which is bound, not run."""
        with self._con.cursor() as cursor:
            relation = _relation(cursor, question, dict.fromkeys(question.parameters))
            schema: pa.Schema = relation.limit(0).to_arrow_table().schema
        return schema


Catalogs = Lending[User, Catalog]


def catalogs_over(sandboxes: Sandboxes, watch: Watch) -> Catalogs:
    """Return the catalogs of those who are connected: sessions share one only if they are of one user, or of one token."""
    return Catalogs(lambda user: Catalog(sandboxes, user, watch), KEPT_MAX)


def _relation(cursor: Any, question: Question, named: dict[str, Any]) -> Any:
    return cursor.sql(question.text, params=named) if named else cursor.sql(question.text)


def _check(node: dict[str, Any]) -> None:
    """Refuse what is none of the catalog's views, and functions that tell of the server."""
    if (
        node.get("type") == "TABLE_FUNCTION"
        and node["function"].get("function_name", "").lower() not in FUNCTIONS
    ):
        raise InvalidInputError("a question about the catalog calls no table function")
    if node.get("type") == "BASE_TABLE" and node["schema_name"].lower() not in {"", PLACE}:
        raise InvalidInputError(f"no schema {node['schema_name'][:100]!r} in the catalog")
    if str(node.get("function_name", "")).lower() in HIDDEN:
        raise InvalidInputError("this function is not available here")
