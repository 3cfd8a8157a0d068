"""PQ codes: those of the reference bit for bit, and what comes back from them."""

import base64

import numpy as np
import pytest

from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.kernels.pq import decode_pq, encode_pq
from dreamdb_arrow.objects.spatial_bucket import decode_spatial_bucket
from dreamdb_arrow.objects.vector_compressor import codebook_rows, decode_vector_compressor

BOOKS = np.float32([[[1, 0], [0, 1], [-1, 0]], [[0, -1], [0.6, 0.8], [1, 0]]])


def test_codes_of_the_reference(reference_space, reference_expected):  # 0010-R4
    space, want = reference_space("vec-ivf-pq"), reference_expected("vec-ivf-pq")
    vectors = np.frombuffer(base64.b64decode(want["vectors_f32_b64"]), "<f4").reshape(-1, want["dim"])
    place = {anchor: row for row, anchor in enumerate(want["anchors"])}
    (path,) = space.glob("vector-compressor/d*")
    books = codebook_rows(decode_vector_compressor(path.read_bytes()))
    checked = 0
    for each in space.glob("d*/*.bucketed/[01]*/d*"):
        bucket = decode_spatial_bucket(each.read_bytes())
        rows = vectors[[place[anchor] for anchor in bucket.anchors.tolist()]]
        assert np.array_equal(encode_pq(books, rows), bucket.codes)
        checked += len(rows)
    assert checked == want["count"] > 500


def test_each_part_goes_to_its_best_row():
    vectors = np.float32([[5, 1, 1, 2], [-3, 2, 0, -9], [1, 1, 2, 0]])
    assert encode_pq(BOOKS, vectors).tolist() == [[0, 1], [2, 0], [0, 2]]  # equal products: the first row


def test_codes_come_back_as_their_rows():
    assert decode_pq(BOOKS, np.uint8([[0, 1], [2, 0]])).tolist() == [
        [1, 0, np.float32(0.6), np.float32(0.8)],
        [-1, 0, 0, -1],
    ]
    assert decode_pq(BOOKS, np.empty((0, 2), np.uint8)).shape == (0, 4)


def test_code_of_no_row_is_refused():  # 0010-R5
    with pytest.raises(LayoutError, match="row 3 of a codebook of 3"):
        decode_pq(BOOKS, np.uint8([[0, 3]]))
