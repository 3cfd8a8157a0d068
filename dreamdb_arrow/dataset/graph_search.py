"""Search of graph fields: a walk over the nodes, which the local cache keeps as arrays. Spec 0013.

Exact where that is as cheap: when a condition leaves few nodes, these are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.errors import CorruptDataError, LayoutError, NotFoundError, UnsupportedError
from dreamdb_arrow.kernels.blocks import row_blocks
from dreamdb_arrow.kernels.distance import exact_cosine_distances, inverse_norms, row_norms, unit_rows
from dreamdb_arrow.kernels.vamana import NOBODY, Graph, walk
from dreamdb_arrow.objects.graph_index import GraphIndex
from dreamdb_arrow.objects.lineage import TrackEntry, end_of
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.spatial.partitioners import check_count
from dreamdb_arrow.spatial.scan import SPARE
from dreamdb_arrow.spatial.search import nearest
from dreamdb_arrow.tracks.graph import iterate_pages, load_graph_index, nodes_of, order_by_anchor
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX

F64 = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

FEW_NODES: Final = 10_000  # so many are compared sooner than a walk finds those of them that are near
_ALIKE: Final = np.float32(1e-6)  # lengths that differ from 1 by less need no division
_GATHERED: Final = 1 << 15  # nodes that are compared at a time


@dataclass(frozen=True, slots=True, eq=False)
class LaidGraph:
    """A graph in the local cache.

    graph     the nodes
    anchors   int64 (n,); -1 for a node that nobody sees
    order     the nodes that are rows, by anchor, int64 (m,)
    ordered   the anchors in that order, int64 (m,)
    l_search  how many nodes a walk keeps unless told otherwise
    """

    graph: Graph
    anchors: I64
    order: I64
    ordered: I64
    l_search: int

    def nodes_at(self, anchors: I64) -> I64:
        """Return the nodes of those of these anchors that have one, in their order."""
        if not len(self.ordered):
            return np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self.ordered, anchors), len(self.ordered) - 1)
        found: I64 = self.order[at[self.ordered[at] == anchors]]
        return found


def search_graph(
    rows: RowSet,
    field: str,
    queries: F32,
    k: int,
    *,
    l_search: int | None = None,
    t0: int = 0,
    t1: int = TIME_MAX,
    allowed: I64 | None = None,
) -> tuple[I64, F64]:
    """Return the k nearest live rows of a graph field that a walk finds for each query, nearest first.

    Args:
        rows: the version.
        field: a field whose Track is a graph.
        queries: float32 (q, d), finite.
        k: how many.
        l_search: how many nodes a walk keeps, at least k; None for what the graph says.
        t0: the first anchor that counts.
        t1: the first anchor after those that count.
        allowed: the anchors that count, int64 ascending; None for all.

    Returns:
        anchors int64 (q, j) and cosine distances float64 (q, j), j = min(k, rows that count); equal ones by anchor.

    Raises InvalidInputError for a k or l_search that is no count; CorruptDataError; UnsupportedError for a compressed graph
    without the exact one that it was made of.
    """
    laid = rows.once(("graph", field), lambda: _open(rows, field))
    width = max(check_count("k", k), laid.l_search if l_search is None else check_count("l_search", l_search))
    counted = _counted(rows, laid, t0, t1, allowed)
    total = len(laid.graph)
    left = total if counted is None else int(np.count_nonzero(counted))
    k = min(k, left)
    if _is_cheap(left, laid, width):
        return _compared(laid, counted, queries, k)
    width = min(total, -(-(width + SPARE) * total // left))
    found, _ = walk(laid.graph, unit_rows(queries), width, counted)
    if (found[:, k - 1] < 0).any():  # always k rows when there are k
        return _compared(laid, counted, queries, k)
    return _best(laid, found[:, : k + SPARE], queries, k)


def _is_cheap(left: int, laid: LaidGraph, width: int) -> bool:
    """Whether to compare all nodes that count. A walk scores about width * degree nodes; of these left / total count."""
    total, degree = laid.graph.neighbours.shape
    return left <= min(FEW_NODES, total - 1) or left**2 <= width * degree * total or width >= total


def _counted(rows: RowSet, laid: LaidGraph, t0: int, t1: int, allowed: I64 | None) -> Bools | None:
    """Return which nodes count, bool (n,), or None when all do."""
    low, high = np.searchsorted(laid.ordered, [t0, min(t1, VISIBLE_ANCHOR_MAX + 1)])
    nodes = laid.order[low:high] if allowed is None else laid.nodes_at(allowed)
    hidden = laid.nodes_at(rows.hidden)  # 0020-R8
    if len(nodes) == len(laid.graph) and not len(hidden):
        return None
    counted = np.zeros(len(laid.graph), bool)
    counted[nodes] = True
    if allowed is not None:
        counted &= (laid.anchors >= t0) & (laid.anchors < t1)
    counted[hidden] = False
    return counted


def _compared(laid: LaidGraph, counted: Bools | None, queries: F32, k: int) -> tuple[I64, F64]:
    """Return the k nearest of all nodes that count."""
    nodes = np.arange(len(laid.graph)) if counted is None else np.flatnonzero(counted)
    blocks = (nodes[at : at + _GATHERED] for at in range(0, len(nodes), _GATHERED))
    vectors = laid.graph.vectors
    return nearest(((laid.anchors[part], vectors[part]) for part in blocks), queries, max(1, k), "cosine")


def _best(laid: LaidGraph, found: I64, queries: F32, k: int) -> tuple[I64, F64]:
    """Return the k nearest of each query's nodes by float64, as every search ranks."""
    distances = np.empty(found.shape)
    vectors = laid.graph.vectors
    for part in row_blocks(len(found), 8 * found.shape[1] * vectors.shape[1]):
        distances[part] = exact_cosine_distances(queries[part], vectors[found[part]])
    distances[found == NOBODY] = np.inf
    anchors = laid.anchors[found]
    order = np.lexsort((anchors, distances), axis=1)[:, :k]
    return np.take_along_axis(anchors, order, 1), np.take_along_axis(distances, order, 1)


# --- the local cache ----------------------------------------------------------------------------------------


def _open(rows: RowSet, field: str) -> LaidGraph:
    """Return the graph of a field, laid out now if it was not."""
    entry = row_entry(rows.manifest, field)
    assert entry is not None
    entry, index = _walked(rows, entry)
    key = f"graph/{entry.address}"
    with rows.cache.making:
        try:
            note = rows.cache.read_note(key)
            if note is not None:
                return _map(rows, note, index)
        except (NotFoundError, CorruptDataError):
            pass  # it has gone bad
        note = _lay_out(rows, entry, index)
        rows.cache.write_note(key, note)
        return _map(rows, note, index)


def _walked(rows: RowSet, entry: TrackEntry) -> tuple[TrackEntry, GraphIndex]:
    """Return the Track of a graph and its index; in place of a compressed one, of the exact one that it was made of."""
    manifest = rows.manifest
    index = load_graph_index(rows.store, _index_address(manifest, entry.modality))
    if index.compressor is None:
        return entry, index
    parents = [e.exact_parent for e in manifest.tracks.edges if e.child == end_of(entry)]
    if not parents or parents[0].field != entry.field:
        raise UnsupportedError("a compressed graph cannot be read without the exact one that it was made of")
    exact = replace(entry, address=parents[0].address, modality=parents[0].modality)
    first = next(iterate_pages(rows.store, read_track(rows.store, exact)))
    return exact, load_graph_index(rows.store, first.index)


def _index_address(manifest: Manifest, modality: str) -> Address:
    return as_address((manifest.registry.get(modality) or {}).get("graph_index"))


def _regions(nodes: int, dim: int, degree: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of what a file holds, one after the other."""
    return {
        "vectors": ("<f4", (nodes, dim)),
        "neighbours": ("<i4", (nodes, degree)),
        "inverse": ("<f4", (nodes,)),
        "anchors": ("<i8", (nodes,)),
        "order": ("<i8", (nodes,)),
    }


def _views(path: Path, index: GraphIndex, mode: Any) -> dict[str, Any]:
    regions, at, views = _regions(index.layout.node_count, index.dim, index.layout.max_degree), 0, {}
    sizes = {name: int(np.prod(shape)) * np.dtype(kind).itemsize for name, (kind, shape) in regions.items()}
    data = np.memmap(path, np.uint8, mode, shape=sum(-(-size // 8) * 8 for size in sizes.values()))
    for name, (kind, shape) in regions.items():
        views[name] = data[at : at + sizes[name]].view(np.ndarray).view(kind).reshape(shape)
        at += -(-sizes[name] // 8) * 8
    return views


def _lay_out(rows: RowSet, entry: TrackEntry, index: GraphIndex) -> bytes:
    """Write the nodes of a Track, page by page, to a file of the cache, and return the note about it."""
    count = 0
    with rows.cache.work_file() as path:
        views = _views(path, index, "w+")
        for page in iterate_pages(rows.store, read_track(rows.store, entry)):
            nodes = nodes_of(page, index)
            at = slice(count, count + len(nodes))
            count = at.stop
            if count > index.layout.node_count:
                break
            views["vectors"][at], views["neighbours"][at] = nodes.vectors, nodes.neighbours
            views["inverse"][at] = inverse_norms(row_norms(nodes.vectors))
            views["anchors"][at] = nodes.anchors.view(np.int64)
        if count != index.layout.node_count:  # 0013-R5
            raise LayoutError(f"a graph says it has {index.layout.node_count} nodes, its pages have others")
        order = order_by_anchor(views["anchors"].view(np.uint64))
        unseen = np.ones(count, bool)
        unseen[order] = False
        views["order"][: len(order)] = order
        views["anchors"][unseen] = NOBODY
        unit = bool((np.abs(views["inverse"] - 1) < _ALIKE).all())
        del views
        return encode_cbor([bytes(rows.cache.adopt(path)), len(order), unit])


def _map(rows: RowSet, note: bytes, index: GraphIndex) -> LaidGraph:
    address, seen, unit = decode_cbor(note)
    views = _views(rows.cache.local(as_address(address)), index, "r")
    order = views["order"][:seen]
    anchors = views["anchors"]
    graph = Graph(
        views["vectors"],
        None if unit else views["inverse"],
        views["neighbours"],
        index.layout.entry_point,
    )
    return LaidGraph(graph, anchors, order, anchors[order], index.params.l_search)
