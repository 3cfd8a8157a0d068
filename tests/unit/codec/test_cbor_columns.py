"""CBOR by columns against codec.cbor, which is the definition: the same bytes, and the same refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec import cbor_columns as columns
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.cbor_rows import Item, find_rows, read_array_head, read_columns, read_head, row_steps
from dreamdb_arrow.codec.ragged import Ragged
from dreamdb_arrow.errors import LayoutError

EDGES = [0, 1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
UINTS = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1))
ADDRESSES = st.binary(min_size=32, max_size=32).map(lambda digest: b"\x1e" + digest)
ROW = st.tuples(st.binary(max_size=300), UINTS, st.booleans(), ADDRESSES, st.text(max_size=40))
SHAPE = (Item.BYTES, Item.UINT, Item.FLAG, Item.ADDRESS, Item.TEXT)


def encode_all(rows):
    parts = list(zip(*rows, strict=True))
    return columns.encode_rows(
        [
            columns.encode_bytes(Ragged.of(parts[0])),
            columns.encode_heads(columns.UINT, np.array(parts[1], np.uint64)),
            columns.encode_flags(np.array(parts[2], np.bool_)),
            columns.encode_addresses(np.frombuffer(b"".join(parts[3]), np.uint8).reshape(-1, 33)),
            columns.encode_text(Ragged.of([text.encode() for text in parts[4]])),
        ]
    )


def decode_all(data, count, at=0):
    starts, end = find_rows(data, at, count, row_steps(SHAPE))
    page = np.frombuffer(data, np.uint8)
    found, ends = read_columns(page, starts + 1, SHAPE)
    assert ends.tolist() == [*starts[1:].tolist(), end]
    texts = [
        [data[a : a + n] for a, n in zip(spans.starts.tolist(), spans.lengths.tolist(), strict=True)]
        for spans in (found[0], found[4])
    ]
    addresses = [row.tobytes() for row in found[3]]
    rows = zip(texts[0], found[1].tolist(), found[2].tolist(), addresses, texts[1], strict=True)
    return [(a, b, c, d, e.decode()) for a, b, c, d, e in rows], end


@pytest.mark.parametrize("major", [0, 2, 3, 4])
def test_heads(major):
    arguments = [n for n in EDGES if major == 0 or n < 2**32]
    heads = columns.encode_heads(major, np.array(arguments, np.uint64))
    for argument, head in zip(arguments, heads.tolist(), strict=True):
        assert head[0] >> 5 == major
        assert read_head(head, 0, major) == (argument, len(head))
        if major == 0:
            assert head == encode_cbor(argument)
        if major == 4:
            assert columns.array_head(argument) == head
    assert columns.head_sizes(np.array(arguments, np.uint64)).tolist() == heads.lengths.tolist()


@given(st.lists(ROW, min_size=1, max_size=60))
def test_rows_as_the_definition_has_them(rows):
    encoded = encode_all(rows)
    assert encoded.tolist() == [encode_cbor(list(row)) for row in rows]
    assert decode_all(encoded.data.tobytes(), len(rows)) == (rows, len(encoded.data))


@pytest.mark.parametrize("period", [1, 2, 17, 40, 1000])
def test_rows_that_are_alike_and_some_that_are_not(period):
    rows = [
        (b"v" * (1 + 30 * (i % period == 0)), i, i % 3 == 0, b"\x1e" + bytes(32), "t") for i in range(3000)
    ]
    encoded = encode_all(rows)
    assert decode_all(encoded.data.tobytes(), len(rows)) == (rows, len(encoded.data))


@given(st.lists(ROW, min_size=1, max_size=8), st.data())
def test_bytes_that_were_changed_are_refused_or_canonical(rows, data):
    encoded = bytearray(encode_all(rows).data.tobytes())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    del encoded[data.draw(st.integers(0, 2 * len(encoded))) :]
    try:
        found, end = decode_all(bytes(encoded), len(rows))
    except (LayoutError, UnicodeDecodeError):
        return
    whole = columns.array_head(len(found)) + bytes(encoded[:end])
    assert decode_cbor(whole) == [list(row) for row in found]


@pytest.mark.parametrize("encoded", ["83", "8201", "8301", "820102ff", "8261", "c0", "", "82ff00", "821bff"])
def test_rows_of_another_shape(encoded):
    with pytest.raises(LayoutError):
        find_rows(bytes.fromhex(encoded), 0, 2, row_steps((Item.UINT, Item.UINT)))


@pytest.mark.parametrize("encoded", ["9a", "9affffffff", "1801", "9b00000000000000ff", "9817", "9f", "8a"])
def test_array_heads_that_cannot_be(encoded):  # 0000-R2
    with pytest.raises(LayoutError):
        read_array_head(bytes.fromhex(encoded), 0)
