"""Rebalancing: cells are cut and given up until none holds too much; rows are filed as assign_cells would."""

import numpy as np
import pytest

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.kernels.kmeans import nearest_centroids, spherical_kmeans
from dreamdb_arrow.objects.spatial_index import make_imi_cosine, make_ivf_cosine
from dreamdb_arrow.spatial.partitioners import assign_cells
from dreamdb_arrow.spatial.rebalance import GONE, file_again, rebalance

DIM = 6


def drawn(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype("f4")


def skewed(n=4000):
    """Return rows of which nine of ten are in one region, and cells that were trained without these."""
    even = drawn(n // 10)
    hot = (np.ones(DIM) + 0.2 * drawn(n - len(even), 1)).astype("f4")
    return np.concatenate([even, hot]), spherical_kmeans(even, 20)


def cells_of(vectors, centroids):
    return nearest_centroids(unit_rows(vectors), centroids)[0]


def skew(vectors, centroids):
    counts = np.bincount(cells_of(vectors, centroids), minlength=len(centroids))
    return counts.max() / counts.mean()


@pytest.mark.parametrize("target", [2.0, 4.0])
def test_no_cell_holds_much_more_than_the_mean(target):
    vectors, centroids = skewed()
    plan = rebalance(centroids, vectors, target, len(centroids))
    assert skew(vectors, centroids) > 8
    assert skew(vectors, plan.centroids) <= target
    assert len(centroids) / 2 <= len(plan.centroids) <= 2 * len(centroids)


def test_cells_that_stay_are_as_they_were():
    vectors, centroids = skewed()
    plan = rebalance(centroids, vectors, 4.0, len(centroids))
    stays = np.flatnonzero(plan.origin != GONE)
    assert 0 < len(stays) < len(centroids)  # cold ones were given up, hot ones cut
    np.testing.assert_array_equal(plan.centroids[stays], centroids[plan.origin[stays]])
    kept = plan.kept(len(centroids))
    np.testing.assert_array_equal(kept[plan.origin[stays]], stays)
    assert (kept == GONE).sum() == len(centroids) - len(stays)


def test_even_cells_stay_as_they_are():
    centroids = np.eye(DIM, dtype="f4")
    plan = rebalance(centroids, np.repeat(centroids, 50, axis=0), 4.0, DIM)
    np.testing.assert_array_equal(plan.centroids, centroids)
    assert plan.origin.tolist() == list(range(DIM))


def test_rows_that_are_all_alike_cannot_be_cut():
    centroids = np.eye(DIM, dtype="f4")
    vectors = np.concatenate([np.repeat(centroids[:1], 900, axis=0), np.repeat(centroids, 20, axis=0)])
    plan = rebalance(centroids, vectors, 2.0, len(centroids))
    np.testing.assert_array_equal(plan.centroids[plan.origin == 0], centroids[:1])


def test_the_same_arguments_give_the_same_plan():
    vectors, centroids = skewed()
    first, again = (rebalance(centroids, vectors, 4.0, 20, 3) for _ in range(2))
    np.testing.assert_array_equal(first.centroids, again.centroids)
    np.testing.assert_array_equal(first.origin, again.origin)


def numbers_of(index, vectors):
    cells = assign_cells(index, vectors)
    return np.array([int(key, 2) for key in cells.keys])[cells.codes]


def test_rows_are_filed_as_if_all_cells_had_been_tried():  # 0004-R10
    vectors, centroids = skewed()
    plan = rebalance(centroids, vectors, 4.0, len(centroids))
    index = make_ivf_cosine(plan.centroids)
    held = plan.kept(len(centroids))[cells_of(vectors, centroids)]
    numbers, compared = file_again(index, vectors, held, np.flatnonzero(plan.origin == GONE))
    np.testing.assert_array_equal(numbers, numbers_of(index, vectors))
    assert set(np.flatnonzero(held == GONE)) <= set(compared.tolist())
    moved = np.flatnonzero((held != GONE) & (numbers != held))
    assert set(moved) <= set(compared.tolist())
    assert len(compared) < len(vectors)


def test_cells_of_two_halves_are_filed_too():  # 0004-R12
    index = make_imi_cosine(low=drawn(4)[:, :3], high=drawn(4, 1)[:, :3])
    nobody = np.full(50, GONE)
    numbers, compared = file_again(index, drawn(50), nobody, np.arange(16))
    np.testing.assert_array_equal(numbers, numbers_of(index, drawn(50)))
    assert len(compared) == 50


@pytest.mark.parametrize("number", [0.0, np.nan, np.inf])
def test_a_row_without_a_cell_is_refused_wherever_it_lay(number):  # 0004-R3
    index = make_ivf_cosine(np.eye(DIM, dtype="f4"))
    vectors = np.full((1, DIM), number, "f4")
    for held in (0, GONE):
        with pytest.raises(InvalidInputError, match="vector 0"):
            file_again(index, vectors, np.array([held]), np.array([1]))
