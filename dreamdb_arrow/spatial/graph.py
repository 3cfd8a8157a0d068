"""Graphs over vectors: building, growing, and the nodes nearest to a query. Spec 0013.

A walk is not exact. Where comparing every node that counts is as cheap, that is done instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.distance import exact_cosine_distances, row_norms, unit_rows
from dreamdb_arrow.kernels.vamana import NOBODY, Graph, walk
from dreamdb_arrow.kernels.vamana_build import build_graph, insert_rows
from dreamdb_arrow.objects.graph_index import GraphParams
from dreamdb_arrow.spatial.search import SPARE, nearest

Bools = NDArray[np.bool_]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

FEW_NODES: Final = 10_000  # so many are compared sooner than a walk finds those of them that are near
_UNIT: Final = np.float32(1e-5)  # a vector whose length differs from 1 by less stays as it is
_GATHERED: Final = 1 << 15  # nodes that are compared at a time


def build_edges(vectors: F32, degree: int, params: GraphParams) -> tuple[I32, int]:
    """Return neighbours int32 (n, degree), -1 where a node has fewer, and the entry point, of n >= 1 vectors of length one."""
    graph = build_graph(
        unit_rows(vectors),
        degree,
        alpha=params.alpha,
        near=params.l_build // 2,
        seed=int.from_bytes(params.build_seed, "little"),
    )
    return graph.neighbours, graph.entry


def grow_edges(vectors: F32, neighbours: I32, entry: int, added: F32, params: GraphParams) -> tuple[I32, I64]:
    """Return the neighbours of old and added nodes, and which old ones have others now, int64 ascending.

    Args:
        vectors: float32 (n, d).
        neighbours: int32 (n, R).
        entry: where walks begin.
        added: float32 (m, d), of length one.
        params: how the graph was built.
    """
    graph = Graph(unit_rows(vectors), None, neighbours, entry)
    grown, changed = insert_rows(graph, unit_rows(added), alpha=params.alpha, width=max(1, params.l_build))
    return grown.neighbours, changed


def of_length_one(vectors: F32, name: str) -> F32:
    """Return vectors of length one; those that are, bit for bit as they came. Raises InvalidInputError for one without."""
    norms = row_norms(vectors)
    bad = np.flatnonzero((norms == 0) | ~np.isfinite(norms))
    if len(bad):
        raise InvalidInputError(f"{name}, row {bad[0]}: a vector of a graph needs a direction")
    uneven = np.abs(norms - 1) > _UNIT
    return np.where(uneven[:, None], unit_rows(vectors), vectors)  # 0013-R7


@dataclass(frozen=True, slots=True, eq=False)
class GraphNodes:
    """The nodes of a graph, as searches take them.

    vectors     float32 (n, d)
    inverse     one by their lengths, float32 (n,); None when all are 1
    neighbours  int32 (n, R); -1 where a node has fewer
    entry       where a walk begins
    anchors     int64 (n,); -1 for a node that is no row
    order       the nodes that are rows, by anchor, int64 (m,)
    ordered     the anchors in that order, int64 (m,)
    """

    vectors: F32
    inverse: F32 | None
    neighbours: I32
    entry: int
    anchors: I64
    order: I64
    ordered: I64

    def __len__(self) -> int:
        return len(self.vectors)

    def at(self, anchors: I64) -> I64:
        """Return the nodes of those of these anchors that have one, in their order: int64 (k,)."""
        if not len(self.ordered):
            return np.empty(0, np.int64)
        places = np.minimum(np.searchsorted(self.ordered, anchors), len(self.ordered) - 1)
        found: I64 = self.order[places[self.ordered[places] == anchors]]
        return found


def search_nodes(
    nodes: GraphNodes, queries: F32, k: int, width: int, counted: Bools | None = None
) -> tuple[I64, F64]:
    """Return the k nearest of the nodes that a walk finds for each query, nearest first.

    Args:
        nodes: at least one.
        queries: float32 (q, d), finite.
        k: how many, at least 1.
        width: how many nodes a walk keeps; k at least are kept.
        counted: which nodes count, bool (n,); None for all.

    Returns:
        anchors int64 (q, j) and cosine distances float64 (q, j), j = min(k, nodes that count); equal ones by anchor.
    """
    total = len(nodes)
    left = total if counted is None else int(np.count_nonzero(counted))
    k, width = min(k, left), max(k, width)
    if is_cheap(left, nodes.neighbours.shape, width):
        return compare_nodes(nodes, counted, queries, k)
    width = min(total, -(-(width + SPARE) * total // left))
    graph = Graph(nodes.vectors, nodes.inverse, nodes.neighbours, nodes.entry)
    found, _ = walk(graph, unit_rows(queries), width, counted)
    if (found[:, k - 1] < 0).any():  # always k rows when there are k
        return compare_nodes(nodes, counted, queries, k)
    return _best(nodes, found[:, : k + SPARE], queries, k)


def is_cheap(left: int, shape: tuple[int, ...], width: int) -> bool:
    """Whether to compare all `left` nodes that count. A walk scores about width * degree nodes; left / total of them count."""
    total, degree = shape
    few = left <= min(FEW_NODES, total - 1)
    return few or width >= total or left * left <= width * degree * total


def compare_nodes(nodes: GraphNodes, counted: Bools | None, queries: F32, k: int) -> tuple[I64, F64]:
    """Return the k nearest of all nodes that count, as `search_nodes` does."""
    held = np.arange(len(nodes)) if counted is None else np.flatnonzero(counted)
    parts = (held[at : at + _GATHERED] for at in range(0, len(held), _GATHERED))
    blocks = ((nodes.anchors[part], nodes.vectors[part]) for part in parts)
    return nearest(blocks, queries, max(1, k), "cosine")


def _best(nodes: GraphNodes, found: I64, queries: F32, k: int) -> tuple[I64, F64]:
    """Return the k nearest of each query's nodes by float64, as every search ranks."""
    distances = np.empty(found.shape)
    for part in row_blocks(len(found), 8 * found.shape[1] * nodes.vectors.shape[1]):
        distances[part] = exact_cosine_distances(queries[part], nodes.vectors[found[part]])
    distances[found == NOBODY] = np.inf
    anchors = nodes.anchors[found]
    order = np.lexsort((anchors, distances), axis=1)[:, :k]
    return np.take_along_axis(anchors, order, 1), np.take_along_axis(distances, order, 1)
