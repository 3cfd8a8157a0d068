"""objects.spatial_index: every stored index encodes to its own bytes; the worked examples; hostile bytes."""

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import CorruptDataError, LayoutError, UnsupportedError
from dreamdb_arrow.objects import spatial_index as si

SPACES = Path(__file__).parents[3] / "conformance/spaces/reference-0.0.16"


def stored(folder):
    """Return (name, bytes) of every object in a folder of every stored Space with vectors."""
    found = []
    for archive in sorted(SPACES.glob("vec-*.tar.gz")):
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.isfile() and f"/{folder}/" in f"/{m.name}"]
            found += [(m.name.rsplit("/", 1)[1], tar.extractfile(m).read()) for m in members]
    return found


INDEXES = stored("spatial-index")
CENTROIDS = np.frombuffer(bytes.fromhex("2ef964bf2ef9e43ecb8ed63e0670683f"), dtype="<f4").reshape(2, 2)
EXAMPLES = [
    si.make_lsh_cosine(2, si.lsh_seed("t", "v"), 4),
    si.make_lsh_l2(16, bytes(32), 0.25),
    si.make_ivf_cosine(CENTROIDS),
    si.make_imi_cosine(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)),
]


def test_every_stored_index_encodes_to_its_own_bytes():
    assert {si.decode_spatial_index(data).algorithm for _, data in INDEXES} == {
        si.LSH_COSINE,
        si.LSH_L2,
        si.IVF_COSINE,
        si.IMI_COSINE,
    }
    for name, data in INDEXES:
        assert si.encode_spatial_index(si.decode_spatial_index(data)) == data
        assert str(address_of(data)) == name


@pytest.mark.parametrize("index", EXAMPLES, ids=lambda index: index.algorithm)
def test_round_trip(index):
    assert si.decode_spatial_index(si.encode_spatial_index(index)) == index


def test_worked_examples():
    lsh, ivf = si.encode_spatial_index(EXAMPLES[0]), si.encode_spatial_index(EXAMPLES[2])
    assert len(lsh) == 111
    assert lsh.startswith(b"\xa5\x63dim\x02\x64bits\x04\x66metric\x66cosine\x66params\xa2")
    assert b"\x64seed\x58\x20" + bytes.fromhex("68ee2c64199f45fd") in lsh
    assert ivf.endswith(b"\x69centroids\x50" + CENTROIDS.tobytes() + b"\x69algorithm\x72dreamdb.ivf-cosine")


@pytest.mark.parametrize(("k", "bits"), [(1, 1), (2, 1), (3, 2), (26, 5), (32, 5), (33, 6)])
def test_digits_of_cells(k, bits):
    rows = np.ones((k, 2), dtype=np.float32)
    assert si.make_ivf_cosine(rows).bits == bits
    assert si.make_imi_cosine(rows, rows).bits == 2 * bits


ALTERED = {
    "unknown key": {"extra": 1},
    "dim zero": {"dim": 0},
    "dim true": {"dim": True},
    "dim too large": {"dim": 1 << 40},
    "no bits": {"bits": 0},
    "bits not of the algorithm": {"bits": 6},
    "metric not of the algorithm": {"metric": "l2"},
    "metric not text": {"metric": 7},
    "params not a map": {"params": [1]},
    "params with an unknown key": {"params": {"k": 2, "version": 1, "centroids": bytes(16), "x": 0}},
    "too few centroids": {"params": {"k": 2, "version": 1, "centroids": bytes(12)}},
    "centroids not bytes": {"params": {"k": 2, "version": 1, "centroids": [0.0] * 4}},
    "no centroids": {"params": {"k": 0, "version": 1, "centroids": b""}},
    "NaN": {"params": {"k": 2, "version": 1, "centroids": b"\xff" * 16}},
}


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_refused(change):  # 0004-R1
    fields = decode_cbor(si.encode_spatial_index(EXAMPLES[2])) | change
    with pytest.raises(LayoutError):
        si.decode_spatial_index(encode_cbor(fields))


def lsh_l2_fields(**params):
    fields = decode_cbor(si.encode_spatial_index(EXAMPLES[1]))
    return fields | {"params": fields["params"] | params}


@pytest.mark.parametrize(
    "params",
    [
        {"seed": bytes(31)},
        {"seed": "x" * 32},
        {"bucket_width_f64le": bytes(8)},
        {"bucket_width_f64le": b"\xff" * 8},
        {"bucket_width_f64le": 1.0},
        {"bucket_width_f64le": bytes(4)},
    ],
)
def test_lsh_l2_refused(params):  # 0004-R1
    with pytest.raises(LayoutError):
        si.decode_spatial_index(encode_cbor(lsh_l2_fields(**params)))


def test_other_versions_and_algorithms_are_unsupported():
    for fields in (lsh_l2_fields(version=2, embedding_spec_id=bytes(33)), lsh_l2_fields(version=None)):
        with pytest.raises(UnsupportedError, match="version"):
            si.decode_spatial_index(encode_cbor(fields))
    for algorithm in ("dreamdb.vamana-cosine", 5):
        with pytest.raises(UnsupportedError, match="algorithm"):
            si.decode_spatial_index(encode_cbor(lsh_l2_fields() | {"algorithm": algorithm}))


def test_a_hostile_number_of_bits_is_refused():  # 0000-R2
    with pytest.raises(LayoutError, match="hyperplanes"):
        si.make_lsh_cosine(1 << 16, bytes(32), 1 << 12)
    assert si.make_lsh_cosine(1 << 16, bytes(32), 255).bits == 255


@given(st.data())
def test_a_changed_byte_is_refused_or_says_what_it_encodes_to(data):
    encoded = bytearray(si.encode_spatial_index(data.draw(st.sampled_from(EXAMPLES))))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        index = si.decode_spatial_index(bytes(encoded))
    except (CorruptDataError, UnsupportedError):
        return
    assert si.encode_spatial_index(index) == bytes(encoded)


def test_an_index_bound_to_an_embedding_spec():  # 0004-R1
    bound = replace(si.make_lsh_cosine(2, bytes(32), 4), spec=address_of(b"a spec"))
    data = si.encode_spatial_index(bound)
    assert si.decode_spatial_index(data) == bound
    fields = decode_cbor(data)
    assert fields["params"]["version"] == 2
    for wrong in (b"short", None, str(bound.spec)):
        with pytest.raises(LayoutError):
            si.decode_spatial_index(encode_cbor({**fields, "embedding_spec_id": wrong}))
    del fields["embedding_spec_id"]
    with pytest.raises(UnsupportedError, match="version 2"):
        si.decode_spatial_index(encode_cbor(fields))
