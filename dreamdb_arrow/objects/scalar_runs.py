"""Records whose Roaring bitmaps may have runs, many at once. Specs 0007 and 0011.

Blocks are walked one by one, as only the last container of one says where the next begins; all their containers are then
decoded together. Whatever does not prove to be whole and in order is left to objects.scalar_bucket.decode_record.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Bytes, Ints, numbers_at, slices, spread
from dreamdb_arrow.objects.roaring import (
    ARRAY_LIMIT,
    BITMAP_BYTES,
    COOKIE,
    NO_OFFSETS_BELOW,
    RUN_COOKIE,
    unfold_bits,
)
from dreamdb_arrow.objects.scalar_bucket import MAX_RUN_MEMBERS, RECORD_HEAD, VERSION, Anchors, ascends

_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_BLOCK: Final = struct.Struct("<II")  # upper bits, cookie
_NONE: Final = -1


class _Block(NamedTuple):
    """Where the parts of a block are: `flags` and `table` may be none; `end` is after its last container."""

    record: int
    high: int
    bitmap: int
    k: int
    flags: int
    lines: int
    table: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class _Containers:
    """All containers: the upper 48 bits of their members, how many these are, whether runs, where, how many bytes."""

    prefix: NDArray[np.uint64]
    cardinality: Ints
    runs: NDArray[np.bool_]
    data_at: Ints
    sizes: Ints


def decode_with_runs(bucket: bytes, offsets: Ints, lengths: Ints) -> tuple[Anchors, Ints] | None:
    """Return the anchors of records, and how many each has; None when something about them is not as it should be."""
    blocks: list[_Block] = []
    try:
        for nth, (at, length) in enumerate(zip(offsets.tolist(), lengths.tolist(), strict=True)):
            if not _walk_record(bucket, nth, at, at + length, blocks):
                return None
    except (struct.error, IndexError):
        return None
    data, columns = np.frombuffer(bucket, np.uint8), np.array(blocks, np.int64).T
    found = _find_containers(data, columns)
    lows = None if found is None else _members(data, found)
    if found is None or lows is None:
        return None
    anchors = np.repeat(found.prefix, found.cardinality) | lows
    first_blocks = _changes(columns[0])  # of each record
    first_containers = _changes(np.repeat(columns[0], columns[3]))
    counts = np.add.reduceat(found.cardinality, first_containers)
    in_order = (
        ascends(columns[1], first_blocks)
        and ascends(found.prefix, first_containers)
        and ascends(anchors, counts.cumsum() - counts)
    )
    return (anchors, counts) if in_order else None  # 0011-R6


def _changes(numbers: Ints) -> Ints:
    """Return where numbers differ from the one before; the first one does."""
    return np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])


def _walk_record(data: bytes, nth: int, at: int, end: int, blocks: list[_Block]) -> bool:
    """Add the blocks of one record; whether they fill it."""
    (count,) = _U64.unpack_from(data, at + 1)
    if data[at] != VERSION or not 1 <= count <= end - at:
        return False
    at += RECORD_HEAD
    for _ in range(count):
        block = _read_block(data, nth, at, end)
        if block is None or block.end > end:
            return False
        blocks.append(block)
        at = block.end
    return at == end


def _read_block(data: bytes, record: int, at: int, limit: int) -> _Block | None:
    high, cookie = _BLOCK.unpack_from(data, at)
    bitmap, flags = at + 4, _NONE
    if cookie == COOKIE:
        (k,) = _U32.unpack_from(data, at + 8)
        lines = at + 12
    elif cookie & 0xFFFF == RUN_COOKIE:
        k, flags = (cookie >> 16) + 1, at + 8
        lines = flags + (k + 7) // 8
        if int.from_bytes(data[flags:lines], "little") >> k:
            return None
    else:
        return None
    if not 1 <= k <= 1 << 16 or lines + 4 * k > limit:
        return None
    if flags != _NONE and k % 8 and data[lines - 1] >> k % 8:
        return None
    table = lines + 4 * k if flags == _NONE or k >= NO_OFFSETS_BELOW else _NONE
    body = last = lines + (8 if table != _NONE else 4) * k
    if table != _NONE:
        last = bitmap + _U32.unpack_from(data, table + 4 * (k - 1))[0]
    else:
        for nth in range(k - 1):
            last += _size(data, last, lines, flags, nth)
    if last < body:  # 0000-R2: blocks that lie over one another could be any number of containers
        return None
    end = last + _size(data, last, lines, flags, k - 1)
    return _Block(record, high, bitmap, k, flags, lines, table, body, end)


def _size(data: bytes, at: int, lines: int, flags: int, nth: int) -> int:
    """Return how many bytes the container at `at` has, which is the n-th of its block."""
    if flags != _NONE and data[flags + (nth >> 3)] >> (nth & 7) & 1:
        return 2 + 4 * int(_U16.unpack_from(data, at)[0])
    cardinality = int(_U16.unpack_from(data, lines + 4 * nth + 2)[0]) + 1
    return 2 * cardinality if cardinality <= ARRAY_LIMIT else BITMAP_BYTES


def _find_containers(data: Bytes, columns: Ints) -> _Containers | None:
    """Return the containers of all blocks; None unless each begins where the one before it ends."""
    _, high, bitmap, k, flags, lines, table, body, end = (column for column in columns)
    block, nth = np.repeat(np.arange(len(k)), k), spread(k)
    line = lines[block] + 4 * nth
    key, cardinality = numbers_at(data, line, "<u2"), numbers_at(data, line + 2, "<u2").astype(np.int64) + 1
    runs = np.zeros(len(block), np.bool_)
    may = np.flatnonzero(flags[block] != _NONE)
    runs[may] = data[flags[block[may]] + (nth[may] >> 3)] >> (nth[may] & 7).astype(np.uint8) & 1
    data_at, sizes = body[block], np.where(cardinality <= ARRAY_LIMIT, 2 * cardinality, BITMAP_BYTES)
    listed = table[block] != _NONE
    data_at[listed] = bitmap[block][listed] + numbers_at(data, (table[block] + 4 * nth)[listed], "<u4")
    for step in range(NO_OFFSETS_BELOW):  # without offsets one after another, of which a block has few
        here = np.flatnonzero(listed if step == 0 else ~listed & (nth == step - 1))
        if step > 1:
            data_at[here] = data_at[here - 1] + sizes[here - 1]
        here = here[runs[here]]
        if np.any(data_at[here] + 2 > len(data)):
            return None
        sizes[here] = 2 + 4 * numbers_at(data, data_at[here], "<u2").astype(np.int64)
    stops = data_at + sizes
    expected = np.where(np.r_[nth[1:], 0] == 0, end[block], np.r_[data_at[1:], 0])
    if np.any(stops != expected) or np.any(data_at[nth == 0] != body):
        return None
    prefix = (high[block].astype(np.uint64) << np.uint64(32)) | (key.astype(np.uint64) << np.uint64(16))
    return _Containers(prefix, cardinality, runs, data_at, sizes)


def _members(data: Bytes, found: _Containers) -> Anchors | None:
    """Return the lower 16 bits of the members of all containers, in order."""
    cardinality, runs = found.cardinality, found.runs
    wide = ~runs & (cardinality > ARRAY_LIMIT)
    narrow = ~runs & ~wide
    unfolded = _unfold_runs(data, found.data_at[runs], found.sizes[runs], cardinality[runs])
    if unfolded is None:
        return None
    lows = np.empty(int(cardinality.sum()), np.uint64)
    lows[np.repeat(runs, cardinality)] = unfolded
    lows[np.repeat(narrow, cardinality)] = slices(
        data, found.data_at[narrow], 2 * cardinality[narrow]
    ).data.view("<u2")
    places = cardinality.cumsum() - cardinality
    for at, place, count in zip(found.data_at[wide], places[wide], cardinality[wide], strict=True):
        members = unfold_bits(data[at : at + BITMAP_BYTES])
        if len(members) != count:
            return None
        lows[place : place + count] = members
    return lows


def _unfold_runs(data: Bytes, data_at: Ints, sizes: Ints, cardinality: Ints) -> Ints | None:
    """Return the members of containers of runs, int64, one container after another."""
    counts = (sizes - 2) // 4
    if cardinality.sum() > MAX_RUN_MEMBERS or np.any(counts < 1):  # 0000-R2
        return None
    if len(counts) == 0:
        return counts
    pairs = slices(data, data_at + 2, 4 * counts).data.view("<u2").reshape(-1, 2).astype(np.int64)
    firsts, lengths = pairs[:, 0], pairs[:, 1] + 1
    totals = np.add.reduceat(lengths, counts.cumsum() - counts)
    if np.any(totals != cardinality) or np.any(firsts + lengths > 1 << 16):
        return None
    return np.repeat(firsts, lengths) + spread(lengths)
