"""The cells of a few queries alone, for a store that is far away. Spec 0004.

Searches lay all cells of a field out in the local cache, once a Track. Far away that would fetch every bucket for the first
query. So as long as they were not laid out, only the cells that queries name are fetched, together with the rows beside them.
Once queries have named a good part of all cells, these are laid out after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.cell_layout import CellLayout, doubles_within, is_laid_out, live_mask
from dreamdb_arrow.columnar.projection import bucket_origin, dim_of, row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import F32
from dreamdb_arrow.columnar.vendor import has_columnar_layer, read_track
from dreamdb_arrow.dataset.cells import Cells, hot_block, metric_of, unflushed_blocks, unflushed_stripes
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.history.writer import place_of
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.spatial.partitioners import Prober, probe_cells
from dreamdb_arrow.spatial.scan import Segment, are_unit, cell_runs, inverse_lengths
from dreamdb_arrow.store.ahead import fetch_ahead, folder_of
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cells import CellEntry, Origin, iterate_cells
from dreamdb_arrow.tracks.vectors import bucket_paths, iterate_buckets

QUERIES_MAX: Final = 16  # of more, all cells are laid out
ROWS_MAX: Final = 500_000  # that may have been read in parts, before all cells are laid out
_SEEN: Final = "cells read in parts"


def open_probed(rows: RowSet, f: Field, queries: F32, nprobe: int) -> Cells | None:
    """Return the cells that these queries name, float32 (q, d); None where all cells of the field are to be opened.

    Answers are those of all cells: an index names cells by its centroids, whichever have rows. Only a version on whose
    line nothing was merged qualifies, as an anchor lies in one cell there.
    """
    entry, place = row_entry(rows.manifest, f.name), place_of(rows.manifest.writer)
    if (
        folder_of(rows.store) is None
        or entry is None
        or place is None
        or place.merges
        or len(queries) > QUERIES_MAX
    ):
        return None
    origin = bucket_origin(rows.manifest, entry.modality)
    seen: list[int] = rows.once((_SEEN, f.name), lambda: [0])
    if (
        origin.compressor is not None
        or not has_columnar_layer(rows.manifest)
        or seen[0] > ROWS_MAX
        or is_laid_out(rows.cache, entry.address, origin)
    ):
        return None
    index = load_spatial_index(rows.store, origin.index)
    keys = {key for query in queries for key in probe_cells(index, query, nprobe)}
    track = read_track(rows.store, entry)
    entries = sorted(iterate_cells(rows.store, track, keys=keys), key=lambda e: e.key)
    fetch_ahead(rows.store, [*bucket_paths(track, entries), *(s.path for s in unflushed_stripes(rows, f))])
    segment, counts = _segment(rows.store, track, entries, dim_of(f), origin)
    seen[0] += counts
    hot = hot_block(rows, f)
    dead = united(doubles_within(segment))
    alive = live_mask(segment, dead, (rows.hidden, hot[0]))
    runs = cell_runs((segment,))
    beside = tuple(block for block in (hot, *unflushed_blocks(rows, f)) if len(block[0]))
    layout = CellLayout((segment,), (dead,))
    return Cells(layout, runs, Prober.of(index, runs.places), (alive,), beside, origin, metric_of(f), None)


def _segment(
    store: Store, track: Track, entries: Sequence[CellEntry], dim: int, origin: Origin
) -> tuple[Segment, int]:
    """Return the rows of some buckets, which come by key, and how many they are."""
    read = list(iterate_buckets(store, track, dim, entries, origin))
    counts = [len(rows) for _, rows in read]
    anchors = np.concatenate([np.empty(0, np.int64), *(rows.anchors for _, rows in read)])
    vectors: Any = np.concatenate([np.empty((0, dim), np.float32), *(rows.vectors for _, rows in read)])
    keys, first = np.unique(np.array([entry.key for entry, _ in read], "S"), return_index=True)
    inverse, order = inverse_lengths(vectors), np.argsort(anchors, kind="stable")
    starts = np.cumsum([0, *counts])[np.append(first, len(counts))]
    unit = None if are_unit(inverse) else inverse
    return Segment(keys, starts, anchors, vectors, unit, order, anchors[order]), len(anchors)
