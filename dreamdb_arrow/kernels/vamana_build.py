"""Building graphs over vectors, and adding rows to them. Spec 0013, ADR 0021.

A row chooses its neighbours among the rows near to it, and near ones of some samples. It keeps the nearest and leaves out
those that a neighbour it has kept lies closer to: these are reached through that neighbour. Then edges are put in the other
direction too, and each row chooses again. Its last few places go to rows drawn at random: of close groups that lie far apart,
no near row leads from one to the other. All of it is done for many rows at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.kernels.near_rows import near_rows, nearest_among
from dreamdb_arrow.kernels.vamana import NOBODY, Graph, walk

Bools = NDArray[np.bool_]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

SAMPLES: Final = (64, 512, 4096)  # rows, where there are four times as many
FAR: Final = 12  # candidates from a sample
DRAWN: Final = 32  # one place of so many goes to a row drawn at random
_PRUNED: Final = 128  # rows that choose at a time: their candidates' products stay in the processor's cache
_ALONE: Final = 1 << 18  # multiplications that BLAS does in one thread
_MENDED: Final = 64  # times that rows which no walk reaches are looked for
_MENDED_BYTES: Final = 64 << 20  # of their distances, each time
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
    chosen = near_rows(unit, min(max(near, degree), count - 1), seed)
    shuffled = rng.permutation(count)
    samples = [np.sort(shuffled[:size]) for size in SAMPLES if 4 * size <= count]
    far = [nearest_among(unit, everyone, sample, FAR) for sample in samples]
    drawn = _drawn(rng, count, count, degree)
    chosen = _prune_all(unit, np.concatenate([chosen, *far], 1), degree - drawn.shape[1], alpha)
    neighbours = _with_drawn(everyone, _join(unit, chosen, alpha), drawn)
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
    beside = nearest_among(unit, new, new, width // 2) if len(new) > 1 and width > 1 else found[:, :0]
    drawn = _drawn(np.random.default_rng(count), len(new), len(unit), degree)
    near = degree - drawn.shape[1]
    chosen = _prune(unit, new, np.concatenate([found, beside], 1), near, alpha)
    neighbours = np.concatenate([graph.neighbours, _with_drawn(new, chosen, drawn)])
    back = _reversed(chosen, len(unit), 2 * degree, first=count)
    touched = np.flatnonzero(back[:, 0] >= 0)
    candidates = np.concatenate([neighbours[touched, :near], back[touched]], 1)
    again = _prune(unit, touched, candidates, near, alpha)
    neighbours[touched] = _with_drawn(touched, again, neighbours[touched, near:])
    grown = Graph(unit, None, _mended(unit, neighbours, graph.entry), graph.entry)
    return grown, _differing(graph.neighbours, neighbours)


def _differing(old: I32, new: I32) -> I64:
    return np.flatnonzero((new[: len(old)] != old).any(axis=1))


# --- the other direction -----------------------------------------------------------------------------------


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


def _drawn(rng: np.random.Generator, rows: int, count: int, degree: int) -> I32:
    """Return rows drawn at random, as many for each row as it has places for them, int32 (rows, places)."""
    places = max(1, degree // DRAWN) if degree > 2 else 0
    return rng.integers(0, count, (rows, places)).astype(np.int32)


def _with_drawn(rows: I64, chosen: I32, drawn: I32) -> I32:
    """Put the drawn neighbours of some rows behind the chosen ones, but for the row itself and what it has already."""
    joined = np.concatenate([chosen, drawn], 1)
    joined[joined == rows[:, None]] = NOBODY
    for place in range(chosen.shape[1], joined.shape[1]):
        again = (joined[:, :place] == joined[:, place, None]).any(axis=1)
        joined[again, place] = NOBODY
    return joined


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
    if not candidates.shape[1]:
        return found
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


def _undominated(far: F32, between: F32, degree: int, alpha: np.float32) -> Bools:
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
    """Lead a way to rows that none leads to: near ones that are reached give them places that no way needs."""
    for _ in range(_MENDED):
        reached, needed = _reached(neighbours, entry)
        lost = np.flatnonzero(~reached)[: max(1, _MENDED_BYTES // (4 * len(unit)))]
        free = neighbours.shape[1] - needed.sum(axis=1)
        if not len(lost) or not (reached & (free > 0)).any():
            break
        far = -unit[lost] @ unit.T
        far[:, ~reached | (free == 0)] = _FAR_AWAY
        givers = far.argmin(axis=1)
        order = np.argsort(givers, kind="stable")
        nth = np.arange(len(givers)) - np.searchsorted(givers[order], givers[order])
        served = order[nth < free[givers[order]]]
        places = np.argsort(
            needed[givers[served]][:, ::-1], axis=1, kind="stable"
        )  # free ones first, the last of them
        at = places[np.arange(len(served)), nth[nth < free[givers[order]]]]
        neighbours[givers[served], neighbours.shape[1] - 1 - at] = lost[served]
    return neighbours


def _reached(neighbours: I32, entry: int) -> tuple[Bools, Bools]:
    """Return which rows a way from the entry leads to, bool (n,), and which edges these ways take, bool (n, R)."""
    reached, taken = np.zeros(len(neighbours), bool), np.zeros(neighbours.shape, bool)
    front = np.array([entry])
    reached[entry] = True
    while len(front):
        near, first = np.unique(neighbours[front], return_index=True)
        new = (near >= 0) & ~reached[near]
        from_row, place = np.divmod(first[new], neighbours.shape[1])
        taken[front[from_row], place] = True
        front = near[new]
        reached[front] = True
    return reached, taken
