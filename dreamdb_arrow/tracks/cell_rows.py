"""Rows of cells: what the buckets and sidecars of a spatial index hold, and rows into one bucket. Specs 0004 and 0007.

For those who move rows between the buckets of a cell without looking into them: a payload is a vector or a code, whatever
the field stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.index_entries import IndexEntries
from dreamdb_arrow.objects.shape import U64_MAX
from dreamdb_arrow.objects.spatial_bucket import (
    SpatialBucket,
    VectorSidecar,
    decode_spatial_bucket,
    decode_vector_sidecar,
    encode_spatial_bucket,
    encode_vector_sidecar,
)
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.cells import SIDECAR, TABLE, field_directory, sidecar_directory
from dreamdb_arrow.tracks.layout import paths_in


@dataclass(frozen=True, slots=True)
class CellRows:
    """Rows of one bucket: the bucket that they came from, or that a new one is to be like; n rows.

    anchors  int64 (n,); those that nobody can see are negative
    payload  float32 or uint8 (n, width)
    exact    float32 (n, d), where the bucket has a sidecar
    """

    like: SpatialBucket
    anchors: NDArray[np.int64]
    payload: NDArray[Any]
    exact: NDArray[np.float32] | None

    def take(self, which: NDArray[Any]) -> CellRows:
        """Return the rows at these positions, or where this is true."""
        exact = None if self.exact is None else self.exact[which]
        return CellRows(self.like, self.anchors[which], self.payload[which], exact)

    def bytes_of(self, which: NDArray[Any]) -> NDArray[np.uint8]:
        """Return what these rows store, but for their anchors: uint8 (m, bytes)."""
        columns = [self.payload] if self.exact is None else [self.payload, self.exact]
        parts = [
            np.ascontiguousarray(c[which]).view(np.uint8).reshape(len(which), c.itemsize * c.shape[1])
            for c in columns
        ]
        return np.concatenate(parts, axis=1)


def fetch_rows(store: Store, track: Track, entries: IndexEntries, at: Sequence[int]) -> list[CellRows]:
    """Return the rows of the buckets at these positions of an index. Raises CorruptDataError."""
    names = [Address(entries.addresses[row].tobytes()) for row in at]
    directory = field_directory(track)
    paths = [(f"{directory}/{entries.keys[row]}/{name}", name) for row, name in zip(at, names, strict=True)]
    buckets = [decode_spatial_bucket(data) for data in fetch_many(store, paths)]
    beside = [row for row in at if entries.members[row] > SIDECAR]
    listed = [Address(entries.columns[SIDECAR][row].tobytes()) for row in beside]
    fetched = fetch_many(store, paths_in(sidecar_directory(track), listed))
    exact = dict(zip(beside, (decode_vector_sidecar(data).vectors for data in fetched), strict=True))
    return [_rows_of(bucket, exact.get(row)) for bucket, row in zip(buckets, at, strict=True)]


def _rows_of(bucket: SpatialBucket, exact: NDArray[np.float32] | None) -> CellRows:
    payload: Any = bucket.codes if bucket.vectors is None else bucket.vectors
    if exact is not None and len(exact) != len(bucket.anchors):  # 0007-R11
        raise LayoutError(f"a bucket of {len(bucket.anchors)} rows has a sidecar of {len(exact)}")
    return CellRows(bucket, bucket.anchors, payload, exact)


def add_rows(
    batch: Batch, track: Track, key: str, rows: CellRows, members: int = 0, table: int = 0
) -> list[Any]:
    """Add a bucket, and its sidecar, to the batch; return its entry, with at least as many items as `members`."""
    like = rows.like
    codes, vectors = (rows.payload, None) if like.vectors is None else (None, rows.payload)
    data = encode_spatial_bucket(
        SpatialBucket(like.index, track.modality, rows.anchors, vectors, like.compressor, codes)
    )
    address = batch.add_payload(f"{field_directory(track)}/{key}", data)
    times = rows.anchors.view(np.uint64)
    entry = [key, int(times.min()), min(int(times.max()) + 1, U64_MAX), len(data), address]
    if rows.exact is not None:
        sidecar = encode_vector_sidecar(VectorSidecar(track.modality, rows.exact))
        return [*entry, table, batch.add_payload(sidecar_directory(track), sidecar)]  # 0007-R11
    return [*entry, table] if members > TABLE else entry
