"""spatial.recall and Prober.within: what a recall takes is what a search with it finds."""

import numpy as np
import pytest

from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.kernels.kmeans import nearest_centroids, spherical_kmeans
from dreamdb_arrow.objects.spatial_index import make_ivf_cosine, make_lsh_cosine
from dreamdb_arrow.spatial.partitioners import Prober, assign_cells
from dreamdb_arrow.spatial.recall import Curve, measure_recall
from dreamdb_arrow.spatial.scan import Segment, cell_runs, scan_cells

RNG = np.random.default_rng(3)
N, DIM, K = 4000, 12, 10
CENTRES = 2 * RNG.standard_normal((40, DIM))


def made(count):
    return (CENTRES[RNG.integers(0, 40, count)] + RNG.standard_normal((count, DIM))).astype("f4")


VECTORS, QUERIES = unit_rows(made(N)), made(200)
INDEXES = {
    "ivf": make_ivf_cosine(spherical_kmeans(VECTORS, 60, seed=1)),
    "lsh": make_lsh_cosine(DIM, bytes(32), 6),
}


def laid_out(index, rows):
    """Return a segment of these rows."""
    cells = assign_cells(index, VECTORS[rows])
    by_cell = np.argsort(cells.codes, kind="stable")
    starts = np.searchsorted(cells.codes[by_cell], np.arange(len(cells.keys) + 1))
    held = rows[by_cell]
    order = np.argsort(held)
    return Segment(np.array(cells.keys, "S"), starts, held, VECTORS[held], None, order, held[order])


@pytest.fixture(params=list(INDEXES))
def held(request):
    index = INDEXES[request.param]
    segments = [laid_out(index, np.arange(3000)), laid_out(index, np.arange(3000, N))]
    runs = cell_runs(segments)
    return segments, runs, Prober.of(index, runs.places)


def found_share(segments, runs, wanted, queries, unit):
    found = scan_cells(segments, [None, None], runs, wanted, queries, K, "cosine", unit).anchors
    true = np.argsort(-unit @ VECTORS.T, axis=1)[:, :K]
    return np.mean([len(set(a) & set(b)) / K for a, b in zip(found, true, strict=True)])


@pytest.mark.parametrize("recall", [0.5, 0.8, 0.95])
def test_a_recall_is_reached(held, recall):
    segments, runs, probe = held
    curve = measure_recall(segments, runs, K, "cosine", probe)
    unit = probe.prepared(QUERIES)
    ranked = found_share(segments, runs, probe(unit, curve.nprobe(recall)), QUERIES, unit)
    assert ranked >= recall - 0.05
    reach = curve.reach(recall)
    assert (reach is None) == (probe.numbers is None)
    if reach is not None:
        share = found_share(segments, runs, probe.within(unit, reach), QUERIES, unit)
        assert share >= recall - 0.05
        assert np.count_nonzero(probe.within(unit, reach) >= 0) < len(QUERIES) * len(runs) / 2


def test_one_query_reaches_what_it_does_among_many(held):
    _, _, probe = held
    if probe.numbers is None:
        pytest.skip("cells without centroids")
    unit = probe.prepared(QUERIES)
    for reach in (-5, 0, 0.2, 5):
        many = probe.within(unit, reach)
        for query, cells in zip(unit, many, strict=True):
            alone = probe.within(query[None, :], reach)[0]
            assert set(alone.tolist()) - {-1} == set(cells.tolist()) - {-1}
            assert len(alone) >= 1
    best, _ = nearest_centroids(unit, spherical_kmeans(VECTORS, 60, seed=1))
    assert np.array_equal(probe.within(unit, -5)[:, 0], probe.numbers[best])


def test_all_is_all(held):
    segments, runs, probe = held
    curve = measure_recall(segments, runs, K, "cosine", probe)
    assert curve.reach(1) is None
    if probe.numbers is not None:
        assert (
            found_share(
                segments, runs, probe(probe.prepared(QUERIES), len(runs)), QUERIES, unit_rows(QUERIES)
            )
            == 1
        )


def test_a_curve_is_kept_as_bytes(held):
    curve = measure_recall(*held[:2], K, "cosine", held[2])
    again = Curve.of(bytes(curve))
    assert np.array_equal(again.ranks, curve.ranks)
    assert np.array_equal(again.reaches, curve.reaches)
    assert again.cells == curve.cells
    assert np.array_equal(curve.ranks, np.sort(curve.ranks))


def test_no_rows():
    index = INDEXES["ivf"]
    probe = Prober.of(index, cell_runs([]).places)
    curve = measure_recall([], cell_runs([]), K, "cosine", probe)
    assert (curve.nprobe(0.9), curve.reach(0.9)) == (1, None)
