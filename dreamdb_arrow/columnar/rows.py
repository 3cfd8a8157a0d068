"""The rows of one version: which files hold them, and which anchors are hidden. Spec 1000.

Rows = stripes, plus what only the Tracks hold, less tombstones. `resolve_rows` turns a Manifest into a `RowSet`:
a list of Parquet stripes whose anchors are disjoint, vector stripes by field, and the deleted anchors. It depends
on the Manifest alone, so whoever asks may keep it as long as it likes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.cover_note import CoverNote, decode_cover_note, merge_notes
from dreamdb_arrow.columnar.overlaps import (
    decode_outcome,
    drop_repeated,
    encode_outcome,
    fold_tables,
    overlapping,
    shared_anchors,
)
from dreamdb_arrow.columnar.projection import (
    Projection,
    dim_of,
    merge_rows,
    project,
    row_entry,
)
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    anchors_of,
    conform,
    decode_stripe,
    encode_stripe,
    stripe_schema,
)
from dreamdb_arrow.columnar.vectors import I64, VectorStripe, encode_vectors
from dreamdb_arrow.columnar.vendor import (
    COVER,
    STRIPE,
    VECTORS,
    fragment_path,
    payload_directory,
    read_fragments,
)
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch, fetch_many
from dreamdb_arrow.tracks.tombstones import NO_TOMBSTONES, Tombstones, read_tombstones

TOMBSTONES_KEY = "dreamdb.tombstones"


@dataclass(frozen=True, slots=True)
class Stripe:
    """A file of rows: where it is in the store (`path`), or in the local cache (`path` is empty)."""

    address: Address
    t0: int
    t1: int
    path: str = ""

    def local(self, store: Store, cache: LocalCache) -> Path:
        """Return a verified local file of it."""
        return cache.hold(store, self.path, self.address) if self.path else cache.local(self.address)

    def meets(self, t0: int, t1: int) -> bool:
        """Whether it may hold an anchor in [t0, t1)."""
        return self.t0 < t1 and t0 < self.t1


@dataclass(frozen=True, slots=True)
class RowSet:
    """Everything needed to read the rows of one version."""

    store: Store
    cache: LocalCache
    manifest: Manifest
    address: Address
    fields: tuple[Field, ...]
    stripes: tuple[Stripe, ...]
    vectors: Mapping[str, tuple[Stripe, ...]]
    hidden: I64
    unavailable: Mapping[str, str] = field(default_factory=dict)

    @property
    def timeline(self) -> Address:
        """The Space's first timeline."""
        return self.manifest.timelines[0]

    def stripe_files(self, t0: int, t1: int) -> list[Path]:
        """Return verified local files of the stripes that meet [t0, t1), by first anchor."""
        return [s.local(self.store, self.cache) for s in self.stripes if s.meets(t0, t1)]

    def vector_stripes(self, name: str, t0: int, t1: int) -> list[VectorStripe]:
        """Return the mapped vector stripes of one field that meet [t0, t1), by first anchor."""
        dim = next(dim_of(f) for f in self.fields if f.name == name)
        held = (s for s in self.vectors.get(name, ()) if s.meets(t0, t1))
        return [self.cache.vectors(self.store, s.path, s.address, dim) for s in held]

    @property
    def whole(self) -> bool:
        """Whether the local cache still has what was put there for this version; all of it may be deleted."""
        stripes = itertools.chain(self.stripes, *self.vectors.values())
        return all(s.path or self.cache.has_whole(s.address) for s in stripes)

    def hidden_between(self, t0: int, t1: int) -> I64:
        """Return the deleted anchors in [t0, t1), ascending."""
        low, high = np.searchsorted(self.hidden, [t0, min(t1, 2**63 - 1)])
        return self.hidden[low:high]


def resolve_rows(store: Store, cache: LocalCache, manifest: Manifest, address: Address) -> RowSet:
    """Find the files and the hidden anchors of a version.

    Raises CorruptDataError when an object on the way is damaged; a field of a kind that cannot be read is listed
    in `unavailable` with the reason, and its column is left out.
    """
    fields = decode_schema(manifest.registry)
    stripes = space_stripes(store, manifest, STRIPE)
    embeddings = [f.name for f in fields if f.kind == "embedding"]
    vectors = {name: space_stripes(store, manifest, VECTORS, name) for name in embeddings}
    rows = RowSet(
        store, cache, manifest, address, fields, tuple(stripes), vectors, read_hidden(store, manifest)
    )
    return _add_track_rows(_settle_overlaps(rows))


def read_hidden(store: Store, manifest: Manifest) -> I64:
    """Return the anchors that the Manifest's tombstones name, int64 (n,) ascending."""
    return read_tombstone_list(store, manifest).anchors


def read_tombstone_list(store: Store, manifest: Manifest) -> Tombstones:
    """Return the tombstones of a version: anchors, times and reasons."""
    entry = manifest.registry.get(TOMBSTONES_KEY)
    if not isinstance(entry, dict) or "head" not in entry:
        return NO_TOMBSTONES
    return read_tombstones(store, as_address(entry["head"]))


def space_stripes(store: Store, manifest: Manifest, modality: str, name: str = "") -> tuple[Stripe, ...]:
    """Return the stripes that a vendor Track lists, by first anchor."""
    timeline = manifest.timelines[0]
    held = read_fragments(store, manifest, modality, name)
    return tuple(Stripe(f.address, f.t0, f.t1, fragment_path(timeline, modality, f.address)) for f in held)


# ---------------------------------------------------------------- stripes that share anchors


def _settle_overlaps(rows: RowSet) -> RowSet:
    """Put local copies in the place of stripes that share anchors, so that no anchor is in two."""
    vectors = {
        name: _settle_group(rows, held, _fold_vectors(rows, name)) for name, held in rows.vectors.items()
    }
    return replace(rows, stripes=_settle_group(rows, rows.stripes, _fold_rows(rows)), vectors=vectors)


Fold = Callable[[list[Stripe]], list[Stripe | None]]


def _settle_group(rows: RowSet, stripes: tuple[Stripe, ...], fold: Fold) -> tuple[Stripe, ...]:
    settled: list[Stripe] = []
    for group in overlapping(stripes):
        settled += group if len(group) == 1 else _settle_one(rows, group, fold)
    return tuple(sorted(settled, key=lambda s: s.t0))


def _settle_one(rows: RowSet, group: list[Stripe], fold: Fold) -> list[Stripe]:
    key = f"overlaps/{encode_cbor([bytes(s.address) for s in group]).hex()}"
    note = rows.cache.read_note(key)
    known = None if note is None else decode_outcome(note)
    outcome = None if known is None else [None if o is None else Stripe(*o) for o in known]
    if outcome is None or not all(o is None or rows.cache.has_whole(o.address) for o in outcome):
        outcome = fold(group)
        rows.cache.write_note(
            key, encode_outcome([None if o is None else (o.address, o.t0, o.t1) for o in outcome])
        )
    placed = [old if new is None else new for old, new in zip(group, outcome, strict=True)]
    return [s for s in placed if s.t0 < s.t1]


def _fold_rows(rows: RowSet) -> Fold:
    def fold(group: list[Stripe]) -> list[Stripe | None]:
        files = [s.local(rows.store, rows.cache) for s in group]
        shared = shared_anchors([anchors_of(decode_stripe(file, [ANCHOR])) for file in files])
        if len(shared) == 0:
            return [None] * len(group)
        schema = stripe_schema(rows.fields)
        folded = fold_tables([conform(decode_stripe(file), schema) for file in files], shared)
        return [_keep(rows.cache, encode_stripe(t), anchors_of(t)) for t in folded]

    return fold


def _fold_vectors(rows: RowSet, name: str) -> Fold:
    def fold(group: list[Stripe]) -> list[Stripe | None]:
        dim = next(dim_of(f) for f in rows.fields if f.name == name)
        held = [rows.cache.vectors(rows.store, s.path, s.address, dim) for s in group]
        anchors = [stripe.anchors for stripe in held]
        kept = drop_repeated(anchors, shared_anchors(anchors))
        return [
            None
            if keep.all()
            else _keep(rows.cache, encode_vectors(s.anchors[keep], s.vectors[keep]), s.anchors[keep])
            for s, keep in zip(held, kept, strict=True)
        ]

    return fold


# ---------------------------------------------------------------- what only the Tracks hold


def read_notes(store: Store, manifest: Manifest) -> list[CoverNote]:
    """Return the cover notes of a version, oldest first."""
    held = read_fragments(store, manifest, COVER)
    timeline = manifest.timelines[0]
    paths = [(fragment_path(timeline, COVER, f.address), f.address) for f in held]
    return [decode_cover_note(data) for data in fetch_many(store, paths)]


def newest_note(store: Store, manifest: Manifest) -> CoverNote | None:
    """Return the cover note of the last flush, or None."""
    held = read_fragments(store, manifest, COVER)
    if not held:
        return None
    last = held[-1]
    return decode_cover_note(
        fetch(store, fragment_path(manifest.timelines[0], COVER, last.address), last.address)
    )


def _add_track_rows(rows: RowSet) -> RowSet:
    """Unite the stripes with what only the Tracks hold; most often nothing, as the newest note says."""
    note = newest_note(rows.store, rows.manifest)
    open_fields = _uncovered(rows, note)
    if not open_fields:
        return rows
    merged = merge_notes(read_notes(rows.store, rows.manifest))
    key = _projection_key(rows, open_fields, merged)
    known = rows.cache.read_note(key)
    folded = _decode_folded(known) if known is not None else None
    if folded is None or not _still_there(rows.cache, folded):
        folded = _fold(rows, project(rows.store, rows.manifest, open_fields, merged))
        rows.cache.write_note(key, _encode_folded(folded))
    return _apply(rows, folded)


def _uncovered(rows: RowSet, note: CoverNote | None) -> list[Field]:
    covered = {} if note is None else note.tracks
    entries = [(f, row_entry(rows.manifest, f.name)) for f in rows.fields if f.kind != "constant"]
    return [f for f, e in entries if e is None or covered.get(f.name) != e.address]


def _projection_key(rows: RowSet, fields: Iterable[Field], note: CoverNote) -> str:
    entries = [(f, row_entry(rows.manifest, f.name)) for f in fields]
    tracks = [[f.name, f.kind, dict(f.options), bytes(e.address) if e else b""] for f, e in entries]
    ranges = [e.coverage for _, e in entries if e]
    stripes = [bytes(s.address) for s in rows.stripes if any(s.meets(*held) for held in ranges)]
    held = [bytes(s.address) for name in sorted(rows.vectors) for s in rows.vectors[name]]
    listed = {name: [bytes(a) for a in sorted(p)] for name, p in note.payloads.items()}
    bases = {name: bytes(a) for name, a in note.tracks.items()}
    return f"projection/2/{rows.timeline}/{encode_cbor([tracks, stripes, held, listed, bases]).hex()}"


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
        local.append(_keep(rows.cache, encode_stripe(rest), anchors_of(rest)))
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
            local.append(_keep(rows.cache, encode_stripe(merged), anchors_of(merged)))
    return replaced, local, taken


def _new_vectors(rows: RowSet, name: str, anchors: I64, vectors: Any) -> Stripe | None:
    """Keep the vectors of anchors that no vector stripe of the field has."""
    known = np.zeros(len(anchors), dtype=bool)
    low, high = (int(anchors[0]), int(anchors[-1]) + 1) if len(anchors) else (0, 0)
    for stripe in rows.vector_stripes(name, low, high):
        known |= np.isin(anchors, stripe.anchors)
    if known.all():
        return None
    return _keep(rows.cache, encode_vectors(anchors[~known], vectors[~known]), anchors[~known])


def _keep(cache: LocalCache, data: Any, anchors: I64) -> Stripe:
    low, high = (int(anchors[0]), int(anchors[-1]) + 1) if len(anchors) else (0, 0)
    return Stripe(cache.put(data), low, high)


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


def stripe_directory(timeline: Address) -> str:
    """Return where stripes lie."""
    return payload_directory(timeline, STRIPE)
