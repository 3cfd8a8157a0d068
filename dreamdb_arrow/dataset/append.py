"""Append: new rows as one commit. Spec 0006."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.rows import resolve_rows
from dreamdb_arrow.columnar.vendor import (
    change_fragments,
    flush_mode,
    has_columnar_layer,
)
from dreamdb_arrow.dataset.anchors import settle_anchors
from dreamdb_arrow.dataset.flush import flush_rows
from dreamdb_arrow.dataset.incoming import check_rows, refuse_bare_rows
from dreamdb_arrow.dataset.outgoing import store_rows, write_stripes
from dreamdb_arrow.dataset.writable import check_appendable
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store

Tabulate = Callable[[tuple[Field, ...]], pa.Table]


def append_rows(
    store: Store, cache: LocalCache, name: str, tabulate: Tabulate, time: str | None, clock: Clock
) -> tuple[int, Address, Manifest]:
    """Append rows to a Ref as one commit; return their number, the new version and its Manifest.

    Args:
        store: where the Space lives.
        cache: for what has to be looked at.
        name: the Ref.
        tabulate: gives the rows as a table, once it is told the fields.
        time: a column whose times become the anchors.
        clock: nanoseconds since 1970.

    Raises InvalidInputError or AnchorConflict before anything is published. A race that is lost to another commit
    is run again on the new tip.
    """
    counted: list[int] = []

    def build(parent: Manifest, address: Address, batch: Batch) -> Change:
        fields = decode_schema(parent.registry)
        rows = check_rows(tabulate(fields), fields, time)  # 0006-R1
        counted[:] = [rows.n]
        if rows.n == 0:
            return Change("commit")
        if not has_columnar_layer(parent):
            refuse_bare_rows(rows)
        given = rows.given()
        check_appendable(store, parent, [f for f in fields if f.name in given])
        now = max(clock(), parent.ts)
        anchors = settle_anchors(
            rows, store, parent, lambda: resolve_rows(store, cache, parent, address), now
        )
        stored = store_rows(rows, anchors, fields, parent.timeline, batch)
        if not has_columnar_layer(parent):  # 0006-R10, 0021-R3
            return replace(flush_rows(store, parent, batch, stored), operation="commit")
        made = write_stripes(stored, parent.timeline, batch)
        entries = tuple(
            change_fragments(store, batch, parent, modality, new, field=field)
            for (modality, field), new in made.items()
        )
        if flush_mode(parent) != "commit":
            return Change("commit", entries)
        named = frozenset(f.address for new in made.values() for f in new)
        flushed = flush_rows(store, parent, batch, stored, named)
        return Change("commit", entries + flushed.entries, flushed.registry)

    address, manifest = commit(store, name, build, clock=clock)
    return counted[0], address, manifest


def samples_writer(samples: Any, convert: Callable[[Any, tuple[Field, ...]], pa.Table]) -> Tabulate:
    """Return a `tabulate` that converts once, however often the commit is tried."""
    made: list[tuple[tuple[Field, ...], pa.Table]] = []

    def tabulate(fields: tuple[Field, ...]) -> pa.Table:
        if not made or made[0][0] != fields:
            made[:] = [(fields, convert(samples, fields))]
        return made[0][1]

    return tabulate
