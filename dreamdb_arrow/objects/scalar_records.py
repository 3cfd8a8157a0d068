"""The records of a whole scalar bucket, decoded at once. Specs 0007 and 0011.

Three shapes are known by heart: the 31 bytes of a single anchor, records of Roaring bitmaps without runs, and those with
runs (objects.scalar_runs). Whatever does not prove to be one of these is left to objects.scalar_bucket.decode_record,
the definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import Bytes, Ints, numbers_at, slices, spread, window
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.roaring import ARRAY_LIMIT, BITMAP_BYTES, COOKIE, unfold_bits
from dreamdb_arrow.objects.scalar_bucket import (
    BLOCK_HEAD,
    MAX_RUN_MEMBERS,
    RECORD_HEAD,
    SINGLE,
    SINGLE_CONSTANTS,
    VERSION,
    Anchors,
    ascends,
    bytes_before,
    decode_record,
)
from dreamdb_arrow.objects.scalar_runs import decode_with_runs


def decode_records(bucket: bytes, offsets: Ints, lengths: Ints) -> tuple[Anchors, Ints]:
    """Return the anchors of many records of one bucket, and how many each has.

    Args:
        bucket: all of its bytes.
        offsets: where the records begin, int64 (m,), ascending.
        lengths: int64 (m,).

    Returns:
        The anchors, uint64 (n,), record by record and ascending within each; and int64 (m,).

    Raises:
        LayoutError: a record that is not one, that lies outside the bucket, or over another one.
    """
    ends = np.r_[offsets[1:], len(bucket)][: len(offsets)]
    if np.any(offsets < 0) or np.any(lengths < 0) or np.any(lengths > ends - offsets):  # 0011-R4
        raise LayoutError("records lie outside their scalar bucket, or over one another")
    data = np.frombuffer(bucket, np.uint8)
    single, anchors = _decode_singles(data, offsets, lengths)
    counts = np.ones(len(offsets), np.int64)
    if single.all():
        return anchors, counts
    others, at, sizes = ~single, offsets[~single], lengths[~single]
    rest, counts[others] = (
        _decode_groups(data, at, sizes)
        or decode_with_runs(bucket, at, sizes)
        or _decode_each(bucket, at, sizes)
    )
    is_single = np.repeat(single, counts)
    merged = np.empty(len(is_single), np.uint64)
    merged[is_single], merged[~is_single] = anchors, rest
    return merged, counts


def _decode_singles(data: Bytes, offsets: Ints, lengths: Ints) -> tuple[NDArray[np.bool_], Anchors]:
    """Return which records are those of a single anchor, bool (m,), and the anchors of these."""
    single = lengths == SINGLE.itemsize
    records = window(data, SINGLE.itemsize)[offsets[single]].view(SINGLE)
    usual = np.logical_and.reduce([records[name] == value for name, value in SINGLE_CONSTANTS.items()])
    single[single] = usual
    high, key, low = (records[name][usual].astype(np.uint64) for name in ("high", "key", "low"))
    return single, (high << np.uint64(32)) | (key << np.uint64(16)) | low


def _decode_each(bucket: bytes, offsets: Ints, lengths: Ints) -> tuple[Anchors, Ints]:
    decoded, budget = [], MAX_RUN_MEMBERS
    for at, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
        record = decode_record(bucket[at : at + length], max_run_members=budget)
        budget -= max(0, len(record) - 8 * length)  # without runs, a byte holds eight members at most
        decoded.append(record)
    return np.concatenate(decoded), np.array([len(record) for record in decoded], np.int64)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Blocks in the order of their places: where each begins and ends, and its number of containers."""

    first: Ints
    after: Ints
    k: Ints

    def take(self, which: NDArray[np.bool_]) -> _Blocks:
        return _Blocks(self.first[which], self.after[which], self.k[which])


def _decode_groups(data: Bytes, offsets: Ints, lengths: Ints) -> tuple[Anchors, Ints] | None:
    """Decode records without runs; None when one of them may be anything else."""
    if lengths.min() < RECORD_HEAD + BLOCK_HEAD or np.any(data[offsets] != VERSION):
        return None
    starts, ends = offsets + RECORD_HEAD, offsets + lengths
    blocks = _chained(_candidates(data, starts, ends), starts)
    begin, stop = np.searchsorted(blocks.first, starts), np.searchsorted(blocks.first, ends)
    if (
        np.any(begin == stop)
        or np.any(blocks.first[begin] != starts)
        or np.any(blocks.after[stop - 1] != ends)
    ):
        return None
    if np.any(numbers_at(data, offsets + 1, "<u8").astype(np.int64) != stop - begin):
        return None
    return _decode_blocks(data, blocks, begin)


def _candidates(data: Bytes, starts: Ints, ends: Ints) -> _Blocks:
    """Return all places within the records that look like a block: a 12346 can also be part of a container."""
    first = _find_cookies(data) - 4
    record = np.searchsorted(starts, first, side="right") - 1
    inside = (record >= 0) & (first + BLOCK_HEAD <= ends[record])
    first, limit = first[inside], ends[record[inside]]
    k = numbers_at(data, first + 8, "<u4").astype(np.int64)
    fits = (k >= 1) & (k <= 1 << 16) & (first + BLOCK_HEAD + 8 * k <= limit)
    first, limit, k = first[fits], limit[fits], k[fits]
    fits = numbers_at(data, first + BLOCK_HEAD + 4 * k, "<u4") == 8 + 8 * k
    first, limit, k = first[fits], limit[fits], k[fits]
    if len(k) == 0 or k.sum() > len(data):  # heads that overlap that much are somebody's design
        return _Blocks(first[:0], first[:0], k[:0])
    cardinality = numbers_at(data, np.repeat(first + BLOCK_HEAD + 2, k) + 4 * spread(k), "<u2")
    after = first + BLOCK_HEAD + 8 * k + np.add.reduceat(_sizes(cardinality + np.int64(1)), k.cumsum() - k)
    return _Blocks(first, after, k).take(after <= limit)


def _find_cookies(data: Bytes) -> Ints:
    places = np.flatnonzero(data[: max(0, len(data) - 3)] == COOKIE & 0xFF)
    for nth, byte in enumerate(COOKIE.to_bytes(4, "little")[1:], start=1):
        places = places[data[places + nth] == byte]
    return places


def _chained(blocks: _Blocks, starts: Ints) -> _Blocks:
    """Return the blocks that begin a record or follow another one; empty unless they form whole chains."""
    if not _is_chain(blocks, starts):
        blocks = blocks.take(np.isin(blocks.first, np.concatenate([starts, blocks.after])))
    return blocks if _is_chain(blocks, starts) else blocks.take(np.zeros(len(blocks.k), np.bool_))


def _is_chain(blocks: _Blocks, starts: Ints) -> bool:
    follows = np.r_[False, blocks.first[1:] == blocks.after[:-1]][: len(blocks.k)]
    begins = np.searchsorted(starts, blocks.first, "right") > np.searchsorted(starts, blocks.first, "left")
    return bool(np.all(follows | begins))


def _decode_blocks(data: Bytes, blocks: _Blocks, begin: Ints) -> tuple[Anchors, Ints] | None:
    """Decode the containers of all blocks; `begin` is the first block of each record."""
    k = blocks.k
    block = np.repeat(np.arange(len(k)), k)
    heads = k.cumsum() - k
    line, width, nth = blocks.first[block] + BLOCK_HEAD, 4 * k[block], 4 * spread(k)
    key = numbers_at(data, line + nth, "<u2").astype(np.uint64)
    cardinality = numbers_at(data, line + nth + 2, "<u2").astype(np.int64) + 1
    data_at = line + 2 * width + bytes_before(_sizes(cardinality), heads, block)
    lows = _members(data, data_at, cardinality)
    if lows is None or np.any(numbers_at(data, line + width + nth, "<u4") != data_at - line + 8):
        return None
    high = numbers_at(data, blocks.first, "<u4").astype(np.uint64)
    prefix = (high[block] << np.uint64(16)) | key
    anchors = np.repeat(prefix << np.uint64(16), cardinality) | lows
    counts = np.add.reduceat(cardinality, heads[begin])
    in_order = (
        ascends(high, begin) and ascends(prefix, heads[begin]) and ascends(anchors, counts.cumsum() - counts)
    )
    return (anchors, counts) if in_order else None  # 0011-R6


def _members(data: Bytes, data_at: Ints, cardinality: Ints) -> Anchors | None:
    """Return the lower 16 bits of the members of all containers, in order."""
    wide = cardinality > ARRAY_LIMIT
    narrow = slices(data, data_at[~wide], 2 * cardinality[~wide]).data.view("<u2")
    if not wide.any():
        return narrow.astype(np.uint64)
    lows = np.empty(int(cardinality.sum()), np.uint64)
    lows[np.repeat(~wide, cardinality)] = narrow
    places = cardinality.cumsum() - cardinality
    for at, place, count in zip(data_at[wide], places[wide], cardinality[wide], strict=True):
        members = unfold_bits(data[at : at + BITMAP_BYTES])
        if len(members) != count:
            return None
        lows[place : place + count] = members
    return lows


def _sizes(cardinality: Ints) -> Ints:
    return np.where(cardinality > ARRAY_LIMIT, BITMAP_BYTES, 2 * cardinality)
