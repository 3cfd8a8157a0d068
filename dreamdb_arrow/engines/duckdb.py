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
import json
import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import get_ident
from typing import Any, Final, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.columnar.hidden import COPY_ALL, NAMED_MAX, SHARE
from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import encode_stripe
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.columns import media_column, vector_column
from dreamdb_arrow.dataset.items import list_items
from dreamdb_arrow.dataset.search import search
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.engines.arguments import time_range
from dreamdb_arrow.engines.plans import (
    FILES_SQL,
    MEDIA_REF_SQL,
    Source,
    error_sql,
    files_sql,
    identifier,
    literal,
    origins,
    scan_sql,
    shape_sql,
    source_of,
    track_sql,
)
from dreamdb_arrow.engines.plans_take import VALUE_TYPES, take_sql, taken_values, value_function
from dreamdb_arrow.engines.recent import Recent
from dreamdb_arrow.engines.space_tables import TABLES
from dreamdb_arrow.errors import DreamDBError, InvalidInputError
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.objects.schema import decode_schema

DuckDBError: TypeAlias = duckdb.Error
PINS_MAX: Final = 4096
PLANS_MAX: Final = 256
SETTINGS: Final = {"parquet_metadata_cache": "true", "read_ahead_depth": "2"}  # of connections that we make
PATIENCE: Final = (
    4  # queries that a filter of deleted anchors may slow down, before copies without them are made
)
HITS: Final = pa.list_(pa.struct([("_anchor", pa.int64()), ("_distance", pa.float64())]))
FOUND: Final = pa.struct([("hits", HITS), ("error", pa.string())])
FOUND_SQL: Final = 'STRUCT(hits STRUCT("_anchor" BIGINT, "_distance" DOUBLE)[], error VARCHAR)'
_NAMES: Final = itertools.count(1)
# DuckDB forgets functions with the connection that made them, although its cursors can still call them. So functions
# outlive their connection, without what is large; and a session that is open is closed before the interpreter ends.
_OPEN: Final[weakref.WeakSet[Session]] = weakref.WeakSet()
_OUTLIVED: Final[list[Session]] = []


def connect(backend: Backend, database: str = ":memory:", **options: Any) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection on a Space: its table functions, and a view for each Ref.

    DuckDB is told to keep the footers of Parquet files that it has read (it looks whether a file of yours changed since),
    and to open two files ahead, not dozens: `RESET read_ahead_depth` where you read from far away. `attach` sets nothing.

    Args:
        backend: `file:///path`, a path, `memory://name`, or a store.
        database: where DuckDB keeps the user's own tables.
        options: `cache_dir`, `create` and `durability`, as `Space` takes them.

    Raises NotFoundError when there is no such Space.
    """
    space = Space(backend, **options)
    con = open_database(database)
    attach(con, space)
    return con


def open_database(database: str = ":memory:", **config: Any) -> duckdb.DuckDBPyConnection:
    """Return a connection with our settings; `config` as DuckDB takes it."""
    con = duckdb.connect(database, config=config)
    for name, value in SETTINGS.items():
        con.execute(f"SET {name} = {value}")
    return con


def attach(
    con: duckdb.DuckDBPyConnection, backend: Backend | Space, as_: str | None = None, **options: Any
) -> Session:
    """Give a connection that is there already the table functions and views of a Space.

    Args:
        con: the connection.
        backend: the Space.
        as_: a schema to put them in, so that `FROM d.hello` and `FROM d.dreamdb_scan('hello')` work.
        options: as for `connect`.
    """
    space = backend if isinstance(backend, Space) else Space(backend, **options)
    return Session(con, space, as_)


def leave_open(connection: duckdb.DuckDBPyConnection | None) -> None:
    """Keep a connection from ever being closed: in a child process its threads are missing, and DuckDB would crash."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


@dataclass(slots=True)
class _Plan:
    """A source of one version and time range, the SQL over it by field (None: of all), and how often it was asked for."""

    source: Source
    listing: pa.Array
    texts: dict[str | None, str] = field(default_factory=dict)
    uses: int = 0
    copied: bool = False


class Session:
    """A Space attached to a connection. It must not hold the connection, whose functions hold it.

    `reads` counts what late columns have fetched, by kind.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, space: Space, schema: str | None = None) -> None:
        self.space, self.schema = space, schema
        self.reads = {"vector": 0, "media": 0}
        self._aux = con.cursor()  # a callback may not use the connection that it is called from
        self._prefix = "__dreamdb_" if schema is None else f"__dreamdb_{next(_NAMES)}_"
        self._remember_nothing()
        self._outlining: int | None = None
        self._found_dims: set[int] = set()  # that the embeddings of the Refs have,
        self._dims: set[int] = set()  # and those for which there is a function
        self._functions: dict[str, Callable[..., Any]] = {}
        self._create_functions(con)
        with self._outlines():
            self._create_macros(con)
        self._con = weakref.ref(con)
        self._finalizer = weakref.finalize(con, self._outlive)
        self._finalizer.atexit = False
        self._make_views(con)
        _OPEN.add(self)
        space.renew_in_child(self)

    def _remember_nothing(self) -> None:
        self._pins: Recent[tuple[int, str], Address] = Recent(PINS_MAX)
        self._plans: Recent[tuple[Address, int, int], _Plan] = Recent(PLANS_MAX)

    def after_fork(self) -> None:
        """Leave the connection to the parent, and the locks of what was planned."""
        self._remember_nothing()
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
        self._finalizer.detach()
        self._aux.close()

    def _outlive(self) -> None:
        """Let go of the database and of what is large; cursors of the connection may still call our functions."""
        _OUTLIVED.append(self)
        self._aux.close()
        self._plans.clear()
        self.space.forget()

    def refresh(self) -> None:
        """Make a view for each Ref there is now, and drop those of Refs that are gone.

        Raises InvalidInputError when the connection is gone.
        """
        con = self._con()
        if con is None:
            raise InvalidInputError("the connection of this session is gone")
        names = self._make_views(con)
        for name in self._made_views(con) - set(names):
            con.execute(f"DROP VIEW IF EXISTS {self._view(name)[0]}")

    def _make_views(self, con: duckdb.DuckDBPyConnection) -> list[str]:
        names = self.space.store.list_refs()
        with self._outlines():
            for name in names:
                view, call = self._view(name)
                with suppress(
                    duckdb.Error
                ):  # a damaged Ref has no view, nor one named like a table of the user's
                    con.execute(f"CREATE OR REPLACE VIEW {view} AS FROM {call}")
        self._create_vector_functions(con)
        return names

    def _view(self, name: str) -> tuple[str, str]:
        call = f"{self._qualified('dreamdb_scan')}({literal(name)})"
        return f"{identifier(self._place)}.{identifier(name)}", call

    def _made_views(self, con: duckdb.DuckDBPyConnection) -> set[str]:
        """Return the names of the views that are as `refresh` makes them, in an earlier session perhaps."""
        found = con.execute(
            "SELECT view_name, sql FROM duckdb_views() WHERE database_name = current_database() AND schema_name = ?",
            [self._place],
        ).fetchall()
        ends = {name: f" AS SELECT * FROM {self._view(name)[1]};" for name, _ in found}
        return {name for name, text in found if text.replace('"', "").endswith(ends[name].replace('"', ""))}

    @contextmanager
    def _outlines(self) -> Iterator[None]:
        """Let this thread's plans have columns and no rows: a view or a macro that is made need not read a version."""
        self._outlining = get_ident()
        try:
            yield
        finally:
            self._outlining = None

    # ---------------------------------------------------------------- set-up

    @property
    def _place(self) -> str:
        return "main" if self.schema is None else self.schema

    def _qualified(self, macro: str) -> str:
        return macro if self.schema is None else f"{identifier(self.schema)}.{macro}"

    def _create_functions(self, con: duckdb.DuckDBPyConnection) -> None:
        arrow = {"type": "arrow", "null_handling": "special"}
        volatile = {"null_handling": "special", "side_effects": True}
        plan = [*["VARCHAR"] * 6, "UBIGINT", "VARCHAR"]
        knn = ["VARCHAR", "VARCHAR", "FLOAT[]", "VARCHAR", "UBIGINT", "VARCHAR"]
        made: list[tuple[str, Callable[..., Any], list[str], str, dict[str, Any]]] = [
            ("plan", self._plan, plan, "VARCHAR", volatile),
            ("files", self._files, ["VARCHAR"], FILES_SQL, {**volatile, "type": "arrow"}),
            ("knn", self._knn, knn, FOUND_SQL, {**volatile, "type": "arrow"}),
            ("vector", self._vectors_of(None), ["VARCHAR", "VARCHAR", "BIGINT"], "FLOAT[]", arrow),
            ("media", self._media, ["VARCHAR", "VARCHAR", MEDIA_REF_SQL], "BLOB", arrow),
            ("alive", self._alive, ["VARCHAR", "BIGINT"], "BOOLEAN", arrow),
            ("holder", self._holder, ["VARCHAR", "VARCHAR", "BIGINT"], "VARCHAR", arrow),
            ("origin", self._origin, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR", arrow),
            ("address", self._address, ["BLOB"], "VARCHAR", arrow),
        ]
        keyed = ["VARCHAR", "VARCHAR", "BIGINT"]
        made += [
            (value_function(sql), self._values_of(of), keyed, sql, arrow) for sql, of in VALUE_TYPES.items()
        ]
        for name, function, args, result, how in made:
            con.create_function(f"{self._prefix}{name}", function, args, result, **how)
            self._functions[f"{self._prefix}{name}"] = function

    def _create_vector_functions(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make a function for each dimension: to cast what `vector` returns takes 0.1 ms of every query."""
        for dim in self._found_dims - self._dims:
            name, made = f"{self._prefix}vector_{dim}", self._vectors_of(dim)
            args, result = ["VARCHAR", "VARCHAR", "BIGINT"], f"FLOAT[{dim}]"
            con.create_function(name, made, args, result, type="arrow", null_handling="special")
            self._functions[name] = made
            self._dims.add(dim)

    def _create_macros(self, con: duckdb.DuckDBPyConnection) -> None:
        if self.schema is not None:
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(self.schema)}")
        # Macros are bound when they are made: those they call come first.
        texts = macro_texts()
        later = [n for n in texts if n == "dreamdb_search"]
        for name in [*(n for n in texts if n not in later), *later]:
            text = re.sub(r"__dreamdb_(?=\w+\()", self._prefix, texts[name])
            con.execute(re.sub(r"(?<![\w.])dreamdb_\w+(?=\()", lambda m: self._qualified(m[0]), text))

    # ---------------------------------------------------------------- planning

    def _plan(
        self,
        kind: str,
        ref: str | None,
        name: str | None,
        as_of: str | None,
        t0: str | None,
        t1: str | None,
        txid: int,
        _: str | None,
    ) -> str:
        """Return the SQL of a table function; an error comes back as SQL that raises it, in one line."""
        try:
            if self._outlining == get_ident():
                return self._outline(kind, ref)
            version = None if kind == "refs" else self.version(ref, as_of, txid)
            if version is None or kind in TABLES:
                return self._table_sql(TABLES[kind](self.space, version))
            if kind == "take":
                return take_sql(self.space.rows(version), name, self._prefix, self._dims)
            if kind == "items":
                return self._table_sql(list_items(self.space.rows(version), _field_name(name)))
            return self._read_sql(version, time_range(t0, t1), _field_name(name) if kind == "track" else None)
        except (DreamDBError, OSError) as error:
            return error_sql(error)

    def _outline(self, kind: str, ref: str | None) -> str:
        if kind == "refs" or ref is None:
            return "SELECT NULL"
        fields = decode_schema(load_manifest(self.space.store, self.space.resolve(ref)).registry)
        self._found_dims.update(dim_of(f) for f in fields if f.kind == "embedding")
        return shape_sql(fields)

    def version(self, ref: str | None, as_of: Any, txid: int) -> Address:
        """Return the version of a Ref for a transaction: what it was when the transaction first asked (0006-R12)."""
        if ref is None:
            raise InvalidInputError("ref must not be NULL")
        if as_of is not None:
            return self.space.resolve(ref, as_of)
        pinned = self._pins.get((txid, ref))
        return self._pins.keep((txid, ref), self.space.resolve(ref)) if pinned is None else pinned

    def _read_sql(self, version: Address, between: tuple[int, int], name: str | None) -> str:
        plan = self._planned(version, *between)
        text = plan.texts.get(name)
        if text is None:
            rows = self.space.rows(version)
            made = scan_sql(rows, plan.source, self._prefix, self._dims)
            text = made if name is None else track_sql(rows, plan.source, self._prefix, name, self._dims)
            plan.texts[name] = text
        return text

    def _planned(self, version: Address, t0: int, t1: int) -> _Plan:
        """Return the plan of a range, made anew unless its files are what they were: a kept one, too, must be checked."""
        key = (version, t0, t1)
        plan = self._plans.get(key)
        if plan is not None and plan.source.files.unchanged():
            plan.uses += 1
            if plan.copied or plan.uses < PATIENCE or len(plan.source.hidden) <= NAMED_MAX:
                return plan
        often = plan is not None and plan.uses >= PATIENCE
        source = source_of(self.space.rows(version), t0, t1, share=COPY_ALL if often else SHARE)
        made = _Plan(source, source.listing(), copied=often)
        self._plans.put(key, made)
        return made

    def _plan_named(self, key: str) -> _Plan:
        version, t0, t1 = key.split()
        where = (parse_address(version), int(t0), int(t1))
        return self._plans.get(where) or self._planned(*where)

    def _files(self, key: Any) -> Any:
        return self._plan_named(key[0].as_py()).listing

    def _origin(self, key: Any, name: Any, files: Any) -> Any:
        """Return for the names of local files which objects they show."""
        if len(files) == 0:
            return pa.array([], pa.string())
        source = self._plan_named(key[0].as_py()).source
        version = parse_address(key[0].as_py().split()[0])
        held = origins(self.space.rows(version), source, name[0].as_py())
        named = _whole(files).dictionary_encode()
        return pa.array([held[n] for n in named.dictionary.to_pylist()], pa.string()).take(named.indices)

    def _table_sql(self, table: pa.Table) -> str:
        """Return a query of a small table, kept as Parquet in the local cache: no value becomes SQL text."""
        address = self.space.cache.put(encode_stripe(table))
        file = files_sql([self.space.cache.local(address)])
        return f"FROM read_parquet({file}, hive_partitioning = false)"

    # ---------------------------------------------------------------- late columns

    def _held(self, version: pa.ChunkedArray) -> RowSet:
        return self.space.rows(parse_address(version[0].as_py()))

    def _vectors_of(self, dim: int | None) -> Callable[..., Any]:
        """Return the function that fetches vectors: of a dimension, or of any, then as lists."""
        kind = pa.list_(pa.float32()) if dim is None else pa.list_(pa.float32(), dim)

        def vectors(version: Any, field: Any, anchors: Any) -> Any:
            wanted = _numbers(anchors)
            self.reads["vector"] += len(wanted)
            if len(wanted) == 0:
                return pa.array([], kind)
            column = vector_column(self._held(version), field[0].as_py(), wanted)
            return column if column.type == kind else column.cast(kind)

        return vectors

    def _values_of(self, kind: pa.DataType) -> Callable[..., Any]:
        """Return the function that gives the values of a field at some anchors."""

        def values(version: Any, field: Any, anchors: Any) -> Any:
            wanted = _numbers(anchors)
            if len(wanted) == 0:
                return pa.array([], kind)
            return taken_values(self._held(version), field[0].as_py(), wanted, kind)

        return values

    def _media(self, version: Any, field: Any, refs_: Any) -> Any:
        refs_ = _whole(refs_)
        self.reads["media"] += len(refs_) - refs_.null_count
        if len(refs_) == 0:
            return pa.array([], pa.binary())
        return media_column(self._held(version), field[0].as_py(), refs_).cast(pa.binary())

    def _alive(self, version: Any, anchors: Any) -> Any:
        wanted = _numbers(anchors)
        if len(wanted) == 0:
            return pa.array([], pa.bool_())
        hidden = self._held(version).hidden_between(int(wanted.min()), int(wanted.max()) + 1)
        if len(hidden) == 0:
            return pa.array(np.ones(len(wanted), dtype=bool))
        at = np.minimum(np.searchsorted(hidden, wanted), len(hidden) - 1)
        return pa.array(hidden[at] != wanted)

    def _holder(self, version: Any, field: Any, anchors: Any) -> Any:
        wanted = _numbers(anchors)
        if len(wanted) == 0:
            return pa.array([], pa.string())
        rows, name = self._held(version), field[0].as_py()
        out: list[str | None] = [None] * len(wanted)
        for stripe in rows.vectors.get(name, ()):
            for i in np.flatnonzero((wanted >= stripe.t0) & (wanted < stripe.t1)):
                out[i] = str(stripe.address)
        return pa.array(out, pa.string())

    def _address(self, addresses: Any) -> Any:
        return pa.array(
            [None if a is None else str(Address(a)) for a in _whole(addresses).to_pylist()], pa.string()
        )

    # ---------------------------------------------------------------- search

    def _knn(self, ref: Any, field: Any, queries: Any, options: Any, txid: Any, _: Any) -> Any:
        """Answer a batch of queries; those that share their arguments are searched together."""
        keys = list(zip(*(_whole(c).to_pylist() for c in (ref, field, options)), strict=True))
        vectors = _whole(queries)
        hits: list[list[dict[str, Any]]] = [[] for _ in keys]
        for key in dict.fromkeys(keys):
            at = [i for i, k in enumerate(keys) if k == key and vectors[i].is_valid]
            try:
                wanted = vectors.take(pa.array(at, pa.int64()))
                found = self._search(key, wanted, txid[0].as_py()) if at else []
            except (DreamDBError, OSError, duckdb.Error) as error:
                message = f"dreamdb: {' '.join(str(error).split())}"
                return pa.array([{"hits": [], "error": message}] * len(keys), FOUND)
            for i, rows in zip(at, found, strict=True):
                hits[i] = rows
        return pa.array([{"hits": rows, "error": None} for rows in hits], FOUND)

    def _search(self, key: tuple[str, str, str], queries: pa.Array, txid: int) -> list[list[dict[str, Any]]]:
        ref, field, text = key
        options = json.loads(text)
        version = self.version(ref, options.get("as_of"), txid)
        t0, t1 = time_range(options.get("t0"), options.get("t1"))
        anchors, distances = search(
            self.space.rows(version),
            field,
            _query_matrix(queries),
            options["k"],
            nprobe=options["nprobe"],
            t0=t0,
            t1=t1,
            allowed=self._allowed(ref, version, options.get("filter"), t0, t1),
        )
        return [
            [{"_anchor": a, "_distance": d} for a, d in zip(row, far, strict=True) if a >= 0]
            for row, far in zip(anchors.tolist(), distances.tolist(), strict=True)
        ]

    def _allowed(self, ref: str, version: Address, condition: Any, t0: int, t1: int) -> I64 | None:
        """Return the anchors that satisfy a condition, ascending. It is parsed as one expression, never pasted."""
        if condition is None:
            return None
        if not isinstance(condition, str):
            raise InvalidInputError("filter must be a condition as text")
        call = f"{self._qualified('dreamdb_scan')}({literal(ref)}, as_of := {literal(str(version))}, t0 := {t0}, t1 := {t1})"
        cursor = self._aux.cursor()
        try:
            wanted = duckdb.SQLExpression(condition)
            table = (
                cursor.sql(f"FROM {call}")
                .filter(wanted)
                .select(duckdb.ColumnExpression("_anchor"))
                .to_arrow_table()
            )
        except duckdb.Error as error:
            raise InvalidInputError(f"filter {condition!r}: {str(error).splitlines()[0]}") from None
        finally:
            cursor.close()
        return np.sort(np.asarray(table["_anchor"].combine_chunks(), dtype=np.int64))


def _field_name(name: str | None) -> str:
    if name is None:
        raise InvalidInputError("field must be the name of a field")
    return name


def _query_matrix(queries: pa.Array) -> Any:
    lengths = set(queries.value_lengths().to_pylist())
    flat = queries.flatten()
    if len(lengths) != 1 or flat.null_count:
        raise InvalidInputError(
            "the queries of one search must have the same number of dimensions, none missing"
        )
    return np.asarray(flat, dtype=np.float32).reshape(len(queries), -1)


def _whole(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _numbers(column: Any) -> I64:
    return np.asarray(_whole(column).to_numpy(zero_copy_only=False), dtype=np.int64)


def macro_texts() -> dict[str, str]:
    """Return the SQL of each macro by name: package data in a wheel, the repository's `sql/` beside the sources."""
    package = Path(__file__).parent.parent
    folder = next(f for f in (package / "sql", package.parent / "sql") if f.is_dir())
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("dreamdb_*.sql"))}


@atexit.register
def _close_sessions() -> None:
    """Break the circle of connection and functions before the interpreter ends; DuckDB would complain of leaks."""
    for session in list(_OPEN):
        session.close()
