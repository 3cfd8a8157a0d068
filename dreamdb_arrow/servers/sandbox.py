"""SQL of strangers: which statements a server runs, and the DuckDB database it runs them in. ADR 0042.

A sandbox is of one caller, or of those with equal rights: what these are is decided here, for every server (spec 0023).

Two walls. A statement is parsed by DuckDB, and its tree may name only tables of the Space and functions of a list. Behind
that, the database has no files but those of the Space and its cache, no extensions, no Python objects, and its settings are locked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.duckdb import attach, open_database
from dreamdb_arrow.engines.macros import macro_texts
from dreamdb_arrow.engines.plans import literal
from dreamdb_arrow.errors import InvalidInputError, UnsupportedError
from dreamdb_arrow.servers.grants import FULL, READ, Grant, Limits

# Table functions that read no file; DuckDB's own catalog among them, for clients that ask it.
HARMLESS: Final = frozenset(
    [
        "range",
        "generate_series",
        "unnest",
        "repeat",
        "json_each",
        "json_tree",
        "duckdb_tables",
        "duckdb_views",
        "duckdb_columns",
        "duckdb_schemas",
    ]
)
HIDDEN: Final = frozenset(
    [
        "current_setting",
        "getenv",
        "getvariable",
        "query",
        "query_table",
        "write_log",
        "read_text",
        "read_blob",
        "glob",
    ]
)
OWN_PREFIX: Final = "__"  # of functions that macros call; a statement has no business with them
SCHEMAS: Final = frozenset({"main", "information_schema"})
CATALOGS: Final = frozenset({"memory", "system"})
TABLES_OF_TREES: Final = frozenset({"BASE_TABLE", "TABLE_FUNCTION", "SHOW_REF", "SUBQUERY"})
SPECIAL: Final = frozenset({"tables", "databases", "schemas"})  # SHOW TABLES and the like


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL that was checked: its text, and the names of its parameters in order."""

    text: str
    parameters: tuple[str, ...] = ()

    def arguments(self, columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
        """Return parameters by name, from a row that is bound by name or in order. Raises InvalidInputError."""
        if len(row) != len(self.parameters):
            raise InvalidInputError(f"the statement has {len(self.parameters)} parameters, {len(row)} came")
        names = columns if set(columns) == set(self.parameters) else self.parameters
        return dict(zip(names, row, strict=True))


class Sandbox:
    """A database in memory on one Space, for statements of strangers. Use `cursor` for each of them.

    Args:
        space: the Space; its cache should hold nothing of other Spaces.
        limits: see Limits; those of the grant hold beside them.
        grant: what its statements may do.
    """

    def __init__(self, space: Space, limits: Limits, grant: Grant = FULL) -> None:
        self.space, self.limits, self._grant = space, limits.at_most(grant.limits), grant
        self.con = open_database(memory_limit=f"{self.limits.memory_bytes}B")
        self.session = attach(self.con, space, guard=self._check_condition, scope=grant.scope)
        self._parser, self._refreshing = self.con.cursor(), Lock()
        folders = ", ".join(literal(str(place)) for place in places_of(space))
        self.con.execute(
            f"SET allowed_directories = [{folders}]; SET temp_directory = ''; SET enable_external_access = false;"
            "SET python_enable_replacements = false; SET lock_configuration = true"
        )

    def close(self) -> None:
        """Take the database apart."""
        self.session.close()
        self._parser.close()
        self.con.close()

    def cursor(self) -> Any:
        """Return a connection of its own on the database."""
        return self.con.cursor()

    def check(self, sql: str, *, may_write: bool = True) -> Statement:
        """Return a statement that may run: without effects, where it may not write.

        Raises UnsupportedError for one that may not run, InvalidInputError for no SQL.
        """
        tree = self._tree(sql)
        tables = self._tables(tree)
        for node in nodes_of(tree):
            self._check_macro(node, may_write=may_write)
            _check_functions(node)
            _check_table(node, tables)
            if node.get("type") == "BASE_TABLE":
                self._grant.check_verb(READ)
        named = sorted(tree.get("named_param_map", ()), key=lambda one: one["value"])
        return Statement(sql, tuple(one["key"] for one in named))

    def _check_macro(self, node: dict[str, Any], *, may_write: bool) -> None:
        """Refuse a table function of ours that is not granted."""
        name = _table_function(node)
        if name in macro_texts():
            self._grant.check_function(name, may_write=may_write)  # 0023-R7, 0023-R10

    def _tree(self, sql: str) -> Any:
        with self._parser.cursor() as cursor:  # json_serialize_sql takes SELECT and its kin only
            text = cursor.execute("SELECT json_serialize_sql($1::VARCHAR)", [sql]).fetchone()[0]
        parsed = json.loads(text)
        if parsed["error"]:
            if parsed["error_type"] == "not implemented":
                raise UnsupportedError(
                    "only queries run here (SELECT, FROM, WITH, VALUES, DESCRIBE, SHOW TABLES); rows come in by ingest"
                )
            raise InvalidInputError(
                f"{parsed['error_type']} error: {parsed['error_message'].splitlines()[0]}"
            )
        if len(parsed["statements"]) != 1:
            raise InvalidInputError(f"one statement at a time, not {len(parsed['statements'])}")
        return parsed["statements"][0]

    def _check_condition(self, condition: str) -> None:
        """Check a `filter`, which DuckDB parses just so: behind the word SELECT. It speaks of columns alone."""
        for node in nodes_of(self._tree(f"SELECT {condition}")):
            _check_functions(node)
            if node.get("type") in TABLES_OF_TREES:
                raise UnsupportedError("a filter speaks of columns; no subquery is available here")

    def _tables(self, tree: Any) -> frozenset[str]:
        """Return the tables a statement may name; views are made for Refs that came since, if it names one."""
        own = {entry["key"].lower() for node in nodes_of(tree) for entry in _ctes(node)}
        asked = {n["table_name"].lower() for n in nodes_of(tree) if n.get("type") == "BASE_TABLE"} - own
        views = self.views()
        if not asked <= views:
            self.refresh()
            views = self.views()
        return frozenset(own | views)

    def refresh(self) -> None:
        """Make views for the Refs there are now; by one caller at a time, as all share its connection."""
        with self._refreshing:
            self.session.refresh()

    def views(self) -> set[str]:
        """Return the names of the tables there are, in lower case, as DuckDB compares them."""
        with self._parser.cursor() as cursor:
            return {
                n.lower()
                for (n,) in cursor.execute(
                    "SELECT view_name FROM duckdb_views() WHERE NOT internal"
                ).fetchall()
            }


def folders_of(space: Space) -> list[Path]:
    """Return the folder that a Space is, if it is one."""
    url = space.store.url
    return [Path(url.removeprefix("file://")).resolve()] if url.startswith("file://") else []


def places_of(space: Space) -> list[Path]:
    """Return the folders that statements read through: the Space's own, if it is one, and its cache."""
    return [*folders_of(space), space.cache.root.resolve()]


def nodes_of(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a tree, whatever its depth."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)


def _ctes(node: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (node.get("cte_map") or {}).get("map", [])
    return found


def _table_function(node: dict[str, Any]) -> str:
    """Return the name of a table function, in lower case; an empty text for any other node."""
    if node.get("type") != "TABLE_FUNCTION":
        return ""
    return str(node["function"].get("function_name", "")).lower()


def _check_functions(node: dict[str, Any]) -> None:
    """Refuse a function that is not for strangers. Table functions need a place in a list, others must not be in one."""
    table = _table_function(node)
    if node.get("type") == "TABLE_FUNCTION" and table not in HARMLESS and table not in macro_texts():
        raise UnsupportedError(f"the table function {table!r} is not available here")
    name = str(node.get("function_name", "")).lower()
    if name.startswith(OWN_PREFIX) or name in HIDDEN:
        raise UnsupportedError(f"the function {name!r} is not available here")


def _check_table(node: dict[str, Any], tables: frozenset[str]) -> None:
    shown = node["table_name"].strip('"').lower() if node.get("type") == "SHOW_REF" else ""
    if shown and node.get("query") is None and shown not in SPECIAL:
        raise UnsupportedError(f"SHOW {shown[:100]} is not available here")
    if node.get("type") != "BASE_TABLE":
        return
    schema, catalog, name = (node[k].lower() for k in ("schema_name", "catalog_name", "table_name"))
    if (schema and schema not in SCHEMAS) or (catalog and catalog not in CATALOGS):
        raise UnsupportedError(f"no schema {schema or catalog!r} here; the refs are tables of main")
    if schema != "information_schema" and name not in tables:
        raise InvalidInputError(f"no table {name[:100]!r} here; SHOW TABLES lists them")


def one_line(error: BaseException) -> str:
    """Return what went wrong in one line, without the place in the program."""
    return " ".join(str(error).split())[:1000]
