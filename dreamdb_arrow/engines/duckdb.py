"""DuckDB: a Space as table functions, and its Refs as views.

DuckDB has no table functions written in Python, so each is a macro (one file in `sql/`) over a planning function
that returns SQL text; the work is done by DuckDB's own Parquet reader. The macro hands over the transaction's id, which
pins one version of a Ref for the whole statement, and a variable, which makes a prepared statement plan again.
"""

from __future__ import annotations

import atexit
import itertools
import json
import re
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import encode_stripe
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.columns import media_column, vector_column
from dreamdb_arrow.dataset.items import list_items
from dreamdb_arrow.dataset.search import search
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.engines.arguments import time_range
from dreamdb_arrow.engines.plans import (
    MEDIA_REF_SQL,
    files_sql,
    identifier,
    literal,
    scan_sql,
    track_sql,
)
from dreamdb_arrow.engines.space_tables import TABLES
from dreamdb_arrow.errors import DreamDBError, InvalidInputError

PINS_MAX: Final = 4096
PLANS_MAX: Final = 256
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

    Args:
        backend: `file:///path`, a path, `memory://name`, or a store.
        database: where DuckDB keeps the user's own tables.
        options: `cache_dir`, `create` and `sync`, as `Space` takes them.

    Raises NotFoundError when there is no such Space.
    """
    space = Space(backend, **options)
    con = duckdb.connect(database)
    attach(con, space)
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


class Session:
    """A Space attached to a connection. It must not hold the connection, whose functions hold it.

    `reads` counts what late columns have fetched, by kind.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, space: Space, schema: str | None = None) -> None:
        self.space, self.schema = space, schema
        self.reads = {"vector": 0, "media": 0}
        self._aux = con.cursor()  # a callback may not use the connection that it is called from
        self._prefix = "__dreamdb_" if schema is None else f"__dreamdb_{next(_NAMES)}_"
        self._pins: OrderedDict[tuple[int, str], Address] = OrderedDict()
        self._plans: OrderedDict[tuple[Address, int, int], str] = OrderedDict()
        self._lock = Lock()
        self._functions: dict[str, Callable[..., Any]] = {}
        self._create_functions(con)
        self._create_macros(con)
        self._con = weakref.ref(con)
        self._finalizer = weakref.finalize(con, self._outlive)
        self._finalizer.atexit = False
        self.refresh()
        _OPEN.add(self)

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
        """Make a view for each Ref there is now. Raises InvalidInputError when the connection is gone."""
        con = self._con()
        if con is None:
            raise InvalidInputError("the connection of this session is gone")
        place = "main" if self.schema is None else self.schema
        for name in self.space.store.list_refs():
            view = f"{identifier(place)}.{identifier(name)}"
            call = f"{self._qualified('dreamdb_scan')}({literal(name)})"
            with suppress(
                duckdb.Error
            ):  # a damaged Ref has no view, nor one named like a table of the user's
                con.execute(f"CREATE OR REPLACE VIEW {view} AS FROM {call}")

    # ---------------------------------------------------------------- set-up

    def _qualified(self, macro: str) -> str:
        return macro if self.schema is None else f"{identifier(self.schema)}.{macro}"

    def _create_functions(self, con: duckdb.DuckDBPyConnection) -> None:
        arrow = {"type": "arrow", "null_handling": "special"}
        volatile = {"null_handling": "special", "side_effects": True}
        plan = ["VARCHAR", "VARCHAR", "VARCHAR", "UBIGINT", "VARCHAR"]
        knn = ["VARCHAR", "VARCHAR", "FLOAT[]", "VARCHAR", "UBIGINT", "VARCHAR"]
        made: list[tuple[str, Callable[..., Any], list[str], str, dict[str, Any]]] = [
            ("plan", self._plan, plan, "VARCHAR", volatile),
            ("knn", self._knn, knn, FOUND_SQL, {**volatile, "type": "arrow"}),
            ("vector", self._vector, ["VARCHAR", "VARCHAR", "BIGINT"], "FLOAT[]", arrow),
            ("media", self._media, ["VARCHAR", "VARCHAR", MEDIA_REF_SQL], "BLOB", arrow),
            ("alive", self._alive, ["VARCHAR", "BIGINT"], "BOOLEAN", arrow),
            ("holder", self._holder, ["VARCHAR", "VARCHAR", "BIGINT"], "VARCHAR", arrow),
            ("address", self._address, ["BLOB"], "VARCHAR", arrow),
        ]
        for name, function, args, result, how in made:
            con.create_function(f"{self._prefix}{name}", function, args, result, **how)
            self._functions[f"{self._prefix}{name}"] = function

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

    def _plan(self, kind: str, ref: str | None, options: str, txid: int, _: str | None) -> str:
        """Return the SQL of a table function; an error comes back behind `!`, and the macro raises it in one line."""
        try:
            given = json.loads(options)
            if kind in TABLES:
                version = None if kind == "refs" else self.version(ref, given.get("as_of"), txid)
                return self._table_sql(TABLES[kind](self.space, version))
            if kind == "items":
                return self._table_sql(list_items(self._rows(ref, given, txid), _field_in(given)))
            return self._track_sql(ref, given, txid) if kind == "track" else self._scan_sql(ref, given, txid)
        except (DreamDBError, OSError) as error:
            return f"!dreamdb: {' '.join(str(error).split())}"

    def version(self, ref: str | None, as_of: Any, txid: int) -> Address:
        """Return the version of a Ref for a transaction: what it was when the transaction first asked (0006-R12)."""
        if ref is None:
            raise InvalidInputError("ref must not be NULL")
        if as_of is not None:
            return self.space.resolve(ref, as_of)
        with self._lock:
            pinned = self._pins.get((txid, ref))
        if pinned is None:
            found = self.space.resolve(ref)
            with self._lock:
                pinned = self._pins.setdefault((txid, ref), found)
                while len(self._pins) > PINS_MAX:
                    self._pins.popitem(last=False)
        return pinned

    def _rows(self, ref: str | None, options: Mapping[str, Any], txid: int) -> RowSet:
        return self.space.rows(self.version(ref, options.get("as_of"), txid))

    def _scan_sql(self, ref: str | None, options: Mapping[str, Any], txid: int) -> str:
        rows = self._rows(ref, options, txid)
        key = (rows.address, *time_range(options))
        rows.stripe_files(*key[1:])  # a kept plan, too, may only name files that are still what they were
        with self._lock:
            known = self._plans.get(key)
        text = known or scan_sql(rows, self._prefix, *key[1:])
        with self._lock:
            self._plans[key] = text
            while len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)
        return text

    def _track_sql(self, ref: str | None, options: Mapping[str, Any], txid: int) -> str:
        rows = self._rows(ref, options, txid)
        return track_sql(rows, self._prefix, _field_in(options), *time_range(options))

    def _table_sql(self, table: pa.Table) -> str:
        """Return a query of a small table, kept as Parquet in the local cache: no value becomes SQL text."""
        address = self.space.cache.put(encode_stripe(table))
        file = files_sql([self.space.cache.local(address)])
        return f"FROM read_parquet({file}, hive_partitioning = false)"

    # ---------------------------------------------------------------- late columns

    def _held(self, version: pa.ChunkedArray) -> RowSet:
        return self.space.rows(parse_address(version[0].as_py()))

    def _vector(self, version: Any, field: Any, anchors: Any) -> Any:
        wanted = _numbers(anchors)
        self.reads["vector"] += len(wanted)
        if len(wanted) == 0:
            return pa.array([], pa.list_(pa.float32()))
        column = vector_column(self._held(version), field[0].as_py(), wanted)
        return column.cast(pa.list_(pa.float32()))

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
        t0, t1 = time_range(options)
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


def _field_in(options: Mapping[str, Any]) -> str:
    name = options.get("field")
    if not isinstance(name, str):
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
    folder = Path(str(resources.files("dreamdb_arrow"))) / "sql"
    if not folder.is_dir():
        folder = folder.parent.parent / "sql"
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("dreamdb_*.sql"))}


@atexit.register
def _close_sessions() -> None:
    """Break the circle of connection and functions before the interpreter ends; DuckDB would complain of leaks."""
    for session in list(_OPEN):
        session.close()
