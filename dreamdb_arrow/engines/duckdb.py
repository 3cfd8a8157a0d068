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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, Final, TypeAlias

import duckdb
import duckdb.sqltypes
import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.scope import EVERYTHING, Scope
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.engines.copying import Refs
from dreamdb_arrow.engines.late_columns import LateColumns, address_texts
from dreamdb_arrow.engines.macros import copy_macros, keep_macros, kept_macros, macros_sql
from dreamdb_arrow.engines.planner import Outlines, Planner, outline_refs
from dreamdb_arrow.engines.plans import identifier, literal
from dreamdb_arrow.engines.plans_take import VALUE_TYPES, value_function
from dreamdb_arrow.engines.signatures import KEYED, SIGNATURES
from dreamdb_arrow.engines.views import NO_REFS, SCAN, Place, Views
from dreamdb_arrow.errors import DreamDBError, InvalidInputError

DuckDBError: TypeAlias = duckdb.Error
Guard: TypeAlias = Callable[[str], None]
SETTINGS: Final = {"parquet_metadata_cache": "true", "read_ahead_depth": "2"}  # of connections that we make
IN_MEMORY: Final = ":memory:"
PREFIX: Final = "__dreamdb_"  # of the names of functions; those of a schema have a number more
SPECIAL: Final = "special"
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
        preparing = helper.submit(prepare, backend, options)
        con = open_database(database)  # takes most of the time, and hardly ever a lock of Python
        space, kept, parts = preparing.result()
    Session(con, space, kept=kept if database == IN_MEMORY else None, **parts)
    return con


def prepare(backend: Backend, options: Mapping[str, Any]) -> tuple[Space, Path | None, dict[str, Any]]:
    """Return a Space, where its macros are kept, and what else a session on it is made of: all that needs no database."""
    space = Space(backend, **options)
    outlines, kept, planner = outline_refs(space), ready_macros(space), Planner(space, PREFIX)
    planner.look_ahead(outlines)
    signatures()
    return space, kept, {"outlines": outlines, "planner": planner}


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


def bare_function(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Return a function of that many columns without annotations: DuckDB would evaluate them, which takes 0.1 ms each."""

    def called(*columns: Any) -> Any:
        return function(*columns)

    called.__signature__ = _BARE[count]  # type: ignore[attr-defined]
    return called


_BARE: Final = tuple(
    Signature([Parameter(f"column_{i}", Parameter.POSITIONAL_ONLY) for i in range(count)])
    for count in range(9)
)


@cache
def signatures() -> Mapping[str, tuple[list[Any], Any]]:
    """Return SIGNATURES as types of DuckDB."""
    return {name: ([*map(sql_type, args)], sql_type(result)) for name, (args, result) in SIGNATURES.items()}


def sql_type(of: Any) -> Any:
    """Return a type by its name, or of a dict a STRUCT, of a list one of its element; `sqltype` of a text takes ten times as long."""
    if isinstance(of, str):
        return getattr(duckdb.sqltypes, of)
    if isinstance(of, list):
        return duckdb.sqltypes.DuckDBPyType(list[sql_type(of[0])])  # type: ignore[misc]
    if isinstance(of, dict):
        return duckdb.sqltypes.DuckDBPyType({name: sql_type(kind) for name, kind in of.items()})
    return of


def late(make: Callable[[], Any], verb: str) -> Callable[..., Any]:
    """Return a verb of an object that is made when the verb is first called: its modules take long to load."""
    made = cache(make)

    def called(*arguments: Any) -> Any:
        return getattr(made(), verb)(*arguments)

    return called


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
        self.space, self.schema = space, schema
        self._guard, self._scope = guard, scope
        self._aux = con.cursor()  # a callback may not use the connection that it is called from
        home = None if catalog is None else con.execute("SELECT current_database()").fetchall()[0][0]
        self._place = Place(schema, catalog, home)
        prefix = PREFIX if schema is None else f"{PREFIX}{next(_NAMES)}_"
        self._planner = planner or Planner(space, prefix, scope)
        self._late = LateColumns(space)
        self._functions: dict[str, Callable[..., Any]] = {}
        self._views = Views(self._planner, self._place, duckdb.Error)
        self._create_functions(con)
        together = self._views.can_stand_in(con, outlines)
        self._create_macros(con, kept)
        made = self._views.make_alike(con, outlines) if together else frozenset()
        self._views.make(con, outlines, made)
        self._create_vector_functions(con, outlines.dims)
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

    def refresh(self, catalog: str | None = None) -> None:
        """Make a view for each Ref that is new or has other fields now, and drop those of Refs that are gone.

        `catalog` is what the database of the views is called by now, where they have one of their own.

        Raises InvalidInputError when the connection is gone.
        """
        con = self._con()
        if con is None:
            raise InvalidInputError("the connection of this session is gone")
        self._place.catalog = catalog or self._place.catalog
        outlines = outline_refs(self.space, self._scope)
        self._views.renew(con, outlines)
        self._create_vector_functions(con, outlines.dims)

    def _show(self, ref: str) -> None:
        """Make the view of a new Ref, for the statements that come next."""
        with suppress(DreamDBError, OSError, duckdb.Error), self._aux.cursor() as cursor:
            outlines = outline_refs(self.space, self._scope, [ref])
            self._views.make(cursor, outlines)
            self._create_vector_functions(cursor, outlines.dims)

    def _open_files(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let COPY write to Refs, as `dreamdb://ref`; in a schema, as `dreamdb+schema://ref`. Strangers' SQL may not."""
        if self._guard is not None:
            return
        with suppress(duckdb.Error):  # an earlier session of this database goes by that name
            con.unregister_filesystem(self._protocol)
        con.register_filesystem(Refs(self.space, self._protocol, self._show))

    @property
    def _protocol(self) -> str:
        return "dreamdb" if self.schema is None else f"dreamdb+{self.schema}"

    # ---------------------------------------------------------------- functions and macros

    def _create_functions(self, con: duckdb.DuckDBPyConnection) -> None:
        arrow, volatile = {"type": "arrow"}, {"side_effects": True}
        made: list[tuple[str, Callable[..., Any], Mapping[str, Any]]] = [
            ("plan", self._planner.plan, volatile),
            ("files", self._planner.files, volatile | arrow),
            ("knn", late(self._knn, "answer"), volatile | arrow),
            ("effect", late(self._effects, "do"), volatile),
            ("hits", late(self._knn, "hits"), volatile),
            ("vector", self._late.vectors_of(None), arrow),
            ("media", self._late.media, arrow),
            ("alive", self._late.alive, arrow),
            ("holder", self._late.holder, arrow),
            ("origin", self._planner.origin, arrow),
            ("address", address_texts, arrow),
            *((value_function(sql), self._late.values_of(of), arrow) for sql, of in VALUE_TYPES.items()),
        ]
        types = signatures()
        for name, function, how in made:
            self._create_function(con, name, function, *types[name], how)

    def _knn(self) -> Any:
        return import_module("dreamdb_arrow.engines.knn").Knn(
            self.space, self._planner.version, self.matching, self._scope
        )

    def _effects(self) -> Any:
        return import_module("dreamdb_arrow.engines.effects").Effects(
            self.space, self.matching, self._show, self._scope
        )

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
            made, result = self._late.vectors_of(dim), con.array_type(sql_type("FLOAT"), dim)
            self._create_function(
                con, f"vector_{dim}", made, [*map(sql_type, KEYED)], result, {"type": "arrow"}
            )
            self._planner.dims.add(dim)

    def _create_macros(self, con: duckdb.DuckDBPyConnection, kept: Path | None) -> None:
        if kept is not None and kept.exists():
            with suppress(duckdb.Error):  # it is damaged, or was removed just now
                copy_macros(con.execute, kept)
                return
        if self.schema is not None:
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(self.schema)}")
        with self._planner.showing(NO_REFS):
            con.execute(macros_sql(self._planner.prefix, self._place.macro))
        if kept is not None:
            with suppress(duckdb.Error, OSError):  # a cache that cannot be written keeps none
                keep_macros(con.execute, kept)

    def matching(self, ref: str, version: Address, condition: str, t0: int, t1: int) -> I64:
        """Return the anchors that satisfy a condition, ascending. It is parsed as one expression, never pasted."""
        if self._guard is not None:
            self._guard(condition)
        call = f"{self._place.macro(SCAN)}({literal(ref)}, as_of := {literal(str(version))}, t0 := {t0}, t1 := {t1})"
        try:
            with self._aux.cursor() as cursor:
                rows = cursor.sql(f"FROM {call}").filter(duckdb.SQLExpression(condition))
                table = rows.select(duckdb.ColumnExpression("_anchor")).to_arrow_table()
        except duckdb.Error as error:
            raise InvalidInputError(f"condition {condition!r}: {str(error).splitlines()[0]}") from None
        return np.sort(np.asarray(table["_anchor"].combine_chunks(), dtype=np.int64))


@atexit.register
def _close_sessions() -> None:
    """Break the circle of connection and functions before the interpreter ends; DuckDB would complain of leaks."""
    for session in list(_OPEN):
        session.close()
