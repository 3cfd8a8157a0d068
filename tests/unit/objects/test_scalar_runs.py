"""Records with run containers, decoded together: the same as one by one, and left alone when anything is wrong."""

import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.scalar_bucket import decode_record
from dreamdb_arrow.objects.scalar_records import decode_records
from dreamdb_arrow.objects.scalar_runs import decode_with_runs

T0 = 1_700_000_000_000_000_000


def container(lows, *, runs):
    """Return the bytes of one container."""
    if runs:
        cuts = np.flatnonzero(np.diff(lows) != 1) + 1
        parts = [(part[0], len(part) - 1) for part in np.split(lows, cuts)]
        return struct.pack("<H", len(parts)) + np.array(parts, "<u2").tobytes()
    if len(lows) <= 4096:
        return lows.astype("<u2").tobytes()
    bits = np.zeros(1 << 16, np.uint8)
    bits[lows] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def block(anchors, flags):
    """Return one block whose containers are runs where `flags` says so; without any flag the plain cookie is used."""
    prefixes = np.unique(anchors >> 16)
    lows = [(anchors[anchors >> 16 == prefix] & 0xFFFF).astype(np.int64) for prefix in prefixes]
    runs = [bool(flags[nth % len(flags)]) for nth in range(len(lows))]
    held = [container(part, runs=flag) for part, flag in zip(lows, runs, strict=True)]
    if flags == [None]:
        head = struct.pack("<II", 12346, len(held))
    else:
        head = struct.pack("<HH", 12347, len(held) - 1) + np.packbits(runs, bitorder="little").tobytes()
    for prefix, part in zip(prefixes, lows, strict=True):
        head += struct.pack("<HH", int(prefix) & 0xFFFF, len(part) - 1)
    if flags == [None] or len(held) >= 4:
        places = np.cumsum([len(head) + 4 * len(held), *map(len, held)])[:-1]
        head += places.astype("<u4").tobytes()
    return struct.pack("<I", int(anchors[0]) >> 32) + head + b"".join(held)


def record(anchors, flags):
    anchors = np.unique(np.asarray(anchors, np.int64))
    blocks = [block(anchors[anchors >> 32 == high], flags) for high in np.unique(anchors >> 32)]
    return b"\1" + struct.pack("<Q", len(blocks)) + b"".join(blocks)


def bucket_of(records):
    lengths = np.array([len(part) for part in records], np.int64)
    return b"".join(records), lengths.cumsum() - lengths, lengths


STRETCHES = st.lists(st.tuples(st.integers(0, 2**18), st.integers(1, 40)), min_size=1, max_size=12)
ANCHORS = st.tuples(STRETCHES, st.sampled_from([0, 2**32, 2**16 * 5])).map(
    lambda case: [
        T0 + case[1] * (nth % 2) + first + at for nth, (first, n) in enumerate(case[0]) for at in range(n)
    ]
)
FLAGS = st.one_of(st.just([None]), st.lists(st.booleans(), min_size=1, max_size=5))
RECORDS = st.lists(st.builds(record, ANCHORS, FLAGS), min_size=1, max_size=5)


@given(RECORDS)
def test_records_with_runs_are_decoded_as_one_by_one(records):  # 0011-R5, 0011-R6
    bucket, offsets, lengths = bucket_of(records)
    expected = [decode_record(part) for part in records]
    for anchors, counts in (
        decode_with_runs(bucket, offsets, lengths),
        decode_records(bucket, offsets, lengths),
    ):
        assert counts.tolist() == [len(part) for part in expected]
        assert anchors.tolist() == np.concatenate(expected).tolist()


@given(RECORDS, st.data())
def test_changed_bytes_are_refused_or_decoded_alike(records, data):
    bucket, offsets, lengths = bucket_of(records)
    changed = bytearray(bucket)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    found = decode_with_runs(bytes(changed), offsets, lengths)
    parts = [bytes(changed[at : at + n]) for at, n in zip(offsets.tolist(), lengths.tolist(), strict=True)]
    if found is not None:
        assert found[0].tolist() == np.concatenate([decode_record(part) for part in parts]).tolist()


def test_bitmaps_beside_runs():
    rng = np.random.default_rng(0)
    anchors = np.r_[T0 + np.flatnonzero(rng.random(1 << 18) < 0.3), T0 + (1 << 20) + np.arange(5000)]
    bucket, offsets, lengths = bucket_of(
        [record(anchors, [False, False, False, False, False, True]), record([1], [True])]
    )
    found, counts = decode_with_runs(bucket, offsets, lengths)
    assert counts.tolist() == [len(anchors), 1]
    assert found.tolist() == [*anchors.tolist(), 1]


@pytest.mark.parametrize("stretch", [1, 3, 10_000])
def test_many_rows_in_runs_are_decoded_together(stretch):
    rows = np.arange(200_000)
    records = [record(T0 + rows[rows // stretch % 20 == value], [True]) for value in range(20)]
    bucket, offsets, lengths = bucket_of(records)
    started = time.process_time()
    anchors, _ = decode_records(bucket, offsets, lengths)
    assert time.process_time() - started < 0.4  # one by one it takes more than twice as long
    assert np.array_equal(np.sort(anchors), T0 + rows)


def overlapping():
    """A block whose last container is said to lie before it: there could be any number of such blocks."""
    head = struct.pack("<IHHB", 0, 12347, 3, 0) + struct.pack("<HH", 0, 0) * 4
    return b"\1" + struct.pack("<Q", 5) + head + struct.pack("<4I", 0, 0, 0, 0) + bytes(40)


@pytest.mark.parametrize(
    "data",
    [
        b"\1"
        + struct.pack("<Q", 1)
        + struct.pack("<I", 0)
        + struct.pack("<HHBHHHHH", 12347, 0, 1, 0, 1, 1, 65535, 1),
        b"\1" + struct.pack("<Q", 1) + struct.pack("<I", 0) + struct.pack("<HHBHHH", 12347, 0, 1, 0, 0, 0),
        b"\1" + struct.pack("<Q", 2**63) + bytes(40),
        b"\2" + record([5], [True])[1:],
        record([5], [True])[:-1],
        record([5], [True]) + b"\0",
        overlapping(),
        b"\1" + struct.pack("<Q", 2) + 2 * block(np.array([T0]), [True]),
        b"\1" + struct.pack("<Q", 2) + block(np.array([T0]), [True]) + block(np.array([T0 + 1]), [True]),
        record([5], [True]).replace(b"\x3b\x30\0\0\x01", b"\x3b\x30\0\0\x03"),
    ],
    ids=[
        "beyond",
        "no runs",
        "many blocks",
        "version",
        "cut",
        "rest",
        "overlapping",
        "twice",
        "one block in two",
        "foreign flags",
    ],
)
def test_what_is_no_record(data):  # 0011-R6
    bucket, offsets, lengths = bucket_of([data])
    assert decode_with_runs(bucket, offsets, lengths) is None
    with pytest.raises(LayoutError):
        decode_records(bucket, offsets, lengths)


def test_runs_that_unfold_to_too_much():  # 0000-R2
    every = struct.pack("<HHH", 1, 0, 65535)
    k = 304
    head = struct.pack("<I", 0) + struct.pack("<HH", 12347, k - 1) + b"\xff" * (k // 8)
    head += b"".join(struct.pack("<HH", nth, 65535) for nth in range(k))
    places = len(head) - 4 + 4 * k + 6 * np.arange(k)
    data = b"\1" + struct.pack("<Q", 1) + head + places.astype("<u4").tobytes() + every * k
    bucket, offsets, lengths = bucket_of([data])
    assert decode_with_runs(bucket, offsets, lengths) is None
    with pytest.raises(LayoutError, match="too many"):
        decode_records(bucket, offsets, lengths)
