"""Federations in SQL and in Python: the members' rows with `_source`, searches spread over all of them. Spec 0012.

Each place of each member is attached to one DuckDB connection, which asks it for nothing. A planning function chooses places when
a statement is bound: the first that answers, of each member. What it returns is a union of the members' own plans.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.cache import DEFAULT_ROOT
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import ANCHOR
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.federation import (
    SOURCE,
    Answer,
    Member,
    Places,
    common_schema,
    place_url,
    read_federation,
    refuse_missing,
    row_schema,
    told,
    write_federation,
)
from dreamdb_arrow.dataset.searching import DISTANCE
from dreamdb_arrow.engines.duckdb import (
    IN_MEMORY,
    SPECIAL,
    DuckDBError,
    Session,
    bare_function,
    open_database,
)
from dreamdb_arrow.engines.macros import macro_texts
from dreamdb_arrow.engines.plans import error_sql, identifier, literal, shape_sql
from dreamdb_arrow.engines.signatures import TEXT
from dreamdb_arrow.engines.views import NO_REFS
from dreamdb_arrow.errors import DreamDBError, InvalidInputError, StoreError

if TYPE_CHECKING:
    import duckdb

FUNCTION: Final = "__dreamdb_federation"
VIEW: Final = "federation"
_NOTHING: Final = "SELECT NULL"
_PLACES_TOGETHER: Final = 16


@dataclass(frozen=True, slots=True)
class Attached:
    """A federation on a connection, which must not be held: its functions hold this."""

    con: weakref.ref[duckdb.DuckDBPyConnection]
    sessions: tuple[Session, ...]

    def close(self) -> None:
        """Take the functions away again; macros and views that are left say so when they are used."""
        con = self.con()
        if con is not None:
            with suppress(DuckDBError):
                con.remove_function(FUNCTION)
        for session in self.sessions:
            session.close()


class Federation:
    """Refs of several Spaces, read as one. Made by `open` and `create`.

    With `partial`, members that do not answer are left out, and `report` tells which; without, they are an error.
    """

    def __init__(self, url: str, members: Sequence[Member], *, partial: bool = True, **options: Any) -> None:
        self.url, self.partial = url, partial
        self._places = Places(members, **options)
        self._shapes: dict[str, str] = {}
        self._answers: tuple[Answer, ...] = ()

    def __repr__(self) -> str:
        return f"Federation({self.url!r}, {[m.name for m in self.members]})"

    @classmethod
    def open(
        cls,
        url: str | os.PathLike[str],
        *,
        partial: bool = True,
        cache_dir: str | os.PathLike[str] | None = DEFAULT_ROOT,
        offline: bool = False,
    ) -> Self:
        """Open the federation whose document lies at a path or URL that ends in `.json`; no member is asked yet.

        Args:
            url: a file, or an object of a bucket.
            partial: leave out members that do not answer, instead of raising StoreError.
            cache_dir: where what comes out of buckets is kept.
            offline: ask buckets for nothing.

        Raises NotFoundError, LayoutError for another document.
        """
        members = read_federation(url)
        return cls(os.fspath(url), members, partial=partial, cache_dir=cache_dir, offline=offline)

    @classmethod
    def create(
        cls, url: str | os.PathLike[str], members: Mapping[str, Mapping[str, Any]], **options: Any
    ) -> Self:
        """Write the document of a federation and open it.

        Args:
            url: where to; `.json`.
            members: by name, `url` and `ref`, and perhaps `mirrors`, a list of further places.
            options: as for `open`.

        Raises InvalidInputError, and writes nothing, for a member that is none, or when another federation lies there.
        """
        try:
            listed = [
                Member(name, place_url(m["url"]), m["ref"], tuple(map(place_url, m.get("mirrors", ()))))
                for name, m in members.items()
            ]
        except (KeyError, TypeError):
            raise InvalidInputError("a member has url and ref, and perhaps mirrors") from None
        write_federation(url, listed)
        return cls.open(url, **options)

    @property
    def members(self) -> tuple[Member, ...]:
        """What it reads."""
        return self._places.members

    @property
    def report(self) -> list[Mapping[str, Any]]:
        """How the members fared that were asked last: `name`, `ref`, `place`, `mirror`, `manifest`, `errors`."""
        return told(self._answers)

    # ---------------------------------------------------------------- Python

    def schema(self) -> pa.Schema:
        """Return the columns of all members that answer. Raises InvalidInputError when they differ in a type."""
        found = self._ask(lambda _, rows: row_schema(rows))
        return common_schema((member.name, schema) for member, schema in found)

    def search(self, field: str, query: Any, k: int = 10, **options: Any) -> pa.Table:
        """Return the k nearest rows of all members, nearest first, for each query.

        Each member is asked for its own k nearest, at once with the others; so the answer is as exact as theirs.

        Args:
            field: an embedding field; members without it are left out.
            query: as Dataset.search has it.
            k: how many.
            options: as Dataset.search has them.

        Returns a table of `query` (its number), `_source`, `_anchor`, `_distance` (float64).

        Raises InvalidInputError; StoreError when no member answers, or, without `partial`, when one does not.
        """
        hits = self._ask(partial(self._hits, field, query, k, options))
        if not hits or all(table is None for _, table in hits):
            raise InvalidInputError(f"no member of {self.url} has a field {field!r}")
        tables = [
            table.append_column(SOURCE, pa.array([m.name] * len(table), pa.string()))
            for m, table in hits
            if table is not None
        ]
        joined = pa.concat_tables(tables).select(["query", SOURCE, ANCHOR, DISTANCE])
        return _nearest(joined, k)

    def _hits(
        self, field: str, query: Any, k: int, options: Mapping[str, Any], place: str, rows: RowSet
    ) -> pa.Table | None:
        if all(f.name != field for f in rows.fields):
            return None
        return (
            Dataset(self._places.space(place), VIEW, rows.address)
            .search(field, query, k, **options)
            .to_arrow()
        )

    def _ask(
        self, work: Callable[[str, RowSet], Any], as_of: Callable[[Member], object] = lambda _: None
    ) -> list[tuple[Member, Any]]:
        """Return what the function gives for each member that answers, all asked at once; note how they fared."""
        with ThreadPoolExecutor(min(_PLACES_TOGETHER, len(self.members))) as pool:
            found = list(pool.map(lambda m: self._places.ask(m, work, as_of(m)), self.members))
        self._answers = tuple(answer for _, answer in found)
        if not self.partial or all(answer.place is None for answer in self._answers):
            refuse_missing(self._answers, self.url)
        return [(answer.member, given) for given, answer in found if answer.place is not None]

    # ---------------------------------------------------------------- SQL

    def connect(self, database: str = IN_MEMORY) -> duckdb.DuckDBPyConnection:
        """Return a DuckDB connection with the view `federation`, its table functions, and a schema for each member.

        Raises StoreError when no member answers, InvalidInputError when columns of one name differ in type.
        """
        con = open_database(database)
        self.attach(con)
        return con

    def attach(self, con: duckdb.DuckDBPyConnection) -> Attached:
        """Give a connection that is there already the same. Raises as connect does."""
        self.schema()  # a mistake in it is told better here than by every query
        sessions = {place: s for place in self._all_places() if (s := self._session(con, place)) is not None}
        plan = _Plans(self, sessions)
        types = [con.sqltype(t) for t in (TEXT, TEXT, TEXT, TEXT, TEXT, "UBIGINT", TEXT)]
        con.create_function(
            FUNCTION,
            bare_function(plan.plan, len(types)),
            types,
            con.sqltype(TEXT),
            null_handling=SPECIAL,
            side_effects=True,
        )
        con.execute("".join(macro_texts("federation").values()))
        plan.ready = True
        con.execute(f"CREATE OR REPLACE VIEW {VIEW} AS FROM dreamdb_federation_scan()")
        return Attached(weakref.ref(con), tuple(sessions.values()))

    def _all_places(self) -> Iterable[str]:
        return dict.fromkeys(place for member in self.members for place in member.places)

    def _session(self, con: duckdb.DuckDBPyConnection, place: str) -> Session | None:
        try:
            space = self._places.space(place)
        except DreamDBError:  # whoever asks for rows is told
            return None
        return Session(con, space, self._schema_of(place), outlines=NO_REFS)

    def _schema_of(self, place: str) -> str:
        """Return the schema in which the functions of a place lie: the member's name, and a number for a mirror."""
        member = next(m for m in self.members if place in m.places)
        at = member.places.index(place)
        return f"{member.name}_mirror{at}" if at else member.name

    def member_plans(
        self,
        sessions: Mapping[str, Session],
        kind: str,
        name: str | None,
        between: Sequence[str | None],
        as_of: Callable[[Member], object],
    ) -> str:
        """Return the union of the members' plans of one kind, and what columns those had that do not answer now."""

        def planned(place: str, rows: RowSet) -> tuple[pa.Schema, str, str]:
            if place not in sessions:
                raise StoreError(f"{place} did not answer when this connection was made; connect again")
            text = sessions[place].text(kind, VIEW, name, str(rows.address), *between)
            return row_schema(rows), shape_sql(rows.fields), text

        field = None if kind == "scan" else _field_of(name)
        found = self._ask(lambda place, rows: planned(place, rows) if _has(rows, field) else None, as_of)
        held = [(member, made) for member, made in found if made is not None]
        if not held:
            raise InvalidInputError(f"no member of {self.url} has a field {field!r}")
        common_schema((member.name, schema) for member, (schema, _, _) in held)
        self._shapes |= {member.name: shape for member, (_, shape, _) in held}
        texts = [_part(member.name, text) for member, (_, _, text) in held]
        here = {member.name for member, _ in held}
        gone = [
            _part(name, shape) for name, shape in self._shapes.items() if kind == "scan" and name not in here
        ]
        return " UNION ALL BY NAME ".join([*texts, *gone])

    def members_sql(self) -> str:
        """Return a query whose rows are the members, asked now."""
        with suppress(StoreError):  # that is what this tells of
            self._ask(lambda *_: None)
        rows = [_values(one) for one in self.report]
        return f"FROM (VALUES {', '.join(rows)}) AS t(name, ref, place, mirror, manifest, errors)"


class _Plans:
    """Plans of one connection: one version of each member for a transaction."""

    def __init__(self, federation: Federation, sessions: Mapping[str, Session]) -> None:
        self._federation, self._sessions = federation, sessions
        self._pins: dict[str, object] = {}
        self._pinned_for = -1
        self.ready = False

    def plan(
        self,
        kind: str,
        name: str | None,
        as_of: str | None,
        t0: str | None,
        t1: str | None,
        txid: int,
        _: str | None,
    ) -> str:
        """Return the SQL of a table function; an error comes back as SQL that raises it."""
        if not self.ready:
            return _NOTHING
        try:
            if kind == "members":
                return self._federation.members_sql()
            text = self._federation.member_plans(
                self._sessions, kind, name, (t0, t1), self._version(as_of, txid)
            )
            if as_of is None:
                self._pin()
        except (DreamDBError, OSError) as error:
            return error_sql(error)
        return text

    def _version(self, as_of: str | None, txid: int) -> Callable[[Member], object]:
        if txid != self._pinned_for:
            self._pins, self._pinned_for = {}, txid
        return lambda member: self._pins.get(member.name) if as_of is None else as_of

    def _pin(self) -> None:
        found = ((str(one["name"]), one["manifest"]) for one in self._federation.report)
        self._pins |= {name: version for name, version in found if version is not None}


def _nearest(hits: pa.Table, k: int) -> pa.Table:
    """Return the k nearest of each query; of equal distances the member and the anchor decide."""
    ordered = hits.sort_by(
        [("query", "ascending"), (DISTANCE, "ascending"), (SOURCE, "ascending"), (ANCHOR, "ascending")]
    )
    numbers = ordered["query"].to_numpy()
    # 0012-R11
    ranks = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
    return ordered.filter(pa.array(ranks < k))


def _has(rows: RowSet, field: str | None) -> bool:
    return field is None or any(f.name == field for f in rows.fields)


def _field_of(arguments: str | None) -> str:
    """Return the first of a search's arguments, which come as a JSON list."""
    return str(json.loads(arguments or "[null]")[0])


def _part(name: str, text: str) -> str:
    return f"SELECT {literal(name)} AS {identifier(SOURCE)}, * FROM ({text})"


def _values(one: Mapping[str, Any]) -> str:
    texts = ["NULL::VARCHAR" if one[key] is None else literal(one[key]) for key in ("name", "ref", "place")]
    manifest = "NULL::VARCHAR" if one["manifest"] is None else literal(one["manifest"])
    errors = ", ".join(map(literal, one["errors"]))
    return f"({', '.join(texts)}, {str(one['mirror']).lower()}, {manifest}, [{errors}]::VARCHAR[])"
