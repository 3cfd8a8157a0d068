"""Vectors out of cells: what no vector stripe has, as local ones that are made when a field is first asked for. Spec 0021.

    segment    some buckets of a Track, and their rows by anchor, as vector stripes of bounded size in the local cache
    note       by Track: its segments

A bucket never changes, so a commit that adds some adds a segment; small segments before it are made anew with it. Where the
cells have an anchor twice, the later entry counts; a vector that a stripe has is taken from there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.apart import are_apart
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.overlaps import overlapping
from dreamdb_arrow.columnar.projection import bucket_origin, dim_of, has_cells, row_entry
from dreamdb_arrow.columnar.rowset import LateStripes, RowSet, Stripe
from dreamdb_arrow.columnar.vectors import F32, I64, vector_parts
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cells import CellEntry, Origin, iterate_cells
from dreamdb_arrow.tracks.vectors import iterate_vectors

ABSORBED: Final = 2  # a new segment takes in those that have at most so many times its bytes
PART_BYTES: Final = 64 << 20  # of vectors in one local stripe


@dataclass(frozen=True, slots=True)
class _Segment:
    """The rows of some buckets as local vector stripes, whose ranges follow one another."""

    buckets: tuple[Address, ...]
    stripes: tuple[Stripe, ...]


# --- of a version -------------------------------------------------------------------------------------------


def add_cell_vectors(settled: RowSet, folded: RowSet, names: Collection[str]) -> RowSet:
    """Return rows whose vectors of these fields are those of stripes, then those of cells, then what else there is.

    Args:
        settled: the rows with the vector stripes of the store.
        folded: the same with what else Tracks gave.
        names: the fields some of whose vectors lie in cells alone.
    """
    fields = {f.name: f for f in folded.fields}
    wanted = [name for name in names if _cells_of(folded.manifest, name)]
    if not wanted:
        return folded

    def later(name: str) -> tuple[Stripe, ...]:
        first = settled.vectors[name]
        dim = dim_of(fields[name])
        found = _behind(
            folded, dim, first, cell_vectors(folded.store, folded.cache, folded.manifest, fields[name])
        )
        return _behind(folded, dim, found, [s for s in folded.vectors[name] if s not in first])

    listed = {**folded.vectors, **{name: settled.vectors[name] for name in wanted}}
    return replace(folded, vectors=LateStripes(listed, {name: partial(later, name) for name in wanted}))


def _cells_of(manifest: Manifest, name: str) -> bool:
    entry = row_entry(manifest, name)
    return entry is not None and has_cells(entry)


def _behind(rows: RowSet, dim: int, first: Sequence[Stripe], others: Sequence[Stripe]) -> tuple[Stripe, ...]:
    """Return stripes, and of others those rows whose anchors are in none of them."""  # 0021-R16
    left = (_left_of(rows, dim, other, [s for s in first if s.meets(other.t0, other.t1)]) for other in others)
    return tuple(sorted([*first, *(s for s in left if s.t0 < s.t1)], key=lambda s: s.t0))


def _left_of(rows: RowSet, dim: int, stripe: Stripe, met: Sequence[Stripe]) -> Stripe:
    """Return a stripe without the rows that some others have; an empty one has an empty range."""
    cache = rows.cache

    def anchors(s: Stripe) -> I64:
        return cache.vectors(rows.store, s.path, s.address, dim).anchors

    if not met:
        return stripe
    key = f"behind/{encode_cbor([bytes(s.address) for s in (stripe, *met)]).hex()}"
    known = cache.read_note(key)
    found = None if known is None else _stripe(decode_cbor(known))
    if found is not None and (found.t0 == found.t1 or cache.has_whole(found.address)):
        return found
    if are_apart(cache, sorted([stripe, *met], key=lambda s: s.t0), anchors):
        return stripe
    held = cache.vectors(rows.store, stripe.path, stripe.address, dim)
    kept = np.flatnonzero(~np.isin(held.anchors, np.concatenate([anchors(s) for s in met])))
    made = (
        _keep(cache, held.anchors[kept], held.vectors[kept])
        if len(kept)
        else Stripe(stripe.address, stripe.t0, stripe.t0)
    )
    cache.write_note(key, encode_cbor(_told(made)))
    return made


# --- of a Track ---------------------------------------------------------------------------------------------


def cell_vectors(store: Store, cache: LocalCache, manifest: Manifest, f: Field) -> tuple[Stripe, ...]:
    """Return the vectors that the cells of a field hold as local vector stripes, by first anchor, made now if need be.

    An anchor is in one of them at most. Raises CorruptDataError, UnsupportedError as tracks.vectors.read_vectors does.
    """
    entry = row_entry(manifest, f.name)
    assert entry is not None
    origin = bucket_origin(manifest, entry.modality)
    of = f"{origin.index}/{origin.compressor}"
    key = f"cell-vectors/{entry.address}/{of}"
    latest = f"cell-vectors/latest/{entry.timeline}/{entry.modality}/{of}"
    with cache.making:
        found = _known(cache, key)
        if found is None:
            track = read_track(store, entry)
            found = _segments(store, cache, track, dim_of(f), origin, _known(cache, latest) or [])
            note = encode_cbor([[b"".join(s.buckets), list(map(_told, s.stripes))] for s in found])
            cache.write_note(key, note)
            cache.write_note(latest, note)
    return tuple(sorted((s for segment in found for s in segment.stripes), key=lambda s: s.t0))


def _known(cache: LocalCache, key: str) -> list[_Segment] | None:
    """Return the segments that a note tells, or None when it, or what it tells of, is not there."""
    note = cache.read_note(key)
    if note is None:
        return None
    found = [_Segment(_cut(names), tuple(map(_stripe, told))) for names, told in decode_cbor(note)]
    return found if all(cache.has_whole(s.address) for segment in found for s in segment.stripes) else None


def _segments(
    store: Store, cache: LocalCache, track: Track, dim: int, origin: Origin, old: Sequence[_Segment]
) -> list[_Segment]:
    """Return the segments of a Track, of which old ones are taken over as far as they are of use."""
    entries = list(iterate_cells(store, track))
    kept = _reusable(old, entries)
    known = frozenset(bucket for segment in kept for bucket in segment.buckets)
    if len(known) == len(entries):
        return kept

    def make(known: frozenset[Address]) -> _Segment:
        blocks = iterate_vectors(store, track, dim, known=known, origin=origin)
        stripes = _by_anchor(cache, dim, ((b.anchors, b.vectors) for b in blocks))
        return _Segment(tuple(e.bucket for e in entries if e.bucket not in known), stripes)

    found = [*kept, make(known)]
    together = sorted((s for segment in found for s in segment.stripes), key=lambda s: s.t0)

    def anchors(s: Stripe) -> I64:
        return cache.vectors(store, "", s.address, dim).anchors

    if all(are_apart(cache, group, anchors) for group in overlapping(together) if len(group) > 1):
        return found
    return [make(frozenset())]  # which entry of an anchor is the later one, only all of them together tell


def _reusable(old: Sequence[_Segment], entries: Sequence[CellEntry]) -> list[_Segment]:
    """Return the segments all of whose buckets a Track has, but for those that are small beside what is new."""
    sizes = {entry.bucket: entry.size_bytes for entry in entries}
    held = [(sum(sizes[b] for b in s.buckets), s) for s in old if sizes.keys() >= set(s.buckets)]
    held.sort(key=lambda item: -item[0])
    rest = sum(sizes.values()) - sum(size for size, _ in held)
    while rest and held and held[-1][0] <= ABSORBED * rest:
        rest += held.pop()[0]
    return [segment for _, segment in held]


def _by_anchor(cache: LocalCache, dim: int, blocks: Iterator[tuple[I64, F32]]) -> tuple[Stripe, ...]:
    """Keep rows as vector stripes by anchor; of an anchor that comes again, the last row.

    In memory are the anchors, and one stripe.
    """
    found = [np.empty(0, np.int64)]
    with cache.work_file() as path:
        with path.open("wb") as file:
            for anchors, vectors in blocks:
                found.append(anchors)
                file.write(np.ascontiguousarray(vectors, "<f4").data)
        anchors = np.concatenate(found)
        if not len(anchors):
            return ()
        rows = np.memmap(path, "<f4", "r", shape=(len(anchors), dim))
        order = np.argsort(anchors, kind="stable")
        ordered = anchors[order]
        order = order[np.append(ordered[1:] != ordered[:-1], True)]
        each = max(1, PART_BYTES // (4 * dim))
        parts = (order[start : start + each] for start in range(0, len(order), each))
        return tuple(_keep(cache, anchors[part], np.asarray(rows[part])) for part in parts)


def _keep(cache: LocalCache, anchors: I64, vectors: F32) -> Stripe:
    with cache.work_file() as path:
        with path.open("wb") as file:
            file.writelines(vector_parts(anchors, vectors))
        return Stripe(cache.adopt(path), int(anchors[0]), int(anchors[-1]) + 1)


def _told(stripe: Stripe) -> list[Any]:
    return [bytes(stripe.address), stripe.t0, stripe.t1]


def _stripe(told: Sequence[Any]) -> Stripe:
    address, t0, t1 = told
    return Stripe(Address(address), t0, t1)


def _cut(names: bytes) -> tuple[Address, ...]:
    starts = range(0, len(names), ADDRESS_BYTES)
    return tuple(Address(names[at : at + ADDRESS_BYTES]) for at in starts)
