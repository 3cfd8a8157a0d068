"""Graph Tracks: nodes that carry anchors and vectors, in pages. Spec 0013.

The index is a list of pages, in the order of their nodes. Only vectors are read here, not the edges between them.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.graph_page import GraphPage, decode_graph_page
from dreamdb_arrow.objects.shape import expect_addresses, expect_list
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX, paths_in
from dreamdb_arrow.tracks.vectors import Vectors

PAGES: Final = "graph-page"
_NUMBER_BYTES: Final = 4


def read_graph_vectors(store: Store, track: Track, dim: int) -> Vectors:
    """Return the vectors of a graph whose nodes are not compressed, by anchor; of two at one anchor the later node's.

    Raises CorruptDataError; UnsupportedError for nodes that hold codes.
    """
    pages = _read_pages(store, track)
    if any(page.payloads.shape[1] != dim * _NUMBER_BYTES for page in pages):
        raise UnsupportedError(f"a graph of {dim} numbers whose nodes hold codes cannot be read yet")
    anchors = np.concatenate([np.empty(0, np.uint64), *(page.anchors for page in pages)])
    payloads = np.concatenate(
        [np.empty((0, dim * _NUMBER_BYTES), np.uint8), *(page.payloads for page in pages)]
    )
    vectors = np.ascontiguousarray(payloads).view("<f4").astype(np.float32)
    seen = np.flatnonzero(anchors <= np.uint64(VISIBLE_ANCHOR_MAX))
    order = seen[np.argsort(anchors[seen], kind="stable")]
    ordered = anchors[order]
    last = np.r_[ordered[1:] != ordered[:-1], True][: len(ordered)]
    return Vectors(ordered[last].astype(np.int64), vectors[order[last]])


def _read_pages(store: Store, track: Track) -> list[GraphPage]:
    """Return the pages in order. Raises LayoutError unless their nodes follow one another."""
    rows = expect_list(track.object_index, "object_index of a graph")
    if any(not isinstance(row, list) or len(row) != 1 for row in rows):
        raise LayoutError("an entry of a graph Track is a list of one page")
    names = expect_addresses([row[0] for row in rows], "page of a graph")
    directory = f"{track.timeline}/{track.modality}/{PAGES}"
    pages = [decode_graph_page(data) for data in fetch_many(store, paths_in(directory, names))]
    nodes = 0
    for number, page in enumerate(pages):
        if (page.number, page.first_node) != (number, nodes):
            raise LayoutError(
                f"page {number} of a graph says it is {page.number}, from node {page.first_node}"
            )
        nodes += len(page.anchors)
    return pages
