"""spatial.training: unit rows, repeatable, useful, bounded, and clear refusals."""

import numpy as np
import pytest

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.kernels.pq import decode_pq, encode_pq
from dreamdb_arrow.objects.spatial_index import centroid_rows, encode_spatial_index
from dreamdb_arrow.spatial import training
from dreamdb_arrow.spatial.partitioners import assign_cells, probe_cells
from dreamdb_arrow.spatial.search import nearest

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((30, 16))
VECTORS = (CENTRES[RNG.integers(0, 30, 2000)] + RNG.standard_normal((2000, 16)) / 4).astype(np.float32)
ANCHORS = np.arange(2000)


@pytest.mark.parametrize("train", [training.train_ivf, training.train_imi])
def test_same_arguments_same_bytes(train):
    first = encode_spatial_index(train(VECTORS, 12, seed=5))
    assert first == encode_spatial_index(train(VECTORS, 12, seed=5))
    assert first != encode_spatial_index(train(VECTORS, 12, seed=6))


def test_rows_are_unit():
    ivf, imi = training.train_ivf(VECTORS, 20), training.train_imi(VECTORS, 6)
    books = [(ivf.params.centroids, 16), (imi.params.low, 8), (imi.params.high, 8)]
    for rows, dim in books:
        np.testing.assert_allclose(np.linalg.norm(centroid_rows(rows, dim), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(("train", "k", "nprobe"), [(training.train_ivf, 40, 6), (training.train_imi, 8, 10)])
def test_a_few_cells_hold_the_nearest(train, k, nprobe):
    index = train(VECTORS, k)
    cells = assign_cells(index, VECTORS)
    found = 0
    for query in VECTORS[:40]:
        keys = probe_cells(index, query, nprobe)
        rows = np.flatnonzero(
            np.isin(cells.codes, [cells.keys.index(key) for key in keys if key in cells.keys])
        )
        assert len(rows) < 1000
        near, _ = nearest([(ANCHORS[rows], VECTORS[rows])], query, 10, "cosine")
        exact, _ = nearest([(ANCHORS, VECTORS)], query, 10, "cosine")
        found += len(set(near[0].tolist()) & set(exact[0].tolist()))
    assert found >= 380


def test_a_sample_is_bounded_and_drawn_by_the_seed():
    many = np.broadcast_to(VECTORS, (50, *VECTORS.shape)).reshape(-1, 16)
    sample = training._sample(many, 3, 0)
    assert sample.shape == (training.MIN_SAMPLE, 16)
    assert len(training._sample(many, 100, 0)) == 12800
    assert np.array_equal(sample, training._sample(many, 3, 0))


def test_halves_that_are_zero_do_not_train_their_book():
    vectors = VECTORS[:50].copy()
    vectors[:20, :8] = 0
    high = centroid_rows(training.train_imi(vectors, 4).params.high, 8)
    np.testing.assert_allclose(np.linalg.norm(high, axis=1), 1, rtol=1e-6)
    with pytest.raises(InvalidInputError, match="not zero"):
        training.train_imi(vectors, 40)


@pytest.mark.parametrize("k", [0, -1, 2001])
def test_k_out_of_reach(k):
    with pytest.raises(InvalidInputError, match="centroids"):
        training.train_ivf(VECTORS, k)


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_a_row_that_cannot_be_used_is_named(value):
    vectors = VECTORS[:30].copy()
    vectors[11] = value
    with pytest.raises(InvalidInputError, match="vector 11 "):
        training.train_ivf(vectors, 2)


def test_shapes():
    with pytest.raises(InvalidInputError, match="half"):
        training.train_imi(VECTORS[:, :15], 2)
    with pytest.raises(InvalidInputError, match="shape"):
        training.train_ivf(VECTORS[0], 2)


def test_pq_books_are_unit_repeatable_and_useful():
    books = training.train_pq(VECTORS, 8, 32, seed=5)
    assert books.shape == (8, 32, 2)
    np.testing.assert_allclose(np.linalg.norm(books, axis=2), 1, rtol=1e-5)
    assert np.array_equal(books, training.train_pq(VECTORS, 8, 32, seed=5))
    assert not np.array_equal(books, training.train_pq(VECTORS, 8, 32, seed=6))
    made = decode_pq(books, encode_pq(books, VECTORS))
    cosines = (made * VECTORS).sum(axis=1) / np.linalg.norm(made, axis=1) / np.linalg.norm(VECTORS, axis=1)
    assert cosines.mean() > 0.8
    for wrong in ((3, 4), (0, 4), (8, 257)):
        with pytest.raises(InvalidInputError):
            training.train_pq(VECTORS, *wrong)


def test_samples_are_bounded_by_rows_and_by_bytes():
    assert training.sample_size(10, 64) == training.MIN_SAMPLE
    assert training.sample_size(1000, 64) == 128_000
    assert training.sample_size(10_000, 1536) * 1536 * 4 <= training.SAMPLE_BYTES_MAX
    assert training.sample_size(200_000, 1536) == 200_000
