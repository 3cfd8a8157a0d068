"""Rebalancing: cells of an ivf-cosine index that hold too much are cut, those that hold little are given up. Spec 0004.

A row belongs to the centroid of its largest dot product. So a row of a cell that stays moves only to a centroid that is
new, and only rows of cells that are gone must be compared with all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.distance import row_norms, unit_rows
from dreamdb_arrow.kernels.kmeans import nearest_centroids, spherical_kmeans
from dreamdb_arrow.objects.spatial_index import IVF_COSINE, IvfCosineParams, SpatialIndex, centroid_rows
from dreamdb_arrow.spatial.partitioners import assign_cells

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

GONE: Final = -1
ROUNDS_MAX: Final = 24
GROWTH_MAX: Final = (
    2  # times as many cells as wanted; more would even out the sizes, but not the work of a search
)
COLD: Final = 0.25  # of the mean: a cell with fewer rows may be given up
_MARGIN: Final = 1e-5  # two dot products that differ by less are computed again, together with all others


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """New centroids, float32 (k, d), and for each the number of the old cell that it stands for, or GONE: int64 (k,)."""

    centroids: F32
    origin: I64

    def kept(self, cells: int) -> I64:
        """Return for each of so many old cells its new number, or GONE: int64 (cells,)."""
        found = np.full(cells, GONE, np.int64)
        stays = np.flatnonzero(self.origin != GONE)
        found[self.origin[stays]] = stays
        return found


def rebalance(centroids: F32, sample: F32, target: float, cells: int, seed: int = 0) -> Plan:
    """Return cells of which, by a sample, none holds much more than the mean, if that can be.

    Args:
        centroids: float32 (k, d), those that there are.
        sample: float32 (n, d), rows as they lie in the cells, each with a direction.
        target: how many times the mean the largest cell may hold; the plan aims halfway between that and one, as a sample
            tells the sizes roughly. Where that needs too many cells, it gives the most even ones that were met.
        cells: about how many there shall be; at most GROWTH_MAX times as many.
        seed: of the k-means; the same arguments give the same plan.
    """
    unit = unit_rows(sample)
    plan = best = Plan(centroids, np.arange(len(centroids)))
    lowest = np.inf
    stuck: set[bytes] = set()  # cells of rows that are all alike
    for _ in range(ROUNDS_MAX):
        plan = _merge_cold(plan, unit)
        labels, _ = nearest_centroids(unit, plan.centroids)
        counts = np.bincount(labels, minlength=len(plan.centroids))
        skew = counts.max() * len(counts) / len(unit)
        if skew < lowest:
            best, lowest = plan, skew
        hot = _hottest(plan, counts, (1 + target) / 2 * len(unit) / len(counts), stuck)
        room = GROWTH_MAX * cells - len(counts)
        if not hot or room < 1:
            break
        plan = _split(plan, hot, (unit, labels), len(unit) / cells, room, seed, stuck)
    return best


def _hottest(plan: Plan, counts: I64, most: float, stuck: set[bytes]) -> list[int]:
    """Return the cells of more rows than `most` that can be cut, the largest first."""
    hot = np.flatnonzero(counts > most)
    ordered = hot[np.argsort(-counts[hot], kind="stable")].tolist()
    return [cell for cell in ordered if plan.centroids[cell].tobytes() not in stuck]


def _merge_cold(plan: Plan, unit: F32) -> Plan:
    """Give up cells, the smallest first, whose nearest neighbour has room for their rows below the mean."""
    labels, _ = nearest_centroids(unit, plan.centroids)
    counts = np.bincount(labels, minlength=len(plan.centroids)).astype(np.float64)
    mean = len(unit) / len(counts)
    alive = np.ones(len(counts), np.bool_)
    for cell in np.argsort(counts, kind="stable")[: int((counts < COLD * mean).sum())].tolist():
        products = np.where(alive, plan.centroids @ plan.centroids[cell], -np.inf)
        products[cell] = -np.inf
        neighbour = int(products.argmax())
        if alive[neighbour] and neighbour != cell and counts[neighbour] + counts[cell] <= mean:
            counts[neighbour] += counts[cell]
            alive[cell] = False
    return Plan(plan.centroids[alive], plan.origin[alive])


def _split(
    plan: Plan, hot: list[int], filed: tuple[F32, I64], size: float, room: int, seed: int, stuck: set[bytes]
) -> Plan:
    """Put in the place of each hot cell as many as its rows make of about this size, as long as there is room for more."""
    unit, labels = filed
    counts = np.bincount(labels, minlength=len(plan.centroids))
    order, starts = np.argsort(labels, kind="stable"), np.cumsum(counts) - counts
    made, gone = [], []
    for cell in hot:
        parts = min(counts[cell], max(2, round(counts[cell] / size)), room + 1)
        rows = unit[order[starts[cell] : starts[cell] + counts[cell]]]
        fresh = _parts(rows, int(parts), seed)
        if len(fresh) < 2:
            stuck.add(plan.centroids[cell].tobytes())
            continue
        made.append(fresh)
        gone.append(cell)
        room -= len(fresh) - 1
        if room < 1:
            break
    stay = np.setdiff1d(np.arange(len(counts)), gone)
    centroids = np.concatenate([plan.centroids[stay], *made])
    origin = np.full(len(centroids), GONE, np.int64)
    origin[: len(stay)] = plan.origin[stay]
    return Plan(centroids, origin)


def _parts(rows: F32, count: int, seed: int) -> F32:
    """Return centroids of rows of one cell, those that get a row."""
    if count < 2:
        return rows[:count]
    fresh = spherical_kmeans(rows, count, seed=seed)
    return fresh[np.unique(nearest_centroids(rows, fresh)[0])]


def file_again(index: SpatialIndex, vectors: F32, held: I64, fresh: I64) -> tuple[I64, I64]:
    """Return the cells of rows that lay in the right cells of an older index, as assign_cells does.

    Args:
        index: the new one.
        vectors: float32 (n, dim).
        held: for each row the number that its cell has in `index`, or GONE: int64 (n,).
        fresh: the numbers of the cells that the older index did not have.

    Returns:
        Their numbers, int64 (n,), and the positions of the rows that were compared with all cells.

    Raises InvalidInputError as assign_cells does, with the position among those.
    """
    numbers = held.copy()
    there = np.flatnonzero(held != GONE)
    if len(there):
        there = there[_stays(index, vectors, there, held, fresh)]
    rest = np.setdiff1d(np.arange(len(held)), there)
    if len(rest):
        cells = assign_cells(index, vectors[rest])
        numbers[rest] = np.array([int(key, 2) for key in cells.keys])[cells.codes]
    return numbers, rest


def _stays(index: SpatialIndex, vectors: F32, rows: I64, held: I64, fresh: I64) -> NDArray[np.bool_]:
    """Tell which rows are surely nearer to the cell that they have than to any that is new."""
    assert index.algorithm == IVF_COSINE
    assert isinstance(index.params, IvfCosineParams)
    centroids = centroid_rows(index.params.centroids, index.dim)
    stays = np.zeros(len(rows), np.bool_)
    for part in row_blocks(len(rows), 8 * index.dim):
        norms = row_norms(vectors[rows[part]])
        at = part.start + np.flatnonzero(
            (norms > 0) & (norms < np.inf)
        )  # the others are for assign_cells to refuse
        unit = unit_rows(vectors[rows[at]])
        own = np.einsum("nd,nd->n", unit, centroids[held[rows[at]]])
        best = nearest_centroids(unit, centroids[fresh])[1] if len(fresh) else np.float32(-np.inf)
        stays[at] = best < own - _MARGIN
    return stays
