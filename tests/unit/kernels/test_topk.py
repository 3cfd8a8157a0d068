"""kernels.topk against a full sort, with many equal values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.kernels.topk import smallest


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 45), st.integers(1, 6))
def test_equals_a_full_sort_by_value_and_index(seed, n, k, distinct):
    values = np.random.default_rng(seed).integers(0, distinct, (3, n)).astype(np.float32)
    for row, found in zip(values, smallest(values, k), strict=True):
        assert found.tolist() == sorted(range(n), key=lambda at: (row[at], at))[:k]


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 45))
def test_ranks_decide_between_equals(seed, n, k):
    rng = np.random.default_rng(seed)
    values, ranks = rng.integers(0, 3, (2, n)).astype(np.float64), rng.permutation(n)
    for row, found in zip(values, smallest(values, k, ranks), strict=True):
        assert found.tolist() == sorted(range(n), key=lambda at: (row[at], ranks[at]))[:k]


@given(st.integers(0, 2**32), st.integers(600, 3000), st.integers(1, 5), st.sampled_from([2, 9, 500, 10**6]))
def test_wide_rows(seed, n, k, distinct):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, distinct, (2, n)).astype(np.float32)
    values[rng.random((2, n)) < 0.1] = np.nan
    ranks = rng.permutation(n)
    wanted = [np.lexsort((ranks, row))[:k].tolist() for row in values]
    assert smallest(values, k, ranks).tolist() == wanted


def test_nan_is_larger_than_all():
    values = np.array([[np.nan, np.inf, -1, np.nan, 5]])
    assert smallest(values, 3).tolist() == [[2, 4, 1]]
    assert smallest(values, 9).tolist() == [[2, 4, 1, 0, 3]]


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_nothing_gives_nothing(shape):
    assert smallest(np.zeros(shape), 3).shape == (shape[0], min(3, shape[1]))
