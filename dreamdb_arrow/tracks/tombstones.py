"""Tombstones in a store: the set of deleted anchors of a version. Spec 0020.

A delete writes the whole set anew. A merge writes an index without a root, whose parents are both heads: the set is
the union over that graph. Of several tombstones at one anchor the earliest counts: it is when the row went.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.ragged import Ints
from dreamdb_arrow.errors import InvalidInputError, LayoutError
from dreamdb_arrow.objects.tombstones import (
    PageRef,
    Tombstone,
    TombstoneIndex,
    build_pages,
    check_page,
    decode_index,
    decode_page,
    encode_index,
)
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX, paths_in

DIRECTORY: Final = "tombstones"
INDEXES_MAX: Final = 100_000  # of one graph of merges
_FETCHED_TOGETHER: Final = 256


@dataclass(frozen=True, slots=True)
class Tombstones:
    """n deleted anchors, ascending: `anchors` and `deleted_at` (milliseconds) are int64 (n,)."""

    anchors: Ints
    deleted_at: Ints
    reasons: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.anchors)


NO_TOMBSTONES: Final = Tombstones(np.empty(0, np.int64), np.empty(0, np.int64), ())


def read_tombstones(store: Store, head: Address) -> Tombstones:
    """Return the tombstones that a head stands for, itself and its parents.

    Raises CorruptDataError. Anchors that nobody can see are left out.
    """
    roots = [index.root for index in _walk_indexes(store, head) if index.root is not None]
    earliest: dict[int, Tombstone] = {}
    for entry in _walk_pages(store, roots):
        held = earliest.get(entry.anchor)
        if entry.anchor <= VISIBLE_ANCHOR_MAX and (held is None or entry.deleted_at < held.deleted_at):
            earliest[entry.anchor] = entry
    return tombstones_of([earliest[anchor] for anchor in sorted(earliest)])


def write_tombstones(batch: Batch, timeline: Address, tombstones: Tombstones, issued_at_ms: int) -> Address:
    """Add a whole set of tombstones to the batch and return its head.

    Raises InvalidInputError unless the anchors ascend.
    """
    columns = tombstones.anchors.tolist(), tombstones.deleted_at.tolist(), tombstones.reasons
    root, pages = build_pages([Tombstone(*row) for row in zip(*columns, strict=True)])
    for page in pages:
        batch.add(DIRECTORY, page)
    return batch.add(DIRECTORY, encode_index(TombstoneIndex(timeline, issued_at_ms, root)))


def tombstones_of(entries: Sequence[Tombstone]) -> Tombstones:
    """Return these tombstones, which lie in the order of their anchors, as columns."""
    anchors = np.array([entry.anchor for entry in entries], np.int64)
    times = np.array([min(entry.deleted_at, VISIBLE_ANCHOR_MAX) for entry in entries], np.int64)
    return Tombstones(anchors, times, [entry.reason for entry in entries])


def add_tombstones(
    held: Tombstones, anchors: Ints, deleted_at_ms: int, reason: str | None = None
) -> Tombstones:
    """Return a set that also has these anchors; those it has already stay as they are.

    Raises InvalidInputError for an anchor that nobody can see.
    """
    if len(anchors) and not 0 <= int(anchors.min()) <= int(anchors.max()) <= VISIBLE_ANCHOR_MAX:
        raise InvalidInputError("anchors to delete must lie in 0 .. 2^63 - 2")
    new = np.setdiff1d(anchors, held.anchors)  # 0020-R6
    both = np.concatenate([held.anchors, new])
    order = np.argsort(both, kind="stable")
    reasons = [*held.reasons, *[reason] * len(new)]
    times = np.concatenate([held.deleted_at, np.full(len(new), deleted_at_ms)])
    return Tombstones(both[order], times[order], [reasons[at] for at in order.tolist()])


def _walk_indexes(store: Store, head: Address) -> Iterator[TombstoneIndex]:
    seen, level = {head}, [head]
    while level:
        indexes = [decode_index(data) for data in fetch_many(store, paths_in(DIRECTORY, level))]
        yield from indexes  # 0020-R1
        parents = dict.fromkeys(parent for index in indexes for parent in index.parents)  # 0020-R7, 0008-R8
        level = [parent for parent in parents if parent not in seen]
        seen.update(level)
        if len(seen) > INDEXES_MAX:  # 0000-R2
            raise LayoutError(f"more than {INDEXES_MAX} tombstone indexes in one graph")


def _walk_pages(store: Store, roots: Sequence[PageRef]) -> Iterator[Tombstone]:
    """Yield the entries below these pages. A page that is listed twice is read once."""
    level = dict.fromkeys(roots)
    while level:
        below: dict[PageRef, None] = {}
        pending = iter(level)
        while group := list(islice(pending, _FETCHED_TOGETHER)):
            fetched = fetch_many(store, paths_in(DIRECTORY, [ref.address for ref in group]))
            for ref, data in zip(group, fetched, strict=True):
                page = decode_page(data)
                check_page(page, ref)  # 0020-R3
                yield from page.entries
                below |= dict.fromkeys(page.children)
        level = below
