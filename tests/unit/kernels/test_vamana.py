"""kernels.vamana, kernels.vamana_build: graphs are as promised, and walks over them find what is near."""

import numpy as np
import pytest

from dreamdb_arrow.kernels import near_rows, vamana_build
from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.kernels.vamana import NOBODY, Graph, walk
from dreamdb_arrow.kernels.vamana_build import build_graph, insert_rows

RNG = np.random.default_rng(7)


def mixture(count, dim=16, groups=12, spread=0.5):
    centres = RNG.standard_normal((groups, dim))
    rows = centres[RNG.integers(0, groups, count)] + spread * RNG.standard_normal((count, dim))
    return unit_rows(rows.astype(np.float32))


def exact(rows, queries, k=10):
    return np.argsort(-queries @ rows.T, axis=1, kind="stable")[:, :k]


def recall(found, want):
    pairs = zip(found[:, : want.shape[1]].tolist(), want.tolist(), strict=True)
    return np.mean([len({*f} & {*w}) / len(w) for f, w in pairs])


def plain_walk(graph, query, width):
    """One row at a time, as the spec has it; a heap of its own."""
    scored = {graph.entry: float(graph.vectors[graph.entry] @ query)}
    followed = set()
    while True:
        best = sorted(scored, key=lambda row: -scored[row])[:width]
        ahead = next((row for row in best if row not in followed), None)
        if ahead is None:
            return best
        followed.add(ahead)
        for row in graph.neighbours[ahead].tolist():
            if row != NOBODY and row not in scored:
                scored[row] = float(graph.vectors[row] @ query)


def check(graph, degree):
    """No row has itself or another twice, and each can be reached."""
    assert graph.neighbours.shape == (len(graph), degree)
    assert graph.neighbours.dtype == np.int32
    for row, near in enumerate(graph.neighbours.tolist()):
        held = [n for n in near if n != NOBODY]
        assert len({*held}) == len(held)
        assert row not in held
        assert all(0 <= n < len(graph) for n in held)
    assert vamana_build._reached(graph.neighbours, graph.entry)[0].all()


ROWS, QUERIES = np.split(mixture(1560), [1500])
GRAPH = build_graph(ROWS, 12, alpha=1.2, near=50, seed=0)


def test_a_graph_of_near_rows():
    check(GRAPH, 12)
    assert recall(walk(GRAPH, QUERIES, 100)[0], exact(ROWS, QUERIES)) >= 0.99
    assert recall(np.array([plain_walk(GRAPH, q, 100) for q in QUERIES]), exact(ROWS, QUERIES)) >= 0.99


def test_the_same_again():
    again = build_graph(ROWS, 12, alpha=1.2, near=50, seed=0)
    assert np.array_equal(again.neighbours, GRAPH.neighbours)
    assert again.entry == GRAPH.entry
    assert not np.array_equal(build_graph(ROWS, 12, alpha=1.2, near=50, seed=1).neighbours, GRAPH.neighbours)


def test_one_query_and_many_find_no_less_than_one_row_at_a_time():
    want = exact(ROWS, QUERIES)
    plain = recall(np.array([plain_walk(GRAPH, q, 20) for q in QUERIES]), want)
    rows, scores = walk(GRAPH, QUERIES, 20)
    single = [walk(GRAPH, q[None], 20) for q in QUERIES]
    assert recall(rows, want) >= plain - 0.01
    assert recall(np.concatenate([found for found, _ in single]), want) >= plain - 0.01
    assert (np.diff(scores, axis=1) <= 0).all()
    np.testing.assert_allclose(scores, np.einsum("qkd,qd->qk", ROWS[rows], QUERIES), atol=1e-6)
    np.testing.assert_allclose(np.concatenate([s for _, s in single]), scores, atol=0.05)


def test_few_queries_at_a_time(monkeypatch):
    want = walk(GRAPH, QUERIES, 30)
    monkeypatch.setattr("dreamdb_arrow.kernels.vamana._SEEN_BYTES", 7 * len(ROWS))
    found = walk(GRAPH, QUERIES, 30)
    assert np.array_equal(found[0], want[0])
    assert np.array_equal(found[1], want[1])


def test_rows_that_do_not_count_are_walked_over():
    counted = np.zeros(len(ROWS), bool)
    counted[RNG.choice(len(ROWS), 150, replace=False)] = True
    ids = np.flatnonzero(counted)
    want = ids[exact(ROWS[ids], QUERIES)]
    for found, _ in (walk(GRAPH, QUERIES, 150, counted), walk(GRAPH, QUERIES[:1], 150, counted)):
        assert counted[found[found != NOBODY]].all()
        assert recall(found, want[: len(found)]) >= 0.97
    nobody = np.zeros(len(ROWS), bool)
    for queries in (QUERIES, QUERIES[:1]):
        rows, scores = walk(GRAPH, queries, 5, nobody)
        assert rows.shape == (len(queries), 5)
        assert (rows == NOBODY).all()
        assert np.isneginf(scores).all()


def test_lengths_do_not_count():
    lengths = RNG.uniform(0.1, 9, len(ROWS)).astype(np.float32)
    longer = Graph(ROWS * lengths[:, None], 1 / lengths, GRAPH.neighbours, GRAPH.entry)
    for queries in (QUERIES, QUERIES[:1]):
        assert recall(walk(longer, queries, 60)[0], walk(GRAPH, queries, 60)[0][:, :10]) > 0.99


@pytest.mark.parametrize(("groups", "spread"), [(6, 0.02), (300, 0.2)])
def test_close_groups_that_lie_far_apart(groups, spread):
    rows = mixture(3000, 24, groups, spread)
    graph = build_graph(rows, 16, alpha=1.2, near=50, seed=0)
    check(graph, 16)
    queries = rows[::37]
    assert recall(np.array([plain_walk(graph, q, 60) for q in queries]), exact(rows, queries, 1)) >= 0.95


@pytest.mark.parametrize("degree", [1, 2, 3, 40])
@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_few_rows(count, degree):
    rows = mixture(count, 8)
    graph = build_graph(rows, degree, alpha=1.2, near=50, seed=0)
    found, scores = walk(graph, rows, 50)
    assert found.shape == scores.shape == (count, 50)
    if degree > 2:
        check(graph, degree)
        assert np.array_equal(found[:, 0], np.arange(count))
        assert ((found != NOBODY).sum(axis=1) == count).all()


def test_equal_rows():
    rows = np.repeat(mixture(5, 8), 40, axis=0)
    graph = build_graph(rows, 8, alpha=1.2, near=50, seed=0)
    check(graph, 8)
    found, _ = walk(graph, rows, 100)
    assert np.array_equal(rows[found[:, 0]], rows)


def test_cells_in_place_of_all_rows(monkeypatch):
    """Of many rows, each is compared with those of a few cells alone."""
    everyone = near_rows.near_rows(ROWS, 20, 0)
    assert np.array_equal(everyone[:50], exact(ROWS, ROWS[:50], 21)[:, 1:])
    monkeypatch.setattr(near_rows, "COMPARED", 500)
    some = near_rows.near_rows(ROWS, 20, 0)
    assert 0.9 < recall(some, everyone) < 1
    graph = build_graph(ROWS, 12, alpha=1.2, near=50, seed=0)
    check(graph, 12)
    assert recall(walk(graph, QUERIES, 100)[0], exact(ROWS, QUERIES)) >= 0.98


def test_more_rows():
    rows = mixture(1200)
    old = build_graph(rows[:900], 12, alpha=1.2, near=50, seed=0)
    grown, changed = insert_rows(old, rows[900:], alpha=1.2, width=100)
    check(grown, 12)
    assert np.array_equal(grown.vectors, rows)
    differing = (grown.neighbours[:900] != old.neighbours).any(axis=1)
    assert np.array_equal(changed, np.flatnonzero(differing))
    assert 0 < len(changed) < 900
    assert recall(np.array([plain_walk(grown, q, 60) for q in rows[900:]]), exact(rows, rows[900:])) >= 0.95


def test_more_rows_than_there_were():
    rows = mixture(400)
    old = build_graph(rows[:3], 8, alpha=1.2, near=50, seed=0)
    grown, changed = insert_rows(old, rows[3:], alpha=1.2, width=40)
    check(grown, 8)
    assert set(changed.tolist()) <= {0, 1, 2}
    assert recall(walk(grown, rows, 60)[0], exact(rows, rows)) >= 0.9


def test_no_more_rows():
    grown, changed = insert_rows(GRAPH, ROWS[:0], alpha=1.2, width=100)
    assert grown is GRAPH
    assert len(changed) == 0


def test_a_row_without_a_way_gets_one():
    rows = mixture(300)
    graph = build_graph(rows, 8, alpha=1.2, near=50, seed=0)
    cut = graph.neighbours.copy()
    cut[np.isin(cut, np.arange(40, 60))] = NOBODY
    lost = ~vamana_build._reached(cut, graph.entry)[0]
    assert lost.any()
    assert vamana_build._reached(vamana_build._mended(rows, cut, graph.entry), graph.entry)[0].all()
