"""Scalar buckets: for each value of one append, the set of anchors that carry it. Specs 0007 and 0011.

A bucket is nothing but *records*, one after another; index entries say which bytes belong to which value. A record is

    01, u64 LE number of blocks, then for each upper 32 bits of an anchor, ascending, one block:
    u32 LE upper bits, and the lower 32 as a Roaring bitmap (objects.roaring)

A column of distinct values has a million records of one anchor each, 31 bytes: these go through one structured array.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Bytes, Ints, Ragged, move_strings, window
from dreamdb_arrow.errors import InvalidInputError, LayoutError
from dreamdb_arrow.objects.roaring import (
    ARRAY_LIMIT,
    BITMAP_BYTES,
    COOKIE,
    fold_bits,
    read_bitmap,
    read_container,
)

Anchors = NDArray[np.uint64]

VERSION: Final = 1
RECORD_HEAD: Final = 9
BLOCK_HEAD: Final = 12
MAX_RUN_MEMBERS: Final = 1 << 24  # six bytes of runs can say 65,536 members: what one reading may unfold
SINGLE: Final = np.dtype(
    [
        ("version", "u1"),
        ("blocks", "<u8"),
        ("high", "<u4"),
        ("cookie", "<u4"),
        ("containers", "<u4"),
        ("key", "<u2"),
        ("cardinality", "<u2"),
        ("offset", "<u4"),
        ("low", "<u2"),
    ]
)
SINGLE_CONSTANTS: Final = {
    "version": VERSION,
    "blocks": 1,
    "cookie": COOKIE,
    "containers": 1,
    "cardinality": 0,
    "offset": 16,
}


# --- reading one --------------------------------------------------------------------------------------------


def decode_record(data: bytes, *, max_run_members: int = MAX_RUN_MEMBERS) -> Anchors:
    """Return the anchors of one record: uint64 (n,), ascending, n > 0.

    Raises LayoutError for anything but one whole record, and for runs that unfold beyond the limit.
    """
    if len(data) < RECORD_HEAD or data[0] != VERSION:
        raise LayoutError("a scalar record must begin with version 1 and a number of blocks")
    blocks = int.from_bytes(data[1:RECORD_HEAD], "little")
    if not 1 <= blocks <= len(data) // BLOCK_HEAD:  # 0011-R6
        raise LayoutError(f"{blocks} blocks cannot be in a scalar record of {len(data)} bytes")
    try:
        anchors = np.concatenate(list(_read_blocks(data, blocks, max_run_members)))
    except (struct.error, IndexError):
        raise LayoutError("a scalar record is cut off") from None
    if np.any(anchors[1:] <= anchors[:-1]):  # 0011-R6
        raise LayoutError("the anchors of a scalar record do not ascend")
    return anchors


def _read_blocks(data: bytes, blocks: int, budget: int) -> Iterator[Anchors]:
    at, last = RECORD_HEAD, -1
    for _ in range(blocks):
        (high,) = struct.unpack_from("<I", data, at)
        if high <= last:  # 0011-R6
            raise LayoutError("the blocks of a scalar record do not ascend")
        containers, at = read_bitmap(data, at + 4)
        last = high
        for container in containers:
            budget -= container.cardinality if container.runs else 0
            if budget < 0:  # 0000-R2
                raise LayoutError("the runs of a scalar record unfold to too many anchors")
            lows, at = read_container(data, at, container)
            yield np.uint64(high << 32 | container.key << 16) | lows.astype(np.uint64)
    if at != len(data):  # 0011-R4
        raise LayoutError("bytes after the end of a scalar record")


# --- writing many -------------------------------------------------------------------------------------------


def encode_records(anchors: NDArray[Any], counts: Ints) -> Ragged:
    """Return one record for each group of anchors.

    Args:
        anchors: the groups one after another, integers (n,), each group ascending and without duplicates.
        counts: the sizes of the groups, int64 (m,), none of them zero.

    Raises:
        InvalidInputError: a group is empty or does not ascend.
    """
    numbers = np.asarray(anchors).astype(np.uint64)
    assert counts.sum() == len(numbers)
    if np.any(counts < 1):  # 0011-R6
        raise InvalidInputError("a value without an anchor has no record")
    begins = marks_at(counts.cumsum() - counts, len(numbers))
    if np.any((numbers[1:] <= numbers[:-1]) & ~begins[1:]):
        raise InvalidInputError("the anchors of a value must ascend")
    if len(counts) == len(numbers):
        return _encode_singles(numbers)
    return _encode_groups(numbers, begins)


def _encode_singles(anchors: Anchors) -> Ragged:
    records = np.empty(len(anchors), SINGLE)
    for name, value in SINGLE_CONSTANTS.items():
        records[name] = value
    records["high"] = anchors >> np.uint64(32)
    records["key"] = (anchors >> np.uint64(16)) & np.uint64(0xFFFF)
    records["low"] = anchors & np.uint64(0xFFFF)
    return Ragged.of_rows(records.view(np.uint8).reshape(-1, SINGLE.itemsize))


def _encode_groups(anchors: Anchors, begins: NDArray[np.bool_]) -> Ragged:
    """Place containers in blocks and blocks in records by their sizes, then fill each part of all of them."""
    prefix = anchors >> np.uint64(16)
    members = np.flatnonzero(begins | _changes(prefix))  # the first member of each container
    cardinality = np.diff(members, append=len(anchors))
    sizes = np.where(cardinality > ARRAY_LIMIT, BITMAP_BYTES, 2 * cardinality)
    high = prefix[members] >> np.uint64(16)
    heads = np.flatnonzero(begins[members] | _changes(high))  # the first container of each block
    k = np.diff(heads, append=len(members))
    block_sizes = BLOCK_HEAD + 8 * k + np.add.reduceat(sizes, heads)
    first_blocks = np.flatnonzero(begins[members][heads])  # the first block of each record
    lengths = RECORD_HEAD + np.add.reduceat(block_sizes, first_blocks)
    heading = np.zeros(len(heads), np.int64)
    heading[first_blocks] = RECORD_HEAD
    blocks = (heading + block_sizes).cumsum() - block_sizes

    out = np.zeros(int(lengths.sum()), np.uint8)
    records = blocks[first_blocks] - RECORD_HEAD
    out[records] = VERSION
    _put(out, records + 1, np.diff(first_blocks, append=len(heads)), "<u8")
    _put(out, blocks, high[heads], "<u4")
    _put(out, blocks + 4, np.full(len(blocks), COOKIE), "<u4")  # 0011-R5
    _put(out, blocks + 8, k, "<u4")
    block = np.repeat(np.arange(len(heads)), k)
    line, width = blocks[block] + BLOCK_HEAD, 4 * k[block]
    nth = 4 * (np.arange(len(members)) - heads[block])
    data_at = line + 2 * width + bytes_before(sizes, heads, block)
    _put(out, line + nth, prefix[members] & np.uint64(0xFFFF), "<u2")
    _put(out, line + nth + 2, cardinality - 1, "<u2")
    _put(out, line + nth + width, data_at - blocks[block] - 4, "<u4")
    _fill_containers(out, data_at, (anchors & np.uint64(0xFFFF)).astype("<u2"), members, cardinality)
    return Ragged(out, lengths)


def _fill_containers(out: Bytes, data_at: Ints, lows: NDArray[Any], members: Ints, cardinality: Ints) -> None:
    wide = cardinality > ARRAY_LIMIT
    move_strings(out, data_at, lows.view(np.uint8), 2 * members, np.where(wide, 0, 2 * cardinality))
    for at, first, count in zip(data_at[wide], members[wide], cardinality[wide], strict=True):
        out[at : at + BITMAP_BYTES] = fold_bits(lows[first : first + count])


def _put(out: Bytes, places: Ints, numbers: NDArray[Any], dtype: str) -> None:
    kind = np.dtype(dtype)
    window(out, kind.itemsize)[places] = numbers.astype(kind).view(np.dtype((np.void, kind.itemsize)))


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each value differs from the one before it; the first one does."""
    changed = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=changed[1:])
    return changed


def marks_at(places: Ints, size: int) -> NDArray[np.bool_]:
    """Return bool (size,), true at these places."""
    marked = np.zeros(size, np.bool_)
    marked[places] = True
    return marked


def ascends(values: NDArray[Any], begins: Ints) -> bool:
    """Whether values (n,) ascend strictly from each of these places to the next."""
    return bool(np.all((values[1:] > values[:-1]) | marks_at(begins, len(values))[1:]))


def bytes_before(sizes: Ints, heads: Ints, block: Ints) -> Ints:
    """Return how many bytes of containers come before each one in its own block, int64 (containers,).

    Args:
        sizes: of the containers, int64 (containers,).
        heads: the first container of each block.
        block: the block of each container.
    """
    before = sizes.cumsum() - sizes
    return before - before[heads][block]
