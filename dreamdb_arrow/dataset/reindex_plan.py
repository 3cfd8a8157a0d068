"""The first two stages of index maintenance: how full the cells are, and which cells there shall be. Specs 0004 and 0021.

Sizes come from the index of the Track, without reading a vector. Plans are made from a sample that goes by anchor, not by
where a row lies: the same rows in other cells give the same plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.dataset.reindex_job import MEASURE, PLAN, Desk, Job, Target, base_of
from dreamdb_arrow.dataset.spatial import publish_spatial_index
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.spatial_index import (
    IMI_COSINE,
    ImiCosineParams,
    IvfCosineParams,
    SpatialIndex,
    centroid_rows,
    make_ivf_cosine,
)
from dreamdb_arrow.spatial.rebalance import rebalance
from dreamdb_arrow.spatial.training import book_size_for, cells_for, sample_size, train_imi, train_ivf
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.refiling import cell_numbers, draw_vectors, rows_listed

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

REBUILD: Final = "rebuild-ivf"
ADA: Final = "ada-ivf-step"
SIZES: Final = ("cells", "rows", "mean", "largest", "skew")


def count_cells(index: SpatialIndex) -> int:
    """Return how many cells an index of centroids has, the empty ones among them."""
    if isinstance(index.params, ImiCosineParams):
        return index.params.k_sub**2
    assert isinstance(index.params, IvfCosineParams)
    return index.params.k


def cell_sizes(store: Store, target: Target) -> tuple[I64, int]:
    """Return how many rows each cell has, int64 (cells,), and how many buckets they lie in."""
    entries = target.entries(store)
    numbers = cell_numbers(entries)
    counts = np.bincount(numbers, rows_listed(target.form, entries), count_cells(target.index))
    return counts.astype(np.int64), len(entries)


def told(sizes: I64) -> dict[str, Any]:
    """Return what cells of these sizes, int64 (cells,), look like: the keys of SIZES."""
    mean, largest = float(sizes.mean()), int(sizes.max())
    skew = largest / mean if mean else 0.0
    return dict(zip(SIZES, (len(sizes), int(sizes.sum()), mean, largest, skew), strict=True))


def measure(desk: Desk, job: Job) -> dict[str, Any]:
    """Return how full the cells are; the first stage."""
    found: dict[str, Any] | None = desk.folder.read(MEASURE)
    if found is None:
        found = told(cell_sizes(desk.store, base_of(desk, job))[0])
        if not found["rows"]:
            raise InvalidInputError(f"field {desk.field!r} has no rows in cells; flush first")
        desk.folder.write(MEASURE, found)
    return found


def plan(desk: Desk, job: Job) -> dict[str, Any]:
    """Return which cells there shall be; the second stage. The new SpatialIndex is in the store when this returns.

    `index` is its address, None when all may stay as it is; `origin` the numbers of the cells that stay, in their new
    order; `cells` how many there are.
    """
    found: dict[str, Any] | None = desk.folder.read(PLAN)
    if found is None:
        index, origin = PLANNERS[desk.verb](desk, job, measure(desk, job))
        found = {"index": None, "origin": [], "cells": 0}
        batch = Batch(desk.store)
        if index is not None and (address := publish_spatial_index(batch, index)) != job.index:
            batch.flush()
            found = {"index": bytes(address), "origin": origin, "cells": count_cells(index)}
        desk.folder.write(PLAN, found)
    return found


def _plan_training(desk: Desk, job: Job, found: dict[str, Any]) -> tuple[SpatialIndex | None, list[int]]:
    target, seed, wanted = base_of(desk, job), job.options["seed"], job.options["k"]
    k = wanted or max(2, cells_for(found["rows"]))
    most = job.options["sample"] or sample_size(k, target.form.dim)
    vectors = _drawn(desk, target, most / found["rows"], seed)
    if target.index.algorithm != IMI_COSINE:
        return train_ivf(vectors, k, seed), []
    k_sub = round(math.sqrt(wanted)) if wanted else book_size_for(found["rows"])
    return train_imi(vectors, max(1, k_sub), seed), []


def _plan_rebalance(desk: Desk, job: Job, found: dict[str, Any]) -> tuple[SpatialIndex | None, list[int]]:
    if found["skew"] <= job.options["target"]:
        return None, []
    target, seed = base_of(desk, job), job.options["seed"]
    assert isinstance(target.index.params, IvfCosineParams)
    cells = max(found["cells"], cells_for(found["rows"]))
    most = sample_size(cells, target.form.dim)
    sample = _drawn(desk, target, most / found["rows"], seed)
    centroids = centroid_rows(target.index.params.centroids, target.index.dim)
    better = rebalance(centroids, sample, job.options["target"], cells, seed)
    return make_ivf_cosine(better.centroids), better.origin.tolist()


def _drawn(desk: Desk, target: Target, share: float, seed: int) -> F32:
    return draw_vectors(desk.store, target.track, target.form, target.entries(desk.store), share, seed)


PLANNERS: Final[MappingProxyType[str, Callable[[Desk, Job, dict[str, Any]], Any]]] = MappingProxyType(
    {REBUILD: _plan_training, ADA: _plan_rebalance}
)
