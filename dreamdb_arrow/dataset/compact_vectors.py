"""Which vectors need no stripe of their own any more, as the cells of their field hold them, bit for bit. Spec 0021.

After a flush a vector lies in a vector stripe and in a cell. Once all flushed ones of a field can be had from its cells,
`compact` takes its flushed vector stripes away and leaves a mark: readers then look into the cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cell_vectors import cell_vectors
from dreamdb_arrow.columnar.projection import bucket_origin, dim_of, has_cells, hot_shard_address, row_entry
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.vectors import F32, I64, VectorStripe, gather_vectors
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cells import iterate_cells

_COMPARED: Final = 1 << 16  # rows at once


def track_instead(
    rows: RowSet, f: Field, flushed: Sequence[Stripe], others: Sequence[Stripe], extra: VectorStripe | None
) -> Address | None:
    """Return the Track whose cells can take the place of the flushed vector stripes of a field; None when they cannot.

    Args:
        rows: the version.
        f: an embedding field.
        flushed: its vector stripes whose rows are in its cells.
        others: those whose rows are not.
        extra: vectors that only the Track holds, if they are not to be found in the cells yet.
    """
    entry = row_entry(rows.manifest, f.name)
    if entry is None or not _are_exact(rows.store, rows.manifest, entry):
        return None
    dim = dim_of(f)
    in_cells = [
        rows.cache.vectors(rows.store, s.path, s.address, dim)
        for s in cell_vectors(rows.store, rows.cache, rows.manifest, f)
    ]
    wanted = [(s, True) for s in _opened(rows, flushed, dim)] + [
        (s, False) for s in _opened(rows, others, dim)
    ]
    wanted += [] if extra is None else [(extra, True)]
    alike = all(
        _hold(in_cells, anchors, vectors, whole=whole)
        for s, whole in wanted
        for anchors, vectors in _living(rows, s)
    )
    return entry.address if alike else None


def _are_exact(store: Store, manifest: Manifest, entry: TrackEntry) -> bool:
    """Whether a field has cells, which hold its vectors as they were given, and nothing beside them."""
    if not has_cells(entry) or hot_shard_address(manifest, entry) is not None:
        return False
    coded = bucket_origin(manifest, entry.modality).compressor is not None
    cells = iterate_cells(store, read_track(store, entry))
    return not coded or all(cell.sidecar is not None for cell in cells)


def _opened(rows: RowSet, stripes: Sequence[Stripe], dim: int) -> Iterator[VectorStripe]:
    return (rows.cache.vectors(rows.store, s.path, s.address, dim) for s in stripes)


def _living(rows: RowSet, stripe: VectorStripe) -> Iterator[tuple[I64, F32]]:
    """Yield the rows of a stripe that are not deleted, some at a time."""
    for start in range(0, len(stripe.anchors), _COMPARED):
        anchors = stripe.anchors[start : start + _COMPARED]
        vectors = stripe.vectors[start : start + _COMPARED]
        hidden = rows.hidden_between(int(anchors[0]), int(anchors[-1]) + 1)
        if len(hidden):
            alive = ~np.isin(anchors, hidden)
            anchors, vectors = anchors[alive], vectors[alive]
        yield anchors, vectors


def _hold(held: Sequence[VectorStripe], anchors: I64, vectors: F32, *, whole: bool) -> bool:
    """Whether stripes hold these very vectors at these anchors: all, or else those of them that they hold at all."""
    found, there = gather_vectors(held, anchors, vectors.shape[1])
    if whole and not there.all():
        return False
    return bool(np.array_equal(found[there].view(np.uint32), vectors[there].view(np.uint32)))  # 0021-R16
