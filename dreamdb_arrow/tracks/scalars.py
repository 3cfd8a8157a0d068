"""Scalar Tracks: one value an anchor, stored inverted as the anchors of each value. Specs 0007 and 0011.

int, float, string and timestamp columns are indexed by a B-tree (tracks.btree), categories and booleans by a list in the
Track. Each append adds one bucket with a record for each distinct value. A missing value is an anchor in no record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor_rows import Spans
from dreamdb_arrow.codec.ragged import Bytes, Ints, Ragged, spread
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.btree_page import WHOLE, ScalarEntries
from dreamdb_arrow.objects.scalar_bucket import encode_records
from dreamdb_arrow.objects.scalar_records import decode_records
from dreamdb_arrow.objects.scalar_values import (
    STRING_BYTES_MAX,
    Values,
    ValueType,
    byte_order,
    order_keys,
    take_values,
    value_type_of,
)
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.btree import insert_entries, iterate_btree, read_btree
from dreamdb_arrow.tracks.categories import insert_in_list, read_list
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX, Written, bucket_directory, paths_in, widen

_FETCHED_TOGETHER: Final = 16


@dataclass(frozen=True, slots=True)
class ScalarColumn:
    """A column in dictionary form.

    anchors   int64 (n,), ascending, each once
    codes     int64 (n,), which of `values` each anchor has
    values    distinct, in the order of their type: an int64, float64 or bool array, or a list of str. Not all of them
              need to be in use
    """

    anchors: Ints
    codes: Ints
    values: Values

    def __len__(self) -> int:
        return len(self.anchors)


# --- reading ------------------------------------------------------------------------------------------------


def read_scalars(
    store: Store, track: Track, value_type: str, *, known: frozenset[Address] = frozenset()
) -> ScalarColumn:
    """Return the column of a scalar Track; of two values at one anchor the larger.

    Buckets that are `known` are not read, and their rows are left out, but for records that several values name: a
    record holds anchors and no value, so somebody else's may be the same bytes. Anchors that nobody can see are left
    out, too.

    Raises CorruptDataError; UnsupportedError for a value type or a form of index that is not known.
    """
    kind = value_type_of(value_type)
    entries = _read_entries(store, track, kind)
    buckets, bucket_of = number_addresses(entries.buckets)
    unread = np.array([address not in known for address in buckets], np.bool_)
    if not unread.all():
        kept = np.flatnonzero(unread[bucket_of] | _are_shared(bucket_of, entries.offsets))  # 0021-R10
        entries, bucket_of = entries.take(kept), bucket_of[kept]
    values, codes = _number_values(entries.values)
    parts = list(_read_buckets(store, track, buckets, bucket_of, entries, codes))
    anchors = np.concatenate([anchors for anchors, _ in parts] or [np.empty(0, np.uint64)])
    of_rows = np.concatenate([of_rows for _, of_rows in parts] or [np.empty(0, np.int64)])
    return ScalarColumn(*_one_an_anchor(anchors, of_rows), values)


def _are_shared(bucket_of: Ints, offsets: Ints) -> NDArray[np.bool_]:
    """Tell of each entry whether another names the same record."""
    order = np.lexsort((offsets, bucket_of))
    same = (np.diff(bucket_of[order]) == 0) & (np.diff(offsets[order]) == 0)
    shared = np.zeros(len(offsets), np.bool_)
    shared[order] = np.r_[same, False] | np.r_[False, same]
    return shared


def holds_any(store: Store, track: Track, value_type: str, known: frozenset[Address]) -> bool:
    """Tell whether a scalar Track names one of these buckets; it is read as far as needed. Raises as read_scalars does."""
    kind = value_type_of(value_type)
    leaves = iterate_btree(store, track, kind) if kind.tree else iter([_read_entries(store, track, kind)])
    return any(not known.isdisjoint(number_addresses(leaf.buckets)[0]) for leaf in leaves)


def bucket_addresses(store: Store, track: Track, value_type: str) -> frozenset[Address]:
    """Return the addresses of all buckets that a scalar Track names. Raises as read_scalars does."""
    entries = _read_entries(store, track, value_type_of(value_type))
    return frozenset(number_addresses(entries.buckets)[0])


def number_addresses(rows: Bytes) -> tuple[list[Address], Ints]:
    """Return the distinct ones of n addresses, uint8 (n, 33), and which of them each row is, int64 (n,)."""
    if len(rows) == 0:
        return [], np.empty(0, np.int64)
    digits = np.ascontiguousarray(rows[:, 1:9]).view(np.uint64).reshape(-1)
    _, firsts, codes = np.unique(digits, return_index=True, return_inverse=True)
    if np.array_equal(rows[firsts][codes], rows):  # but for addresses that somebody made to begin alike
        return [Address(row.tobytes()) for row in rows[firsts]], codes
    numbers: dict[bytes, int] = {}
    each = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
    return [Address(name) for name in numbers], np.array(each, np.int64)


def _read_entries(store: Store, track: Track, kind: ValueType) -> ScalarEntries:
    """Return all entries in the order of their values."""
    entries = read_btree(store, track, kind) if kind.tree else read_list(track, kind)
    return _no_entries(kind) if entries is None else entries


def _no_entries(kind: ValueType) -> ScalarEntries:
    none = np.empty(0, np.int64)
    values = kind.decode(np.empty(0, np.uint8), Spans(none, none))
    return ScalarEntries(
        values, none.view(np.uint64), none.view(np.uint64), np.empty((0, 33), np.uint8), none, none
    )


def _number_values(values: Values) -> tuple[Values, Ints]:
    """Return the distinct ones of values that are in order, and which of them each is."""
    changes = np.ones(len(values), np.bool_)
    if isinstance(values, list):
        changes[1:] = np.fromiter(
            map(str.__ne__, values, islice(values, 1, None)), np.bool_, max(0, len(values) - 1)
        )
    elif values.dtype == np.float64:
        keys = order_keys(values)
        changes[1:] = keys[1:] != keys[:-1]
    else:
        changes[1:] = values[1:] != values[:-1]
    return take_values(values, np.flatnonzero(changes)), changes.cumsum() - 1


def _read_buckets(
    store: Store, track: Track, buckets: list[Address], bucket_of: Ints, entries: ScalarEntries, codes: Ints
) -> Iterator[tuple[NDArray[np.uint64], Ints]]:
    """Yield the anchors that each bucket holds, and the code of each."""
    order = np.argsort(bucket_of, kind="stable")
    numbers = bucket_of[order]
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]][: len(numbers)]).tolist()
    directory = bucket_directory(track.timeline, track.modality)
    groups = iter(pairwise([*starts, len(order)]))
    while together := list(islice(groups, _FETCHED_TOGETHER)):
        names = [buckets[numbers[start]] for start, _ in together]
        fetched = fetch_many(store, paths_in(directory, names))
        for data, (start, stop) in zip(fetched, together, strict=True):
            rows = order[start:stop]
            yield _read_bucket(data, entries.offsets[rows], entries.lengths[rows], codes[rows])


def _read_bucket(data: bytes, offsets: Ints, lengths: Ints, codes: Ints) -> tuple[NDArray[np.uint64], Ints]:
    """Return the anchors of some records of a bucket, and the code of each; codes ascend.

    Of several entries with one record only the last can win, so it alone is decoded.
    """
    lengths = np.where(lengths == WHOLE, len(data), lengths)
    order = np.lexsort((lengths, offsets))  # stable, so that codes ascend among equals
    at, sizes = offsets[order], lengths[order]
    last = np.r_[(at[1:] != at[:-1]) | (sizes[1:] != sizes[:-1]), True]
    anchors, counts = decode_records(data, at[last], sizes[last])
    return anchors, np.repeat(codes[order[last]], counts)


def _one_an_anchor(anchors: NDArray[np.uint64], codes: Ints) -> tuple[Ints, Ints]:
    """Return what can be seen, ascending by anchor, and of several codes at one the largest."""
    visible = anchors <= np.uint64(VISIBLE_ANCHOR_MAX)
    if not visible.all():
        anchors, codes = anchors[visible], codes[visible]
    times = anchors.view(np.int64)
    order = np.argsort(times)
    ordered = times[order]
    if np.all(ordered[1:] > ordered[:-1]):
        return ordered, codes[order]
    order = np.lexsort((codes, times))
    ordered = times[order]
    last = np.r_[ordered[1:] != ordered[:-1], True]  # 0001-R17
    return ordered[last], codes[order[last]]


# --- writing ------------------------------------------------------------------------------------------------


def write_scalars(
    store: Store,
    batch: Batch,
    track: Track,
    field_name: str,
    value_type: str,
    anchors: NDArray[Any],
    values: Any,
) -> Written:
    """Add a bucket and the pages of a scalar column that also has these rows, and return its Track.

    Args:
        store: where the Track's pages are.
        batch: what new objects are added to.
        track: as it was.
        field_name: for messages.
        value_type: of the field.
        anchors: int64 (n,), in any order. Missing values are simply not among them.
        values: n values: an array, or for text a list of str.

    Raises:
        InvalidInputError: a value that the type does not have, or an anchor that nobody can see.
        CorruptDataError, UnsupportedError: the Track cannot be read.
    """
    kind = value_type_of(value_type)
    times = np.asarray(anchors, np.int64)
    if len(times) != len(values):
        raise InvalidInputError(f"field {field_name!r}: {len(times)} anchors for {len(values)} values")
    if len(times) == 0:
        return Written(track)
    if not 0 <= int(times.min()) <= int(times.max()) <= VISIBLE_ANCHOR_MAX:  # 0003-R1
        raise InvalidInputError(f"field {field_name!r}: anchors must lie in 0 .. 2^63 - 2")
    try:
        distinct, codes = kind.distinct(values)
        return write_column(store, batch, track, value_type, ScalarColumn(times, codes, distinct))
    except InvalidInputError as error:
        raise InvalidInputError(f"field {field_name!r}: {error}") from None


def write_column(store: Store, batch: Batch, track: Track, value_type: str, column: ScalarColumn) -> Written:
    """Do as write_scalars does with a column in dictionary form, whose values are all in use.

    Its anchors may be in any order, and repeat.
    """
    kind = value_type_of(value_type)
    encoded = kind.encode(column.values)
    if kind.tree and len(encoded) and encoded.lengths.max() > STRING_BYTES_MAX + 3:  # 0011-R2
        raise InvalidInputError(
            f"text in a string field may have {STRING_BYTES_MAX} bytes; use another kind of field"
        )
    anchors, counts = _group_anchors(column, len(encoded))
    entries, bucket = _add_bucket(batch, track, column.values, encoded, anchors, counts)
    first, stop = int(entries.firsts.min()), int(entries.stops.max())
    coverage = widen(track.coverage, first, stop, empty=track.object_index == [])
    index: Any
    if kind.tree:
        index = insert_entries(store, batch, track, kind, entries, encoded)
    else:
        index = insert_in_list(track, kind, entries, encoded)
    return Written(replace(track, coverage=coverage, object_index=index), (bucket,))


def _group_anchors(column: ScalarColumn, size: int) -> tuple[Ints, Ints]:
    """Return the anchors of the first value, of the second, ..., each ascending; and how many each value has."""
    codes, anchors = column.codes, column.anchors
    if len(codes) == size:  # each value once
        placed = np.empty_like(anchors)
        placed[codes] = anchors
        return placed, np.ones(size, np.int64)
    if not np.all(anchors[1:] > anchors[:-1]):
        order = np.lexsort((anchors, codes))
    else:
        order = np.argsort(codes, kind="stable")
    codes, anchors = codes[order], anchors[order]
    fresh = np.r_[True, (codes[1:] != codes[:-1]) | (anchors[1:] != anchors[:-1])][: len(codes)]
    return anchors[fresh], np.bincount(codes[fresh], minlength=size)


def _add_bucket(
    batch: Batch, track: Track, values: Values, encoded: Ragged, anchors: Ints, counts: Ints
) -> tuple[ScalarEntries, Address]:
    """Add the bucket of a column and return an entry for each value, in the order of values."""
    order = byte_order(values, encoded)
    starts = counts.cumsum() - counts
    records = encode_records(
        anchors[np.repeat(starts[order], counts[order]) + spread(counts[order])], counts[order]
    )
    # 0002-R9
    bucket = batch.add_payload(bucket_directory(track.timeline, track.modality), records.data.tobytes())
    offsets, lengths = np.empty_like(counts), np.empty_like(counts)
    offsets[order], lengths[order] = records.starts, records.lengths
    firsts, stops = anchors[starts], anchors[starts + counts - 1] + 1
    buckets = np.broadcast_to(np.frombuffer(bucket, np.uint8), (len(counts), len(bucket)))
    unsigned = firsts.astype(np.uint64), stops.astype(np.uint64)
    return ScalarEntries(values, *unsigned, buckets, offsets, lengths), bucket
