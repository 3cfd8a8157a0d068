import math
from enum import IntEnum

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import MAX_DEPTH, decode_cbor, decode_strictly, encode_cbor, skim_cbor
from dreamdb_arrow.errors import CanonicalError, InvalidInputError

# value, hex: of RFC 8949 appendix A, the wire document, and the edges of heads and floats
VALID = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (255, "18ff"),
    (256, "190100"),
    (65535, "19ffff"),
    (65536, "1a00010000"),
    (2**32 - 1, "1affffffff"),
    (2**32, "1b0000000100000000"),
    (2**64 - 1, "1bffffffffffffffff"),
    (-1, "20"),
    (-24, "37"),
    (-25, "3818"),
    (-(2**64), "3bffffffffffffffff"),
    (0.0, "f90000"),
    (-0.0, "f98000"),
    (0.1, "fb3fb999999999999a"),
    (1.5, "f93e00"),
    (65504.0, "f97bff"),
    (65505.0, "fa477fe100"),
    (100000.0, "fa47c35000"),
    (2.0**-24, "f90001"),
    (2.0**-25, "fa33000000"),
    (2.0**-149, "fa00000001"),
    (3.4028234663852886e38, "fa7f7fffff"),
    (1.0e300, "fb7e37e43c8800759c"),
    (5e-324, "fb0000000000000001"),
    (math.inf, "f97c00"),
    (-math.inf, "f9fc00"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\x01\x02", "420102"),
    ("", "60"),
    ("é", "62c3a9"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, [2, 3]], "8201820203"),
    (list(range(24)), "9818" + bytes(range(24)).hex()),
    ({}, "a0"),
    ({"b": 1, "aa": 2, "a": 3}, "a3616103616201626161" + "02"),
    ({"nonce": b"\x00" * 16}, "a1656e6f6e636550" + "00" * 16),
]

# what is wrong, hex, offset
INVALID = [
    ("empty", "", 0),
    ("trailing byte", "0000", 1),
    ("int 0 in two bytes", "1800", 0),
    ("int 23 in two bytes", "1817", 0),
    ("int 255 in three bytes", "1900ff", 0),
    ("int 65535 in five bytes", "1a0000ffff", 0),
    ("int 2^32 - 1 in nine bytes", "1b00000000ffffffff", 0),
    ("int cut", "19ff", 1),
    ("reserved head 28", "1c", 0),
    ("indefinite array", "9f00ff", 0),
    ("indefinite map", "bfff", 0),
    ("indefinite bytes", "5f4100ff", 0),
    ("indefinite text", "7f6161ff", 0),
    ("break alone", "ff", 0),
    ("undefined", "f7", 0),
    ("simple 0", "e0", 0),
    ("simple 255", "f8ff", 0),
    ("simple false in two bytes", "f814", 0),
    ("undefined in array", "81f7", 1),
    ("tag 0", "c074323031332d30332d32315432303a30343a30305a", 0),
    ("bignum 2^64", "c249010000000000000000", 0),
    ("negative bignum", "c349010000000000000000", 0),
    ("decimal", "c48221196ab3", 0),
    ("shared value", "81d81c80", 1),
    ("shared reference", "82d81c80d81d00", 1),
    ("string reference", "d9010082636161" + "61d81900", 0),
    ("set", "d9010280", 0),
    ("self-described", "d9d9f700", 0),
    ("tag nobody knows", "d9303900", 0),
    ("text not UTF-8", "61ff", 1),
    ("surrogate", "63eda080", 1),
    ("text cut in a character", "8161c3", 2),
    ("bytes cut", "4301", 1),
    ("key is int", "a10000", 1),
    ("key is bytes", "a1416100", 1),
    ("key is array", "a18000", 1),
    ("key twice", "a2616100616101", 4),
    ("pair twice", "a2616100616100", 4),
    ("keys not bytewise", "a2616200616100", 4),
    ("keys not by length", "a262616100616200", 5),
    ("value missing", "a16161", 3),
    ("f32 that f16 holds", "fa3fc00000", 0),
    ("f64 that f16 holds", "fb3ff8000000000000", 0),
    ("f64 that f32 holds", "fb40f86a0000000000", 0),
    ("f32 infinity", "fa7f800000", 0),
    ("NaN with payload", "f97e01", 0),
    ("NaN signalling", "f97c01", 0),
    ("NaN negative", "f9fe00", 0),
    ("NaN in f64", "fb7ff8000000000000", 0),
    ("float cut", "f97e", 1),
    ("array of 2^64 - 1", "9bffffffffffffffff", 0),
    ("array of 2^28", "9a10000000", 0),
    ("array of one too many", "8200", 0),
    ("map of 2^63", "bb8000000000000000", 0),
    ("map too long for its bytes", "a26161", 0),
    ("bytes of 2^63", "5b8000000000000000", 9),
    ("text of 2^32 - 1", "7affffffff", 5),
    ("too deep", "81" * MAX_DEPTH + "8100", MAX_DEPTH),
    ("too deep and empty", "81" * MAX_DEPTH + "80", MAX_DEPTH),
    ("too deep by maps", "a16161" * MAX_DEPTH + "a0", 3 * MAX_DEPTH),
    ("deep enough to break a stack", "81" * 100_000, MAX_DEPTH),
]


@pytest.mark.parametrize(("value", "encoded"), VALID, ids=[repr(v)[:30] for v, _ in VALID])
def test_valid(value, encoded):  # 0002-R4, 0002-R5, 0002-R6
    assert encode_cbor(value).hex() == encoded
    for decode in (decode_cbor, decode_strictly):
        decoded = decode(bytes.fromhex(encoded))
        assert decoded == value
        assert type(decoded) is type(value)
        assert math.copysign(1, decoded) == math.copysign(1, value) if isinstance(value, float) else True


@pytest.mark.parametrize("decode", [decode_cbor, decode_strictly])
@pytest.mark.parametrize(
    ("encoded", "offset"), [case[1:] for case in INVALID], ids=[case[0] for case in INVALID]
)
def test_invalid(decode, encoded, offset):  # 0000-R2, 0002-R4, 0002-R5, 0002-R6, 0002-R7, 0002-R8
    with pytest.raises(CanonicalError) as caught:
        decode(bytes.fromhex(encoded))
    assert caught.value.offset == offset


def test_nan_has_one_encoding():  # 0002-R6
    assert encode_cbor(math.nan).hex() == encode_cbor(-math.nan).hex() == "f97e00"
    assert math.isnan(decode_cbor(bytes.fromhex("f97e00")))


@pytest.mark.parametrize("depth", [0, 1, 5, MAX_DEPTH])
def test_depth_is_counted_alike(depth):  # 0002-R8
    for decode in (decode_cbor, decode_strictly):
        for innermost in (b"\x00", b"\x80", b"\xa0"):
            containers = depth - (innermost != b"\x00")
            if containers >= 0:
                assert decode(b"\x81" * containers + innermost, max_depth=depth) is not None
            with pytest.raises(CanonicalError, match="deep"):
                decode(b"\x81" * (containers + 1) + innermost, max_depth=depth)


def test_a_pair_said_twice_is_read_once_when_asked():
    twice = bytes.fromhex("a3616100616100616201")
    assert decode_cbor(twice, repeated_prefix="") == {"a": 0, "b": 1}
    for other in ("a2616100616101", "a3616100616201616100"):
        with pytest.raises(CanonicalError, match="duplicate"):
            decode_cbor(bytes.fromhex(other), repeated_prefix="")


def test_other_buffers_decode():
    encoded = encode_cbor({"a": [1, b"x"]})
    for buffer in (bytearray(encoded), memoryview(encoded), np.frombuffer(encoded, np.uint8)):
        assert decode_cbor(buffer) == {"a": [1, b"x"]}


class Colour(IntEnum):
    RED = 7


def test_what_is_a_kind_of_plain_is_encoded_as_that():
    address = address_of(b"")
    assert encode_cbor([address, (1, 2), Colour.RED, np.float64(1.5)]) == encode_cbor(
        [bytes(address), [1, 2], 7, 1.5]
    )


CYCLIC: list = []
CYCLIC += [CYCLIC, CYCLIC]
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**64) - 1,
        {"a": [2**64]},
        {1: 2},
        {b"a": 1},
        {None: 1},
        {1, 2},
        1j,
        object(),
        np.int64(1),
        np.zeros(2),
        bytearray(b"a"),
        "\ud800",
        {"\ud800": 1},
        CYCLIC,
        DEEP,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_encoded(value):
    with pytest.raises(InvalidInputError):
        encode_cbor(value)


@pytest.mark.parametrize(("value", "text"), VALID)
def test_a_first_look_sees_what_canonical_bytes_decode_to(value, text):
    assert encode_cbor(skim_cbor(bytes.fromhex(text))) == encode_cbor(value)


@pytest.mark.parametrize("text", ["", "1c", "61ff", "8201", "9f01ff"])
def test_a_first_look_refuses_what_is_no_cbor(text):
    with pytest.raises(CanonicalError):
        skim_cbor(bytes.fromhex(text))
