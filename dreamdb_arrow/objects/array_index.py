"""Indexes of event arrays: which payload lies at which anchor, in a list or in pages. Spec 0007.

    inline    [[address, anchor], ...]
    leaf      {type "leaf", t_max, t_min, entries [[address, anchor - t_min], ...], modality}

Entries ascend by anchor; `t_max` is the last anchor + 1. Internal pages are those of media (objects.index_page). Arrays of
kind `continuous` have the index of media, whose third item then is not a size but the anchor in the payload's path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import ADDRESS_BYTES, BLAKE3_CODE
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.cbor_columns import ADDRESS_SIZE, head_sizes
from dreamdb_arrow.codec.ragged import Bytes
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.index_entries import MEDIA
from dreamdb_arrow.objects.index_page import LEAF_BYTES, PAGE_BYTES_MAX, IndexNode, decode_index_page
from dreamdb_arrow.objects.shape import U64_MAX, expect_closed_map, expect_list, expect_uint

_KEYS: Final = frozenset({"type", "t_max", "t_min", "entries", "modality"})
_LEAF_START: Final = b"\xa5\x64type\x64leaf"
_WINDOW: Final = LEAF_BYTES // ADDRESS_SIZE  # no leaf holds more entries


@dataclass(frozen=True, slots=True)
class ArrayEntries:
    """n entries: `anchors` is uint64 (n,), `addresses` uint8 (n, 33)."""

    anchors: NDArray[np.uint64]
    addresses: Bytes

    def __len__(self) -> int:
        return len(self.anchors)

    def take(self, which: Any) -> ArrayEntries:
        """Return the entries at these positions, or of this slice, or where this is true."""
        return ArrayEntries(self.anchors[which], self.addresses[which])


NO_ENTRIES: Final = ArrayEntries(np.empty(0, np.uint64), np.empty((0, ADDRESS_BYTES), np.uint8))


def join_array_entries(parts: list[ArrayEntries]) -> ArrayEntries:
    """Return the entries of all parts, one after another."""
    held = [NO_ENTRIES, *parts]
    return ArrayEntries(
        np.concatenate([p.anchors for p in held]), np.concatenate([p.addresses for p in held])
    )


def entries_of_pairs(pairs: Any, since: int = 0) -> ArrayEntries:
    """Return decoded pairs as entries, their times counted from `since`. Raises LayoutError for anything else."""
    rows = expect_list(pairs, "index of arrays")
    if not all(type(row) is list and len(row) == 2 for row in rows):
        raise LayoutError("an entry of an index of arrays must be an address and an anchor")
    names = [row[0] for row in rows]
    if not all(isinstance(n, bytes) and len(n) == ADDRESS_BYTES and n[0] == BLAKE3_CODE for n in names):
        raise LayoutError("an entry of an index of arrays has no address")
    anchors = [expect_uint(row[1], "anchor of an array") + since for row in rows]
    if max(anchors, default=0) > U64_MAX:
        raise LayoutError("an entry of an index of arrays lies beyond the end of time")
    addresses = np.frombuffer(b"".join(names), np.uint8).reshape(-1, ADDRESS_BYTES)
    return ArrayEntries(np.array(anchors, np.uint64), addresses)


def pairs_of_entries(entries: ArrayEntries, since: int = 0) -> list[list[Any]]:
    """Return entries as the pairs that an index holds."""
    times = (entries.anchors - np.uint64(since)).tolist()
    return [[name.tobytes(), time] for name, time in zip(entries.addresses, times, strict=True)]


def encode_array_leaf(modality: str, entries: ArrayEntries) -> bytes:
    """Return the page of some entries, of which there must be one; they ascend by anchor."""
    t_min, t_max = int(entries.anchors[0]), int(entries.anchors[-1]) + 1
    pairs = pairs_of_entries(entries, t_min)
    return encode_cbor(
        {"type": "leaf", "t_max": t_max, "t_min": t_min, "entries": pairs, "modality": modality}
    )


def decode_array_page(data: bytes, modality: str) -> ArrayEntries | IndexNode:
    """Return a page of the index of a Track of this modality. Raises LayoutError or CanonicalError."""
    if len(data) > PAGE_BYTES_MAX:  # 0000-R2
        raise LayoutError(f"an index page has {len(data)} bytes, at most {PAGE_BYTES_MAX} are read")
    if not data.startswith(_LEAF_START):  # canonical, so that every leaf begins like this
        return _decode_node(data, modality)
    page = expect_closed_map(decode_cbor(data), "index page", _KEYS)
    if page["modality"] != modality:
        raise LayoutError("an index leaf has another modality than its Track")
    t_min, t_max = (expect_uint(page[key], f"{key} of an index page") for key in ("t_min", "t_max"))
    entries = entries_of_pairs(page["entries"], t_min)
    if len(entries) == 0 or t_max < t_min:
        raise LayoutError("an index leaf has no entries, or ends before it begins")
    return entries


def _decode_node(data: bytes, modality: str) -> IndexNode:
    node = decode_index_page(data, MEDIA, modality)
    assert isinstance(node, IndexNode)  # leaves begin otherwise
    return node


def split_array_leaves(modality: str, entries: ArrayEntries) -> list[ArrayEntries]:
    """Cut entries, ascending by anchor, into leaves that are filled from the left up to 16,384 bytes."""
    empty = {"type": "leaf", "t_max": 0, "t_min": 0, "entries": [], "modality": modality}
    fixed = len(encode_cbor(empty)) - 3  # the heads of both times and of the list are counted below
    leaves, start = [], 0
    while start < len(entries):
        part = entries.take(slice(start, start + _WINDOW))
        fits = fixed + _leaf_sizes(part.anchors) <= LEAF_BYTES  # 0007-R6
        count = max(1, len(fits) if fits.all() else int(np.argmin(fits)))
        leaves.append(part.take(slice(count)))
        start += count
    return leaves


def _leaf_sizes(anchors: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the size of a leaf of the first 1, 2, ... entries, but for what all leaves have."""
    t_min, counts = anchors[:1], np.arange(1, len(anchors) + 1, dtype=np.uint64)
    rows = 1 + ADDRESS_SIZE + head_sizes(anchors - t_min)
    return rows.cumsum() + head_sizes(t_min) + head_sizes(anchors + np.uint64(1)) + head_sizes(counts)
