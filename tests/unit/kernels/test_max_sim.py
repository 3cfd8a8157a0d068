"""kernels.max_sim: the best token for each vector of the query, added up."""

import numpy as np
import pytest

from dreamdb_arrow.kernels.max_sim import max_sims

RNG = np.random.default_rng(8)


def plain(queries, tokens, starts):
    """The same in words of Python."""
    stops = [*starts[1:], len(tokens)]
    cosine = lambda a, b: float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))  # noqa: E731
    return [
        sum(max(cosine(q, t) for t in tokens[low:high]) for q in queries)
        for low, high in zip(starts, stops, strict=True)
    ]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("lengths", [[1], [3, 1, 4], [2] * 50, [1, 17, 1]])
def test_scores(dtype, lengths):
    tokens = RNG.standard_normal((sum(lengths), 6)).astype(dtype) * RNG.uniform(0.1, 9, (sum(lengths), 1))
    queries = RNG.standard_normal((4, 6)).astype(dtype)
    starts = np.cumsum(lengths) - lengths
    found = max_sims(queries, tokens.astype(dtype), starts)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, plain(queries, tokens, starts.tolist()), rtol=1e-5, atol=1e-6)


def test_nobody_and_tokens_without_a_direction():
    queries = np.ones((2, 3), "f4")
    assert max_sims(queries, np.empty((0, 3), "f4"), np.empty(0, np.int64)).shape == (0,)
    tokens = np.array([[0, 0, 0], [-1, -1, -1]], "f4")
    assert max_sims(queries, tokens, np.array([0])).tolist() == [0.0]
    assert max_sims(queries, tokens, np.array([0, 1])) == pytest.approx([0, -2])


@pytest.mark.parametrize("starts", [[1], [0, 0], [0, 5], [0, 2]])
def test_texts_without_tokens_are_refused(starts):
    with pytest.raises(AssertionError):
        max_sims(np.ones((1, 3), "f4"), np.ones((2, 3), "f4"), np.array(starts))
