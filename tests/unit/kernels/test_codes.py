"""Codes as numbers: tables of bytes."""

import numpy as np

from dreamdb_arrow.kernels.codes import expand_codes, inverse_lengths, shared_table, table_by_byte

RNG = np.random.default_rng(11)


def test_bytes_with_one_table():
    numbers = RNG.normal(size=(256, 4)).astype(np.float32)
    codes = np.uint8([[0, 255], [7, 7]])
    made = expand_codes(shared_table(numbers), codes)
    assert made.tolist() == [[*numbers[0], *numbers[255]], [*numbers[7], *numbers[7]]]


def test_bytes_with_tables_of_their_own():
    books = np.float32([[[1, 0], [0, 1], [-1, 0]], [[0, -1], [0.5, 0.25], [1, 0]]])
    made = expand_codes(table_by_byte(books), np.uint8([[2, 1], [0, 0]]))
    assert made.tolist() == [[-1, 0, 0.5, 0.25], [1, 0, 0, -1]]


def test_codes_may_be_a_view():
    table = shared_table(np.arange(256, dtype=np.float32)[:, None])
    codes = RNG.integers(0, 256, (9, 5), dtype=np.uint8)
    assert np.array_equal(expand_codes(table, codes[1::3, :4]), codes[1::3, :4])
    assert expand_codes(table, codes[:0]).shape == (0, 5)


def test_lengths_are_those_of_the_first_numbers():
    numbers = np.zeros((256, 2), np.float32)
    numbers[1], numbers[2] = (3, 4), (0, 12)
    table = shared_table(numbers)
    assert inverse_lengths(table, np.uint8([[1, 2], [0, 0]]), 2).tolist() == [np.float16(0.2), 0]
    assert inverse_lengths(table, np.uint8([[1, 2]]), 4).tolist() == [np.float16(1 / 13)]
