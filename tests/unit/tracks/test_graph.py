from dataclasses import replace

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.graph_page import GraphPage, encode_graph_page
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.graph import read_graph_vectors

TIMELINE = address_of(b"timeline")
MODALITY = "embedding.f32.dim=2.graph.r=2.field=g"


def page(number, first, rows, dim=2):
    anchors = np.array([anchor for anchor, _ in rows], np.uint64)
    vectors = np.array([vector for _, vector in rows], "<f4").reshape(-1, dim)
    none = np.zeros(len(rows), np.int64)
    payloads = vectors.view(np.uint8).reshape(len(rows), -1)
    return GraphPage(
        number, first, 2, address_of(b"index"), MODALITY[:32], anchors, payloads, none, np.empty(0, np.uint64)
    )


def track(store, *pages):
    rows = []
    for each in pages:
        data = encode_graph_page(each)
        rows.append([address_of(data)])
        store.put(f"{TIMELINE}/{MODALITY}/graph-page/{address_of(data)}", data)
    return Track((0, 9), MODALITY, TIMELINE, rows)


FIRST = page(0, 0, [(9, [1, 2]), (3, [3, 4]), (2**63, [0, 1])])
SECOND = page(1, 3, [(3, [5, 6])])


def test_nodes_are_rows():  # 0003-R2
    found = read_graph_vectors(store := MemoryStore(), track(store, FIRST, SECOND), 2)
    assert found.anchors.tolist() == [3, 9]
    assert found.vectors.tolist() == [[5, 6], [1, 2]]


def test_a_graph_without_nodes():
    found = read_graph_vectors(MemoryStore(), Track((0, 1), MODALITY, TIMELINE, []), 2)
    assert (len(found), found.vectors.shape) == (0, (0, 2))


@pytest.mark.parametrize(
    "pages", [(SECOND, FIRST), (FIRST, FIRST), (FIRST, replace(SECOND, first_node=4)), (SECOND,)]
)
def test_pages_that_do_not_follow_one_another(pages):
    with pytest.raises(LayoutError, match="says it is"):
        read_graph_vectors(store := MemoryStore(), track(store, *pages), 2)


def test_nodes_that_hold_codes():  # 0000-R4
    with pytest.raises(UnsupportedError, match="codes"):
        read_graph_vectors(store := MemoryStore(), track(store, FIRST), 8)


@pytest.mark.parametrize("index", [{}, [1], [[]], [[b"x"]], [[TIMELINE, 1]]], ids=repr)
def test_no_index_of_a_graph(index):
    with pytest.raises(LayoutError):
        read_graph_vectors(MemoryStore(), Track((0, 1), MODALITY, TIMELINE, index), 2)
