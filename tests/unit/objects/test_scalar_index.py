import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.scalar_index import (
    ALGORITHMS,
    ScalarIndex,
    decode_scalar_index,
    encode_scalar_index,
    scalar_index_of,
)


def test_example_of_the_wire_document():
    data = encode_scalar_index(scalar_index_of("n", "int"))
    assert str(address_of(data)) == "dzipqcxzdpjq42ag7y5vzd5oeghedrkq7f7fbtgvti3qyc656nd3q"


@pytest.mark.parametrize("value_type", ALGORITHMS)
def test_there_and_back(value_type):
    index = scalar_index_of("x", value_type)
    assert decode_scalar_index(encode_scalar_index(index)) == index
    assert decode_cbor(encode_scalar_index(index))["metric"] == (
        "categorical" if value_type in ("categorical", "bool") else "ordinal"
    )


PLAIN = decode_cbor(encode_scalar_index(ScalarIndex("x", "dreamdb.btree-int64")))


@pytest.mark.parametrize(
    "changes", [{"metric": "categorical"}, {"field_name": 1}, {"algorithm": None}, {"extra": 1}]
)
def test_not_a_scalar_index(changes):
    with pytest.raises(LayoutError):
        decode_scalar_index(encode_cbor(PLAIN | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "dreamdb.btree-int128"},
        {"params": {"version": 2}},
        {"params": None},
        {"params": PLAIN["params"] | {"version": True}},
        {"params": PLAIN["params"] | {"version": 1.0}},
        {"params": PLAIN["params"] | {"leaf_fanout": 4}},
    ],
)
def test_unknown_ones(changes):
    with pytest.raises(UnsupportedError):
        decode_scalar_index(encode_cbor(PLAIN | changes))


def test_unknown_value_type():
    with pytest.raises(UnsupportedError, match="complex"):
        scalar_index_of("x", "complex")
