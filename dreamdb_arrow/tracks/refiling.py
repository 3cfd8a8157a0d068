"""Filing again: the rows of all cells of a spatial Track, read a block at a time, and written into other cells. Specs 0004 and 0007.

A bucket names the SpatialIndex that it was written with, and all buckets of a field must name the one of the registry
(0007-R9). So with another index every bucket is written anew, but a row's vector or code stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.kernels.distance import row_norms
from dreamdb_arrow.objects.index_entries import IndexEntries
from dreamdb_arrow.objects.spatial_bucket import (
    ANCHOR_BYTES,
    BUCKET_HEADER,
    COMPRESSED_HEADER,
    SpatialBucket,
    record_bytes,
)
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.objects.vector_compressor import VectorCompressor
from dreamdb_arrow.spatial.compressors import decode_codes
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cell_rows import CellRows, add_rows, fetch_rows
from dreamdb_arrow.tracks.cells import Origin

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_FETCHED_BYTES: Final = 32 << 20
_FETCHED_BUCKETS: Final = 1024
_MIX: Final = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # of SplitMix64


@dataclass(frozen=True, slots=True)
class Form:
    """How the rows of a field are stored: the numbers of a vector, what wrote its buckets, its compressor if any."""

    dim: int
    origin: Origin
    compressor: VectorCompressor | None = None

    @property
    def row_bytes(self) -> int:
        """The size of one record of a bucket."""
        if self.compressor is None:
            return record_bytes(self.dim)
        return ANCHOR_BYTES + self.compressor.code_bytes


def rows_listed(form: Form, entries: IndexEntries) -> I64:
    """Return how many rows each entry of an index has, as its size tells, int64 (n,)."""
    head = BUCKET_HEADER if form.compressor is None else COMPRESSED_HEADER
    return np.maximum(entries.sizes.astype(np.int64) - head, 0) // form.row_bytes


def cell_numbers(entries: IndexEntries) -> I64:
    """Return the number of the cell of each entry, int64 (n,)."""
    return np.array([int(key, 2) for key in entries.keys], np.int64)


def iterate_rows(
    store: Store, track: Track, form: Form, entries: IndexEntries
) -> Iterator[tuple[I64, CellRows]]:
    """Yield the rows of these buckets in blocks: for each row the position of its entry, and the rows, also invisible ones.

    Raises CorruptDataError for a bucket that is not what the registry says.
    """
    for group in _groups(entries):
        held = fetch_rows(store, track, entries, group)
        for rows in held:
            _check(form, rows)
        at = np.repeat(np.array(group, np.int64), [len(rows.anchors) for rows in held])
        yield at, _join(held)


def _groups(entries: IndexEntries) -> Iterator[list[int]]:
    """Gather entries until their buckets are a block; those with a sidecar stay apart from those without."""
    group: list[int] = []
    size = 0
    for at, (members, taken) in enumerate(zip(entries.members.tolist(), entries.sizes.tolist(), strict=True)):
        mixed = bool(group) and members != entries.members[group[0]]
        if group and (mixed or size + taken > _FETCHED_BYTES or len(group) >= _FETCHED_BUCKETS):
            yield group
            group, size = [], 0
        group.append(at)
        size += taken
    if group:
        yield group


def _check(form: Form, rows: CellRows) -> None:
    found = Origin(rows.like.index, rows.like.compressor)
    if found != form.origin:  # 0007-R9
        raise LayoutError(f"a bucket of index {found.index} lies in a field of {form.origin.index}")
    width = form.dim if form.compressor is None else form.compressor.code_bytes
    if rows.payload.shape[1] != width or (rows.exact is not None and rows.exact.shape[1] != form.dim):
        raise LayoutError(f"a bucket has records of {rows.payload.shape[1]} values, its field has {width}")


def _join(held: Sequence[CellRows]) -> CellRows:
    first = held[0]
    exact = [rows.exact for rows in held if rows.exact is not None]
    return CellRows(
        first.like,
        np.concatenate([rows.anchors for rows in held]),
        np.concatenate([rows.payload for rows in held]),
        np.concatenate(exact) if exact else None,
    )


def vectors_of(form: Form, rows: CellRows) -> F32:
    """Return what is known of the vectors of rows, float32 (n, dim): the exact ones, or what their codes say."""
    if rows.exact is not None:
        return rows.exact
    return rows.payload if form.compressor is None else decode_codes(form.compressor, rows.payload)


def draw_vectors(
    store: Store, track: Track, form: Form, entries: IndexEntries, share: float, seed: int
) -> F32:
    """Return about this share of the vectors that have a direction, by anchor: float32 (n, dim).

    Which ones goes by anchor: rows that lie in other cells give the same vectors.
    """
    below = np.uint64(min(1.0, share) * (2**64 - 2**11))
    anchors, vectors = [np.empty(0, np.int64)], [np.empty((0, form.dim), np.float32)]
    for _, rows in iterate_rows(store, track, form, entries):
        drawn = rows.take(_mixed(rows.anchors, seed) <= below)
        found = vectors_of(form, drawn)
        norms = row_norms(found)
        fine = (norms > 0) & (norms < np.inf)
        anchors.append(drawn.anchors[fine])
        vectors.append(found[fine])
    order = np.argsort(np.concatenate(anchors), kind="stable")
    return np.concatenate(vectors)[order]


def _mixed(anchors: I64, seed: int) -> NDArray[np.uint64]:
    """Return a number for each anchor that looks drawn at random, uint64 (n,)."""
    step, *factors = _MIX
    first, second = map(np.uint64, factors)
    found = anchors.view(np.uint64) + np.uint64(step * (seed + 1) % 2**64)
    found = (found ^ (found >> np.uint64(30))) * first
    found = (found ^ (found >> np.uint64(27))) * second
    mixed: NDArray[np.uint64] = found ^ (found >> np.uint64(31))
    return mixed


def rows_like(
    form: Form, index: Address, track: Track, rows: tuple[I64, NDArray[Any], F32 | None]
) -> CellRows:
    """Return rows for buckets that name another index, from anchors, payload and exact vectors."""
    anchors, payload, exact = rows
    codes, vectors = (None, payload) if form.compressor is None else (payload, None)
    like = SpatialBucket(index, track.modality, anchors, vectors, form.origin.compressor, codes)
    return CellRows(like, anchors, payload, exact)


def add_cell(batch: Batch, track: Track, key: str, rows: CellRows, most_bytes: int) -> list[list[Any]]:
    """Add the rows of one cell, by anchor, as buckets of at most so many bytes; return their entries."""
    rows = rows.take(np.argsort(rows.anchors.view(np.uint64), kind="stable"))
    most = max(1, most_bytes // (ANCHOR_BYTES + rows.payload[:1].nbytes))
    parts = (
        np.arange(n, min(n + most, len(rows.anchors))) for n in range(0, len(rows.anchors), most)
    )  # 0007-R10
    return [add_rows(batch, track, key, rows.take(part)) for part in parts]
