"""Trees of tombstones: whole pages of them as columns, and how they are spread over pages. Spec 0020.

A page of level 0 is most often a table: its entries are equally long, and differ in the digits of anchor and time alone.
Such pages are read and written at once; others entry by entry, as `objects.tombstones` has it. Both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.cbor_columns import UINT, array_head, encode_heads, head_sizes
from dreamdb_arrow.codec.ragged import Bytes, Ints
from dreamdb_arrow.errors import CorruptDataError, InvalidInputError
from dreamdb_arrow.objects.tombstones import (
    PAGE_ITEMS_MAX,
    PageRef,
    Tombstone,
    TombstonePage,
    decode_entry,
    decode_page,
    encode_page,
    entry_value,
    ref_to,
)

Numbers = NDArray[np.uint64]

_EMPTY: Final = encode_page(TombstonePage(0))
_PREFIX: Final = _EMPTY[:-1]  # all of a page of level 0 that comes before the head of its entries
_ANCHOR_AT: Final = len(b"\xa2\x66anchor")  # in an entry


@dataclass(frozen=True, slots=True)
class Tombstones:
    """n deleted anchors, ascending: `anchors` and `deleted_at` (milliseconds) are uint64 (n,)."""

    anchors: Numbers
    deleted_at: Numbers
    reasons: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.anchors)

    def part(self, start: int, stop: int) -> Tombstones:
        """Return those at places [start, stop)."""
        return Tombstones(self.anchors[start:stop], self.deleted_at[start:stop], self.reasons[start:stop])

    def take(self, order: NDArray[np.intp]) -> Tombstones:
        """Return those at these places."""
        return Tombstones(
            self.anchors[order], self.deleted_at[order], [self.reasons[at] for at in order.tolist()]
        )


NO_TOMBSTONES: Final = Tombstones(np.empty(0, np.uint64), np.empty(0, np.uint64), ())


def tombstones_of(entries: Iterable[Tombstone]) -> Tombstones:
    """Return tombstones as columns."""
    listed = list(entries)
    return Tombstones(
        np.array([entry.anchor for entry in listed], np.uint64),
        np.array([entry.deleted_at for entry in listed], np.uint64),
        [entry.reason for entry in listed],
    )


def unite(parts: Sequence[Tombstones]) -> Tombstones:
    """Return the tombstones of all parts; of several at one anchor the earliest, which is when the row went."""
    anchors = np.concatenate([NO_TOMBSTONES.anchors, *(part.anchors for part in parts)])
    times = np.concatenate([NO_TOMBSTONES.deleted_at, *(part.deleted_at for part in parts)])
    reasons = [reason for part in parts for reason in part.reasons]
    if (anchors[1:] > anchors[:-1]).all():
        return Tombstones(anchors, times, reasons)
    order = np.lexsort((times, anchors))
    first = np.ones(len(order), bool)
    first[1:] = anchors[order][1:] != anchors[order][:-1]
    return Tombstones(anchors, times, reasons).take(order[first])


# --- the tree -----------------------------------------------------------------------------------------------


def build_pages(entries: Tombstones | Iterable[Tombstone]) -> tuple[PageRef | None, list[bytes]]:
    """Return the page tree of these entries: the reference to its root, and its pages, children first.

    Of no entries there is no root and no page. Raises InvalidInputError unless the anchors ascend.
    """
    if not isinstance(entries, Tombstones):
        entries = tombstones_of(entries)
    if (entries.anchors[1:] <= entries.anchors[:-1]).any():
        raise InvalidInputError("tombstones must be in order of their anchors, each anchor once")
    refs, pages = build_leaves(entries)
    while len(refs) > 1:
        refs, above = build_above(refs)
        pages += above
    return (refs[0] if refs else None), pages


def build_leaves(entries: Tombstones) -> tuple[list[PageRef], list[bytes]]:
    """Return the pages of level 0 of these entries, and the references to them."""
    parts = [entries.part(start, stop) for start, stop in _spans(len(entries))]
    pages = [encode_leaf(part) for part in parts]
    return [leaf_ref(part, address_of(page)) for part, page in zip(parts, pages, strict=True)], pages


def build_above(refs: Sequence[PageRef]) -> tuple[list[PageRef], list[bytes]]:
    """Return the pages above these, which are of one level, and the references to them."""
    parts = [tuple(refs[start:stop]) for start, stop in _spans(len(refs))]
    above = [TombstonePage(refs[0].level + 1, children=part) for part in parts]
    pages = [encode_page(page) for page in above]
    return [ref_to(page, data) for page, data in zip(above, pages, strict=True)], pages


def _spans(count: int) -> list[tuple[int, int]]:
    """Return where pages of so many items begin and end."""
    pages = -(-count // PAGE_ITEMS_MAX)  # 0020-R5
    sizes = [count // pages + (page < count % pages) for page in range(pages)]
    return [(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]


# --- pages of level 0 ---------------------------------------------------------------------------------------


def leaf_ref(entries: Tombstones, address: Address) -> PageRef:
    """Return the reference to a page of level 0 with these entries."""
    return PageRef(address, 0, len(entries), int(entries.anchors[0]), int(entries.anchors[-1]))


def encode_leaf(entries: Tombstones) -> bytes:
    """Return the canonical bytes of a page of level 0."""
    numbers = entries.anchors, entries.deleted_at
    sizes = [head_sizes(column) for column in numbers]
    if any(size.min() != size.max() for size in sizes) or len(set(entries.reasons)) > 1:
        return encode_page(TombstonePage(0, entries=tuple(_listed(entries))))
    first = encode_cbor(entry_value(next(_listed(entries))))
    rows = np.tile(np.frombuffer(first, np.uint8), (len(entries), 1))
    for column, (start, stop) in zip(numbers, _places(len(first), sizes), strict=True):
        rows[:, start:stop] = encode_heads(UINT, column).data.reshape(len(rows), -1)
    return _PREFIX + array_head(len(rows)) + rows.tobytes()


def decode_leaf(data: bytes) -> Tombstones | None:
    """Return the entries of a page of level 0, or None for a page of another level.

    Raises CanonicalError or LayoutError.
    """
    found = _decode_alike(data)
    if found is not None:
        return found
    page = decode_page(data)
    return None if page.level else tombstones_of(page.entries)


def _decode_alike(data: bytes) -> Tombstones | None:
    """Return the entries of a page whose entries are alike, or None; what is wrong is for others to tell."""
    at = len(_PREFIX)
    if len(data) <= at + 1 or not data.startswith(_PREFIX):
        return None
    count = data[at] & 0x1F if data[at] < 0x98 else data[at + 1]
    head = array_head(count)
    if not 0 < count <= PAGE_ITEMS_MAX or not data.startswith(head, at):
        return None
    size, rest = divmod(len(data) - at - len(head), count)
    if rest or size < 2:
        return None
    at += len(head)
    try:
        entry = decode_entry(decode_cbor(data[at : at + size]))
    except CorruptDataError:
        return None
    return _columns_of(np.frombuffer(data, np.uint8, offset=at).reshape(count, size), entry)


def _columns_of(rows: Bytes, entry: Tombstone) -> Tombstones | None:
    """Return what these encoded entries say, the first of which is given, if they differ in digits alone."""
    sizes = [head_sizes(np.array([number], np.uint64)) for number in (entry.anchor, entry.deleted_at)]
    same = rows == rows[0]
    columns = []
    for start, stop in _places(rows.shape[1], sizes):
        digits = np.zeros((len(rows), 8), np.uint8)
        inner = start + (stop - start > 1)  # past the head, which is the number itself where that is below 24
        digits[:, 8 - (stop - inner) :] = rows[:, inner:stop]
        same[:, inner:stop] = True
        columns.append(digits.reshape(-1).view(">u8").astype(np.uint64))
    anchors, times = columns
    shortest = all((head_sizes(c) == size).all() for c, size in zip(columns, sizes, strict=True))
    if not same.all() or not shortest or (anchors[1:] <= anchors[:-1]).any():
        return None
    return Tombstones(anchors, times, [entry.reason] * len(rows))


def _places(length: int, sizes: Sequence[Ints]) -> list[tuple[int, int]]:
    """Return where an encoded entry of this length has its anchor and its time, given the sizes of both."""
    anchor, time = (int(size[0]) for size in sizes)
    return [(_ANCHOR_AT, _ANCHOR_AT + anchor), (length - time, length)]


def _listed(entries: Tombstones) -> Iterator[Tombstone]:
    columns = entries.anchors.tolist(), entries.deleted_at.tolist(), entries.reasons
    return (Tombstone(*row) for row in zip(*columns, strict=True))
