"""Planning for SQL: which version a statement sees, and what a table function becomes. Spec 0006.

One planner serves one database. A version is pinned for a transaction; plans are kept by version and range, and used again
while their files are what they were. What a process plans first is noted in the local cache: the next one plans that while
DuckDB starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from threading import get_ident
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.hidden import COPY_ALL, NAMED_MAX, SHARE
from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.stripe import encode_stripe
from dreamdb_arrow.dataset.items import list_items
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.dataset.schema import describe
from dreamdb_arrow.dataset.scope import EVERYTHING, Scope
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.arguments import time_range
from dreamdb_arrow.engines.help import help_table
from dreamdb_arrow.engines.plans import (
    Source,
    error_sql,
    files_sql,
    origins,
    scan_sql,
    shape_sql,
    source_of,
    track_sql,
)
from dreamdb_arrow.engines.plans_take import search_sql, take_sql
from dreamdb_arrow.engines.plans_time import (
    align_sql,
    aligned_fields,
    grid_of,
    read_alignment,
    window_ranges,
    window_sql,
)
from dreamdb_arrow.engines.recent import Recent
from dreamdb_arrow.engines.space_tables import OF_SPACES, TABLES, diff_table, index_table, refs_within
from dreamdb_arrow.errors import DreamDBError, InvalidInputError
from dreamdb_arrow.history.manifests import read_manifest
from dreamdb_arrow.objects.manifest import skim_registry
from dreamdb_arrow.objects.schema import SCHEMA_KEY, decode_schema

PINS_MAX: Final = 4096
PLANS_MAX: Final = 256
PATIENCE: Final = (
    4  # queries that a filter of deleted anchors may slow down, before copies without them are made
)
NO_OUTLINE: Final = "SELECT NULL"
AHEAD_FILES: Final = 256  # of a plan that is made ahead: to find out that nobody wants it must not cost much
AHEAD_BYTES: Final = 256 << 20
_KEY: Final = re.compile(rb" (-?\d{1,19}) (-?\d{1,19})")  # of a source, behind the version


@dataclass(slots=True)
class Plan:
    """A source of one version and time range, the SQL over it by field (None: of all), and how often it was asked for."""

    source: Source
    listing: pa.Array
    texts: dict[str | None, str] = field(default_factory=dict)
    uses: int = 0
    copied: bool = False


@dataclass(frozen=True, slots=True)
class Outlines:
    """What is known of all Refs from their Manifests alone.

    plans     by Ref, a plan that has its columns and no rows; empty for a damaged one, which has no view
    comments  by Ref, a line about its fields, or what is wrong
    dims      of the embeddings
    versions  of the Refs
    """

    plans: Mapping[str, str] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    dims: frozenset[int] = frozenset()
    versions: frozenset[Address] = frozenset()

    def of(self, name: str) -> tuple[str, str]:
        """Return what the view of a Ref is made of: its plan and its comment."""
        return self.plans[name], self.comments[name]


@dataclass(frozen=True, slots=True)
class _Outline:
    plan: str
    comment: str
    dims: frozenset[int] = frozenset()


def outline_refs(space: Space, scope: Scope = EVERYTHING, refs: Sequence[str] | None = None) -> Outlines:
    """Return the outlines of some Refs, all unless told, that lie in a scope."""
    names = scope.within(space.store.list_refs() if refs is None else refs)
    outline = cache(_outline)  # many have one schema
    looks = space.of_each(partial(_look, space, outline), names)
    found = {name: one for name, (_, one) in zip(names, looks, strict=True)}
    versions = (version for version, _ in looks if version is not None)
    return Outlines(
        {name: one.plan for name, one in found.items()},
        {name: one.comment for name, one in found.items()},
        frozenset().union(*(one.dims for one in found.values())),
        frozenset(versions),
    )


def _look(space: Space, outline: Callable[[bytes], _Outline], ref: str) -> tuple[Address | None, _Outline]:
    """Return the version of a Ref, None for a damaged one, and its outline."""
    try:
        version = space.resolve(ref)
        schema = skim_registry(read_manifest(space.store, version)).get(SCHEMA_KEY)
        return version, outline(encode_cbor(schema))
    except (DreamDBError, OSError) as error:
        return None, _Outline("", str(error))


def _outline(schema: bytes) -> _Outline:
    fields = decode_schema({SCHEMA_KEY: decode_cbor(schema)})
    dims = frozenset(dim_of(f) for f in fields if f.kind == "embedding")
    return _Outline(shape_sql(fields), ", ".join(map(describe, fields)), dims)


class Planner:
    """Plans over what a scope has of a Space; `prefix` starts the names of our functions, `dims` are those with a function for vectors."""

    def __init__(self, space: Space, prefix: str, scope: Scope = EVERYTHING) -> None:
        self.dims: set[int] = set()
        self._space, self.prefix, self.scope = space, prefix, scope
        self._shown: dict[int, Outlines] = {}
        self._asked = False
        self.renew()

    def renew(self) -> None:
        """Start anew, with locks of our own."""
        self._pins: Recent[tuple[int, str], Address] = Recent(PINS_MAX)
        self._plans: Recent[tuple[Address, int, int], Plan] = Recent(PLANS_MAX)

    def forget(self) -> None:
        """Let go of the plans, which are made again when asked for."""
        self._plans.clear()

    def plan(
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
        shown = self._shown.get(get_ident())
        if shown is not None:
            return shown.plans.get(ref or "") or NO_OUTLINE
        try:
            return self.text(kind, ref, name, as_of, t0, t1, txid)
        except (DreamDBError, OSError) as error:
            return error_sql(error)

    def text(
        self,
        kind: str,
        ref: str | None,
        name: str | None,
        as_of: str | None,
        t0: str | None,
        t1: str | None,
        txid: int,
    ) -> str:
        """Return the SQL of a table function. Raises what is wrong."""
        self.scope.check_kind(kind)
        if kind == "align":
            return self._align_sql(name, t0, t1, txid)
        version = None if kind in OF_SPACES else self.version(ref, as_of, txid)
        if version is None or kind in TABLES or kind in OF_FIELDS:
            return self._table_sql(self.scope.cut_rows(self._table(kind, ref, version, name)))  # 0023-R10
        if kind == "window":
            return self._window_sql(version, name)
        if kind == "take":
            within = self.scope.t0, self.scope.t1
            return take_sql(self._space.rows(version), name, self.prefix, self.dims, within)
        if kind == "search":
            key = json.dumps([ref, str(version), *json.loads(name or "[]"), t0, t1])
            return search_sql(self._space.rows(version), key, self.prefix, self.dims)
        return self._read_sql(version, time_range(t0, t1), _field_name(name) if kind == "track" else None)

    def version(self, ref: str | None, as_of: Any, txid: int) -> Address:
        """Return the version of a Ref for a transaction: what it was when the transaction first asked (0006-R12)."""
        if ref is None:
            raise InvalidInputError("ref must not be NULL")
        if as_of is not None:
            return self.scope.resolve(self._space, ref, as_of)
        pinned = self._pins.get((txid, ref))
        if pinned is not None:
            return pinned
        return self._pins.keep((txid, ref), self.scope.resolve(self._space, ref))

    @contextmanager
    def showing(self, outlines: Outlines) -> Iterator[None]:
        """Let this thread's plans be outlines: who makes a view or a macro need not read a version."""
        self._shown[get_ident()] = outlines
        try:
            yield
        finally:
            del self._shown[get_ident()]

    # ---------------------------------------------------------------- plans

    def _read_sql(self, version: Address, between: tuple[int, int], name: str | None) -> str:
        plan = self._planned(version, *self.scope.cut(*between))  # 0023-R10: all rows are read by such plans
        return plan.texts.get(name) or self._write(plan, version, name, self.dims)

    def _write(self, plan: Plan, version: Address, name: str | None, dims: Collection[int]) -> str:
        rows = self._space.rows(version)
        text = (
            scan_sql(rows, plan.source, self.prefix, dims)
            if name is None
            else track_sql(rows, plan.source, self.prefix, name, dims)
        )
        plan.texts[name] = text
        return text

    def _window_sql(self, version: Address, name: str | None) -> str:
        asked = json.loads(name or "{}")
        ranges = window_ranges(asked.get("anchors"), asked.get("before"), asked.get("after"))
        low, high = (ranges[0][0], ranges[-1][1]) if ranges else (0, 0)
        return window_sql(self._read_sql(version, (low, min(high + 1, TIME_MAX)), None), ranges)

    def _align_sql(self, name: str | None, t0: str | None, t1: str | None, txid: int) -> str:
        asked, between = read_alignment(name), self.scope.cut(*time_range(t0, t1))
        versions = {ref: self.version(ref, None, txid) for ref, _ in asked.fields}
        found = [
            (f"{ref}.{field}", self._read_sql(versions[ref], between, field))
            for ref, wanted in asked.fields
            for field in aligned_fields(self._space.rows(versions[ref]).fields, ref, wanted, asked.fill)
        ]
        held = [s for v in versions.values() for s in self._planned(v, *between).source.originals]
        low = max(between[0], min((s.t0 for s in held), default=0)) if t0 is None else between[0]
        high = min(between[1], max((s.t1 for s in held), default=0)) if t1 is None else between[1]
        return align_sql(grid_of(asked, low, high), list(dict(found).items()), asked.fill)

    def _planned(self, version: Address, t0: int, t1: int) -> Plan:
        plan = self._ready(version, t0, t1)
        if not self._asked:
            self._asked = True
            self._note(plan.source)
        return plan

    def _ready(self, version: Address, t0: int, t1: int) -> Plan:
        """Return the plan of a range, made anew unless its files are what they were: a kept one, too, must be checked."""
        key = (version, t0, t1)
        plan = self._plans.get(key)
        if plan is not None and plan.source.files.unchanged():
            plan.uses += 1
            if plan.copied or plan.uses < PATIENCE or len(plan.source.hidden) <= NAMED_MAX:
                return plan
        often = plan is not None and plan.uses >= PATIENCE
        source = source_of(self._space.rows(version), t0, t1, share=COPY_ALL if often else SHARE)
        made = Plan(source, source.listing(), copied=often)
        self._plans.put(key, made)
        return made

    def look_ahead(self, outlines: Outlines) -> None:
        """Make the plan that a process before this one noted, if it is of a version that is some Ref's now.

        All dimensions are going to have functions by the time that anybody asks.
        """
        with suppress(DreamDBError, OSError):  # who asks for it will be told
            noted = self._space.cache.read_note(self._note_key()) or b""
            for version in outlines.versions:
                if found := _KEY.fullmatch(noted.removeprefix(str(version).encode())):
                    plan = self._ready(version, int(found[1]), int(found[2]))
                    self._write(plan, version, None, outlines.dims)

    def _note(self, source: Source) -> None:
        """Note what was asked for first, if it is quick to plan: its files are few, and here."""
        local = self._space.store.url.startswith("file://") and not self._space.cache.is_temporary
        if not local or len(source.files.paths) > AHEAD_FILES or sum(source.files.sizes) > AHEAD_BYTES:
            return
        body = source.key.encode()
        with suppress(DreamDBError, OSError):  # a cache that cannot be written keeps none
            if self._space.cache.read_note(self._note_key()) != body:
                self._space.cache.write_note(self._note_key(), body)

    def _note_key(self) -> str:
        return f"first plan/1/{self._space.store.url}"

    def _plan_named(self, key: str) -> Plan:
        version, t0, t1 = key.split()
        where = (parse_address(version), int(t0), int(t1))
        return self._plans.get(where) or self._planned(*where)

    def files(self, key: Any) -> Any:
        """Return the files of a plan, named by its source's key."""
        return self._plan_named(key[0].as_py()).listing

    def origin(self, key: Any, name: Any, files: Any) -> Any:
        """Return for the names of local files which objects they show."""
        if len(files) == 0:
            return pa.array([], pa.string())
        source = self._plan_named(key[0].as_py()).source
        version = parse_address(key[0].as_py().split()[0])
        held = origins(self._space.rows(version), source, name[0].as_py())
        whole = files.combine_chunks() if isinstance(files, pa.ChunkedArray) else files
        named = whole.dictionary_encode()
        return pa.array([held[n] for n in named.dictionary.to_pylist()], pa.string()).take(named.indices)

    def _table(self, kind: str, ref: str | None, version: Any, name: str | None) -> pa.Table:
        if kind == "help":
            return help_table(name)
        if kind == "refs":
            return refs_within(self._space, self.scope)
        if kind == "diff" and name is not None:
            name = str(self.scope.find(self._space, name, ref or ""))
        of_field = OF_FIELDS.get(kind)
        return (
            TABLES[kind](self._space, version) if of_field is None else of_field(self._space, version, name)
        )

    def _table_sql(self, table: pa.Table) -> str:
        """Return a query of a small table, kept as Parquet in the local cache: no value becomes SQL text."""
        address = self._space.cache.put(encode_stripe(table))
        file = files_sql([self._space.cache.local(address)])
        return f"FROM read_parquet({file}, hive_partitioning = false)"


def _field_name(name: str | None) -> str:
    if name is None:
        raise InvalidInputError("field must be the name of a field")
    return name


def _items(space: Space, version: Address, name: str | None) -> pa.Table:
    return list_items(space.rows(version), _field_name(name))


OF_FIELDS: Final[Mapping[str, Callable[[Space, Address, str | None], pa.Table]]] = {
    "items": _items,
    "index_status": index_table,
    "diff": diff_table,
}
