"""RaBitQ codes: those of the reference bit for bit, and what comes back from them."""

import base64

import numpy as np
import pytest

from dreamdb_arrow.kernels.chacha import key_stream
from dreamdb_arrow.kernels.rabitq import (
    BITS,
    byte_numbers,
    code_width,
    decode_rabitq,
    encode_rabitq,
    rotation,
    stored_factors,
)
from dreamdb_arrow.objects.spatial_bucket import decode_spatial_bucket
from dreamdb_arrow.objects.vector_compressor import decode_vector_compressor

RNG = np.random.default_rng(7)


def unit_vectors(count, dim):
    vectors = RNG.normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def stored(space, expected):
    """Return the compressor of a stored Space, all codes in it, the vectors they were made of, and the anchors."""
    dim = expected["dim"]
    vectors = np.frombuffer(base64.b64decode(expected["vectors_f32_b64"]), "<f4").reshape(-1, dim)
    place = {anchor: row for row, anchor in enumerate(expected["anchors"])}
    (path,) = space.glob("vector-compressor/d*")
    buckets = [decode_spatial_bucket(p.read_bytes()) for p in sorted(space.glob("d*/*.bucketed/[01]*/d*"))]
    anchors = [anchor for bucket in buckets for anchor in bucket.anchors.tolist()]
    rows = [place[anchor] for anchor in anchors]
    codes = np.concatenate([bucket.codes for bucket in buckets])
    return decode_vector_compressor(path.read_bytes()), codes, vectors[rows], anchors


@pytest.mark.parametrize("name", ["vec-ivf-rabitq", "vec-ivf-rabitq4"])
def test_codes_of_the_reference(name, reference_space, reference_expected):  # 0010-R4
    compressor, codes, vectors, _ = stored(reference_space(name), reference_expected(name))
    params = compressor.params
    turn = rotation(params.rotation_seed, compressor.dim)
    made = encode_rabitq(turn, vectors, params.bits_per_dim, factors=params.with_correction_factors)
    bits = code_width(compressor.dim, params.bits_per_dim, factors=False)
    assert len(codes) > 500
    assert made.shape == codes.shape
    assert np.array_equal(made[:, :bits], codes[:, :bits])
    if params.with_correction_factors:
        ours, theirs = (np.ascontiguousarray(rows[:, bits:]).view("<f4") for rows in (made, codes))
        assert np.allclose(ours, theirs, rtol=1e-5, atol=0)


def test_codes_order_rows_as_the_reference_does(reference_space, reference_expected):  # 0010-R4
    want = reference_expected("vec-ivf-rabitq4")
    compressor, codes, _, anchors = stored(reference_space("vec-ivf-rabitq4"), want)
    made = decode_rabitq(rotation(compressor.params.rotation_seed, compressor.dim), codes, 4)
    for query in want["queries"]:
        vector = np.frombuffer(base64.b64decode(query["query_f32_b64"]), "<f4")
        best = np.argsort(-(made @ vector), kind="stable")[:10]
        assert [anchors[row] for row in best.tolist()] == query["reference_sdk_top10"]


@pytest.mark.parametrize("dim", [1, 2, 5, 24, 130])
def test_rotation_is_orthonormal_and_begins_as_its_words_do(dim):
    seed = bytes(range(32))
    turn = rotation(seed, dim)
    assert np.allclose(turn @ turn.T, np.eye(dim), atol=1e-12)
    words = key_stream(seed, dim).astype(np.float64)
    assert np.allclose(turn[0], words / np.linalg.norm(words), atol=1e-15)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [3, 8, 33])
def test_more_bits_come_nearer(bits, dim):
    vectors, turn = unit_vectors(200, dim), rotation(bytes(32), dim)
    codes = encode_rabitq(turn, vectors, bits)
    assert codes.shape == (200, code_width(dim, bits, factors=False))
    made = decode_rabitq(turn, codes, bits)
    cosines = np.sum(made * vectors, axis=1) / np.linalg.norm(made, axis=1)
    assert cosines.mean() > {1: 0.7, 2: 0.6, 4: 0.95, 8: 0.999}[bits]
    assert np.array_equal(encode_rabitq(turn, made, bits), codes)  # the middle of a step is in that step


def test_bits_are_packed_lowest_first_and_the_rest_is_zero():
    turn = np.eye(5)
    rows = np.array([[1, -1, 1, 1, -1], [-1, -1, -1, -1, 1]], np.float32)
    assert encode_rabitq(turn, rows, 1).tolist() == [[0b01101], [0b10000]]
    limit = 4 / np.sqrt(5)
    steps = np.float32([-limit, limit, 0, -limit / 2 * 1.01, limit / 2 * 1.01])
    assert encode_rabitq(turn, steps[None], 2).tolist() == [[0b00_10_11_00, 0b11]]


def test_factor_is_one_over_the_sum_of_magnitudes():
    codes = encode_rabitq(np.eye(2), np.float32([[3, -1]]), 1, factors=True)
    assert codes[0, 1:].tobytes() == np.float32(0.25).tobytes()
    assert decode_rabitq(np.eye(2), codes, 1, factors=True).tolist() == [[0.25, -0.25]]
    without = decode_rabitq(np.eye(2), codes[:, :1], 1)
    assert np.allclose(without, [[np.sqrt(0.5), -np.sqrt(0.5)]])


@pytest.mark.parametrize("bits", BITS)
def test_bytes_stand_for_what_is_decoded(bits):
    dim = 5
    codes = encode_rabitq(np.eye(dim), unit_vectors(50, dim), bits)
    numbers = byte_numbers(dim, bits)
    assert numbers.shape == (256, 8 // bits)
    whole = numbers[codes].reshape(50, -1)[:, :dim]
    assert np.allclose(whole, decode_rabitq(np.eye(dim), codes, bits), atol=1e-6)


def test_bytes_beside_factors_stand_for_signs():
    codes = encode_rabitq(np.eye(9), unit_vectors(50, 9), 1, factors=True)
    signs = byte_numbers(9, 1, factors=True)[codes[:, :2]].reshape(50, -1)[:, :9]
    made = decode_rabitq(np.eye(9), codes, 1, factors=True)
    assert np.allclose(signs * stored_factors(codes)[:, None], made, atol=1e-6)


def test_no_vectors():
    assert encode_rabitq(np.eye(3), np.empty((0, 3), np.float32), 4).shape == (0, 2)
    assert decode_rabitq(np.eye(3), np.empty((0, 2), np.uint8), 4).shape == (0, 3)
