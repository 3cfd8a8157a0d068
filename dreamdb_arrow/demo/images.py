"""Grey images: pixels to PNG and back, to a small vector, and to characters for a terminal.

Only what the demo's own images need of the PNG format (ISO/IEC 15948): eight bits, grey, no filter.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np

from dreamdb_arrow.errors import UnsupportedError

U8 = np.ndarray[Any, np.dtype[np.uint8]]
F32 = np.ndarray[Any, np.dtype[np.float32]]

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
GREY_8: Final = bytes([8, 0, 0, 0, 0])  # bits, colour type, compression, filter method, interlace
SHADES: Final = np.array(list(" .:-=+*#%@"))


def encode_png(pixels: U8) -> bytes:
    """Return a grey image, (h, w) uint8, as a PNG file."""
    assert pixels.dtype == np.uint8
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = pixels
    head = struct.pack(">II", width, height) + GREY_8
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def decode_png(data: bytes) -> U8:
    """Return the pixels of an image that encode_png made. Raises UnsupportedError for any other."""
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR" or data[24:29] != GREY_8 or data[37:41] != b"IDAT":
        raise UnsupportedError("not one of the demo's images")
    width, height, size = *struct.unpack(">II", data[16:24]), *struct.unpack(">I", data[33:37])
    try:
        rows = np.frombuffer(zlib.decompress(data[41 : 41 + size]), dtype=np.uint8).reshape(height, width + 1)
    except (zlib.error, ValueError):
        raise UnsupportedError("not one of the demo's images") from None
    return rows[:, 1:]


def pixel_vectors(images: U8) -> F32:
    """Return images, (n, 2a, 2b) uint8, as vectors, (n, ab): the mean of each square of four pixels, 0 to 1."""
    assert images.ndim == 3
    assert images.shape[1] % 2 == images.shape[2] % 2 == 0
    n, height, width = images.shape
    squares = images.reshape(n, height // 2, 2, width // 2, 2)
    means: F32 = squares.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)
    return means.reshape(n, -1)


def draw(pixels: U8) -> list[str]:
    """Return an image as lines of characters; two rows share a line, for characters are twice as high as wide."""
    pairs = pixels[: len(pixels) // 2 * 2].reshape(-1, 2, pixels.shape[1]).mean(axis=1)
    return ["".join(line) for line in SHADES[(pairs * len(SHADES) / 256).astype(np.int64)]]
