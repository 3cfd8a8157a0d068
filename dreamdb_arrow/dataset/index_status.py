"""Index status: how full the cells of an embedding are, what lies beside them, and what a search by cells finds. Spec 0004."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import EVERYTHING, bucket_origin, dim_of, row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.columnar.vendor import has_columnar_layer, read_track
from dreamdb_arrow.dataset.cells import metric_of
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.dataset.search import search
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.objects.spatial_index import ImiCosineParams, IvfCosineParams, SpatialIndex
from dreamdb_arrow.spatial.partitioners import DEFAULT_NPROBE, check_count
from dreamdb_arrow.tracks.cells import check_keys
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.refiling import Form, rows_listed
from dreamdb_arrow.tracks.vectors import load_compressor

NEIGHBOURS: Final = 10
SAMPLE: Final = 64
_UNKNOWN: Final = ("cells", "filled", "rows", "mean", "largest", "skew", "buckets", "bytes", "code_bytes")


def index_status(
    rows: RowSet, name: str, *, sample: int = SAMPLE, nprobe: int | None = None
) -> dict[str, Any]:
    """Return how the index of an embedding field is. See `Dataset.index_status`."""
    f = find_field(rows, name, ("embedding",))
    sample = check_count("sample", sample) if sample else 0
    nprobe = DEFAULT_NPROBE if nprobe is None else check_count("nprobe", nprobe)
    entry = row_entry(rows.manifest, name)
    if entry is None:
        raise InvalidInputError(f"field {name!r} has no Track")
    has_cells = "spatial_index" in rows.manifest.registry.get(entry.modality, {})
    status: dict[str, Any] = {
        "field": name,
        "algorithm": f.options.get("algorithm"),
        "metric": metric_of(f),
        "dim": dim_of(f),
        **(_cells(rows, f) if has_cells else dict.fromkeys(_UNKNOWN)),
        "unflushed": _unflushed(rows, f),
    }
    found = _recall(rows, f, sample, nprobe) if has_cells and sample else None
    return {**status, "nprobe": nprobe if has_cells else None, "recall": found, "sampled": sample}


def cells_of(index: SpatialIndex, filled: int) -> int:
    """Return how many cells an index has; of hashes, which have more than anybody counts, those that hold rows."""
    if isinstance(index.params, IvfCosineParams):
        return index.params.k
    return index.params.k_sub**2 if isinstance(index.params, ImiCosineParams) else filled


def _cells(rows: RowSet, f: Field) -> dict[str, Any]:
    """Return the sizes of cells, as the index of the Track tells them."""
    entry = row_entry(rows.manifest, f.name)
    assert entry is not None
    origin = bucket_origin(rows.manifest, entry.modality)
    compressor = None if origin.compressor is None else load_compressor(rows.store, origin.compressor)
    form = Form(dim_of(f), origin, compressor)
    entries = check_keys(read_index(rows.store, read_track(rows.store, entry)))
    keys, of_cell = np.unique(np.array(entries.keys, "S"), return_inverse=True)
    listed = rows_listed(form, entries)
    sizes = np.bincount(of_cell, listed, len(keys))
    count, total = cells_of(load_spatial_index(rows.store, origin.index), len(keys)), int(listed.sum())
    mean, largest = total / max(1, count), int(sizes.max(initial=0))
    return {
        "cells": count,
        "filled": len(keys),
        "rows": total,
        "mean": mean,
        "largest": largest,
        "skew": largest / mean if total else 0.0,
        "buckets": len(entries),
        "bytes": int(entries.sizes.sum()),
        "code_bytes": 0 if compressor is None else total * compressor.code_bytes,
    }


def _unflushed(rows: RowSet, f: Field) -> int:
    """Return how many vectors lie in stripes that no flush has brought into cells."""
    if not has_columnar_layer(rows.manifest):
        return 0
    flushed = merge_notes(read_notes(rows.store, rows.manifest)).stripes
    waiting = [s for s in rows.stored_vectors(f.name) if s.address not in flushed]
    return sum(len(rows.cache.vectors(rows.store, s.path, s.address, dim_of(f)).anchors) for s in waiting)


# --- recall -------------------------------------------------------------------------------------------------


def _recall(rows: RowSet, f: Field, sample: int, nprobe: int) -> float | None:
    """Return the share of their nearest others that rows find by cells; None when there are no two rows."""
    anchors, queries = _sampled(rows, f, sample)
    if not len(anchors):
        return None
    exact = _others(search(rows, f.name, queries, NEIGHBOURS + 1)[0], anchors)
    found = _others(search(rows, f.name, queries, NEIGHBOURS + 1, nprobe=nprobe)[0], anchors)
    wanted = sum(map(len, exact))
    return sum(len(a & b) for a, b in zip(exact, found, strict=True)) / wanted if wanted else None


def _others(answers: I64, anchors: I64) -> list[set[int]]:
    """Return the nearest rows of each answer, without the row that asked and without fillers."""
    kept = [row[(row != a) & (row >= 0)][:NEIGHBOURS] for row, a in zip(answers, anchors, strict=True)]
    return [set(row.tolist()) for row in kept]


def _sampled(rows: RowSet, f: Field, sample: int) -> tuple[I64, F32]:
    """Return anchors and vectors of some rows, evenly from all: int64 (q,), float32 (q, d)."""
    stripes = list(rows.vector_stripes(f.name, *EVERYTHING))
    sizes = np.array([len(stripe.anchors) for stripe in stripes], np.int64)
    stops = np.cumsum(sizes)
    total = int(stops[-1]) if len(stops) else 0
    anchors, vectors = [np.empty(0, np.int64)], [np.empty((0, dim_of(f)), np.float32)]
    wanted = np.unique(np.linspace(0, total - 1, min(sample, total)).astype(np.int64))
    for stripe, stop, size in zip(stripes, stops.tolist(), sizes.tolist(), strict=True):
        at = wanted[(wanted >= stop - size) & (wanted < stop)] - (stop - size)
        directed = at[np.any(stripe.vectors[at], axis=1)]
        anchors.append(np.asarray(stripe.anchors[directed]))
        vectors.append(np.asarray(stripe.vectors[directed]))
    return np.concatenate(anchors), np.concatenate(vectors)
