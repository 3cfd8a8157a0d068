"""objects.spatial_bucket: every stored bucket and sidecar encodes to its own bytes; hostile bytes."""

import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import Address, address_of, parse_address
from dreamdb_arrow.errors import CorruptDataError, LayoutError, UnsupportedError
from dreamdb_arrow.objects import spatial_bucket as sb

SPACES = Path(__file__).parents[3] / "conformance/spaces/reference-0.0.16"
INDEX = Address(bytes.fromhex("1e052f0c8e18f02a0b712dd3688d5972291500c53de7950ab462de00b7962ab595"))
ANCHORS = np.array([5, 9], dtype=np.int64)
VECTORS = np.array([[1, 2], [2, 4.5]], dtype=np.float32)
RAW = sb.SpatialBucket(INDEX, "embedding.f32.dim=2.bucketed", ANCHORS, VECTORS)
CODED = sb.SpatialBucket(
    INDEX, "x", ANCHORS, None, address_of(b"compressor"), np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
)
SIDECAR = sb.VectorSidecar("embedding.f32.dim=2.bucketed", VECTORS)
WORKED = (
    "56425555 00000001 00000010 00000002 000000a0"
    "1e052f0c8e18f02a0b712dd3688d5972291500c53de7950ab462de00b7962ab595"
    + b"embedding.f32.dim=2.bucketed".hex()
    + "00000000"
    + "00" * 75
    + "0000000000000005 0000803f 00000040 0000000000000009 00000040 00009040"
)


def stored(pattern):
    """Return (name, bytes) of every stored object whose path matches."""
    found = []
    for archive in sorted(SPACES.glob("vec-*.tar.gz")):
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.isfile() and re.search(pattern, m.name)]
            found += [(m.name.rsplit("/", 1)[1], tar.extractfile(m).read()) for m in members]
    return found


def test_every_stored_bucket_encodes_to_its_own_bytes():
    buckets = stored(r"/embedding[^/]*/[01]+/d[a-z2-7]{52}$")
    assert len(buckets) > 300
    compressed = 0
    for name, data in buckets:
        bucket = sb.decode_spatial_bucket(data)
        compressed += bucket.codes is not None
        assert sb.encode_spatial_bucket(bucket) == data
        assert address_of(data) == parse_address(name)
    assert compressed > 70


def test_every_stored_sidecar_encodes_to_its_own_bytes():
    sidecars = stored(r"/vectors/d[a-z2-7]{52}$")
    assert len(sidecars) > 60
    for _, data in sidecars:
        assert sb.encode_vector_sidecar(sb.decode_vector_sidecar(data)) == data


def test_the_worked_bucket():
    data = bytes.fromhex(WORKED)
    assert sb.encode_spatial_bucket(RAW) == data
    bucket = sb.decode_spatial_bucket(data)
    assert (bucket.index, bucket.modality, bucket.compressor, bucket.codes) == (
        INDEX,
        RAW.modality,
        None,
        None,
    )
    assert bucket.anchors.dtype == np.int64
    assert np.array_equal(bucket.anchors, ANCHORS)
    assert np.array_equal(bucket.vectors, VECTORS)
    assert not bucket.vectors.flags.owndata


def test_a_compressed_bucket_keeps_its_codes():
    data = sb.encode_spatial_bucket(CODED)
    assert len(data) == 200 + 2 * 11
    bucket = sb.decode_spatial_bucket(data)
    assert (bucket.vectors, bucket.compressor) == (None, CODED.compressor)
    assert np.array_equal(bucket.codes, CODED.codes)


def test_anchors_that_nobody_can_see_come_out_negative_and_go_back():
    data = bytearray(sb.encode_spatial_bucket(RAW))
    data[160:168] = b"\xff" * 8
    bucket = sb.decode_spatial_bucket(data)
    assert bucket.anchors.tolist() == [-1, 9]
    assert sb.encode_spatial_bucket(bucket) == bytes(data)


def test_an_empty_bucket_and_an_empty_sidecar():
    none = np.empty((0, 3), dtype=np.float32)
    bucket = sb.decode_spatial_bucket(
        sb.encode_spatial_bucket(sb.SpatialBucket(INDEX, "m", ANCHORS[:0], none))
    )
    assert bucket.vectors.shape == (0, 3)
    assert sb.decode_vector_sidecar(sb.encode_vector_sidecar(sb.VectorSidecar("m", none))).vectors.shape == (
        0,
        3,
    )


def altered(data, at, new):
    return data[:at] + new + data[at + len(new) :]


GOOD = sb.encode_spatial_bucket(RAW)
REFUSED = {
    "empty": b"",
    "only a part of the header": GOOD[:159],
    "cut": GOOD[:-1],
    "one byte more": GOOD + b"\0",
    "magic": altered(GOOD, 0, b"VBUX"),
    "record size": altered(GOOD, 8, (15).to_bytes(4, "big")),
    "record of an anchor only": altered(GOOD[:176], 8, (8).to_bytes(4, "big")),
    "record not of float32": altered(GOOD[:180], 8, bytes.fromhex("0000000a00000002")),
    "huge count": altered(GOOD, 12, b"\xff" * 4),
    "header size": altered(GOOD, 16, (168).to_bytes(4, "big")),
    "no address of an index": altered(GOOD, 20, b"\0"),
    "tag with a hole": altered(GOOD, 60, b"\0"),
    "tag not ASCII": altered(GOOD, 53, b"\xff"),
    "padding": altered(GOOD, 100, b"\1"),
    "no address of a compressor": altered(sb.encode_spatial_bucket(CODED), 86, b"\0"),
    "padding behind a compressor": altered(sb.encode_spatial_bucket(CODED), 199, b"\1"),
    "a long header that is not there": altered(GOOD[:176], 8, bytes.fromhex("0000001000000000000000c8")),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_refused(data):  # 0007-R9
    with pytest.raises(LayoutError):
        sb.decode_spatial_bucket(data)


def test_versions_and_modes_of_others():  # 0007-R9
    for data in (altered(GOOD, 7, b"\2"), altered(GOOD, 85, b"\1")):
        with pytest.raises(UnsupportedError):
            sb.decode_spatial_bucket(data)
    with pytest.raises(UnsupportedError):
        sb.decode_vector_sidecar(altered(sb.encode_vector_sidecar(SIDECAR), 7, b"\2"))


@pytest.mark.parametrize(
    ("at", "new"), [(0, b"X"), (8, bytes(4)), (8, b"\0\0\0\6"), (12, b"\xff"), (127, b"\1")]
)
def test_sidecar_refused(at, new):
    good = sb.encode_vector_sidecar(SIDECAR)
    with pytest.raises(LayoutError):
        sb.decode_vector_sidecar(altered(good, at, new))
    with pytest.raises(LayoutError):
        sb.decode_vector_sidecar(good[:at])


CODECS = [
    (sb.encode_spatial_bucket(RAW), sb.decode_spatial_bucket, sb.encode_spatial_bucket),
    (sb.encode_spatial_bucket(CODED), sb.decode_spatial_bucket, sb.encode_spatial_bucket),
    (sb.encode_vector_sidecar(SIDECAR), sb.decode_vector_sidecar, sb.encode_vector_sidecar),
]


@given(st.data())
def test_a_changed_byte_is_refused_or_says_what_it_encodes_to(data):
    good, decode, encode = data.draw(st.sampled_from(CODECS))
    changed = altered(good, data.draw(st.integers(0, len(good) - 1)), bytes([data.draw(st.integers(0, 255))]))
    try:
        decoded = decode(changed)
    except (CorruptDataError, UnsupportedError):
        return
    assert encode(decoded) == changed


def raw_bucket(first, count, dim=3, **changes):
    vectors = np.arange(first, first + count * dim, dtype=np.float32).reshape(count, dim)
    given = {"index": address_of(b"index"), "modality": "embedding.f32", "vectors": vectors} | changes
    return sb.encode_spatial_bucket(sb.SpatialBucket(anchors=np.arange(first, first + count), **given))


def test_buckets_read_as_one():
    parts = [raw_bucket(0, 1), raw_bucket(5, 0), raw_bucket(7, 300), raw_bucket(-4, 2)]
    each = [sb.decode_spatial_bucket(part) for part in parts]
    joined = sb.join_raw_buckets(parts)
    assert (joined.index, joined.modality, joined.compressor) == (each[0].index, each[0].modality, None)
    assert np.array_equal(joined.anchors, np.concatenate([bucket.anchors for bucket in each]))
    assert np.array_equal(joined.vectors, np.concatenate([bucket.vectors for bucket in each]))


def test_buckets_that_are_not_alike_are_not_read_as_one():  # 0007-R9
    coded = {"vectors": None, "compressor": address_of(b"c"), "codes": np.zeros((1, 2), np.uint8)}
    good = raw_bucket(0, 1)
    others = [
        raw_bucket(0, 1, dim=4),
        raw_bucket(0, 1, index=address_of(b"other")),
        raw_bucket(0, 1, modality="embedding.f16"),
        raw_bucket(0, 1, **coded),
        good[:-1],
        good + bytes(20),
        good[:12] + bytes([0, 0, 0, 2]) + good[16:],
        good[:159] + b"\1" + good[160:],
        b"",
    ]
    for other in others:
        assert sb.join_raw_buckets([good, other]) is None
    assert sb.join_raw_buckets([raw_bucket(0, 1, **coded)]) is None
