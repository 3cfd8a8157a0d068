"""Indexes of categories and booleans: a list of entries in the Track itself, never paged. Specs 0007 and 0011.

An entry is `[value bytes, first anchor, last anchor + 1, bucket, offset, length]`, or without the last two when the whole
bucket is its record. We write them in the order of value bytes and first anchor, and read them in any.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor_rows import Spans
from dreamdb_arrow.codec.ragged import Ragged
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.btree_page import WHOLE, ScalarEntries
from dreamdb_arrow.objects.scalar_values import ValueType
from dreamdb_arrow.objects.shape import expect_address, expect_list, expect_uint
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.tracks.btree import check_form

_SIZE_MAX: Final = 1 << 62


def read_list(track: Track, kind: ValueType) -> ScalarEntries | None:
    """Return the entries of a column in the order of their values; None when it has none.

    Raises LayoutError for anything that is not such a list, UnsupportedError for an unknown form.
    """
    if isinstance(track.object_index, dict):
        check_form(track.object_index)
        raise LayoutError("a column of categories or booleans must be indexed by a list")  # 0011-R7
    rows = expect_list(track.object_index, "object_index of a scalar Track")
    return _entries_of_lists(kind, rows) if rows else None


def _entries_of_lists(kind: ValueType, rows: list[Any]) -> ScalarEntries:
    """Return decoded index entries, in whatever order, as columns in the order of their values."""
    for row in rows:
        if not isinstance(row, list) or len(row) not in (4, 6) or not isinstance(row[0], bytes):
            raise LayoutError("an entry of a scalar index has four or six items, the first of them bytes")
    encoded = Ragged.of([row[0] for row in rows])
    firsts, stops = (_uints([row[nth] for row in rows]) for nth in (1, 2))
    buckets = np.frombuffer(b"".join(expect_address(row[3], "bucket") for row in rows), np.uint8).reshape(
        -1, 33
    )
    parts = [row[4:] or [0, 0] for row in rows]
    offsets, lengths = (_uints([part[nth] for part in parts]) for nth in (0, 1))
    if np.any(firsts >= stops) or np.any(np.maximum(offsets, lengths) >= np.uint64(_SIZE_MAX)):
        raise LayoutError("an entry of a scalar index covers no time, or lies outside any bucket")
    whole = np.array([len(row) == 4 for row in rows])
    sizes = np.where(whole, WHOLE, lengths.astype(np.int64))
    values = kind.decode(encoded.data, Spans(encoded.starts, encoded.lengths))
    entries = ScalarEntries(values, firsts, stops, buckets, offsets.astype(np.int64), sizes)
    _, codes = kind.distinct(values)
    return entries.take(np.lexsort((firsts, codes)))


def _uints(values: list[Any]) -> NDArray[np.uint64]:
    return np.array([expect_uint(value, "entry of a scalar index") for value in values], np.uint64)


def insert_in_list(track: Track, kind: ValueType, new: ScalarEntries, encoded: Ragged) -> list[Any]:
    """Return the list of a column that also has these entries, in the order of their bytes."""
    read_list(track, kind)  # what cannot be read is not written on
    columns = new.firsts.tolist(), new.stops.tolist(), new.offsets.tolist(), new.lengths.tolist()
    bucket = Address(new.buckets[0].tobytes())
    added = [
        [value, first, stop, bucket, offset, length]
        for value, first, stop, offset, length in zip(encoded.tolist(), *columns, strict=True)
    ]
    return sorted([*track.object_index, *added], key=lambda row: (row[0], row[1]))
