"""The made table: batch n is the same rows on every machine, in every run, for every peer.

About 590 raw bytes a row: `_anchor` (int64 nanoseconds, each once, ascending), `category` (100 of them), `i`, `f`, `text`
(words, 45 to 60 characters) and `vec` (float32[128], of length one, around 2,000 centres).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DIM: Final = 128
CATEGORIES: Final = 100
INT_MAX: Final = 1_000_000
START_NS: Final = 1_700_000_000_000_000_000
STEP_NS: Final = 1_000_000  # a row each millisecond on average
SCALARS: Final = ("_anchor", "category", "i", "f", "text")
IMAGE_BYTES: Final = 20_000

VECTOR: Final = pa.list_(pa.float32(), DIM)
SCALAR_SCHEMA: Final = pa.schema(
    [
        pa.field("_anchor", pa.int64(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("i", pa.int64()),
        pa.field("f", pa.float64()),
        pa.field("text", pa.string()),
    ]
)
SCHEMA: Final = SCALAR_SCHEMA.append(pa.field("vec", VECTOR))
IMAGE_SCHEMA: Final = SCHEMA.append(pa.field("image", pa.binary()))

_SYLLABLES: Final = (
    "ba",
    "co",
    "de",
    "fi",
    "gra",
    "hu",
    "in",
    "ka",
    "lo",
    "men",
    "nor",
    "pre",
    "sti",
    "ta",
    "ver",
    "y",
)
_WORDS: Final = 3000
_WORDS_A_TEXT: Final = 7
_TEXT_MAX: Final = 60
_CENTRES: Final = 2000
_JPEG_HEAD: Final = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb004300") + bytes(64)
_JPEG_TAIL: Final = b"\xff\xd9"


def batches(rows: int, commits: int) -> Iterator[pa.Table]:
    """Yield `commits` whole tables of rows // commits rows each, in time order."""
    for nth in range(commits):
        yield make_batch(nth, rows // commits)


def make_batch(nth: int, size: int) -> pa.Table:
    """Return batch `nth` of `size` rows, as SCHEMA says."""
    return scalar_batch(nth, size).append_column(SCHEMA.field("vec"), _vectors(nth, size))


def scalar_batch(nth: int, size: int) -> pa.Table:
    """Return the scalars of a batch, as SCALAR_SCHEMA says."""
    rng = np.random.default_rng([1, nth])
    names = pa.array([f"c{c:02d}" for c in range(CATEGORIES)])
    columns = [
        pa.array(anchors_of(nth, size)),
        names.take(pa.array(rng.integers(0, CATEGORIES, size))),
        pa.array(rng.integers(0, INT_MAX, size)),
        pa.array(rng.standard_normal(size)),
        _texts(rng, size),
    ]
    return pa.table(columns, schema=SCALAR_SCHEMA)


def image_batch(nth: int, size: int) -> pa.Table:
    """Return batch `nth` with an image a row, as IMAGE_SCHEMA says."""
    return make_batch(nth, size).append_column(
        IMAGE_SCHEMA.field("image"), pa.array(images(nth, size), pa.binary())
    )


def anchors_of(nth: int, size: int) -> np.ndarray:
    """Return the anchors of a batch: one a millisecond, somewhere in it. int64 (size,), ascending."""
    rng = np.random.default_rng([2, nth])
    first = START_NS + nth * size * STEP_NS
    return first + np.arange(size, dtype=np.int64) * STEP_NS + rng.integers(0, STEP_NS, size)


def all_anchors(rows: int, commits: int) -> np.ndarray:
    """Return the anchors of all batches, ascending."""
    return np.concatenate([anchors_of(nth, rows // commits) for nth in range(commits)])


def pick_anchors(anchors: np.ndarray, count: int, seed: int = 8) -> list[int]:
    """Return some of the anchors, each once, in random order."""
    return np.random.default_rng(seed).choice(anchors, count, replace=False).tolist()


def images(nth: int, size: int) -> list[bytes]:
    """Return `size` images of 15 to 25 KB: framed as JPEG, and as hard to compress as its coded data are."""
    rng = np.random.default_rng([3, nth])
    lengths = rng.integers(IMAGE_BYTES * 3 // 4, IMAGE_BYTES * 5 // 4, size)
    stops = np.cumsum(lengths)
    noise = rng.bytes(int(stops[-1])).replace(b"\xff", b"\xfe")  # as coded data, without markers
    return [
        b"".join((_JPEG_HEAD, noise[stop - n : stop], _JPEG_TAIL))
        for stop, n in zip(stops, lengths, strict=True)
    ]


@cache
def _vocabulary() -> pa.Array:
    rng = np.random.default_rng(4)
    made = ("".join(rng.choice(_SYLLABLES, rng.integers(2, 5))) for _ in range(4 * _WORDS))
    return pa.array(list(dict.fromkeys(made))[:_WORDS])


def _texts(rng: np.random.Generator, size: int) -> pa.Array:
    """Put texts together from words; a few are frequent, most are rare, as in a language."""
    words = _vocabulary()
    ranks = (len(words) * rng.random((_WORDS_A_TEXT, size)) ** 3).astype(np.int64)
    columns = [words.take(pa.array(row)) for row in ranks]
    return pc.utf8_slice_codeunits(pc.binary_join_element_wise(*columns, " "), 0, _TEXT_MAX)


@cache
def _centres() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((_CENTRES, DIM), dtype=np.float32)


def _vectors(nth: int, size: int) -> pa.Array:
    rng = np.random.default_rng([6, nth])
    vectors = 0.6 * rng.standard_normal((size, DIM), dtype=np.float32)
    vectors += _centres()[rng.integers(0, _CENTRES, size)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
