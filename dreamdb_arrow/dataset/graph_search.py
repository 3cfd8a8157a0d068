"""Search of graph fields: a walk over the nodes, which the local cache keeps as arrays. Spec 0013."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.errors import CorruptDataError, LayoutError, NotFoundError, UnsupportedError
from dreamdb_arrow.objects.graph_index import GraphIndex
from dreamdb_arrow.objects.lineage import TrackEntry, end_of
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.spatial.graph import F64, Bools, GraphNodes, search_nodes
from dreamdb_arrow.spatial.partitioners import check_count
from dreamdb_arrow.spatial.scan import are_unit, inverse_lengths
from dreamdb_arrow.tracks.graph import iterate_pages, load_graph_index, nodes_of, order_by_anchor
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX


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
    nodes, usual = rows.once(("graph", field), lambda: _open(rows, field))
    width = usual if l_search is None else check_count("l_search", l_search)
    return search_nodes(nodes, queries, check_count("k", k), width, _counted(rows, nodes, t0, t1, allowed))


def _counted(rows: RowSet, nodes: GraphNodes, t0: int, t1: int, allowed: I64 | None) -> Bools | None:
    """Return which nodes count, bool (n,), or None when all do."""
    low, high = np.searchsorted(nodes.ordered, [t0, min(t1, VISIBLE_ANCHOR_MAX + 1)])
    held = nodes.order[low:high] if allowed is None else nodes.at(allowed)
    hidden = nodes.at(rows.hidden)  # 0020-R8
    if len(held) == len(nodes) and not len(hidden):
        return None
    counted = np.zeros(len(nodes), bool)
    counted[held] = True
    if allowed is not None:
        counted &= (nodes.anchors >= t0) & (nodes.anchors < t1)
    counted[hidden] = False
    return counted


# --- the local cache ----------------------------------------------------------------------------------------


def _open(rows: RowSet, field: str) -> tuple[GraphNodes, int]:
    """Return the nodes of a graph field, laid out now if they were not, and how many of them a walk keeps."""
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
            views["inverse"][at] = inverse_lengths(nodes.vectors)
            views["anchors"][at] = nodes.anchors.view(np.int64)
        if count != index.layout.node_count:  # 0013-R5
            raise LayoutError(f"a graph says it has {index.layout.node_count} nodes, its pages have others")
        order = order_by_anchor(views["anchors"].view(np.uint64))
        unseen = np.ones(count, bool)
        unseen[order] = False
        views["order"][: len(order)] = order
        views["anchors"][unseen] = -1
        unit = are_unit(views["inverse"])
        del views
        return encode_cbor([bytes(rows.cache.adopt(path)), len(order), unit])


def _map(rows: RowSet, note: bytes, index: GraphIndex) -> tuple[GraphNodes, int]:
    address, seen, unit = decode_cbor(note)
    views = _views(rows.cache.local(as_address(address)), index, "r")
    order, anchors = views["order"][:seen], views["anchors"]
    inverse = None if unit else views["inverse"]
    entry = index.layout.entry_point
    nodes = GraphNodes(views["vectors"], inverse, views["neighbours"], entry, anchors, order, anchors[order])
    return nodes, index.params.l_search
