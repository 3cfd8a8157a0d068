from dataclasses import replace

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of, parse_address
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.graph_index import Fresh, GraphIndex, GraphLayout, GraphParams
from dreamdb_arrow.objects.graph_page import GraphPage, decode_graph_page, encode_graph_page
from dreamdb_arrow.objects.track import Track, decode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.store.urls import open_store
from dreamdb_arrow.tracks.graph import (
    Nodes,
    graph_modality,
    load_graph_index,
    page_addresses,
    publish_graph_index,
    read_graph_vectors,
    read_nodes,
    write_nodes,
)

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


# --- whole graphs -------------------------------------------------------------------------------------------


def index_of(nodes, page_nodes=4, **changes):
    layout = GraphLayout(nodes.neighbours.shape[1], len(nodes), 0, 4 * nodes.vectors.shape[1], page_nodes)
    return GraphIndex(nodes.vectors.shape[1], GraphParams(), replace(layout, **changes))


def some_nodes(count=10, dim=3, degree=2):
    rng = np.random.default_rng(count)
    neighbours = rng.integers(-1, count, (count, degree)).astype(np.int32)
    anchors = rng.permutation(count).astype(np.uint64) + np.uint64(100)
    return Nodes(anchors, rng.standard_normal((count, dim)).astype(np.float32), neighbours)


def compact(neighbours):
    return [[n for n in row if n >= 0] for row in neighbours.tolist()]


def written(store, nodes, index, kept=None):
    batch = Batch(store)
    address = publish_graph_index(batch, index)
    track = write_nodes(batch, TIMELINE, MODALITY, nodes, index, address, kept)
    batch.flush()
    return track, address


def test_what_is_written_is_read():  # 0013-R8
    nodes, store = some_nodes(), MemoryStore()
    track, address = written(store, nodes, index_of(nodes))
    assert (track.coverage, len(track.object_index)) == ((100, 110), 3)
    back = read_nodes(store, track, load_graph_index(store, address))
    assert np.array_equal(back.anchors, nodes.anchors)
    assert np.array_equal(back.vectors, nodes.vectors)
    assert compact(back.neighbours) == compact(nodes.neighbours)
    page = decode_graph_page(store.get(f"{TIMELINE}/{MODALITY}/graph-page/{page_addresses(track)[1]}"))
    assert (page.number, page.first_node, page.max_degree) == (1, 4, 2)
    assert (page.index, page.modality) == (address, MODALITY[:32])


def test_pages_that_stay():  # 0013-R9
    nodes, store = some_nodes(), MemoryStore()
    track, _ = written(store, nodes, index_of(nodes))
    middle = page_addresses(track)[1]
    store.delete(f"{TIMELINE}/{MODALITY}/graph-page/{middle}")
    again, _ = written(store, nodes, index_of(nodes), {1: middle})
    assert again == track
    assert f"{TIMELINE}/{MODALITY}/graph-page/{middle}" not in set(store.list(""))


def test_a_neighbour_that_is_no_node():  # 0013-R5
    nodes, store = some_nodes(), MemoryStore()
    nodes.neighbours[7, 1] = 10
    track, _ = written(store, nodes, index_of(nodes))
    with pytest.raises(LayoutError, match=r"page 1 .* none of 10 nodes"):
        read_nodes(store, track, index_of(nodes))


@pytest.mark.parametrize("change", [{"node_count": 11}, {"max_degree": 1}, {"node_count": 1 << 40}], ids=str)
def test_an_index_that_says_otherwise(change):  # 0013-R5
    nodes, store = some_nodes(), MemoryStore()
    track, _ = written(store, nodes, index_of(nodes))
    with pytest.raises(LayoutError):
        read_nodes(store, track, index_of(nodes, **change))


def test_nodes_of_codes_have_no_vectors():
    nodes, store = some_nodes(), MemoryStore()
    track, _ = written(store, nodes, index_of(nodes))
    with pytest.raises(UnsupportedError, match="codes"):
        read_nodes(store, track, GraphIndex(2, GraphParams(), GraphLayout(2, 10, 0, 8, 4)))


def test_the_pages_of_the_reference(reference_space):
    """Read and written again, they are the same objects."""
    store = open_store(reference_space("vec-vamana"))
    (path,) = [p for p in store.list("") if ".graph." in p and "/track/" in p]
    track = decode_track(store.get(path))
    (name,) = [p.rpartition("/")[2] for p in store.list("graph-index/")]
    index = load_graph_index(store, parse_address(name))
    nodes = read_nodes(store, track, index)
    assert index.layout.entry_point < len(nodes) == 300
    again = write_nodes(
        Batch(MemoryStore()), track.timeline, track.modality, nodes, index, parse_address(name)
    )
    assert again == track


def test_the_modality_of_a_graph():
    assert graph_modality(24, 12, "g") == "embedding.f32.dim=24.graph.r=12.field=g"


def test_an_index_of_a_graph_that_grows():  # 0013-R6
    index = replace(index_of(some_nodes()), fresh=Fresh(TIMELINE))
    store = MemoryStore()
    batch = Batch(store)
    address = publish_graph_index(batch, index)
    batch.flush()
    assert load_graph_index(store, address) == index
