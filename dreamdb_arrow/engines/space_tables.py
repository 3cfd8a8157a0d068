"""The Space itself as tables: refs, stats, history, schema, tracks, objects, tombstones, constants, indexes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.deleted import read_tombstone_list
from dreamdb_arrow.dataset.diff import diff_rows
from dreamdb_arrow.dataset.index_status import index_status
from dreamdb_arrow.dataset.inspect import constants, history, objects, refs, schema_rows, tracks
from dreamdb_arrow.dataset.scope import Scope
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.dataset.stats import BYTES, REQUESTS, space_stats
from dreamdb_arrow.errors import InvalidInputError

Tabulate = Callable[[Space, Address], pa.Table]


def _texts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.string()) for name in names]


_RANGE: Final = [("t0", pa.uint64()), ("t1", pa.uint64())]
REFS: Final = pa.schema([*_texts("ref", "manifest"), ("is_snapshot", pa.bool_()), *_texts("error")])
HISTORY: Final = pa.schema(
    [
        *_texts("manifest"),
        ("time", pa.timestamp("ns")),
        ("ts_ns", pa.int64()),
        *_texts("operation"),
        ("parents", pa.list_(pa.string())),
        ("tracks", pa.int64()),
        *_texts("writer"),
    ]
)
SCHEMA: Final = pa.schema(
    [
        *_texts("field", "kind", "type"),
        ("required", pa.bool_()),
        *_texts("algorithm", "mime"),
        ("available", pa.bool_()),
        *_texts("reason"),
    ]
)
TRACKS: Final = pa.schema([*_texts("field", "modality", "kind", "role"), *_RANGE, *_texts("track", "path")])
OBJECTS: Final = pa.schema([*_texts("kind", "field"), *_RANGE, *_texts("address", "path")])
TOMBSTONES: Final = pa.schema(
    [("_anchor", pa.int64()), ("deleted_at", pa.timestamp("ms")), *_texts("reason")]
)
CONSTANTS: Final = pa.schema(_texts("field", "modality", "value"))
STATS: Final = pa.schema([*((name, pa.int64()) for name in (*REQUESTS, *BYTES)), ("hit_rate", pa.float64())])
INDEX_STATUS: Final = pa.schema(
    [
        *_texts("field", "algorithm", "metric"),
        *((name, pa.int64()) for name in ("dim", "cells", "filled", "rows")),
        ("mean", pa.float64()),
        ("largest", pa.int64()),
        ("skew", pa.float64()),
        *((name, pa.int64()) for name in ("buckets", "bytes", "code_bytes", "unflushed", "nprobe")),
        ("recall", pa.float64()),
        ("sampled", pa.int64()),
    ]
)


def table_of(found: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return plain values as a table of this schema; what a row does not have is null."""
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in schema.names} for row in found], schema=schema
    )


def refs_within(space: Space, scope: Scope) -> pa.Table:
    """Return the Refs of a scope."""
    return table_of([one for one in refs(space.store) if scope.admits(one["ref"])], REFS)


def _stats(space: Space, _: Address) -> pa.Table:
    return table_of([space_stats(space)], STATS)


def _history(space: Space, version: Address) -> pa.Table:
    found = history(space.store, version, None)
    return table_of([{**v, "time": v["ts_ns"], "tracks": v["tracks_count"]} for v in found], HISTORY)


def _schema(space: Space, version: Address) -> pa.Table:
    return table_of(schema_rows(space.rows(version)), SCHEMA)


def _tracks(space: Space, version: Address) -> pa.Table:
    return table_of(tracks(space.rows(version).manifest), TRACKS)


def _objects(space: Space, version: Address) -> pa.Table:
    return table_of(objects(space.rows(version)), OBJECTS)


def _tombstones(space: Space, version: Address) -> pa.Table:
    held = read_tombstone_list(space.store, space.rows(version).manifest)
    columns = [
        pa.array(held.anchors.astype(np.int64)),
        pa.array(held.deleted_at.astype(np.int64)).cast(pa.timestamp("ms")),
        pa.array(held.reasons, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=TOMBSTONES)


def _constants(space: Space, version: Address) -> pa.Table:
    found = constants(space.rows(version)).items()
    return table_of(
        [{"field": n, "modality": c["modality"], "value": _text(c["value"])} for n, c in found], CONSTANTS
    )


def index_table(space: Space, version: Address, name: str | None) -> pa.Table:
    """Return how the index of an embedding field is, or, without a name, of each that can be read."""
    rows = space.rows(version)
    held = [f.name for f in rows.fields if f.kind == "embedding" and f.name not in rows.unavailable]
    found = [index_status(rows, field) for field in (held if name is None else [name])]
    return table_of(found, INDEX_STATUS)


def diff_table(space: Space, version: Address, other: str | None) -> pa.Table:
    """Return what changed from a version to another one, which is named as `Space.find` takes it."""
    if other is None:
        raise InvalidInputError("other must name a version")
    return diff_rows(space.rows(version), space.rows(space.find(other))).read_all()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


OF_SPACES: Final = frozenset({"refs", "stats", "help"})  # tables that are of no version
TABLES: Final[Mapping[str, Callable[[Space, Any], pa.Table]]] = {
    "stats": _stats,
    "history": _history,
    "schema": _schema,
    "tracks": _tracks,
    "objects": _objects,
    "tombstones": _tombstones,
    "constants": _constants,
}
