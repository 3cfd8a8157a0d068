"""Differences: columns of every type, compared value by value."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.columnar.differences import differing

TEXTS = st.one_of(st.none(), st.text("ab", max_size=2))
NUMBERS = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5]))
LISTS = st.one_of(st.none(), st.lists(st.lists(NUMBERS, max_size=2), max_size=2))
STRUCTS = st.one_of(st.none(), st.fixed_dictionaries({"a": LISTS, "b": TEXTS}))
VECTORS = st.one_of(st.none(), st.lists(st.sampled_from([0.0, -0.0, 2.0]), min_size=2, max_size=2))
LISTED = pa.list_(pa.list_(pa.float64()))
COLUMNS = {
    "text": (TEXTS, pa.string()),
    "float": (NUMBERS, pa.float64()),
    "lists": (LISTS, LISTED),
    "structs": (STRUCTS, pa.struct([("a", LISTED), ("b", pa.string())])),
    "vectors": (VECTORS, pa.list_(pa.float32(), 2)),
    "bytes": (st.one_of(st.none(), st.binary(max_size=2)), pa.large_binary()),
}


@pytest.mark.parametrize("name", COLUMNS)
@given(data=st.data())
def test_as_python_tells_it(name, data):
    values, kind = COLUMNS[name]
    pairs = data.draw(st.lists(st.tuples(values, values), max_size=8))
    columns = [pa.array([pair[side] for pair in pairs], kind) for side in (0, 1)]
    found = differing(*columns)
    assert found.dtype == bool
    held = [column.to_pylist() for column in columns]
    assert found.tolist() == [repr(a) != repr(b) for a, b in zip(*held, strict=True)]


def test_slices_are_compared_where_they_lie():
    lists = pa.array([[1], [1, 2], [], None, [3]], pa.list_(pa.int64()))
    assert differing(lists[1:], lists[:-1]).tolist() == [True, True, True, True]
    assert not differing(lists[1:4], pa.array([[1, 2], [], None], lists.type)).any()
    vectors = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2))
    assert differing(vectors[1:], pa.array([[3, 4], [5, 7]], vectors.type)).tolist() == [False, True]


def test_types_must_be_alike():
    with pytest.raises(AssertionError):
        differing(pa.array([1]), pa.array(np.array([1], "i4")))
