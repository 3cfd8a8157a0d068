"""GraphIndex Objects and graph pages: those of the reference, and ones that are wrong. Bytes: conformance/vectors."""

from dataclasses import replace

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.graph_index import (
    Fresh,
    GraphIndex,
    GraphLayout,
    GraphParams,
    decode_graph_index,
    encode_graph_index,
)
from dreamdb_arrow.objects.graph_page import GRAPH_HEADER, GraphPage, decode_graph_page, encode_graph_page

INDEX = address_of(b"index")


def graph(space):
    (path,) = space.glob("graph-index/d*")
    return decode_graph_index(path.read_bytes())


def test_index_of_the_reference(reference_space):  # 0013-R3
    (path,) = reference_space("vec-vamana").glob("graph-index/d*")
    index = decode_graph_index(path.read_bytes())
    assert encode_graph_index(index) == path.read_bytes()
    assert (index.dim, index.layout.node_count, index.layout.page_count) == (24, 300, 2)
    assert index.params == GraphParams()


def test_pages_of_the_reference(reference_space, reference_expected):  # 0013-R1, 0013-R2
    space, want = reference_space("vec-vamana"), reference_expected("vec-vamana")
    index = graph(space)
    pages = {}
    for path in space.glob("d*/*graph*/graph-page/d*"):
        page = decode_graph_page(path.read_bytes())
        assert encode_graph_page(page) == path.read_bytes()
        pages[page.number] = page
    assert sorted(pages) == [0, 1]
    anchors = np.concatenate([pages[n].anchors for n in sorted(pages)])
    assert anchors.tolist() == want["anchors"]
    assert [pages[n].first_node for n in sorted(pages)] == [0, index.layout.page_node_count]
    for page in pages.values():
        assert page.payloads.shape[1] == index.layout.record_bytes
        assert page.max_degree == index.layout.max_degree >= page.degrees.max()
        assert page.neighbours.max() < index.layout.node_count
        assert page.index == address_of(encode_graph_index(index))


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("width", [1, 8])
def test_pages_come_back(count, width):
    rng = np.random.default_rng(count)
    degrees = rng.integers(0, 4, count)
    page = GraphPage(
        3,
        21,
        4,
        INDEX,
        "embedding.f32.dim=2",
        rng.integers(0, 1 << 63, count).astype(np.uint64),
        rng.integers(0, 256, (count, width)).astype(np.uint8),
        degrees.astype(np.int64),
        rng.integers(0, 50, int(degrees.sum())).astype(np.uint64),
    )
    data = encode_graph_page(page)
    back = decode_graph_page(data)
    assert len(data) == GRAPH_HEADER + count * (12 + width) + 8 * degrees.sum()
    for name in ("anchors", "payloads", "degrees", "neighbours"):
        assert np.array_equal(getattr(back, name), getattr(page, name))
    assert (back.number, back.first_node, back.modality) == (3, 21, "embedding.f32.dim=2")


def test_long_tag_is_cut():
    page = decode_graph_page(
        encode_graph_page(
            GraphPage(
                0,
                0,
                1,
                INDEX,
                "e" * 40,
                np.empty(0, np.uint64),
                np.empty((0, 8), np.uint8),
                np.empty(0, np.int64),
                np.empty(0, np.uint64),
            )
        )
    )
    assert page.modality == "e" * 32


LAYOUT = GraphLayout(max_degree=4, node_count=9, entry_point=0, record_bytes=8)


@pytest.mark.parametrize(
    "change",
    [
        {"entry_point": 9},
        {"node_count": 0},
        {"record_bytes": 9},
        {"max_degree": 0},
        {"page_node_count": 0},
        {"max_degree": 1 << 20},
    ],
    ids=str,
)
def test_layouts_that_cannot_be(change):  # 0013-R3, 0000-R2
    GraphIndex(2, GraphParams(), LAYOUT)
    with pytest.raises(LayoutError):
        GraphIndex(2, GraphParams(), replace(LAYOUT, **change))


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_is_above_zero(alpha):
    with pytest.raises(LayoutError):
        GraphIndex(2, GraphParams(alpha=alpha), LAYOUT)


FORMS = {
    "built": GraphIndex(2, GraphParams(), LAYOUT),
    "fresh": GraphIndex(2, GraphParams(l_build=70, l_search=30), LAYOUT, Fresh(INDEX, 5, 6)),
    "compressed": GraphIndex(2, GraphParams(), replace(LAYOUT, record_bytes=5), compressor=INDEX),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_comes_back(form):  # 0013-R6
    index = FORMS[form]
    assert decode_graph_index(encode_graph_index(index)) == index
    assert index.algorithm == f"dreamdb.{'fresh-' if form == 'fresh' else ''}vamana-cosine"


def test_params_of_a_graph_that_nodes_were_added_to():  # 0013-R6
    said = decode_cbor(encode_graph_index(FORMS["fresh"]))["params"]
    assert said.keys() == {
        "base",
        "form",
        "lineage_root",
        "consolidation_threshold_appends",
        "consolidation_threshold_seconds",
    }
    assert (said["base"]["L_build"], said["base"]["L_search"], said["lineage_root"]) == (70, 30, INDEX)


@pytest.mark.parametrize(
    ("form", "change", "error"),
    [
        ("fresh", {"form": "fresh-vamana-params-v2"}, UnsupportedError),
        ("fresh", {"lineage_root": b"short"}, LayoutError),
        ("fresh", {"salt": 1}, LayoutError),
        ("fresh", {"base": 1}, LayoutError),
        ("compressed", {"version": 5}, UnsupportedError),
        ("built", {"version": 4}, LayoutError),
        ("compressed", {"version": 1}, LayoutError),
    ],
)
def test_forms_that_are_not_known(form, change, error):  # 0000-R4
    value = decode_cbor(encode_graph_index(FORMS[form]))
    value["params"] |= change
    with pytest.raises(error):
        decode_graph_index(encode_cbor(value))
