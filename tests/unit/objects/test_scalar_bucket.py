"""Scalar records: the bytes of the wire document, pyroaring as the foreign reader, one by one against all at once."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from dreamdb_arrow.errors import InvalidInputError, LayoutError
from dreamdb_arrow.objects import scalar_records
from dreamdb_arrow.objects.scalar_bucket import MAX_RUN_MEMBERS, decode_record, encode_records
from dreamdb_arrow.objects.scalar_records import decode_records

T0 = 1_700_000_000_000_000_000
FIVE = "01 0200000000000000 fe9c9717 3a300000 01000000 2a36 0000 10000000 0000 009d9717 3a300000 01000000 2a36 0000 10000000 0000"
MINUS_ONE = "01 0100000000000000 fe9c9717 3a300000 01000000 2a36 0000 10000000 0100"

ANCHORS = st.one_of(
    st.integers(0, 2**64 - 1), st.integers(T0, T0 + 300), st.integers(0, 40).map(lambda n: T0 + n * 40_000)
)
GROUPS = st.lists(st.sets(ANCHORS, min_size=1, max_size=40).map(sorted), min_size=1, max_size=12)


def encode(groups):
    anchors = np.array([a for group in groups for a in group], np.uint64)
    return encode_records(anchors, np.array([len(group) for group in groups], np.int64))


def foreign(group, *, runs=False):
    """Write one record with another library."""
    highs = sorted({a >> 32 for a in group})
    out = b"\1" + struct.pack("<Q", len(highs))
    for high in highs:
        bitmap = BitMap([a & 0xFFFFFFFF for a in group if a >> 32 == high], optimize=runs)
        out += struct.pack("<I", high) + bitmap.serialize()
    return out


def split(anchors, counts):
    return [part.tolist() for part in np.split(anchors, np.cumsum(counts)[:-1])]


def test_the_example_of_the_wire_document():
    bucket = encode([[T0, T0 + 2**33], [T0 + 1]])
    assert bucket.data.tobytes() == bytes.fromhex(FIVE + MINUS_ONE)
    assert bucket.starts.tolist() == [0, 53]
    assert bucket.lengths.tolist() == [53, 31]
    assert decode_record(bytes.fromhex(FIVE)).tolist() == [T0, T0 + 2**33]


@given(GROUPS)
def test_the_same_bytes_as_a_foreign_writer(groups):  # 0011-R5
    records = encode(groups)
    assert records.tolist() == [foreign(group) for group in groups]
    assert [decode_record(record).tolist() for record in records.tolist()] == groups
    found = decode_records(records.data.tobytes(), records.starts, records.lengths)
    assert split(*found) == groups


@given(GROUPS, st.booleans())
def test_runs_of_a_foreign_writer(groups, spread):  # 0011-R5
    if not spread:
        groups = [sorted({min(a + n, 2**64 - 1) for a in group[:5] for n in range(50)}) for group in groups]
    records = [foreign(group, runs=True) for group in groups]
    assert [decode_record(record).tolist() for record in records] == groups
    lengths = np.array([len(record) for record in records])
    assert split(*decode_records(b"".join(records), lengths.cumsum() - lengths, lengths)) == groups


@pytest.mark.parametrize("size", [4095, 4096, 4097, 5000, 65535, 65536])
def test_containers_at_the_limit_of_arrays(size):
    dense = list(range(T0 & ~0xFFFF, (T0 & ~0xFFFF) + size))
    groups = [[5], dense, [a + 2**40 for a in dense[::2]]]
    records = encode(groups)
    assert records.tolist() == [foreign(group) for group in groups]
    assert split(*decode_records(records.data.tobytes(), records.starts, records.lengths)) == groups


def test_a_cookie_inside_a_container_is_no_block():
    keys = [(0x303A << 16) | low for low in range(1)] + [(k << 16) for k in range(0x303B, 0x3100)]
    groups = [[T0 & ~0xFFFFFFFF | key for key in keys], [0x303A, 0x10000], [T0]]
    records = encode(groups)
    assert scalar_records._find_cookies(records.data).size > 4
    assert scalar_records._decode_groups(records.data, records.starts[:2], records.lengths[:2]) is not None
    assert split(*decode_records(records.data.tobytes(), records.starts, records.lengths)) == groups


def test_groups_that_do_not_ascend():  # 0011-R6
    for anchors, counts in [([2, 1], [2]), ([1, 1], [2]), ([1], [1, 0])]:
        with pytest.raises(InvalidInputError):
            encode_records(np.array(anchors), np.array(counts))


@pytest.mark.parametrize(
    "record",
    [
        "",
        "01",
        "02 0100000000000000 fe9c9717 3a300000 01000000 2a36 0000 10000000 0100",  # version
        "01 0000000000000000",  # no block
        "01 ffffffffffffffff",
        "01 0200000000000000 fe9c9717 3a300000 01000000 2a36 0000 10000000 0100",  # one block too few
        MINUS_ONE + "00",
        "01 0100000000000000 fe9c9717 3b300000 01000000 2a36 0000 10000000 0100",  # cookie of runs
        "01 0100000000000000 fe9c9717 3c300000 01000000 2a36 0000 10000000 0100",
        "01 0100000000000000 fe9c9717 3a300000 00000000 2a36 0000 10000000 0100",  # no container
        "01 0100000000000000 fe9c9717 3a300000 ffffffff 2a36 0000 10000000 0100",
        "01 0100000000000000 fe9c9717 3a300000 01000000 2a36 0100 10000000 0100",  # one member too few
        "01 0100000000000000 fe9c9717 3a300000 01000000 2a36 0000 11000000 0100",  # offset
        "01 0100000000000000 fe9c9717 3a300000 01000000 2a36 0100 10000000 0200 0100",  # descending
        "01 0100000000000000 fe9c9717 3a300000 01000000 2a36 0100 10000000 0100 0100",  # twice
        "01 0100000000000000 fe9c9717 3b300000 01 2a36 0100 0100 0100 0200",  # runs of another cardinality
        "01 0100000000000000 fe9c9717 3b300000 01 2a36 0100 0100 ffff 0100",  # a run beyond its container
        "01 0100000000000000 fe9c9717 3b300000",
        "01 0200000000000000 009d9717 3a300000 01000000 2a36 0000 10000000 0000 fe9c9717 3a300000 01000000 2a36 0000 10000000 0000",
    ],
)
def test_bytes_that_are_no_record(record):  # 0011-R6
    data = bytes.fromhex(record)
    with pytest.raises(LayoutError):
        decode_record(data)
    with pytest.raises(LayoutError):
        decode_records(data, np.array([0]), np.array([len(data)]))


@given(GROUPS, st.data())
def test_bytes_that_were_changed_are_refused_or_another_set(groups, data):
    record = bytearray(foreign(groups[0], runs=data.draw(st.booleans())))
    at = data.draw(st.integers(0, len(record) - 1))
    record[at] ^= data.draw(st.integers(1, 255))
    del record[data.draw(st.integers(1, 2 * len(record))) :]
    try:
        found = decode_record(bytes(record)).tolist()
    except LayoutError:
        with pytest.raises(LayoutError):
            decode_records(bytes(record), np.array([0]), np.array([len(record)]))
        return
    assert found == sorted(set(found))
    assert decode_records(bytes(record), np.array([0]), np.array([len(record)]))[0].tolist() == found


@pytest.mark.parametrize(
    ("offsets", "lengths"), [([0, 30], [31, 31]), ([0, 31], [31, 32]), ([-1], [31]), ([0], [-1]), ([62], [1])]
)
def test_records_outside_their_bucket_or_over_one_another(offsets, lengths):  # 0011-R4
    bucket = bytes.fromhex(MINUS_ONE) * 2
    with pytest.raises(LayoutError):
        decode_records(bucket, np.array(offsets), np.array(lengths))


def test_no_records():
    none = np.empty(0, np.int64)
    anchors, counts = decode_records(b"", none, none)
    assert anchors.dtype == np.uint64
    assert len(anchors) == len(counts) == 0


def test_runs_that_unfold_to_more_than_anybody_stored():  # 0000-R2
    k = 3
    whole = struct.pack("<HH", 0, 65535)
    block = b"\0\0\0\0" + struct.pack("<HHB", 12347, k - 1, 7)
    block += b"".join(struct.pack("<HH", key, 65535) for key in range(k)) + (struct.pack("<H", 1) + whole) * k
    record = b"\1" + struct.pack("<Q", 1) + block
    assert len(decode_record(record)) == k << 16
    with pytest.raises(LayoutError, match="too many"):
        decode_record(record, max_run_members=2 << 16)
    many = MAX_RUN_MEMBERS // (k << 16) + 2
    lengths = np.full(many, len(record))
    with pytest.raises(LayoutError, match="too many"):
        decode_records(record * many, lengths.cumsum() - lengths, lengths)


def test_blocks_whose_heads_overlap_cost_no_more_than_their_bytes():
    heads = b"".join(
        struct.pack("<III", 0, 12346, 1) + b"\0\0\0\0" + struct.pack("<I", 16) for _ in range(500)
    )
    record = b"\1" + struct.pack("<Q", 1) + heads
    with pytest.raises(LayoutError):
        decode_records(record, np.array([0]), np.array([len(record)]))
