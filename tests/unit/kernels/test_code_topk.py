"""The best of many scores: the same rows whatever the blocks are, equals by their rows."""

import numpy as np
import pytest

from dreamdb_arrow.kernels.code_topk import LEAST, BestRows, best_of, sampled_bounds

RNG = np.random.default_rng(3)


def no_bounds(queries):
    return np.full(queries, LEAST, np.float32)


@pytest.mark.parametrize("count", [1, 5, 40])
def test_blocks_do_not_matter(count):
    scores = RNG.integers(0, 30, (6, 90)).astype(np.float32)  # many equals
    want = [sorted(np.lexsort((np.arange(90), -row))[:count].tolist()) for row in scores]
    for width in (90, 7, 1):
        best = BestRows(no_bounds(6), count)
        for first in range(0, 90, width):
            for asking in (np.array([4, 1]), np.array([0, 2, 3, 5])):
                best.offer(asking, scores[asking, first : first + width], first)
        rows, values = best.found()
        assert [sorted(row) for row in rows.tolist()] == want
        assert np.array_equal(np.take_along_axis(scores, rows, axis=1), values)


def test_fewer_than_wanted_are_filled_up():
    best = BestRows(no_bounds(2), 3)
    best.offer(np.array([1]), np.float32([[0.5, -np.inf, -2]]), 10)
    rows, scores = best.found()
    assert rows[0].tolist() == [-1, -1, -1]
    assert sorted(rows[1].tolist()) == [-1, 10, 12]  # a score of minus infinity never counts
    assert sorted(scores[1].tolist()) == [-np.inf, -2, 0.5]
    assert BestRows(no_bounds(1), 2).found()[0].tolist() == [[-1, -1]]


def test_bounds_drop_what_is_below():
    best = BestRows(np.float32([2, LEAST]), 2)
    best.offer(np.array([0, 1]), np.float32([[1, 2, 3], [1, 2, 3]]), 0)
    rows, _ = best.found()
    assert sorted(rows[0].tolist()) == [1, 2]
    assert sorted(rows[1].tolist()) == [1, 2]


def test_best_of_all():
    scores, rows = best_of(np.float32([1, 5]), np.array([8, 9]), 2)
    assert (scores.tolist(), rows.tolist()) == ([1, 5], [8, 9])


def test_sampled_bounds_let_the_best_through():
    scores = RNG.normal(size=(200, 16_000)).astype(np.float32)
    bounds = sampled_bounds(scores[:, ::16].copy(), 300, 16)
    passed = (scores >= bounds[:, None]).sum(axis=1)
    assert passed.min() >= 300
    assert passed.mean() < 1000  # and few others


def test_small_samples_bound_nothing():
    assert sampled_bounds(np.zeros((2, 3), np.float32), 10, 16).tolist() == [LEAST, LEAST]
    short = np.full((1, 50), -np.inf, np.float32)
    short[0, :2] = 1
    assert sampled_bounds(short, 10, 16).tolist() == [LEAST]
