"""Index pages of big media and spatial Tracks. Spec 0007.

    leaf       {type "leaf", t_max, t_min, entries, modality}, entries as objects.index_entries has them
    internal   the same keys, type "internal", each entry [t_min, t_max, child, items below], of cells also
               the first and the last key below

`t_min` and `t_max` are the first and the last time below the page. Media entries lie by time, cells by key. We fill
leaves up to 16,384 bytes; smaller pages are as good.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.cbor_columns import UINT, array_head, head_sizes
from dreamdb_arrow.codec.cbor_rows import read_array_head, read_head
from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.index_entries import (
    CELLS,
    MEDIA,
    EntryShape,
    IndexEntries,
    decode_index_rows,
    encode_index_rows,
)
from dreamdb_arrow.objects.shape import (
    expect_address,
    expect_closed_map,
    expect_list,
    expect_text,
    expect_uint,
)

LEAF_BYTES: Final = 16_384  # 0007-R6
CHILDREN_MAX: Final = 256  # 0007-R6
PAGE_BYTES_MAX: Final = 1 << 24  # what is read at all
_KEYS: Final = frozenset({"type", "t_max", "t_min", "entries", "modality"})
_LEAF_HEAD: Final = b"\xa5\x64type\x64leaf\x65t_max"
_T_MIN: Final = b"\x65t_min"
_ENTRIES: Final = b"\x67entries"
_TIME_MAX: Final = (1 << 64) - 1
_WINDOW: Final = LEAF_BYTES // 40  # no leaf holds more entries, each has an address
_ROW_BYTES_MAX: Final = 63  # of four items: three numbers and an address
_REMEMBERED: Final = 64
# What pages decode to, by their bytes. Threads may share it: each step is one of the interpreter's.
_remembered: Final[OrderedDict[tuple[bytes, str, str], IndexLeaf | IndexNode]] = OrderedDict()


@dataclass(frozen=True, slots=True)
class IndexLeaf:
    """A page of entries."""

    modality: str
    t_min: int
    t_max: int
    entries: IndexEntries


@dataclass(frozen=True, slots=True)
class IndexChild:
    """A page below an internal one: its times, how many entries lie below it, and of cells the keys."""

    t_min: int
    t_max: int
    address: Address
    items: int
    keys: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class IndexNode:
    """An internal page."""

    modality: str
    t_min: int
    t_max: int
    children: tuple[IndexChild, ...]


# --- writing ------------------------------------------------------------------------------------------------


def index_leaf(modality: str, entries: IndexEntries) -> IndexLeaf:
    """Return the leaf of these entries, of which there must be one."""
    return IndexLeaf(modality, int(entries.firsts.min()), int(entries.stops.max()), entries)


def index_node(modality: str, children: Sequence[IndexChild]) -> IndexNode:
    """Return the internal page above these children, of which there must be one."""
    t_min, t_max = min(child.t_min for child in children), max(child.t_max for child in children)
    return IndexNode(modality, t_min, t_max, tuple(children))


def encode_index_leaf(leaf: IndexLeaf) -> bytes:
    """Return the bytes of a leaf."""
    rows = encode_index_rows(leaf.entries, leaf.t_min).data.tobytes()
    times = [_LEAF_HEAD, encode_cbor(leaf.t_max), _T_MIN, encode_cbor(leaf.t_min)]
    return b"".join([*times, _ENTRIES, array_head(len(leaf.entries)), rows, _leaf_tail(leaf.modality)])


def encode_index_node(node: IndexNode) -> bytes:
    """Return the bytes of an internal page."""
    times = {"t_max": node.t_max, "t_min": node.t_min}
    entries = [_child_value(child) for child in node.children]
    return encode_cbor({"type": "internal", **times, "entries": entries, "modality": node.modality})


def _child_value(child: IndexChild) -> list[Any]:
    return [child.t_min, child.t_max, child.address, child.items, *(child.keys or ())]


@lru_cache(maxsize=_REMEMBERED)
def index_page_overhead(modality: str) -> int:
    """Return how many bytes a page has, at most, beside its entries or children."""
    times = {"t_max": _TIME_MAX, "t_min": _TIME_MAX}
    return len(encode_cbor({"type": "internal", **times, "entries": [], "modality": modality})) + 2


def index_entry_sizes(entries: IndexEntries) -> Ints:
    """Return how many bytes each entry takes, at most, in a leaf of some of them: int64 (n,)."""
    return encode_index_rows(entries, int(entries.firsts.min())).lengths


def index_child_sizes(children: Sequence[IndexChild]) -> Ints:
    """Return how many bytes each child takes in the page above it: int64 (n,)."""
    return np.array([len(encode_cbor(_child_value(child))) for child in children], np.int64)


def split_into_leaves(modality: str, entries: IndexEntries) -> list[tuple[int, int]]:
    """Return the first entry of each leaf and the one after its last: leaves are filled from the left."""
    alike = entries.shape is MEDIA and bool(entries.members.max() == MEDIA.required)
    if alike and rows_surely_fit(modality, len(entries)):
        return [(0, len(entries))]
    fixed = len(_LEAF_HEAD + _T_MIN + _ENTRIES + _leaf_tail(modality))
    firsts, rows = entries.firsts, _sizes_without_first(entries)
    bounds, start = [], 0
    while start < len(entries):
        part = slice(start, start + _WINDOW)
        totals = fixed + _leaf_sizes(firsts[part], entries.stops[part], rows[part])
        fits = totals <= LEAF_BYTES
        stop = start + max(1, len(fits) if fits.all() else int(np.argmin(fits)))
        bounds.append((start, stop))
        start = stop
    return bounds


def rows_surely_fit(modality: str, count: int) -> bool:
    """Whether one page has room for so many rows of an address and three numbers, whatever the numbers are."""
    return _ROW_BYTES_MAX * count + index_page_overhead(modality) <= LEAF_BYTES


def _sizes_without_first(entries: IndexEntries) -> Ints:
    """Return the size of each row in a page, but for its first time, which is relative to the page."""
    relative = encode_index_rows(entries, int(entries.firsts.min())).lengths
    return relative - head_sizes(entries.firsts - entries.firsts.min())


def _leaf_sizes(firsts: NDArray[np.uint64], stops: NDArray[np.uint64], rows: Ints) -> Ints:
    """Return the size of a leaf of the first 1, 2, ... entries, but for what all leaves have."""
    t_min, t_max = np.minimum.accumulate(firsts), np.maximum.accumulate(stops)
    sizes = np.empty(len(firsts), np.int64)
    for least in np.unique(t_min):  # mostly one, or a handful
        since = t_min == least
        reach = int(np.flatnonzero(since)[-1]) + 1
        upto = rows[:reach] + head_sizes(np.maximum(firsts[:reach], least) - least)
        sizes[since] = upto.cumsum()[since[:reach]]
    counts = np.arange(1, len(firsts) + 1, dtype=np.uint64)
    return sizes + head_sizes(t_min) + head_sizes(t_max) + head_sizes(counts)


def _leaf_tail(modality: str) -> bytes:
    return encode_cbor("modality") + encode_cbor(modality)


# --- reading ------------------------------------------------------------------------------------------------


def decode_index_page(data: bytes, shape: EntryShape, modality: str) -> IndexLeaf | IndexNode:
    """Return a page of the index of a Track of this modality, which nobody may change.

    Raises LayoutError or CanonicalError.
    """
    if len(data) > PAGE_BYTES_MAX:  # 0000-R2
        raise LayoutError(f"an index page has {len(data)} bytes, at most {PAGE_BYTES_MAX} are read")
    page = _remembered.get((data, shape.name, modality))
    if page is None:
        leaf = data.startswith(_LEAF_HEAD)  # canonical, so that every leaf begins like this
        page = (
            _decode_leaf(data, shape, modality) if leaf else _decode_node(decode_cbor(data), shape, modality)
        )
        remember_index_page(data, shape, page)
    return page


def remember_index_page(data: bytes, shape: EntryShape, page: IndexLeaf | IndexNode) -> None:
    """Keep what a page decodes to: a commit reads again the pages that the one before it wrote."""
    if len(data) <= LEAF_BYTES:
        _remembered[data, shape.name, page.modality] = page
        while len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)


def _decode_leaf(data: bytes, shape: EntryShape, modality: str) -> IndexLeaf:
    t_max, at = read_head(data, len(_LEAF_HEAD), UINT)
    t_min, at = read_head(data, _skip(data, at, _T_MIN), UINT)
    count, at = read_array_head(data, _skip(data, at, _ENTRIES))
    entries, end = decode_index_rows(shape, data, at, count, t_min)
    if data[end:] != _leaf_tail(modality):
        raise LayoutError("an index leaf has another modality than its Track, or foreign keys")
    if count == 0 or t_max < t_min:
        raise LayoutError("an index leaf has no entries, or ends before it begins")
    return IndexLeaf(modality, t_min, t_max, entries)


def _skip(data: bytes, at: int, expected: bytes) -> int:
    if not data.startswith(expected, at):
        raise LayoutError(f"unexpected key in an index leaf at byte {at}")
    return at + len(expected)


def _decode_node(page: Any, shape: EntryShape, modality: str) -> IndexNode:
    found = expect_closed_map(page, "index page", _KEYS)
    if found["type"] != "internal" or found["modality"] != modality:
        raise LayoutError("an index page has another type or modality than its Track")
    children = tuple(
        _child(entry, shape) for entry in expect_list(found["entries"], "entries of an index page")
    )
    times = [expect_uint(found[key], f"{key} of an index page") for key in ("t_min", "t_max")]
    if not children or times[1] < times[0]:
        raise LayoutError("an internal index page has no children, or ends before it begins")
    return IndexNode(modality, times[0], times[1], children)


def _child(entry: Any, shape: EntryShape) -> IndexChild:
    parts = expect_list(entry, "entry of an internal index page")
    if len(parts) != (6 if shape is CELLS else 4):
        raise LayoutError(
            f"an entry of an internal index page of {shape.name} cannot have {len(parts)} items"
        )
    keys = (expect_text(parts[4], "first key"), expect_text(parts[5], "last key")) if shape is CELLS else None
    return IndexChild(
        expect_uint(parts[0], "t_min of an index page"),
        expect_uint(parts[1], "t_max of an index page"),
        expect_address(parts[2], "child of an index page"),
        expect_uint(parts[3], "item count of an index page"),
        keys,
    )
