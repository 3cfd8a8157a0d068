"""spatial.graph: when nodes are compared, when walked over, and what the vectors of a graph are like."""

import numpy as np
import pytest

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.objects.graph_index import GraphParams
from dreamdb_arrow.spatial import graph
from dreamdb_arrow.spatial.graph import GraphNodes, build_edges, grow_edges, of_length_one, search_nodes
from dreamdb_arrow.spatial.scan import are_unit, inverse_lengths

RNG = np.random.default_rng(5)
VECTORS = unit_rows(RNG.standard_normal((600, 8)).astype("f4"))
QUERIES = RNG.standard_normal((9, 8)).astype("f4")


def nodes_over(vectors, neighbours, entry):
    inverse = inverse_lengths(vectors)
    anchors = np.arange(len(vectors)) * 10
    order = np.arange(len(vectors))
    return GraphNodes(
        vectors, None if are_unit(inverse) else inverse, neighbours, entry, anchors, order, anchors
    )


def exact(vectors, k=10):
    return 10 * np.argsort(-QUERIES @ unit_rows(vectors).T, axis=1, kind="stable")[:, :k]


def test_lengths():  # 0013-R7
    almost = VECTORS * np.float32(1.000003)
    mixed = np.concatenate([almost, 5 * VECTORS])
    found = of_length_one(mixed, "v")
    assert found[:600].tobytes() == almost.tobytes()
    np.testing.assert_allclose(found[600:], VECTORS, atol=1e-6)
    with pytest.raises(InvalidInputError, match=r"v, row 1: .* direction"):
        of_length_one(np.array([[1, 0], [0, 0]], "f4"), "v")
    with pytest.raises(InvalidInputError, match="row 0"):
        of_length_one(np.array([[3e38, 3e38]], "f4"), "v")


@pytest.mark.parametrize("length", [1, 7])
def test_walked_or_compared(monkeypatch, length):
    vectors = length * VECTORS
    nodes = nodes_over(vectors, *build_edges(vectors, 16, GraphParams()))
    compared, compared_distances = search_nodes(nodes, QUERIES, 10, 100)
    assert np.array_equal(compared, exact(vectors))
    monkeypatch.setattr(graph, "is_cheap", lambda *_: False)
    walked, distances = search_nodes(nodes, QUERIES, 10, 100)
    assert np.array_equal(walked, compared)
    assert np.array_equal(distances, compared_distances)


@pytest.mark.parametrize(
    ("left", "total", "width", "cheap"),
    [
        (1_000_000, 1_000_000, 100, False),
        (10_000, 1_000_000, 100, True),  # few
        (50_000, 1_000_000, 100, True),  # a walk would score 64,000
        (100_000, 1_000_000, 100, False),
        (9_000, 9_000, 100, False),  # all count
        (3_000, 3_000, 100, True),
        (9_000, 9_000, 9_000, True),
        (0, 100, 1, True),
    ],
)
def test_what_is_cheap(left, total, width, cheap):
    assert graph.is_cheap(left, (total, 32), width) == cheap


def test_a_walk_that_finds_too_few_is_given_up(monkeypatch):
    """Two groups without an edge between them: rows of the other group are found all the same."""
    neighbours = np.concatenate([np.arange(300)[:, None] ^ 1, 300 + (np.arange(300)[:, None] ^ 1)]).astype(
        "i4"
    )
    nodes = nodes_over(VECTORS, neighbours, 0)
    monkeypatch.setattr(graph, "is_cheap", lambda *_: False)
    counted = np.arange(600) >= 590
    found, _ = search_nodes(nodes, QUERIES, 10, 10, counted)
    assert {*found.reshape(-1).tolist()} == {*range(5900, 6000, 10)}


def test_growing():
    params = GraphParams(l_build=40)
    neighbours, entry = build_edges(VECTORS[:500], 16, params)
    grown, changed = grow_edges(3 * VECTORS[:500], neighbours, entry, VECTORS[500:], params)
    assert grown.shape == (600, 16)
    assert np.array_equal(np.flatnonzero((grown[:500] != neighbours).any(axis=1)), changed)
    found, _ = search_nodes(nodes_over(VECTORS, grown, entry), VECTORS[500:], 1, 40)
    assert found[:, 0].tolist() == list(range(5000, 6000, 10))
