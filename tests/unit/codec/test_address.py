import os
import pickle
import signal

import numpy as np
import pytest

from dreamdb_arrow.codec.address import (
    Address,
    address_of,
    address_texts,
    as_address,
    is_address_text,
    parse_address,
)
from dreamdb_arrow.errors import LayoutError

EMPTY_TEXT = "d2xrgsnz6x42djvaibg6unw4zfezxszfzgw4cevxzsnjhsxed4zge"
# Of the wire document: a payload of ff d8 and 1100 zero bytes, and the two items "AB" and "CDE" in one pack.
KNOWN = {
    b"\xff\xd8" + bytes(1100): "d3truxq2k6wswh7wk4fvuc6bdgjcjqg3v5cfjc52nhtwyqjtmg6xa",
    b"ABCDE": "dzqsoqtyfcpj6yrt342kxm4svl7ah3t45hlxcz7tvdm43ynntbq4a",
    b"": EMPTY_TEXT,
}


@pytest.mark.parametrize(("data", "text"), KNOWN.items(), ids=KNOWN.values())
def test_known_addresses(data, text):  # 0002-R1
    assert str(address_of(data)) == text
    assert parse_address(text) == address_of(data)
    assert is_address_text(text)


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_texts_of_many_are_the_text_of_each(count):
    addresses = [address_of(bytes([n % 256, n // 256])) for n in range(count)]
    assert address_texts(addresses) == [str(address) for address in addresses]


def test_text_form_everywhere():
    address = address_of(b"")
    assert f"{address}" == str(address) == EMPTY_TEXT
    assert repr(address) == f"Address('{EMPTY_TEXT}')"
    assert len(address) == 33
    assert address[0] == 0x1E
    assert isinstance(address, bytes)
    assert hash(address) == hash(bytes(address))
    assert pickle.loads(pickle.dumps(address)) == address


def test_parts_in_a_row_have_the_address_of_the_whole():  # 0002-R1
    whole = np.random.default_rng(1).bytes(17 << 20)
    cuts = [whole[:5], b"", memoryview(whole)[5 : 1 << 20], memoryview(whole)[1 << 20 :]]
    assert address_of(*cuts) == address_of(whole)
    assert address_of() == address_of(b"") == address_of(b"", b"")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only Unix forks")
def test_a_forked_process_hashes_large_bytes():
    large = bytes(17 << 20)
    wanted = address_of(large)  # starts the threads that a fork does not take along
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if address_of(large) == wanted else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_any_buffer_has_the_address_of_its_bytes():
    data = np.arange(1 << 18, dtype="<u8")  # 2 MiB: hashed by several threads
    for buffer in (data, memoryview(data), bytearray(data.tobytes())):
        assert address_of(buffer) == address_of(data.tobytes())


@pytest.mark.parametrize("value", [b"", b"\x1e" * 32, b"\x1e" * 34, b"\x1f" * 33], ids=len)
def test_not_an_address(value):  # 0002-R2
    with pytest.raises(LayoutError, match="not an address"):
        Address(value)


@pytest.mark.parametrize("value", [EMPTY_TEXT, 33, None, [0x1E] * 33, bytearray(b"\x1e" * 33)])
def test_values_that_are_no_byte_strings(value):
    with pytest.raises(LayoutError):
        as_address(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY_TEXT.upper(),
        EMPTY_TEXT[:-1],
        EMPTY_TEXT + "=",
        EMPTY_TEXT[:-1] + "f",  # the same 33 bytes and a bit more
        "a" + EMPTY_TEXT[1:],  # not 0x1e
        "0" + EMPTY_TEXT[1:],  # not a digit
        EMPTY_TEXT[:-1] + "é",
        EMPTY_TEXT[:-1] + "\u017f",  # becomes "S" in upper case
        EMPTY_TEXT[:-1] + "\n",
    ],
)
def test_not_the_text_form(text):  # 0002-R2
    assert not is_address_text(text)
    with pytest.raises(LayoutError, match="not "):
        parse_address(text)
