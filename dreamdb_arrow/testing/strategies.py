"""Hypothesis strategies for rows of a Space: every field kind that can be written, with gaps and with edges.

Importing this needs hypothesis; nothing else in the package does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from dreamdb_arrow.dataset.schema import Schema

DIM: Final = 3
T0: Final = 1_700_000_000_000_000_000

EDGE_INTS: Final = (0, -1, 1, 2**63 - 1, -(2**63), 255, 65536)
EDGE_FLOATS: Final = (0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, -1e-7, 1 / 3)
EDGE_TEXTS: Final = ("", "a", "A", "é", "日本", 'it\'s "quoted"; --', "\U0001f600", "zero\0byte", " ", "NULL")
TIMES: Final = (0, 1, -1, T0, -(10**18), 253_402_300_799 * 10**6)
MEDIA: Final = (b"", b"\x00", b"\xff\xd8\xff\xd9", b"same", b"0123456789" * 7)


def full_schema() -> Schema:
    """Return a schema with every scalar type, media of each way of storing, and an embedding a partitioner."""
    return (
        Schema()
        .add_scalar_int("n")
        .add_scalar_float("x", required=False)
        .add_scalar_string("s", required=False)
        .add_scalar_categorical("c", required=False)
        .add_scalar_bool("ok", required=False)
        .add_scalar_timestamp("at", required=False)
        .add_image("img", mime="png", required=False)
        .add_audio("snd", required=False, chunk_size=16)
        .add_embedding("v", dim=DIM, lsh_bits=3, required=False)
        .add_embedding("w", dim=DIM, algorithm="dreamdb.ivf-cosine", required=False, rerank=True)
    )


def as_f32(value: float) -> float:
    """Return the nearest number that 32 bits hold."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def vectors() -> SearchStrategy[list[float]]:
    """Return vectors with a direction, whose lengths span many magnitudes and whose coordinates often coincide."""
    numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, as_f32(1e-3), as_f32(3e4)])
    return st.lists(numbers, min_size=DIM, max_size=DIM).filter(any)


def values() -> Mapping[str, SearchStrategy[Any]]:
    """Return a strategy for each field of `full_schema`."""
    return {
        "n": st.sampled_from(EDGE_INTS) | st.integers(-5, 5),
        "x": st.sampled_from(EDGE_FLOATS),
        "s": st.sampled_from(EDGE_TEXTS),
        "c": st.sampled_from(["red", "green", ""]),
        "ok": st.booleans(),
        "at": st.sampled_from(TIMES),
        "img": st.sampled_from(MEDIA),
        "snd": st.sampled_from(MEDIA),
        "v": vectors(),
        "w": vectors(),
    }


def rows() -> SearchStrategy[dict[str, Any]]:
    """Return rows of `full_schema`: `n` always, of the other fields some."""
    each = dict(values())
    return st.fixed_dictionaries({"n": each.pop("n")}, optional=each)


def batches(max_size: int = 5) -> SearchStrategy[list[dict[str, Any]]]:
    """Return the rows of one append."""
    return st.lists(rows(), min_size=1, max_size=max_size)


def anchors() -> SearchStrategy[int]:
    """Return anchors of which many coincide, so that batches overlap, clash and interleave."""
    return st.integers(0, 60) | st.integers(T0, T0 + 30)


def ticks() -> SearchStrategy[int]:
    """Return times of which most coincide."""
    return st.sampled_from([10, 12, 40, T0, T0 + 5])
