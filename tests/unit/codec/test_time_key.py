import pytest

from dreamdb_arrow.codec.time_key import decode_time_key, encode_time_key
from dreamdb_arrow.errors import InvalidInputError, LayoutError


@pytest.mark.parametrize(
    ("time_ns", "key"),
    [
        (0, "0" * 16),
        (1, "0" * 15 + "1"),
        (1_700_000_000_000_000_000, "17979cfe362a0000"),
        (2**64 - 1, "f" * 16),
    ],
)
def test_keys(time_ns, key):  # 0003-R4
    assert encode_time_key(time_ns) == key
    assert decode_time_key(key) == time_ns


@pytest.mark.parametrize("time_ns", [-1, 2**64])
def test_out_of_range(time_ns):  # 0003-R1
    with pytest.raises(InvalidInputError, match=str(time_ns)):
        encode_time_key(time_ns)


@pytest.mark.parametrize(
    "text",
    ["", "0" * 15, "0" * 17, "F" * 16, "0x" + "0" * 14, "+" + "0" * 15, "\u0660" * 16, "0" * 15 + "\n"],
)
def test_not_a_key(text):  # 0003-R4
    with pytest.raises(LayoutError, match="not a time key"):
        decode_time_key(text)
