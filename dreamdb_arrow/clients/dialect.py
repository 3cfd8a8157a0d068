"""SQLAlchemy dialects: `dreamdb:///path` in this process, `dreamdb+flightsql://host:port` over ADBC. ADR 0047.

The tables are the Refs, snapshots among them; `_anchor` is their primary key. This module loads SQLAlchemy alone, so that
tools with old libraries (Superset) can have the Flight SQL dialect: they need no DuckDB.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final

from sqlalchemy import exc
from sqlalchemy.engine import default
from sqlalchemy.engine.url import URL

from dreamdb_arrow.clients.sql_types import sqlalchemy_type

MAIN: Final = "main"
PORT: Final = 31337
OWN: Final = {"_anchor": "the row, by its time in ticks or its number", "_time": "the anchor as a time"}
INGEST: Final = "append"
ROOT_CERTS: Final = "adbc.flight.sql.client_option.tls_root_certs"
AND_KIND: Final = "SELECT field, concat_ws(', ', kind, type, algorithm, mime, reason) FROM dreamdb_schema({})"


class Dialect(default.DefaultDialect):
    """What both dialects have in common: types, reflection, and INSERT as append."""

    name = "dreamdb"
    default_paramstyle = "qmark"
    default_schema_name = MAIN
    supports_statement_cache = True
    supports_native_boolean = True
    supports_native_decimal = True
    supports_alter = False
    supports_sane_rowcount = False
    supports_sane_multi_rowcount = False
    postfetch_lastrowid = False
    insert_returning = False
    use_insertmanyvalues = False

    @classmethod
    def dbapi(cls) -> Any:  # type: ignore[override]
        """Return the DB-API module; the name of SQLAlchemy 1.4."""
        return cls.import_dbapi()

    # ---------------------------------------------------------------- statements

    def initialize(self, connection: Any) -> None:
        """Learn nothing of the connection: all there is to know is fixed."""

    def do_begin(self, dbapi_connection: Any) -> None:
        """Begin nothing: each statement sees the newest versions."""

    def do_commit(self, dbapi_connection: Any) -> None:
        """Commit nothing: an append is a commit of its own."""

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Roll nothing back: what was appended stays."""

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Return whether the connection answers."""
        cursor = dbapi_connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()
        return True

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Run a statement; one made by `insert()` appends a row."""
        if not self._appended(cursor, [parameters], context):
            cursor.execute(statement, parameters)

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Run a statement for many rows; one made by `insert()` appends them as one commit."""
        if not self._appended(cursor, parameters, context):
            cursor.executemany(statement, parameters)

    def _appended(self, cursor: Any, rows: Any, context: Any) -> bool:
        if context is None or context.compiled is None or not context.isinsert:
            return False
        appending: Any = import_module("dreamdb_arrow.clients.appending")  # loads pyarrow
        self.append_rows(cursor, *appending.rows_of(context, rows))
        return True

    def append_rows(self, cursor: Any, ref: str, rows: Any) -> None:
        """Append an Arrow table to a Ref."""
        raise NotImplementedError

    # ---------------------------------------------------------------- reflection

    def get_schema_names(self, *_: Any, **__: Any) -> list[str]:
        """Return the one schema."""
        return [MAIN]

    def get_table_names(self, connection: Any, schema: str | None = None, **_: Any) -> list[str]:
        """Return the Refs, snapshots among them."""
        if schema not in {None, MAIN}:
            return []
        return [name for (name,) in _rows(connection, "SELECT ref FROM dreamdb_refs() ORDER BY ref")]

    def get_view_names(self, *_: Any, **__: Any) -> list[str]:
        """Return no name: a Ref is a table."""
        return []

    def has_table(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> bool:
        """Return whether there is such a Ref."""
        return table_name in self.get_table_names(connection, schema)

    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> list[Any]:
        """Return columns with types, and a comment each: what kind of field it is. Raises NoSuchTableError."""
        self._expect(connection, table_name, schema)
        preparer = self.identifier_preparer
        place = f"{MAIN}.{preparer.quote_identifier(table_name)}"
        told = dict(_rows(connection, AND_KIND.format(_literal(table_name)))) | OWN
        found = _rows(connection, f'SELECT column_name, column_type, "null" FROM (DESCRIBE FROM {place})')
        return [_column(name, kind, null, told.get(name)) for name, kind, null in found]

    def get_pk_constraint(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> Any:
        """Return `_anchor`, which is a row's own."""
        self._expect(connection, table_name, schema)
        return {"name": None, "constrained_columns": ["_anchor"]}

    def get_table_comment(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> Any:
        """Return whether a Ref is a snapshot, and its version."""
        self._expect(connection, table_name, schema)
        text = "SELECT if(is_snapshot, 'snapshot, version ', 'version ') || manifest FROM dreamdb_refs() WHERE ref = "
        return {"text": _rows(connection, f"{text}{_literal(table_name)}")[0][0]}

    def get_foreign_keys(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> Any:
        """Return none: Refs do not point at each other."""
        return self._none(connection, table_name, schema)

    get_indexes = get_unique_constraints = get_check_constraints = get_foreign_keys

    def _none(self, connection: Any, table_name: str, schema: str | None) -> list[Any]:
        self._expect(connection, table_name, schema)
        return []

    def _expect(self, connection: Any, table_name: str, schema: str | None) -> None:
        if not self.has_table(connection, table_name, schema):
            raise exc.NoSuchTableError(table_name)


class InProcess(Dialect):
    """`dreamdb:///path`: the Space at a path, or at the URL that `?backend=` names; `?cache_dir=` as `connect` takes it."""

    driver = "duckdb"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the DB-API module over a session."""
        return import_module("dreamdb_arrow.clients.in_process")

    def create_connect_args(self, url: URL) -> Any:
        """Return what `connect` takes. Raises ArgumentError for a URL that names no Space."""
        known = {name: str(value) for name, value in url.query.items()}
        backend = known.pop("backend", None) or url.database
        if not backend or url.host or set(known) - {"cache_dir"}:
            raise exc.ArgumentError("a Space in this process is dreamdb:///path, or dreamdb:///?backend=URL")
        return [backend], known

    def append_rows(self, cursor: Any, ref: str, rows: Any) -> None:
        """Append an Arrow table to a Ref."""
        cursor.append_rows(ref, rows)


class FlightSql(Dialect):
    """`dreamdb+flightsql://user:password@host:port`: a server; `?tls=1`, or `?tls_root_certs=FILE` for a certificate of one's own."""

    driver = "flightsql"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return ADBC's DB-API module for Flight SQL."""
        return import_module("adbc_driver_flightsql.dbapi")

    def create_connect_args(self, url: URL) -> Any:
        """Return what ADBC's `connect` takes. Raises ArgumentError for an option that it does not know."""
        known = {name: str(value) for name, value in url.query.items()}
        certificates, tls = known.pop("tls_root_certs", None), known.pop("tls", "0")
        if known or not url.host:
            raise exc.ArgumentError(
                "a server is dreamdb+flightsql://host:port, with ?tls=1 or ?tls_root_certs=FILE"
            )
        options = (
            {} if url.username is None else {"username": url.username, "password": str(url.password or "")}
        )
        if certificates:
            options[ROOT_CERTS] = Path(certificates).read_text("utf-8")
        scheme = "grpc+tls" if certificates or tls == "1" else "grpc"
        host = f"[{url.host}]" if ":" in url.host else url.host
        return [f"{scheme}://{host}:{url.port or PORT}"], {"db_kwargs": options, "autocommit": True}

    def append_rows(self, cursor: Any, ref: str, rows: Any) -> None:
        """Append an Arrow table to a Ref."""
        cursor.adbc_ingest(ref, rows, mode=INGEST)


def _rows(connection: Any, sql: str) -> list[Any]:
    rows: list[Any] = connection.exec_driver_sql(sql).fetchall()
    return rows


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _column(name: str, kind: str, null: str, told: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "type": sqlalchemy_type(kind),
        "nullable": null == "YES" and name != "_anchor",
        "default": None,
        "comment": told,
    }
