"""Portable Roaring bitmaps, the sets of 32-bit numbers inside scalar records: the reader. Specs 0007 and 0011.

    u32 LE 12346, u32 LE k                          or, with runs: u16 LE 12347, u16 LE k - 1, k bits
    k x (u16 LE key, u16 LE cardinality - 1)
    k x u32 LE offset of the container              not with runs and k < 4
    k containers

A container holds the lower 16 bits of its members: up to 4096 as u16 LE, ascending; more as 65,536 bits; as runs where
the bits of the head say so, u16 LE count and that many pairs of first and length - 1. We never write runs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Bytes, spread
from dreamdb_arrow.errors import LayoutError

COOKIE: Final = 12346
RUN_COOKIE: Final = 12347
ARRAY_LIMIT: Final = 4096
BITMAP_BYTES: Final = 8192
NO_OFFSETS_BELOW: Final = 4


@dataclass(frozen=True, slots=True)
class Container:
    """One line of a bitmap's head."""

    key: int
    cardinality: int
    runs: bool


def read_bitmap(data: bytes, at: int) -> tuple[list[Container], int]:
    """Return the containers of the bitmap that begins here, and where the first one lies.

    Raises:
        LayoutError: not a bitmap, or containers that are not where it says.
        struct.error: it is cut off.
    """
    (cookie,) = struct.unpack_from("<I", data, at)
    if cookie == COOKIE:
        (k,) = struct.unpack_from("<I", data, at + 4)
        flags, after = None, at + 8
    elif cookie & 0xFFFF == RUN_COOKIE:  # 0011-R5
        k = (cookie >> 16) + 1
        after = at + 4 + (k + 7) // 8
        flags = data[at + 4 : after]
    else:
        raise LayoutError(f"not a Roaring bitmap: {cookie:#x}")
    if not 1 <= k <= 1 << 16 or after + 4 * k > len(data):  # 0000-R2
        raise LayoutError(f"{k} containers cannot be in this Roaring bitmap")
    if flags is not None and int.from_bytes(flags, "little") >> k:
        raise LayoutError("a Roaring bitmap flags containers that it does not have")
    pairs = struct.iter_unpack("<HH", data[after : after + 4 * k])
    containers = [Container(key, less + 1, _flag(flags, nth)) for nth, (key, less) in enumerate(pairs)]
    if any(left.key >= right.key for left, right in pairwise(containers)):  # 0011-R6
        raise LayoutError("the containers of a Roaring bitmap do not ascend")
    after += 4 * k
    if flags is None or k >= NO_OFFSETS_BELOW:
        offsets = struct.unpack_from(f"<{k}I", data, after)
        after += 4 * k
        _check_offsets(data, at, after, zip(offsets, containers, strict=True))
    return containers, after


def read_container(data: bytes, at: int, container: Container) -> tuple[NDArray[Any], int]:
    """Return the lower 16 bits of a container's members, integers (cardinality,), and where it ends.

    Raises:
        LayoutError: it has another cardinality, or is cut off.
        struct.error: it is cut off.
    """
    end = at + _size(data, at, container)
    if end > len(data):
        raise LayoutError("a container of a Roaring bitmap is cut off")
    lows: NDArray[Any]
    if container.runs:
        lows = _unfold_runs(np.frombuffer(data[at + 2 : end], "<u2"), container.cardinality)
    elif container.cardinality <= ARRAY_LIMIT:
        lows = np.frombuffer(data[at:end], "<u2")
    else:
        lows = unfold_bits(np.frombuffer(data[at:end], np.uint8))
    if len(lows) != container.cardinality:  # 0011-R6
        raise LayoutError("a container of a Roaring bitmap has another cardinality than its head says")
    return lows, end


def unfold_bits(bits: Bytes) -> NDArray[np.int64]:
    """Return the places of the ones in a bitmap container, uint8 (8192,)."""
    return np.flatnonzero(np.unpackbits(bits, bitorder="little"))


def fold_bits(lows: NDArray[Any]) -> Bytes:
    """Return the bitmap container, uint8 (8192,), with these members."""
    ones = np.zeros(8 * BITMAP_BYTES, np.uint8)
    ones[lows] = 1
    return np.packbits(ones, bitorder="little")


def _flag(flags: bytes | None, nth: int) -> bool:
    return flags is not None and bool(flags[nth >> 3] >> (nth & 7) & 1)


def _size(data: bytes, at: int, container: Container) -> int:
    if container.runs:
        return 2 + 4 * int(struct.unpack_from("<H", data, at)[0])
    return 2 * container.cardinality if container.cardinality <= ARRAY_LIMIT else BITMAP_BYTES


def _check_offsets(data: bytes, bitmap: int, at: int, lines: Iterator[tuple[int, Container]]) -> None:
    for offset, container in lines:
        if bitmap + offset != at:  # 0011-R6
            raise LayoutError("a container of a Roaring bitmap is not where its offset says")
        at += _size(data, at, container)


def _unfold_runs(pairs: NDArray[Any], cardinality: int) -> NDArray[np.int64]:
    firsts, lengths = pairs[::2].astype(np.int64), pairs[1::2].astype(np.int64) + 1
    if lengths.sum() != cardinality or np.any(firsts + lengths > 1 << 16):
        raise LayoutError("the runs of a container do not have its cardinality")
    return np.repeat(firsts, lengths) + spread(lengths)
