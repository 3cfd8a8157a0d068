"""DuckDB: a Space as table functions, and its Refs as views.

DuckDB has no table functions written in Python, so each is a macro (one file in `sql/`) over a planning function
that returns SQL text; the work is done by DuckDB's own Parquet reader. The macro hands over the transaction's id, which
pins one version of a Ref for the whole statement, and a variable, which makes a prepared statement plan again. The text
names its files by a function, too, which hands them to the reader as they are.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, Final, TypeAlias

import duckdb
import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.scope import EVERYTHING, Scope
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.engines.effects import DONE_SQL, Effects
from dreamdb_arrow.engines.knn import FOUND_SQL, HITS_SQL, Knn
from dreamdb_arrow.engines.late_columns import LateColumns, address_texts
from dreamdb_arrow.engines.macros import copy_macros, keep_macros, kept_macros, macros_sql
from dreamdb_arrow.engines.planner import Outlines, Planner, outline_refs
from dreamdb_arrow.engines.plans import FILES_SQL, MEDIA_REF_SQL, identifier, literal
from dreamdb_arrow.engines.plans_take import VALUE_TYPES, value_function
from dreamdb_arrow.errors import DreamDBError, InvalidInputError

DuckDBError: TypeAlias = duckdb.Error
Guard: TypeAlias = Callable[[str], None]
SETTINGS: Final = {"parquet_metadata_cache": "true", "read_ahead_depth": "2"}  # of connections that we make
IN_MEMORY: Final = ":memory:"
PREFIX: Final = "__dreamdb_"  # of the names of functions; those of a schema have a number more
TEXT, SPECIAL = "VARCHAR", "special"
KEYED: Final = (TEXT, TEXT, "BIGINT")  # version, field, anchor
NO_REFS: Final = Outlines()
VIEWS_MIN: Final = 16  # of the same columns, from which on a stand-in for the macro saves more than it takes
SCAN: Final = "dreamdb_scan"
SCAN_ARGUMENTS: Final = "(ref, as_of := NULL, t0 := NULL, t1 := NULL)"
THREADS: Final = 2  # that make views
STAND_IN: Final = f"{PREFIX}stand_in"
_NAMES: Final = itertools.count(1)
# DuckDB forgets functions with the connection that made them, although its cursors can still call them. So functions
# outlive their connection, without what is large; and a session that is open is closed before the interpreter ends.
_OPEN: Final[weakref.WeakSet[Session]] = weakref.WeakSet()
_OUTLIVED: Final[list[Session]] = []


def connect(backend: Backend, database: str = IN_MEMORY, **options: Any) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection on a Space: its table functions, and a view for each Ref.

    DuckDB is told to keep the footers of Parquet files that it has read (it looks whether a file of yours changed since),
    and to open two files ahead, not dozens: `RESET read_ahead_depth` where you read from far away. `attach` sets nothing.

    Args:
        backend: `file:///path`, a path, `memory://name`, or a store.
        database: where DuckDB keeps the user's own tables.
        options: `cache_dir`, `create` and `durability`, as `Space` takes them.

    Raises NotFoundError when there is no such Space.
    """
    with ThreadPoolExecutor(1) as helper:
        opening = helper.submit(open_database, database)  # takes most of the time, and no lock of Python
        space = Space(backend, **options)
        outlines, kept, planner = outline_refs(space), ready_macros(space), Planner(space, PREFIX)
        planner.look_ahead(outlines.versions)
        copying()  # while the database is being opened
        con = opening.result()
    Session(con, space, outlines=outlines, kept=kept if database == IN_MEMORY else None, planner=planner)
    return con


def open_database(database: str = IN_MEMORY, **config: Any) -> duckdb.DuckDBPyConnection:
    """Return a connection with our settings; `config` as DuckDB takes it."""
    con = duckdb.connect(database, config=config)
    con.execute("; ".join(f"SET {name} = {value}" for name, value in SETTINGS.items()))
    return con


def attach(
    con: duckdb.DuckDBPyConnection,
    backend: Backend | Space,
    as_: str | None = None,
    *,
    guard: Guard | None = None,
    scope: Scope = EVERYTHING,
    **options: Any,
) -> Session:
    """Give a connection that is there already the table functions and views of a Space.

    Args:
        con: the connection.
        backend: the Space.
        as_: a schema to put them in, so that `FROM d.hello` and `FROM d.dreamdb_scan('hello')` work.
        guard: looks at each `filter` first, and raises where it must not run; for servers.
        scope: which Refs and which time there are; for servers.
        options: as for `connect`.
    """
    space = backend if isinstance(backend, Space) else Space(backend, **options)
    return Session(con, space, as_, outlines=outline_refs(space, scope), guard=guard, scope=scope)


def copying() -> Any:
    """Return the module that makes files of Refs; None where fsspec is not installed. To import that takes 20 ms."""
    try:
        return import_module("dreamdb_arrow.engines.copying")
    except ModuleNotFoundError as error:
        if error.name != "fsspec":
            raise
        return None


def bare_function(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Return a function of that many columns without annotations: DuckDB would evaluate them, which takes 0.1 ms each."""

    def called(*columns: Any) -> Any:
        return function(*columns)

    called.__signature__ = _SIGNATURES[count]  # type: ignore[attr-defined]
    return called


_SIGNATURES: Final = tuple(
    Signature([Parameter(f"column_{i}", Parameter.POSITIONAL_ONLY) for i in range(count)])
    for count in range(9)
)


def ready_macros(space: Space) -> Path | None:
    """Return the file of macros for a new database in memory, there or not; None where none can be kept."""
    return kept_macros(space.cache, duckdb.__version__)


def leave_open(connection: duckdb.DuckDBPyConnection | None) -> None:
    """Keep a connection from ever being closed: in a child process its threads are missing, and DuckDB would crash."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


class Session:
    """A Space attached to a connection. It must not hold the connection, whose functions hold it.

    Args:
        con: the connection.
        space: the Space.
        schema: where its macros and views go; None for `main`.
        catalog: the database whose `main` takes the views instead, if any.
        outlines: of the Refs that get a view each.
        kept: a file that holds the macros, or will; for a new database in memory.
        planner: one that has looked ahead, where there is one, for functions in `main`.
        guard, scope: as for `attach`.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        space: Space,
        schema: str | None = None,
        *,
        outlines: Outlines = NO_REFS,
        kept: Path | None = None,
        planner: Planner | None = None,
        guard: Guard | None = None,
        catalog: str | None = None,
        scope: Scope = EVERYTHING,
    ) -> None:
        self.space, self.schema, self.catalog = space, schema, catalog
        self._guard, self._scope = guard, scope
        self._aux = con.cursor()  # a callback may not use the connection that it is called from
        self._home = None if catalog is None else con.execute("SELECT current_database()").fetchall()[0][0]
        prefix = PREFIX if schema is None else f"{PREFIX}{next(_NAMES)}_"
        self._planner = planner or Planner(space, prefix, scope)
        self._late = LateColumns(space)
        self._functions: dict[str, Callable[..., Any]] = {}
        self._bound: dict[str, tuple[str, str]] = {}  # what the views are made of
        self._create_functions(con)
        alike = alike_refs(outlines) if self._is_new(con, len(outlines.plans)) else []
        self._create_macros(con, kept)
        made = self._make_alike(con, alike, outlines)
        self._make_views(con, outlines, made)
        self._open_files(con)
        self._con = weakref.ref(con)
        self._finalizer = weakref.finalize(con, self._outlive)
        self._finalizer.atexit = False
        _OPEN.add(self)
        space.renew_in_child(self)

    @property
    def reads(self) -> dict[str, int]:
        """How many vectors and media late columns have fetched."""
        return self._late.reads

    def after_fork(self) -> None:
        """Leave the connection to the parent, and the locks of what was planned."""
        self._planner.renew()
        _OPEN.discard(self)
        self._finalizer.detach()
        leave_open(self._aux)
        leave_open(self._con())

    def close(self) -> None:
        """Take the functions away again; macros and views that are left say so when they are used."""
        con = self._con()
        if con is not None:
            for name in self._functions:
                with suppress(duckdb.Error):  # the connection is closed, or the function gone already
                    con.remove_function(name)
            with suppress(duckdb.Error):
                con.unregister_filesystem(self._protocol)
        self._finalizer.detach()
        self._aux.close()

    def _outlive(self) -> None:
        """Let go of the database and of what is large; cursors of the connection may still call our functions."""
        _OUTLIVED.append(self)
        self._aux.close()
        self._planner.forget()
        self.space.forget()

    def text(self, kind: str, ref: str, name: str | None, as_of: str, t0: str | None, t1: str | None) -> str:
        """Return the SQL of a table function over one version. Raises what is wrong."""
        return self._planner.text(kind, ref, name, as_of, t0, t1, 0)

    # ---------------------------------------------------------------- views

    def refresh(self) -> None:
        """Make a view for each Ref that is new or has other fields now, and drop those of Refs that are gone.

        Raises InvalidInputError when the connection is gone.
        """
        con = self._con()
        if con is None:
            raise InvalidInputError("the connection of this session is gone")
        outlines, views = outline_refs(self.space, self._scope), self._made_views(con)
        same = {name for name in views & outlines.plans.keys() if self._bound.get(name) == outlines.of(name)}
        self._make_views(con, outlines, same)
        for name in views - set(outlines.plans):
            con.execute(f"DROP VIEW IF EXISTS {self._view(name)[0]}")

    def _make_views(
        self, con: duckdb.DuckDBPyConnection, outlines: Outlines, made: Collection[str] = frozenset()
    ) -> None:
        """Make the views of Refs, but for those that are made."""
        names = [name for name, plan in outlines.plans.items() if plan and name not in made]
        texts = [self._view_sql(name) + self._comment_sql(name, outlines) for name in names]
        with self._planner.showing(outlines):
            if self.catalog is None or not _execute_together(con, texts):
                for text in texts:
                    with suppress(duckdb.Error):  # as for a Ref that is named like a table of the user's
                        con.execute(text)
        self._bound |= {name: outlines.of(name) for name in outlines.plans}
        self._create_vector_functions(con, outlines.dims)

    def _is_new(self, con: duckdb.DuckDBPyConnection, count: int) -> bool:
        """Whether nobody can be using our macros yet; asked only for so many Refs that it matters, as it takes milliseconds."""
        if count < VIEWS_MIN:
            return False
        here = "WHERE schema_name = ? AND database_name = current_database()"
        place = self.schema or "main"
        if not con.execute(f"SELECT 1 FROM duckdb_schemas() {here}", [place]).fetchall():
            return True
        asked = f"SELECT 1 FROM duckdb_functions() {here} AND function_name = ?"
        return not con.execute(asked, [place, SCAN]).fetchall()

    def _make_alike(
        self, con: duckdb.DuckDBPyConnection, alike: Sequence[Sequence[str]], outlines: Outlines
    ) -> set[str]:
        """Make the views of Refs that have the same columns, and return whose.

        DuckDB binds each view when it is made, and most of that is the macro and our function. So meanwhile the macro reads a
        table with these columns. The table is temporary: to others the views are errors until the macro is back.
        """
        made: set[str] = set()
        if alike and self.catalog is None and _in_transaction(con):  # which would not see what others make
            return made
        for names in alike:
            plan = outlines.plans[names[0]]
            try:
                self._stand_in(con, plan)
                with ThreadPoolExecutor(THREADS) as threads:
                    parts = [names[nth::THREADS] for nth in range(THREADS)]
                    made.update(*threads.map(partial(self._make_part, con, plan, outlines), parts))
            finally:
                self._restore_scan(con)
        return made

    def _make_part(
        self, con: duckdb.DuckDBPyConnection, plan: str, outlines: Outlines, names: Sequence[str]
    ) -> Sequence[str]:
        """Make views while the stand-in is there; return whose: none where one of them cannot be made."""
        # Each kind of statement on its own: that is a fifth quicker than taking turns.
        texts = [*map(self._view_sql, names), *(self._comment_sql(name, outlines) for name in names)]
        with con.cursor() as cursor:  # which has temporary tables of its own
            cursor.execute(f"CREATE TEMP TABLE {STAND_IN} AS {plan}")
            return names if _execute_together(cursor, texts) else ()

    def _stand_in(self, con: duckdb.DuckDBPyConnection, plan: str) -> None:
        """Let the macro of scans be one that is quick to bind, over an empty table with the columns of a plan."""
        macro = f"{self._qualified(SCAN)}{SCAN_ARGUMENTS}"
        con.execute(f"CREATE TEMP TABLE {STAND_IN} AS {plan}")
        con.execute(f"CREATE OR REPLACE MACRO {macro} AS TABLE FROM temp.{STAND_IN}")

    def _restore_scan(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make the macro of scans again. The table goes first: without it, a macro that stays is an error, not empty."""
        con.execute(f"DROP TABLE IF EXISTS temp.{STAND_IN}")
        with self._planner.showing(NO_REFS):
            con.execute(macros_sql(self._planner.prefix, self._qualified, [SCAN]))

    def _view_sql(self, name: str) -> str:
        view, call = self._view(name)
        return f"CREATE OR REPLACE VIEW {view} AS FROM {call};"

    def _comment_sql(self, name: str, outlines: Outlines) -> str:
        if self.schema is None:
            return ""  # `connect` is to be quick
        return f"COMMENT ON VIEW {self._view(name)[0]} IS {literal(outlines.comments[name])};"

    def _show(self, ref: str) -> None:
        """Make the view of a new Ref, for the statements that come next."""
        with suppress(DreamDBError, OSError, duckdb.Error), self._aux.cursor() as cursor:
            self._make_views(cursor, outline_refs(self.space, self._scope, [ref]))

    def _open_files(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let COPY write to Refs, as `dreamdb://ref`; in a schema, as `dreamdb+schema://ref`. Strangers' SQL may not."""
        if self._guard is not None:
            return
        module = copying()
        if module is not None:
            files = module.Refs(self.space, self._protocol, self._show)
            with suppress(duckdb.Error):  # an earlier session of this database goes by that name
                con.unregister_filesystem(self._protocol)
            con.register_filesystem(files)

    def _view(self, name: str) -> tuple[str, str]:
        call = f"{self._qualified(SCAN)}({literal(name)})"
        return f"{self._place}.{identifier(name)}", call

    def _made_views(self, con: duckdb.DuckDBPyConnection) -> set[str]:
        """Return the names of the views that are as `refresh` makes them, in an earlier session perhaps."""
        found = con.execute(
            "SELECT view_name, sql FROM duckdb_views() WHERE schema_name = ? "
            "AND database_name = coalesce(?, current_database())",
            [self._view_schema, self.catalog],
        ).fetchall()
        ends = {name: f" AS SELECT * FROM {self._view(name)[1]};" for name, _ in found}
        return {name for name, text in found if text.replace('"', "").endswith(ends[name].replace('"', ""))}

    @property
    def _protocol(self) -> str:
        return "dreamdb" if self.schema is None else f"dreamdb+{self.schema}"

    @property
    def _view_schema(self) -> str:
        return "main" if self.schema is None or self.catalog else self.schema

    @property
    def _place(self) -> str:
        place = identifier(self._view_schema)
        return place if self.catalog is None else f"{identifier(self.catalog)}.{place}"

    def _qualified(self, macro: str) -> str:
        if self.schema is None:
            return macro
        place = f"{identifier(self.schema)}.{macro}"
        return place if self._home is None else f"{identifier(self._home)}.{place}"

    # ---------------------------------------------------------------- functions and macros

    def _create_functions(self, con: duckdb.DuckDBPyConnection) -> None:
        knn = Knn(self.space, self._planner.version, self.matching, self._scope)
        arrow = {"type": "arrow"}
        volatile = {"side_effects": True}
        made: list[tuple[str, Callable[..., Any], Sequence[str], str, dict[str, Any]]] = [
            ("plan", self._planner.plan, [*[TEXT] * 6, "UBIGINT", TEXT], TEXT, volatile),
            ("files", self._planner.files, [TEXT], FILES_SQL, volatile | arrow),
            ("knn", knn.answer, [TEXT, TEXT, "FLOAT[]", TEXT, "UBIGINT", TEXT], FOUND_SQL, volatile | arrow),
            (
                "effect",
                Effects(self.space, self.matching, self._show, self._scope).do,
                [TEXT, "VARCHAR[]"],
                DONE_SQL,
                volatile,
            ),
            ("hits", knn.hits, [TEXT, "FLOAT[]", "BIGINT[]"], HITS_SQL, volatile),
            ("vector", self._late.vectors_of(None), KEYED, "FLOAT[]", arrow),
            ("media", self._late.media, [TEXT, TEXT, MEDIA_REF_SQL], "BLOB", arrow),
            ("alive", self._late.alive, [TEXT, "BIGINT"], "BOOLEAN", arrow),
            ("holder", self._late.holder, KEYED, TEXT, arrow),
            ("origin", self._planner.origin, [TEXT, TEXT, TEXT], TEXT, arrow),
            ("address", address_texts, ["BLOB"], TEXT, arrow),
        ]
        made += [
            (value_function(sql), self._late.values_of(of), KEYED, sql, arrow)
            for sql, of in VALUE_TYPES.items()
        ]
        types = cache(con.sqltype)  # four times as quick as leaving each name to create_function
        for name, function, args, result, how in made:
            self._create_function(con, name, function, [types(a) for a in args], types(result), how)

    def _create_function(
        self,
        con: duckdb.DuckDBPyConnection,
        name: str,
        function: Callable[..., Any],
        args: list[Any],
        result: Any,
        how: Mapping[str, Any],
    ) -> None:
        full = f"{self._planner.prefix}{name}"
        bare = bare_function(function, len(args))
        con.create_function(full, bare, args, result, null_handling=SPECIAL, **how)
        self._functions[full] = bare

    def _create_vector_functions(self, con: duckdb.DuckDBPyConnection, dims: frozenset[int]) -> None:
        """Make a function for each dimension: to cast what `vector` returns takes 0.1 ms of every query."""
        for dim in dims - self._planner.dims:
            args, result = [con.sqltype(a) for a in KEYED], con.sqltype(f"FLOAT[{dim}]")
            made = self._late.vectors_of(dim)
            self._create_function(con, f"vector_{dim}", made, args, result, {"type": "arrow"})
            self._planner.dims.add(dim)

    def _create_macros(self, con: duckdb.DuckDBPyConnection, kept: Path | None) -> None:
        if kept is not None and kept.exists():
            with suppress(duckdb.Error):  # it is damaged, or was removed just now
                copy_macros(con.execute, kept)
                return
        if self.schema is not None:
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(self.schema)}")
        with self._planner.showing(NO_REFS):
            con.execute(macros_sql(self._planner.prefix, self._qualified))
        if kept is not None:
            with suppress(duckdb.Error, OSError):  # a cache that cannot be written keeps none
                keep_macros(con.execute, kept)

    def matching(self, ref: str, version: Address, condition: str, t0: int, t1: int) -> I64:
        """Return the anchors that satisfy a condition, ascending. It is parsed as one expression, never pasted."""
        if self._guard is not None:
            self._guard(condition)
        call = f"{self._qualified(SCAN)}({literal(ref)}, as_of := {literal(str(version))}, t0 := {t0}, t1 := {t1})"
        try:
            with self._aux.cursor() as cursor:
                rows = cursor.sql(f"FROM {call}").filter(duckdb.SQLExpression(condition))
                table = rows.select(duckdb.ColumnExpression("_anchor")).to_arrow_table()
        except duckdb.Error as error:
            raise InvalidInputError(f"condition {condition!r}: {str(error).splitlines()[0]}") from None
        return np.sort(np.asarray(table["_anchor"].combine_chunks(), dtype=np.int64))


def _in_transaction(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the user has begun a transaction."""
    asked = (con.execute("SELECT current_transaction_id()").fetchall() for _ in range(2))
    return bool(next(asked) == next(asked))


def _execute_together(con: duckdb.DuckDBPyConnection, texts: Iterable[str]) -> bool:
    """Execute statements in one transaction, which is quicker in a file; False when one fails, and nothing is done then.

    The connection is ours alone: in an open transaction of the user's, to begin another would break it off.
    """
    con.begin()
    try:
        con.execute("".join(texts) or "SELECT 1")
        con.commit()
    except duckdb.Error:
        con.rollback()
        return False
    return True


def alike_refs(outlines: Outlines) -> list[list[str]]:
    """Return the Refs that have the same columns, together; those of which there are too few to gain by it are left out."""
    by_plan: dict[str, list[str]] = {}
    for name, plan in outlines.plans.items():
        by_plan.setdefault(plan, []).append(name)
    by_plan.pop("", None)
    return [names for names in by_plan.values() if len(names) >= VIEWS_MIN]


@atexit.register
def _close_sessions() -> None:
    """Break the circle of connection and functions before the interpreter ends; DuckDB would complain of leaks."""
    for session in list(_OPEN):
        session.close()
