"""Graph Tracks: nodes that carry anchors, vectors and edges, in pages. Spec 0013.

The index is a list of pages, in the order of their nodes. Where only rows are wanted, edges are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.ragged import spread
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.graph_index import GraphIndex, decode_graph_index, encode_graph_index
from dreamdb_arrow.objects.graph_page import (
    TAG_BYTES,
    GraphPage,
    decode_graph_page,
    encode_graph_page,
)
from dreamdb_arrow.objects.shape import expect_addresses, expect_list
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch, fetch_many
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX, paths_in
from dreamdb_arrow.tracks.vectors import Vectors

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

PAGES: Final = "graph-page"
INDEXES: Final = "graph-index"
FRESH: Final = ".fresh"  # behind the modality of a graph that nodes were added to
NODES_MAX: Final = 1 << 31
_NUMBER_BYTES: Final = 4
_TOGETHER: Final = 64  # pages that are fetched at a time
_NOBODY: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Nodes of a graph, from some node on.

    anchors     uint64 (n,)
    vectors     float32 (n, d)
    neighbours  int32 (n, R), ids of nodes; -1 where a node has fewer
    """

    anchors: NDArray[np.uint64]
    vectors: F32
    neighbours: I32

    def __len__(self) -> int:
        return len(self.anchors)


def graph_modality(dim: int, degree: int, name: str) -> str:
    """Return the modality of a graph field."""
    return f"embedding.f32.dim={dim}.graph.r={degree}.field={name}"


# --- reading ------------------------------------------------------------------------------------------------


def load_graph_index(store: Store, address: Address) -> GraphIndex:
    """Fetch and decode a GraphIndex."""
    return decode_graph_index(fetch(store, f"{INDEXES}/{address}", address))


def iterate_pages(store: Store, track: Track) -> Iterator[GraphPage]:
    """Yield the pages in order, a few of them in memory. Raises LayoutError unless their nodes follow one another."""
    names, nodes = page_addresses(track), 0
    for start in range(0, len(names), _TOGETHER):
        wanted = paths_in(page_directory(track.timeline, track.modality), names[start : start + _TOGETHER])
        for number, data in enumerate(fetch_many(store, wanted), start):
            page = decode_graph_page(data)
            if (page.number, page.first_node) != (number, nodes):
                raise LayoutError(
                    f"page {number} of a graph says it is {page.number}, from node {page.first_node}"
                )
            nodes += len(page.anchors)
            yield page


def page_addresses(track: Track) -> tuple[Address, ...]:
    """Return what the index lists. Raises LayoutError when it is no list of pages."""
    rows = expect_list(track.object_index, "object_index of a graph")
    if any(not isinstance(row, list) or len(row) != 1 for row in rows):
        raise LayoutError("an entry of a graph Track is a list of one page")
    return expect_addresses([row[0] for row in rows], "page of a graph")


def nodes_of(page: GraphPage, index: GraphIndex) -> Nodes:
    """Return the nodes of a page of a graph with exact vectors.

    Raises LayoutError when a neighbour is no node, UnsupportedError for nodes that hold codes.
    """
    _check_width(page, index.dim)
    layout = index.layout
    if page.max_degree > layout.max_degree or layout.node_count > NODES_MAX:
        raise LayoutError(
            f"a graph of {layout.node_count} nodes and degree {layout.max_degree} has page {page.number}"
        )
    if len(page.neighbours) and int(page.neighbours.max()) >= layout.node_count:  # 0013-R5
        raise LayoutError(
            f"a neighbour in page {page.number} of a graph is none of {layout.node_count} nodes"
        )
    neighbours = np.full((len(page.anchors), layout.max_degree), _NOBODY, np.int32)
    nodes = np.repeat(np.arange(len(page.anchors)), page.degrees)
    neighbours[nodes, spread(page.degrees)] = page.neighbours.astype(np.int32)
    return Nodes(page.anchors, _vectors(page), neighbours)


def read_nodes(store: Store, track: Track, index: GraphIndex) -> Nodes:
    """Return all nodes of a graph, in memory. Raises LayoutError, UnsupportedError as `nodes_of` does."""
    parts = [nodes_of(page, index) for page in iterate_pages(store, track)]
    if sum(map(len, parts)) != index.layout.node_count:  # 0013-R5
        raise LayoutError(
            f"a graph says it has {index.layout.node_count} nodes, it has {sum(map(len, parts))}"
        )
    return Nodes(
        np.concatenate([part.anchors for part in parts]),
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.neighbours for part in parts]),
    )


def read_graph_vectors(store: Store, track: Track, dim: int) -> Vectors:
    """Return the vectors of a graph whose nodes are not compressed, by anchor; of two at one anchor the later node's.

    Raises CorruptDataError; UnsupportedError for nodes that hold codes.
    """
    anchors, vectors = [np.empty(0, np.uint64)], [np.empty((0, dim), np.float32)]
    for page in iterate_pages(store, track):
        _check_width(page, dim)
        anchors.append(page.anchors)
        vectors.append(_vectors(page))
    joined = np.concatenate(anchors)
    order = order_by_anchor(joined)
    return Vectors(joined[order].astype(np.int64), np.concatenate(vectors)[order])


def order_by_anchor(anchors: NDArray[np.uint64]) -> I64:
    """Return the nodes that are rows by their anchors: without those nobody sees, the last one of each anchor."""
    seen = np.flatnonzero(anchors <= np.uint64(VISIBLE_ANCHOR_MAX))
    order = seen[np.argsort(anchors[seen], kind="stable")]
    ordered = anchors[order]
    last: I64 = order[np.r_[ordered[1:] != ordered[:-1], True][: len(ordered)]]
    return last


def _check_width(page: GraphPage, dim: int) -> None:
    if page.payloads.shape[1] != dim * _NUMBER_BYTES:
        raise UnsupportedError(f"a graph of {dim} numbers whose nodes hold codes cannot be read yet")


def _vectors(page: GraphPage) -> F32:
    return np.ascontiguousarray(page.payloads).view("<f4").astype(np.float32, copy=False)


def page_directory(timeline: Address, modality: str) -> str:
    """Return where pages of graphs lie."""
    return f"{timeline}/{modality}/{PAGES}"


# --- writing ------------------------------------------------------------------------------------------------


def publish_graph_index(batch: Batch, index: GraphIndex) -> Address:
    """Put a GraphIndex into the batch and return its address."""
    return batch.add(INDEXES, encode_graph_index(index))


def write_nodes(
    batch: Batch,
    timeline: Address,
    modality: str,
    nodes: Nodes,
    index: GraphIndex,
    named: Address,
    kept: Mapping[int, Address] | None = None,
) -> Track:
    """Put pages into the batch and return their Track, which is not stored yet.

    Args:
        batch: what is new goes there.
        timeline: the Track's.
        modality: the Track's.
        nodes: all nodes.
        index: how they are cut.
        named: the GraphIndex that pages name: of a graph that nodes were added to, the first.
        kept: pages that are there, by number, and stay.
    """
    directory, count = page_directory(timeline, modality), index.layout.page_node_count
    pages = [
        (kept or {}).get(number) or batch.add(directory, encode_graph_page(page))
        for number, page in _cut(nodes, index, named, modality, count, kept or {})
    ]
    anchors = nodes.anchors
    coverage = int(anchors.min()), int(anchors.max()) + 1
    return Track(coverage, modality, timeline, [[page] for page in pages])


def _cut(
    nodes: Nodes, index: GraphIndex, named: Address, modality: str, count: int, kept: Iterable[int]
) -> Iterator[tuple[int, Any]]:
    held = set(kept)
    for number in range(index.layout.page_count):
        rows = slice(number * count, (number + 1) * count)
        yield number, None if number in held else _page(nodes, rows, number, index, named, modality)


def _page(
    nodes: Nodes, rows: slice, number: int, index: GraphIndex, named: Address, modality: str
) -> GraphPage:
    neighbours = nodes.neighbours[rows]
    there = neighbours >= 0
    return GraphPage(
        number=number,
        first_node=rows.start,
        max_degree=index.layout.max_degree,
        index=named,
        modality=modality.encode()[:TAG_BYTES].decode("ascii"),
        anchors=nodes.anchors[rows],
        payloads=np.ascontiguousarray(nodes.vectors[rows], "<f4").view(np.uint8),
        degrees=there.sum(axis=1),
        neighbours=neighbours[there].astype(np.uint64),
    )
