"""Folding: what only the Tracks hold, brought together with the stripes. Spec 0021.

The newest cover note says most often that there is nothing. Else the Tracks are projected, once, and the outcome is
kept in the local cache: rows that no stripe has become a local stripe; a stripe whose rows have gained values, such as
those of a layer, is replaced by a local copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.projection import (
    EVERYTHING,
    Projection,
    has_cells,
    hot_shard_address,
    merge_rows,
    project,
    row_entry,
)
from dreamdb_arrow.columnar.rowset import RowSet, Stripe, keep_local
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    anchors_of,
    conform,
    decode_stripe,
    encode_stripe,
    stripe_schema,
)
from dreamdb_arrow.columnar.vectors import I64, encode_vectors
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import Field, is_constant


def add_track_rows(
    rows: RowSet, open_fields: Sequence[Field], note: CoverNote, marked: Collection[str] = ()
) -> RowSet:
    """Unite the stripes with what only the Tracks of these fields hold; `note` unites all that cover notes say.

    Of fields that are `marked`, the vectors that lie in cells are left to `columnar.cell_vectors`.
    """
    key = _projection_key(rows, open_fields, note, marked)
    known = rows.cache.read_note(key)
    folded = _decode_folded(known) if known is not None else None
    if folded is None or not _still_there(rows.cache, folded):
        found = project(rows.store, rows.manifest, open_fields, note)
        folded = _fold(rows, without_cells(rows.manifest, found, marked))
        rows.cache.write_note(key, _encode_folded(folded))
    return _apply(rows, folded)


def uncovered(rows: RowSet, note: CoverNote | None) -> list[Field]:
    """Return the fields whose Tracks must be looked into; most often none, as the newest note says."""
    covered = {} if note is None else note.tracks
    entries = [(f, row_entry(rows.manifest, f.name)) for f in rows.fields if not is_constant(f)]
    # 0021-R10
    return [
        f
        for f, e in entries
        if e is None or covered.get(f.name) != e.address or hot_shard_address(rows.manifest, e) is not None
    ]


def without_cells(manifest: Manifest, found: Projection, names: Collection[str]) -> Projection:
    """Return a projection without the vectors of those of these fields that have cells and nothing beside them."""
    entries = {name: row_entry(manifest, name) for name in names}
    in_cells = {
        name for name, e in entries.items() if e and has_cells(e) and hot_shard_address(manifest, e) is None
    }
    return replace(found, vectors={name: v for name, v in found.vectors.items() if name not in in_cells})


def _projection_key(rows: RowSet, fields: Iterable[Field], note: CoverNote, marked: Collection[str]) -> str:
    entries = [(f, row_entry(rows.manifest, f.name)) for f in fields]
    tracks = [[f.name, f.kind, dict(f.options), bytes(e.address) if e else b""] for f, e in entries]
    hot = [bytes(h) for _, e in entries if e and (h := hot_shard_address(rows.manifest, e)) is not None]
    ranges = [e.coverage for _, e in entries if e] + [EVERYTHING for _ in hot]
    stripes = [bytes(s.address) for s in rows.stripes if any(s.meets(*held) for held in ranges)]
    held = [bytes(s.address) for name in sorted(rows.vectors) for s in rows.vectors[name]]
    listed = {name: [bytes(a) for a in sorted(p)] for name, p in note.payloads.items()}
    bases = {name: bytes(a) for name, a in note.tracks.items()}
    said = encode_cbor([tracks, stripes, held, listed, bases, hot, sorted(marked)])
    return f"projection/4/{rows.timeline}/{said.hex()}"


@dataclass(frozen=True, slots=True)
class _Folded:
    """What a projection changes: stripes that local ones replace, local stripes, vectors, fields left out."""

    replaced: frozenset[Address]
    stripes: tuple[Stripe, ...]
    vectors: Mapping[str, Stripe]
    unavailable: Mapping[str, str]


def _apply(rows: RowSet, folded: _Folded) -> RowSet:
    kept = [s for s in rows.stripes if s.address not in folded.replaced]
    stripes = sorted([*kept, *folded.stripes], key=lambda s: s.t0)
    vectors = dict(rows.vectors)
    for name, stripe in folded.vectors.items():
        vectors[name] = tuple(sorted([*vectors.get(name, ()), stripe], key=lambda s: s.t0))
    return replace(rows, stripes=tuple(stripes), vectors=vectors, unavailable=dict(folded.unavailable))


def _fold(rows: RowSet, projection: Projection) -> _Folded:
    """Bring projected rows and stripes together, so that no anchor is in two of the resulting files."""
    schema = stripe_schema(f for f in rows.fields if f.name not in projection.unavailable)
    extra = conform(projection.table, schema) if len(projection.table) else schema.empty_table()
    replaced, local, taken = _fold_stripes(rows, extra, schema)
    rest = extra.filter(pa.array(~taken))
    if len(rest):
        local.append(keep_local(rows.cache, encode_stripe(rest), anchors_of(rest)))
    vectors = {
        name: s for name, v in projection.vectors.items() if (s := _new_vectors(rows, name, *v)) is not None
    }
    return _Folded(frozenset(replaced), tuple(local), vectors, projection.unavailable)


def _fold_stripes(
    rows: RowSet, extra: pa.Table, schema: pa.Schema
) -> tuple[set[Address], list[Stripe], np.ndarray[Any, np.dtype[np.bool_]]]:
    anchors = anchors_of(extra)
    taken = np.zeros(len(anchors), dtype=bool)
    replaced: set[Address] = set()
    local: list[Stripe] = []
    for stripe in rows.stripes:
        low, high = np.searchsorted(anchors, [stripe.t0, stripe.t1])
        if low == high:
            continue
        file = stripe.local(rows.store, rows.cache)
        shared = np.isin(anchors[low:high], anchors_of(decode_stripe(file, [ANCHOR])))
        if not shared.any():
            continue
        taken[low:high] |= shared
        full = conform(decode_stripe(file), schema)
        merged = merge_rows(full, extra.slice(low, high - low))
        if not merged.equals(full):
            replaced.add(stripe.address)
            local.append(keep_local(rows.cache, encode_stripe(merged), anchors_of(merged)))
    return replaced, local, taken


def _new_vectors(rows: RowSet, name: str, anchors: I64, vectors: Any) -> Stripe | None:
    """Keep the vectors of anchors that no vector stripe of the field has."""
    known = np.zeros(len(anchors), dtype=bool)
    low, high = (int(anchors[0]), int(anchors[-1]) + 1) if len(anchors) else (0, 0)
    for stripe in rows.vector_stripes(name, low, high):
        known |= np.isin(anchors, stripe.anchors)
    if known.all():
        return None
    return keep_local(rows.cache, encode_vectors(anchors[~known], vectors[~known]), anchors[~known])


def _still_there(cache: LocalCache, folded: _Folded) -> bool:
    return all(cache.has_whole(s.address) for s in [*folded.stripes, *folded.vectors.values()])


def _encode_folded(folded: _Folded) -> bytes:
    return encode_cbor(
        {
            "replaced": [bytes(a) for a in sorted(folded.replaced)],
            "stripes": [_raw(s) for s in folded.stripes],
            "vectors": {name: _raw(s) for name, s in folded.vectors.items()},
            "unavailable": dict(folded.unavailable),
        }
    )


def _raw(stripe: Stripe) -> list[Any]:
    return [bytes(stripe.address), stripe.t0, stripe.t1]


def _decode_folded(data: bytes) -> _Folded | None:
    """Return a kept result; None for one of another version of this package."""
    try:
        raw: Any = decode_cbor(data)
        stripes: Sequence[Any] = raw["stripes"]
        vectors: Mapping[str, Any] = raw["vectors"]
        return _Folded(
            frozenset(map(as_address, raw["replaced"])),
            tuple(Stripe(as_address(a), t0, t1) for a, t0, t1 in stripes),
            {name: Stripe(as_address(a), t0, t1) for name, (a, t0, t1) in vectors.items()},
            raw["unavailable"],
        )
    except (KeyError, TypeError, ValueError, LayoutError):
        return None
