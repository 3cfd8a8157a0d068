"""First cells: a field that began with a single cell gets others once it has rows to train them on. Specs 0004 and 0007."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.distinct import distinct
from dreamdb_arrow.columnar.vectors import F32
from dreamdb_arrow.dataset.spatial import publish_spatial_index, trained_index
from dreamdb_arrow.objects.index_entries import CELLS, entries_of_lists
from dreamdb_arrow.objects.spatial_index import SpatialIndex
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.spatial.partitioners import assign_cells
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cell_rows import CellRows
from dreamdb_arrow.tracks.cells import Origin, check_keys
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.placing import place_entries
from dreamdb_arrow.tracks.refiling import Form, add_cell, iterate_rows, rows_like, vectors_of
from dreamdb_arrow.tracks.vectors import load_compressor

HELD_BYTES_MAX: Final = 64 << 20  # of rows in the one cell: more are left to rebuild-ivf

Trained = tuple[Track, SpatialIndex, Address]


def first_cells(
    store: Store,
    batch: Batch,
    track: Track,
    spatial: Mapping[str, Any],
    index: SpatialIndex,
    vectors: F32,
    bucket_max_bytes: int,
) -> Trained | None:
    """Train the cells of a Track that has one, on its rows and on those that a flush brings; None while they are too few.

    Args:
        store: where the Track is.
        batch: takes the new index and the buckets of the rows that the Track has.
        track: as it is.
        spatial: the registry's entry of the modality.
        index: of one cell, which nobody gave.
        vectors: that are about to be added, float32 (n, dim).
        bucket_max_bytes: of the records of one bucket.

    Returns:
        The Track with its rows in their new cells, the new index and its address. Of rows with codes the codes stay.
    """
    coder = spatial.get("vector_compressor")
    address = None if coder is None else as_address(coder)
    origin = Origin(as_address(spatial["spatial_index"][0]), address)
    form = Form(index.dim, origin, None if address is None else load_compressor(store, address))
    held = _held_rows(store, track, form)
    if held is None:
        return None
    grown = trained_index(index, np.concatenate([*(vectors_of(form, rows) for rows in held), vectors]))
    if grown is index:
        return None
    name = publish_spatial_index(batch, grown)
    return _refile(batch, track, form, held, grown, name, bucket_max_bytes), grown, name


def _held_rows(store: Store, track: Track, form: Form) -> list[CellRows] | None:
    """Return the rows of the Track; None when they are many, or one is there twice and the later one must stay so."""
    entries = check_keys(read_index(store, track))
    if entries.sizes.sum() > HELD_BYTES_MAX:
        return None
    held = [rows for _, rows in iterate_rows(store, track, form, entries)]
    anchors = np.concatenate([np.empty(0, np.int64), *(rows.anchors for rows in held)])
    return held if len(distinct(anchors)) == len(anchors) else None


def _refile(
    batch: Batch,
    track: Track,
    form: Form,
    held: list[CellRows],
    index: SpatialIndex,
    name: Address,
    bucket_max_bytes: int,
) -> Track:
    made = []
    for rows in held:
        cells = assign_cells(index, vectors_of(form, rows))
        for code, key in enumerate(cells.keys):
            part = rows.take(cells.codes == code)
            like = rows_like(form, name, track, (part.anchors, part.payload, part.exact))
            made += add_cell(batch, track, key, like, bucket_max_bytes)
    if not made:
        return track
    return replace(track, object_index=place_entries(batch, track, entries_of_lists(CELLS, made)))
