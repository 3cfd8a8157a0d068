"""The made table that the jobs share: an anchor, a category, an int, a float, a short text and a vector a row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

DIM = 128
CATEGORIES = 100
START_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000
WORDS = [
    "time",
    "series",
    "of",
    "signals",
    "anchored",
    "to",
    "one",
    "line",
    "and",
    "found",
    "by",
    "the",
    "cell",
    "in",
    "which",
    "their",
    "vector",
    "lies",
]


def batches(rows: int, commits: int, seed: int = 7) -> Iterator[pa.Table]:
    """Yield `commits` tables of rows/commits rows each, ascending by `_anchor`."""
    rng = np.random.default_rng(seed)
    size = rows // commits
    words = np.array(WORDS)
    for nth in range(commits):
        anchors = START_NS + (np.arange(size, dtype=np.int64) + nth * size) * STEP_NS
        picked = words[rng.integers(0, len(words), (size, 6))]
        yield pa.table(
            {
                "_anchor": anchors,
                "category": pa.array([f"c{c:03d}" for c in rng.integers(0, CATEGORIES, size)]),
                "n": rng.integers(0, 1 << 40, size),
                "x": rng.random(size),
                "text": pa.array([" ".join(row) for row in picked]),
                "v": pa.FixedSizeListArray.from_arrays(
                    rng.standard_normal(size * DIM, dtype=np.float32), DIM
                ),
            }
        )
