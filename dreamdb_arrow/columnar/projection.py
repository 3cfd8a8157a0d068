"""Projections: rows that only Tracks hold, decoded to the form of stripes. Spec 0021.

The Tracks keep a column inverted and a vector by cell. What another SDK appended is decoded once, field by field,
and joined by anchor; the result lies in the local cache under the addresses it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.arrays import arrow_of_items
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.media_refs import refs_of_items
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS, TIME, stored_type, stripe_schema
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.errors import NotFoundError, UnsupportedError
from dreamdb_arrow.objects.lineage import end_of
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, find_entry
from dreamdb_arrow.objects.schema import Field, is_constant, item_type_of
from dreamdb_arrow.objects.shape import expect_map
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.arrays import ArrayItems, fetch_arrays, has_items, read_array_items
from dreamdb_arrow.tracks.blobs import read_blobs
from dreamdb_arrow.tracks.cells import Origin
from dreamdb_arrow.tracks.graph import read_graph_vectors
from dreamdb_arrow.tracks.hot import read_hot_scalars, with_hot_vectors
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX
from dreamdb_arrow.tracks.media import MediaItems
from dreamdb_arrow.tracks.scalars import ScalarColumn
from dreamdb_arrow.tracks.vectors import read_cell_anchors, read_vectors

GRAPH: Final = ".graph.r="  # in the modality of a graph field
EVERYTHING: Final = (0, 1 << 63)  # the times of hot vectors: the coverage of their Track does not tell them


@dataclass(slots=True)
class Projection:
    """Rows out of Tracks: a table with the columns of a stripe, vectors by field, and fields that cannot be read."""

    table: pa.Table
    vectors: Mapping[str, tuple[I64, F32]]
    unavailable: Mapping[str, str]


@dataclass(slots=True)
class _Columns:
    """What has been read, by field; `bare` are anchors of rows whose values cannot be read."""

    scalars: dict[str, ScalarColumn] = field(default_factory=dict)
    media: dict[str, MediaItems] = field(default_factory=dict)
    vectors: dict[str, tuple[I64, F32]] = field(default_factory=dict)
    arrays: dict[str, tuple[I64, pa.Array]] = field(default_factory=dict)
    bare: list[I64] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)


def row_entry(manifest: Manifest, name: str) -> TrackEntry | None:
    """Return the active entry of a schema field."""
    return find_entry(manifest.tracks, name)


def project(store: Store, manifest: Manifest, fields: Iterable[Field], note: CoverNote) -> Projection:
    """Decode the Tracks of these fields, leaving out what a cover note says is in stripes."""
    fields = tuple(fields)
    read = _Columns()
    for f in fields:
        entry = row_entry(manifest, f.name)
        if entry is None or is_constant(f):
            continue
        try:
            _read_field(store, manifest, f, entry, note, read)
        except UnsupportedError as error:
            read.unavailable[f.name] = str(error)  # 0000-R4
            read.bare.append(_bare_anchors(store, f, entry))
    return Projection(_join_columns(fields, read), read.vectors, read.unavailable)


def _read_field(
    store: Store, manifest: Manifest, f: Field, entry: TrackEntry, note: CoverNote, read: _Columns
) -> None:
    known = note.payloads.get(f.name, frozenset())  # 0021-R10
    if f.kind == "scalar":
        value_type = str(f.options["value_type"])
        read.scalars[f.name] = read_hot_scalars(store, read_track(store, entry), value_type, known=known)
    elif f.kind in BLOB_KINDS:
        base = note.tracks.get(f.name)
        old = None if base is None else old_items(store, replace(entry, address=base), f.kind)
        read.media[f.name] = without_old(read_blobs(store, read_track(store, entry), f.kind), old)
    elif f.kind == "embedding":
        if GRAPH in entry.modality:
            nodes = read_graph_vectors(store, read_track(store, _exact_graph(manifest, entry)), dim_of(f))
            read.vectors[f.name] = (nodes.anchors, nodes.vectors)
            return
        if not has_cells(entry):
            raise UnsupportedError(
                f"a row has several vectors, one a token ({entry.modality}): ask with query_multi_vector"
            )
        origin = bucket_origin(manifest, entry.modality)
        track = read_track(store, entry)
        found = read_vectors(store, track, dim_of(f), known=known, origin=origin)
        if (shard := hot_shard_address(manifest, entry)) is not None:
            found = with_hot_vectors(store, track, shard, found, dim_of(f))
        read.vectors[f.name] = (found.anchors, found.vectors)
    elif f.kind == "array":
        read.arrays[f.name] = _read_arrays(store, f, entry, note.tracks.get(f.name))
    else:
        raise UnsupportedError(f"field {f.name!r} of kind {f.kind!r} cannot be read yet")


def _exact_graph(manifest: Manifest, entry: TrackEntry) -> TrackEntry:
    """Return the Track with the exact vectors of a graph: itself, or of a compressed one that which it was made of."""
    if "vector_compressor" not in _registry_entry(manifest, entry.modality):
        return entry
    parents = [e.exact_parent for e in manifest.tracks.edges if e.child == end_of(entry)]
    if not parents or parents[0].field != entry.field:
        raise UnsupportedError("a compressed graph cannot be read without the exact one that it was made of")
    return replace(entry, address=parents[0].address, modality=parents[0].modality)


def has_cells(entry: TrackEntry) -> bool:
    """Whether a vector belongs to a row; in a multi-vector field it belongs to a token of one, in a graph to a node."""
    return ".bucketed" in entry.modality and ".multivec" not in entry.modality


def _bare_anchors(store: Store, f: Field, entry: TrackEntry) -> I64:
    """Return the anchors that a field gives to rows, although its values cannot be read."""
    if f.kind == "embedding" and has_cells(entry):
        return read_cell_anchors(store, read_track(store, entry))
    if f.kind == "array" and has_items(entry.modality):
        return read_array_items(store, read_track(store, entry)).anchors
    return np.empty(0, dtype=np.int64)


def _read_arrays(store: Store, f: Field, entry: TrackEntry, base: Address | None) -> tuple[I64, pa.Array]:
    """Return anchors and values of an array Track, but for items that a covered Track has."""
    of, track = item_type_of(f), read_track(store, entry)
    items = read_array_items(store, track)
    if base is not None:
        items = _new_arrays(store, items, replace(entry, address=base))
    return items.anchors, arrow_of_items(of, fetch_arrays(store, track, of, items))


def _new_arrays(store: Store, items: ArrayItems, covered: TrackEntry) -> ArrayItems:
    try:
        old = read_array_items(store, read_track(store, covered))
    except NotFoundError:
        return items  # it has been collected
    at, there = _spread(items.anchors, old.anchors)
    if not there.any():
        return items
    return items.take(~(there & (items.addresses == old.addresses[at]).all(axis=1)))


def old_items(store: Store, entry: TrackEntry, kind: str) -> MediaItems | None:
    """Return the items of a covered Track, if it has not been collected."""
    try:
        return read_blobs(store, read_track(store, entry), kind)
    except NotFoundError:
        return None


def without_old(items: MediaItems, old: MediaItems | None) -> MediaItems:
    """Drop items that a covered Track has at the same anchor. Payloads alone do not tell: equal bytes are one object."""
    if old is None or len(old) == 0:
        return items
    at, there = _spread(items.anchors, old.anchors)
    same = there & (items.addresses == old.addresses[at]).all(axis=1) & (items.offsets == old.offsets[at])
    return items.take(np.flatnonzero(~same))


def dim_of(f: Field) -> int:
    """Return the dimension of an embedding field."""
    return int(f.options["dim"])


def spatial_index_address(manifest: Manifest, modality: str) -> Address:
    """Return the address of the (first) SpatialIndex that the registry names for a modality."""
    listed = _registry_entry(manifest, modality).get("spatial_index")
    if not isinstance(listed, list) or not listed:
        raise UnsupportedError(f"the registry names no spatial index for {modality}")
    return as_address(listed[0])


def bucket_origin(manifest: Manifest, modality: str) -> Origin:
    """Return what the registry says that the buckets of a modality were written with."""
    compressor = _registry_entry(manifest, modality).get("vector_compressor")
    return Origin(
        spatial_index_address(manifest, modality), None if compressor is None else as_address(compressor)
    )


def hot_shard_address(manifest: Manifest, entry: TrackEntry) -> Address | None:
    """Return the hot shard that the registry names for an entry's modality, or None."""
    shard = _registry_entry(manifest, entry.modality).get("hot_shard")
    return None if shard is None else as_address(shard)


def _registry_entry(manifest: Manifest, modality: str) -> dict[str, Any]:
    return expect_map(manifest.registry.get(modality, {}), f"registry entry of {modality}")


def _join_columns(fields: tuple[Field, ...], read: _Columns) -> pa.Table:
    parts = [c.anchors for c in read.scalars.values()] + [m.anchors for m in read.media.values()]
    parts += [a for held in (read.vectors, read.arrays) for a, _ in held.values()] + read.bare
    anchors = united(parts)
    anchors = anchors[(anchors >= 0) & (anchors <= VISIBLE_ANCHOR_MAX)]
    schema = stripe_schema(f for f in fields if f.name in {*read.scalars, *read.media, *read.arrays})
    columns = {ANCHOR: pa.array(anchors, pa.int64()), TIME: pa.array(anchors, pa.timestamp("ns"))}
    for f in fields:
        if f.name in read.scalars:
            columns[f.name] = _scalar_array(anchors, read.scalars[f.name], f)
        elif f.name in read.media:
            columns[f.name] = _media_array(anchors, read.media[f.name])
        elif f.name in read.arrays:
            at, there = _spread(anchors, read.arrays[f.name][0])
            columns[f.name] = read.arrays[f.name][1].take(pa.array(at, mask=~there))
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _spread(anchors: I64, held: I64) -> tuple[I64, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return for each row of `anchors` its position in `held` (ascending, a subset), and whether it is there."""
    if len(held) == 0:
        return np.zeros(len(anchors), dtype=np.int64), np.zeros(len(anchors), dtype=bool)
    at = np.minimum(np.searchsorted(held, anchors), len(held) - 1)
    return at, held[at] == anchors


def _scalar_array(anchors: I64, column: ScalarColumn, f: Field) -> pa.Array:
    kind = stored_type(f)
    values = pa.array(column.values, type=pa.int64() if kind == pa.timestamp("ns") else kind).cast(kind)
    at, there = _spread(anchors, column.anchors)
    codes = column.codes[at] if len(column.codes) else at
    return values.take(pa.array(codes, mask=~there))


def _media_array(anchors: I64, items: MediaItems) -> pa.Array:
    at, there = _spread(anchors, items.anchors)
    stored = refs_of_items(items)
    return stored.take(pa.array(at, mask=~there))


def merge_rows(stripe: pa.Table, extra: pa.Table) -> pa.Table:
    """Bring values of `extra` into the rows of `stripe` that have the same anchor.

    A value where the stripe has none is taken. Of two scalars at one anchor the larger stays, as the reference
    shows it; of two media items or arrays the one out of the Track.
    """
    wanted = np.asarray(stripe[ANCHOR].combine_chunks())
    at, there = _spread(wanted, np.asarray(extra[ANCHOR].combine_chunks()))
    positions = pa.array(at, mask=~there)
    columns = []
    for name in stripe.column_names:
        old = stripe[name].combine_chunks()
        if name in (ANCHOR, TIME) or name not in extra.column_names:
            columns.append(old)
        else:
            columns.append(_winner(old, extra[name].combine_chunks().take(positions)))
    return pa.Table.from_arrays(columns, schema=stripe.schema)


def _winner(old: pa.Array, new: pa.Array) -> pa.Array:
    if pa.types.is_nested(old.type):
        return pc.if_else(new.is_valid(), new, old)
    if pa.types.is_boolean(old.type):
        return pc.or_kleene(pc.coalesce(old, new), pc.coalesce(new, old))
    larger = pc.fill_null(pc.greater(new, old), False)  # 0001-R17
    return pc.if_else(pc.or_(larger, pc.and_(new.is_valid(), old.is_null())), new, old)
