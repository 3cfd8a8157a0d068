"""Scalar values as columns against codec.cbor one by one; the two orders, and the keys."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.codec.cbor_rows import Spans
from dreamdb_arrow.codec.ragged import Ragged
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects import scalar_values as values

INTS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(
        [0, 1, 23, 24, 255, 256, -1, -24, -25, -256, -257, 2**63 - 1, -(2**63), 2**32, -(2**32) - 1]
    ),
)
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(width=16, allow_nan=False, allow_infinity=False),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 65504.0, 65505.0, 5e-324, -5e-324, 6e-8, 1.1, 1e300]),
)
TEXTS = st.text(max_size=30)
ROWS = {
    "int": st.lists(INTS),
    "timestamp": st.lists(INTS),
    "float": st.lists(FLOATS),
    "string": st.lists(TEXTS),
    "categorical": st.lists(TEXTS),
    "bool": st.lists(st.booleans()),
}
DTYPES = {"int": np.int64, "timestamp": np.int64, "float": np.float64, "bool": np.bool_}
CASES = st.sampled_from(sorted(ROWS)).flatmap(lambda name: st.tuples(st.just(name), ROWS[name]))


def column(name, rows):
    return np.array(rows, DTYPES[name]) if name in DTYPES else rows


def plain(found):
    return found if isinstance(found, list) else found.tolist()


def same(left, right):
    return list(map(encode_cbor, plain(left))) == list(map(encode_cbor, plain(right)))


def value_order(name):
    if name == "float":
        return lambda value: (value, struct.pack(">d", value))  # 0.0 before -0.0
    if name == "categorical":
        return encode_cbor
    return (lambda value: value.encode()) if name == "string" else (lambda value: value)


@given(CASES)
def test_distinct_values_in_order(case):
    name, rows = case
    distinct, codes = values.value_type_of(name).distinct(column(name, rows))
    keys = {encode_cbor(value): value for value in rows}
    assert same(distinct, sorted(keys.values(), key=value_order(name)))
    assert same([plain(distinct)[code] for code in codes], rows)


@given(CASES)
def test_bytes_and_back(case):  # 0011-R3
    name, rows = case
    kind = values.value_type_of(name)
    encoded = kind.encode(column(name, rows))
    assert encoded.tolist() == [encode_cbor(value) for value in rows]
    assert same(kind.decode(encoded.data, Spans(encoded.starts, encoded.lengths)), rows)


@given(CASES)
def test_order_of_bytes(case):
    name, rows = case
    kind = values.value_type_of(name)
    distinct, _ = kind.distinct(column(name, rows))
    encoded = kind.encode(distinct)
    order = values.byte_order(distinct, encoded)
    assert encoded.take(order).tolist() == sorted(encoded.tolist())


@given(st.lists(st.one_of(INTS), unique=True), st.lists(FLOATS))
def test_keys_sort_as_numbers_do(ints, floats):
    for numbers in (np.array(sorted(ints), np.int64), np.array(sorted(floats), np.float64)):
        keys = [values.encode_key(number) for number in numbers]
        assert keys == sorted(keys)
        kind = values.value_type_of("float" if numbers.dtype.kind == "f" else "int")
        assert values.decode_keys(kind, keys).tolist() == numbers.tolist()
        assert values.tree_keys(numbers).tolist() == [int.from_bytes(key, "big") for key in keys]


def test_both_zeros_have_one_key_but_an_order():  # 0011-R9
    assert values.encode_key(np.float64(-0.0)) == values.encode_key(np.float64(0.0)) == b"\x80" + bytes(7)
    keys = values.order_keys(np.array([-5e-324, 0.0, -0.0, 5e-324]))
    assert keys.tolist() == sorted(set(keys.tolist()))
    assert values.encode_key("é") == "é".encode()
    assert values.decode_keys(values.value_type_of("string"), ["é".encode()]) == ["é"]


@pytest.mark.parametrize(("name", "keys"), [("int", [b"1234567"]), ("float", [b""]), ("string", [b"\xff"])])
def test_keys_that_cannot_be(name, keys):
    with pytest.raises(LayoutError):
        values.decode_keys(values.value_type_of(name), keys)


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("int", "1801"),  # not the shortest
        ("int", "1bffffffffffffffff"),  # beyond 63 bits
        ("int", "3b8000000000000000"),
        ("int", "190100ff"),
        ("int", "1901"),
        ("int", ""),
        ("int", "1c"),
        ("int", "f90000"),
        ("float", "fa00000000"),  # fits in a half
        ("float", "fb3ff0000000000000"),
        ("float", "f97e00"),  # NaN
        ("float", "f97c00"),  # infinity
        ("float", "f900"),
        ("float", "00"),
        ("string", "6161ff"),
        ("string", "62ff"),
        ("string", "61ff"),
        ("string", "7801" + "61"),
        ("string", "4161"),
        ("string", "7f"),
        ("categorical", "78"),
        ("bool", "f6"),
        ("bool", "f5f5"),
        ("bool", ""),
    ],
)
def test_bytes_that_are_no_value(name, encoded):  # 0011-R3
    ragged = Ragged.of([bytes.fromhex(encoded)])
    with pytest.raises(LayoutError):
        values.value_type_of(name).decode(ragged.data, Spans(ragged.starts, ragged.lengths))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("int", np.array([1.5])),
        ("int", np.array([2**63], np.uint64)),
        ("int", np.array([True])),
        ("float", np.array([np.nan])),
        ("float", np.array([np.inf])),
        ("float", np.array(["x"])),
        ("string", ["a", 1]),
        ("string", ["\ud800"]),
        ("categorical", ["\ud800"]),
        ("bool", np.array([1, 0])),
    ],
)
def test_rows_that_are_no_values(name, rows):  # 0011-R2
    kind = values.value_type_of(name)
    with pytest.raises(InvalidInputError):
        kind.encode(kind.distinct(rows)[0])


def test_unknown_type():
    with pytest.raises(UnsupportedError, match="'complex'"):
        values.value_type_of("complex")
