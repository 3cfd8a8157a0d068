"""kernels.bits: distinct rows of any width, numbers and text."""

import numpy as np
import pytest

from dreamdb_arrow.kernels.bits import bit_texts, distinct_rows, number_bits


@pytest.mark.parametrize("width", [1, 5, 8, 9, 63, 64, 65, 255])
def test_distinct_rows_of_any_width(width):
    bits = np.random.default_rng(width).random((300, width)) < 0.5
    bits[200:] = bits[:100]
    rows, codes = distinct_rows(bits)
    assert np.array_equal(rows[codes], bits)
    texts = bit_texts(rows)
    assert texts == sorted(set(bit_texts(bits)))
    assert all(len(text) == width for text in texts)


def test_rows_that_differ_in_trailing_zeros_only():
    bits = np.zeros((3, 72), dtype=np.bool_)
    bits[1, 71] = bits[2, 64] = True
    assert distinct_rows(bits)[1].tolist() == [0, 1, 2]


def test_no_rows():
    rows, codes = distinct_rows(np.zeros((0, 20), dtype=np.bool_))
    assert (bit_texts(rows), codes.tolist()) == ([], [])


def test_numbers_are_written_highest_digit_first():  # 0004-R2
    numbers = np.array([0, 1, 5, 2**63, 2**64 - 1], dtype=np.uint64)
    assert bit_texts(number_bits(numbers, 64)) == [f"{int(number):064b}" for number in numbers]
    assert bit_texts(number_bits(numbers[:3], 3)) == ["000", "001", "101"]
