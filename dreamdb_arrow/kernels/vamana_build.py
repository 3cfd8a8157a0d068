"""Building graphs over vectors, and adding rows to them. Spec 0013, ADR 0021.

A row chooses its neighbours among the rows near to it and, for the long way, near ones of two samples. It keeps the nearest
and leaves out those that a neighbour it has kept lies closer to: these are reached through that neighbour. Then edges are put
in the other direction too, and each row chooses again. All of it is done for many rows at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.kmeans import nearest_centroids, spherical_kmeans
from dreamdb_arrow.kernels.topk import smallest
from dreamdb_arrow.kernels.vamana import NOBODY, Graph, walk

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

COMPARED: Final = 24_000  # rows that a row is compared with; of so many, all
SAMPLES: Final = (16, 256)  # one row of so many is in a sample
FAR: Final = 16  # candidates from a sample
_SAMPLE_MAX: Final = 4096
_BLOCK: Final = 512  # rows compared at a time
_PRUNED: Final = 128  # rows that choose at a time: their candidates' products stay in the processor's cache
_ALONE: Final = 1 << 18  # multiplications that BLAS does in one thread
_TRAINED: Final = 64  # rows a cell learns from
_MENDED: Final = 16  # times that rows which no walk reaches are looked for
_FAR_AWAY: Final = np.float32(np.inf)


def build_graph(unit: F32, degree: int, *, alpha: float, near: int, seed: int) -> Graph:
    """Return a graph over rows.

    Args:
        unit: float32 (n, d), each of length one, n >= 1.
        degree: the largest number of neighbours.
        alpha: how much closer to a neighbour than to the row a candidate must be to be left out; 1.2 is usual.
        near: how many near rows a row chooses from.
        seed: of the cells and the samples.

    The same arguments give the same graph on the same machine.
    """
    assert unit.ndim == 2
    assert len(unit) >= 1
    count, rng = len(unit), np.random.default_rng(seed)
    everyone = np.arange(count)
    entry = int((unit @ unit.mean(axis=0, dtype=np.float64).astype(np.float32)).argmax())
    chosen = _near_rows(unit, min(max(near, degree), count - 1), seed)
    shuffled = rng.permutation(count)
    samples = [np.sort(shuffled[: min(_SAMPLE_MAX, count // share)]) for share in SAMPLES]
    far = [_nearest_of(unit, everyone, sample, FAR) for sample in samples if len(sample)]
    neighbours = _join(unit, _prune_all(unit, np.concatenate([chosen, *far], 1), degree, alpha), alpha)
    return Graph(unit, None, _mended(unit, neighbours, entry), entry)


def insert_rows(graph: Graph, added: F32, *, alpha: float, width: int) -> tuple[Graph, I64]:
    """Return a graph with more rows at its end, and which of the old rows have other neighbours now, int64 ascending.

    Args:
        graph: n rows of length one.
        added: float32 (m, d), each of length one.
        alpha: as for `build_graph`.
        width: how many rows the walk keeps that finds candidates for a new row.
    """
    assert graph.inverse is None
    old, changed = len(graph), []
    start = 0
    while start < len(added):  # never more at a time than there are: a walk finds only rows that are in
        part = added[start : start + len(graph)]
        graph, touched = _insert_part(graph, part, alpha, width)
        changed.append(touched)
        start += len(part)
    touched = np.unique(np.concatenate([np.empty(0, np.int64), *changed]))
    return graph, touched[touched < old]


def _insert_part(graph: Graph, added: F32, alpha: float, width: int) -> tuple[Graph, I64]:
    count, degree = len(graph), graph.neighbours.shape[1]
    found, _ = walk(graph, added, width)
    unit = np.concatenate([graph.vectors, added])
    new = np.arange(count, len(unit))
    beside = _nearest_of(unit, new, new, width // 2) if len(new) > 1 else found[:, :0]
    chosen = _prune(unit, new, np.concatenate([found, beside], 1), degree, alpha)
    neighbours = np.concatenate([graph.neighbours, chosen])
    back = _reversed(chosen, len(unit), 2 * degree, first=count)
    touched = np.flatnonzero(back[:, 0] >= 0)
    candidates = np.concatenate([neighbours[touched], back[touched]], 1)
    neighbours[touched] = _prune(unit, touched, candidates, degree, alpha)
    return Graph(unit, None, _mended(unit, neighbours, graph.entry), graph.entry), _differing(
        graph.neighbours, neighbours
    )


def _differing(old: I32, new: I32) -> I64:
    return np.flatnonzero((new[: len(old)] != old).any(axis=1))


# --- candidates ---------------------------------------------------------------------------------------------


def _near_rows(unit: F32, k: int, seed: int) -> I32:
    """Return for each row k others near to it, nearest first, int32 (n, k), filled up with -1.

    Rows are compared with those of the cells nearest to their own; of at most `COMPARED` rows, with all.
    """
    count = len(unit)
    cells = 1 if count <= COMPARED else max(2, round(count**0.5))
    order, starts, probed = _cells(unit, cells, -(-cells * COMPARED // count), seed)
    ordered = unit[order]
    found = np.full((count, k), NOBODY, np.int32)
    for cell in range(cells):
        runs = [np.arange(starts[c], starts[c + 1]) for c in probed[cell].tolist()]
        theirs = np.concatenate(runs)  # its own rows come first
        vectors = np.ascontiguousarray(ordered[theirs].T)
        for first in range(starts[cell], starts[cell + 1], _BLOCK):
            rows = np.arange(first, min(first + _BLOCK, starts[cell + 1]))
            far = -ordered[rows] @ vectors
            far[np.arange(len(rows)), rows - starts[cell]] = _FAR_AWAY
            near = (
                smallest(far, min(k, len(theirs) - 1)) if len(theirs) > 1 else np.empty((len(rows), 0), int)
            )
            found[order[rows], : near.shape[1]] = order[theirs[near]]
    return found


def _cells(unit: F32, cells: int, probes: int, seed: int) -> tuple[I64, I64, I64]:
    """Return rows by cell (n,), where cells begin (c + 1,), and for each cell the nearest ones, itself first (c, p)."""
    if cells == 1:
        return np.arange(len(unit)), np.array([0, len(unit)]), np.zeros((1, 1), np.int64)
    drawn = np.random.default_rng(seed).permutation(len(unit))[: _TRAINED * cells]
    centroids = spherical_kmeans(unit[np.sort(drawn)], cells, seed=seed, rounds=5)
    labels, _ = nearest_centroids(unit, centroids)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(cells + 1))
    far = -centroids @ centroids.T
    np.fill_diagonal(far, -_FAR_AWAY)
    return order, starts, np.argsort(far, axis=1, kind="stable")[:, :probes]


def _nearest_of(unit: F32, rows: I64, among: I64, k: int) -> I32:
    """Return for each of the rows the k nearest among some, int32 (m, min(k, a)); a row may find itself."""
    vectors = np.ascontiguousarray(unit[among].T)
    found = np.empty((len(rows), min(k, len(among))), np.int32)
    for at in range(0, len(rows), _BLOCK):
        found[at : at + _BLOCK] = among[smallest(-unit[rows[at : at + _BLOCK]] @ vectors, k)]
    return found


def _reversed(neighbours: I32, count: int, limit: int, first: int = 0) -> I32:
    """Return for each of `count` rows who has it as a neighbour, int32 (count, limit), those that it is nearest to first.

    Row r of `neighbours` is row `first` + r.
    """
    place, row = np.nonzero(neighbours.T >= 0)  # by place: the nearest come first
    ends = neighbours[row, place]
    order = np.argsort(ends, kind="stable")
    ends, sources = ends[order], row[order] + first
    rank = np.arange(len(ends)) - np.searchsorted(ends, np.arange(count))[ends]
    kept = rank < limit
    found = np.full((count, limit), NOBODY, np.int32)
    found[ends[kept], rank[kept]] = sources[kept]
    return found


# --- choice -------------------------------------------------------------------------------------------------


def _join(unit: F32, neighbours: I32, alpha: float) -> I32:
    """Put every edge in the other direction too, and have each row choose again."""
    count, degree = neighbours.shape
    back = _reversed(neighbours, count, 2 * degree)
    return _prune_all(unit, np.concatenate([neighbours, back], 1), degree, alpha)


def _prune_all(unit: F32, candidates: I32, degree: int, alpha: float) -> I32:
    return _prune(unit, np.arange(len(unit)), candidates, degree, alpha)


def _prune(unit: F32, rows: I64, candidates: NDArray[np.integer], degree: int, alpha: float) -> I32:
    """Return which candidates the rows choose, int32 (m, degree), filled up with -1.

    The nearest candidate is kept, and those are left out that are `alpha` times nearer to it than to the row; and so on.
    Places that stay empty go to the nearest of those left out, after the others.
    """
    found = np.full((len(rows), degree), NOBODY, np.int32)
    for at in range(0, len(rows), _PRUNED):
        part = slice(at, at + _PRUNED)
        ids, far, between = _compared(unit, rows[part], candidates[part])
        kept = _undominated(far, between, degree, np.float32(alpha))
        rank = np.where(kept, 0, np.where(far < _FAR_AWAY, 1, 2))
        order = np.argsort(rank, axis=1, kind="stable")[:, :degree]
        chosen = np.take_along_axis(ids, order, 1)
        chosen[np.take_along_axis(rank, order, 1) == 2] = NOBODY
        found[part, : chosen.shape[1]] = chosen
    return found


def _compared(unit: F32, rows: I64, candidates: NDArray[np.integer]) -> tuple[NDArray[np.integer], F32, F32]:
    """Return the candidates (b, c) by distance, their distances (b, c), infinite for what is none, and those between them."""
    ids = np.sort(candidates, axis=1)
    unwanted = (ids < 0) | (ids == rows[:, None])
    unwanted[:, 1:] |= ids[:, 1:] == ids[:, :-1]
    vectors = unit[ids]
    far = 1 - np.matmul(vectors, unit[rows][:, :, None])[:, :, 0]
    far[unwanted] = _FAR_AWAY
    order = np.argsort(far, axis=1, kind="stable")
    vectors = vectors[np.arange(len(rows))[:, None], order]
    between = _products_within(vectors)
    np.subtract(1, between, out=between)
    return np.take_along_axis(ids, order, 1), np.take_along_axis(far, order, 1), between


def _products_within(vectors: F32) -> F32:
    """Return the products of c vectors with each other, for each of b sets of them (b, c, d): float32 (b, c, c).

    By small pieces: BLAS shares a larger one among threads, whose meeting takes longer than the product.
    """
    sets, count, dim = vectors.shape
    found = np.empty((sets, count, count), np.float32)
    across = vectors.transpose(0, 2, 1)
    step = max(8, _ALONE // (count * dim))
    for at in range(0, count, step):
        np.matmul(vectors[:, at : at + step], across, out=found[:, at : at + step])
    return found


def _undominated(far: F32, between: F32, degree: int, alpha: np.float32) -> NDArray[np.bool_]:
    each = np.arange(len(far))
    left = far < _FAR_AWAY
    kept = np.zeros_like(left)
    for _ in range(degree):
        nearest = left.argmax(axis=1)
        some = left[each, nearest]
        if not some.any():
            break
        kept[each[some], nearest[some]] = True
        left &= alpha * between[each, nearest] > far
        left[each, nearest] = False
    return kept


# --- no row without a way to it -----------------------------------------------------------------------------


def _mended(unit: F32, neighbours: I32, entry: int) -> I32:
    """Lead a way to rows that none leads to: a reached row that is near gives them the place of its last neighbour."""
    for _ in range(_MENDED):
        reached = _reached(neighbours, entry)
        lost = np.flatnonzero(~reached)[:_BLOCK]
        if not len(lost):
            break
        far = -unit[lost] @ unit.T
        far[:, ~reached] = _FAR_AWAY
        givers, nth = np.unique(far.argmin(axis=1), return_index=True)
        free = np.argmax(neighbours[givers] < 0, axis=1)
        place = np.where((neighbours[givers] < 0).any(axis=1), free, neighbours.shape[1] - 1)
        neighbours[givers, place] = lost[nth]
    return neighbours


def _reached(neighbours: I32, entry: int) -> NDArray[np.bool_]:
    """Return which rows a way from the entry leads to, bool (n,)."""
    reached = np.zeros(len(neighbours), bool)
    front = np.array([entry])
    while len(front):
        reached[front] = True
        near = neighbours[front]
        near = np.unique(near[near >= 0])
        front = near[~reached[near]]
    return reached
