"""Byte strings end to end in one array: every move against the same thing done one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.ragged import Ragged, cut_strings, join, numbers_at, rows_at, slices, spread, window

STRINGS = st.lists(st.binary(max_size=30), max_size=40)


@given(STRINGS)
def test_of_and_tolist(strings):
    ragged = Ragged.of(strings)
    assert len(ragged) == len(strings)
    assert ragged.tolist() == strings


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=40), st.binary(max_size=2)), max_size=40))
def test_join_puts_columns_side_by_side(rows):
    columns = [Ragged.of([row[nth] for row in rows]) for nth in range(3)]
    assert join(columns).tolist() == [b"".join(row) for row in rows]


@given(STRINGS, st.data())
def test_take(strings, data):
    order = data.draw(st.lists(st.integers(0, len(strings) - 1), max_size=60)) if strings else []
    assert Ragged.of(strings).take(np.array(order, np.int64)).tolist() == [strings[at] for at in order]


def test_of_rows_and_repeat():
    assert Ragged.of_rows(np.arange(6, dtype=np.uint8).reshape(2, 3)).tolist() == [b"\0\1\2", b"\3\4\5"]
    assert Ragged.repeat(b"ab", 3).tolist() == [b"ab"] * 3
    assert Ragged.repeat(b"ab", 0).tolist() == []


def test_window_and_what_stands_at_places():
    data = np.frombuffer(b"\0\1\2\3\4", np.uint8)
    assert [item.tobytes() for item in window(data, 2)] == [b"\0\1", b"\1\2", b"\2\3", b"\3\4"]
    assert len(window(data, 6)) == 0
    places = np.array([3, 0])
    assert rows_at(data, places, 2).tolist() == [[3, 4], [0, 1]]
    assert numbers_at(data, places, ">u2").tolist() == [0x0304, 0x0001]
    assert numbers_at(data, places, "<u2").tolist() == [0x0403, 0x0100]


def test_window_refuses_what_is_not_contiguous():
    with pytest.raises(AssertionError):
        window(np.arange(10, dtype=np.uint8)[::2], 2)


def test_slices_may_overlap():
    data = np.frombuffer(b"abcdef", np.uint8)
    found = slices(data, np.array([0, 1, 1]), np.array([3, 3, 0]))
    assert found.tolist() == [b"abc", b"bcd", b""]
    assert cut_strings(b"abcdef", np.array([0, 1, 1]), np.array([3, 3, 0])) == [b"abc", b"bcd", b""]


def test_spread():
    assert spread(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
