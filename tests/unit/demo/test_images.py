"""Images: PNG files that others read, vectors, and drawings."""

import struct
import zlib

import numpy as np
import pytest

from dreamdb_arrow.demo.images import decode_png, draw, encode_png, pixel_vectors
from dreamdb_arrow.errors import UnsupportedError

PIXELS = np.random.default_rng(1).integers(0, 256, (6, 4), dtype=np.uint8)


def test_a_png_is_made_of_whole_chunks():
    data = encode_png(PIXELS)
    at, kinds = 8, []
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size]) == (zlib.crc32(kind + body),)
        kinds.append(kind)
        at += 12 + size
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", data[16:29]) == (4, 6, 8, 0, 0, 0, 0)


def test_a_png_comes_back():
    np.testing.assert_array_equal(decode_png(encode_png(PIXELS)), PIXELS)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", encode_png(PIXELS)[:45], encode_png(PIXELS)[:30] + bytes(40)]
)
def test_other_images_are_refused(data):
    with pytest.raises(UnsupportedError):
        decode_png(data)


def test_a_vector_is_the_means_of_squares():
    image = np.array([[0, 255, 4, 8], [255, 0, 4, 8]], dtype=np.uint8)
    np.testing.assert_allclose(pixel_vectors(image[None]), [[0.5, 6 / 255]], rtol=1e-6)
    assert pixel_vectors(np.zeros((3, 28, 28), np.uint8)).shape == (3, 196)


def test_a_drawing_has_two_rows_a_line():
    assert draw(np.array([[0, 255, 128], [0, 255, 128], [9, 9, 9]], dtype=np.uint8)) == [" @+"]
