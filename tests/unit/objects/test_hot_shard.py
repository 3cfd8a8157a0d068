import struct

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import CorruptDataError, InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.hot_shard import (
    HotShard,
    decode_hot_shard,
    encode_hot_shard,
    scalars_of,
    vectors_of,
)

PARENT = address_of(b"track")
PAYLOADS = {
    "int": (struct.pack("<q", -5), struct.pack("<q", 2**62)),
    "timestamp": (struct.pack("<q", 0), struct.pack("<q", -1)),
    "float": (struct.pack("<d", 0.1), struct.pack("<d", -0.0)),
    "bool": (b"\0", b"\1"),
    "string": (b"", "é".encode()),
    "categorical": (b"a", b"bb"),
}
VALUES = {
    "int": [-5, 2**62],
    "timestamp": [0, -1],
    "float": [0.1, -0.0],
    "bool": [False, True],
    "string": ["", "é"],
    "categorical": ["a", "bb"],
}
VECTORS = (struct.pack("<2f", 1.5, -2), struct.pack("<2f", 0, 3))


def shard(value_type, payloads, anchors=(7, 2**63)):
    return HotShard(value_type, PARENT, 1_795_365_083_593_161_236, 10_000, 30, anchors, payloads)


SHARDS = {kind: shard(kind, payloads) for kind, payloads in PAYLOADS.items()}
SHARDS["vectors"] = shard(None, VECTORS, anchors=(9, 7))
SHARDS["no scalars"] = shard("int", (), ())
SHARDS["no vectors"] = shard(None, (), ())


@pytest.mark.parametrize("case", SHARDS.values(), ids=SHARDS)
def test_there_and_back(case):  # 0016-R1
    assert decode_hot_shard(encode_hot_shard(case)) == case


@pytest.mark.parametrize("kind", PAYLOADS)
def test_values(kind):
    values = scalars_of(SHARDS[kind])
    assert list(values) == VALUES[kind]
    if kind == "float":
        assert np.signbit(values[1])


def test_vectors():
    assert vectors_of(SHARDS["vectors"], 2).tolist() == [[1.5, -2], [0, 3]]
    assert vectors_of(SHARDS["no vectors"], 2).shape == (0, 2)
    with pytest.raises(LayoutError, match="vectors of 4"):
        vectors_of(SHARDS["vectors"], 4)
    with pytest.raises(LayoutError, match="vectors of 2"):
        vectors_of(SHARDS["int"], 2)


@pytest.mark.parametrize("case", SHARDS.values(), ids=SHARDS)
def test_any_changed_byte_is_refused_or_is_what_it_says(case):  # 0002-R8
    """Every byte, with each of its bits flipped; every cut; bytes added."""
    data = encode_hot_shard(case)
    changed = [
        data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        for at in range(len(data))
        for bit in range(8)
    ]
    for other in [*changed, *(data[:at] for at in range(len(data))), data + b"\0"]:
        try:
            decoded = decode_hot_shard(other)
        except (CorruptDataError, UnsupportedError):
            continue
        assert encode_hot_shard(decoded) == other


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 1},
        {"version": True},
        {"field_kind": 5},
        {"items": {}},
        {"items": [[1]]},
        {"items": [[1, b"12345678", 0]]},
        {"items": [[1, "12345678"]]},
        {"items": [[-1, b"12345678"]]},
        {"items": [[1, b"1234567"]]},
        {"items": [[2, b"12345678"], [1, b"12345678"]]},
        {"items": [[1, b"12345678"], [1, b"12345678"]]},
        {"parent_track": b"x"},
        {"published_at": -1},
        {"ttl_seconds": 1.5},
        {"extra": 1},
    ],
    ids=repr,
)
def test_no_hot_shard_of_scalars(changes):  # 0000-R1, 0000-R3
    value = decode_cbor(encode_hot_shard(SHARDS["int"]))
    with pytest.raises(LayoutError):
        decode_hot_shard(encode_cbor(value | changes))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [("bool", b"\2"), ("float", struct.pack("<d", float("nan"))), ("string", b"\xff"), ("float", b"")],
)
def test_no_values(kind, payload):
    with pytest.raises(InvalidInputError, match="hot shard cannot be written"):
        encode_hot_shard(shard(kind, (payload,), (1,)))


@pytest.mark.parametrize("payloads", [(b"1234", b"12345678"), (b"123",), (b"",)])
def test_no_vectors(payloads):
    with pytest.raises(InvalidInputError, match="differ in length"):
        encode_hot_shard(shard(None, payloads, tuple(range(len(payloads)))))


def test_a_kind_of_scalars_that_is_not_known():  # 0000-R4
    value = decode_cbor(encode_hot_shard(SHARDS["int"]))
    with pytest.raises(UnsupportedError, match="decimal"):
        decode_hot_shard(encode_cbor(value | {"field_kind": "decimal"}))


def test_vectors_in_canonical_order_are_refused():
    """The reference writes one order only."""
    fields = {
        "version": 1,
        "parent_track": PARENT,
        "published_at": 1,
        "flush_threshold": 1,
        "ttl_seconds": 1,
        "items": [],
    }
    with pytest.raises(LayoutError):
        decode_hot_shard(encode_cbor(fields))
