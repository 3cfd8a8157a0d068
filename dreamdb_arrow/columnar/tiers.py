"""Tiers: small stripes become one as they come, so that many small commits do not leave many small files. Spec 0021.

A commit of few rows writes a small stripe. When eight of a size lie side by side, the next commit there writes one with the
rows of all, and takes them out of its version. So each row is written a few times at most, and a version of a thousand small
commits has some twenty stripes. Large stripes are left to `compact`. Older versions go on naming the stripes they had.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.cover_note import CoverNote, merge_notes
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.overlaps import drop_repeated, fold_tables, shared_anchors, widest_first
from dreamdb_arrow.columnar.stripe import ANCHOR, anchors_of, conform, decode_stripe
from dreamdb_arrow.columnar.vectors import F32, I64, decode_vectors
from dreamdb_arrow.columnar.vendor import (
    MARK_ADDRESS,
    STRIPE,
    VECTORS,
    Fragment,
    VendorTrack,
    flush_mode,
    fragment_path,
)
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many

FANOUT: Final = 8
TIERS: Final[Mapping[str, tuple[int, ...]]] = {  # in bytes; what is larger than the last is left alone
    STRIPE: (16 << 10, 64 << 10),
    VECTORS: (128 << 10, 1 << 20),
}


def absorb_rows(
    store: Store, parent: Manifest, track: VendorTrack, table: pa.Table
) -> tuple[pa.Table, list[Fragment]]:
    """Return the rows of a new stripe with those of small neighbours, and these neighbours; most often it has none.

    `track` is that of stripes in the version `parent`. `table` has the columns of a stripe, ascending by anchor, and at least one row.
    """
    anchors = anchors_of(table)
    span = int(anchors[0]), int(anchors[-1]) + 1
    gone = _neighbours(store, parent, track, span, table.nbytes // 2)  # Parquet takes about half
    old = [decode_stripe(pa.BufferReader(data)) for data in _bytes_of(store, parent, track, gone)]
    if not gone or not _one_type_a_name([table, *old]):
        return table, []
    new_names = {f.name: f for t in reversed([table, *old]) for f in t.schema}
    schema = pa.schema(
        [*table.schema, *(f for name, f in new_names.items() if name not in table.schema.names)]
    )
    held = [conform(t, schema) for t in [*old, table]]
    if len(
        shared := shared_anchors([anchors_of(t) for t in held])
    ):  # as a union of branches may have left them
        held = fold_tables(held, shared)
    return _ascending(pa.concat_tables(held).combine_chunks()), gone


def absorb_vectors(
    store: Store, parent: Manifest, track: VendorTrack, anchors: I64, vectors: F32
) -> tuple[I64, F32, list[Fragment]]:
    """Do the same with vectors: anchors int64 (n,), ascending, and vectors float32 (n, d)."""
    span = int(anchors[0]), int(anchors[-1]) + 1
    gone = _neighbours(store, parent, track, span, vectors.nbytes)
    if not gone:
        return anchors, vectors, []
    dim = vectors.shape[1]
    old = [decode_vectors(data, dim) for data in _bytes_of(store, parent, track, gone)]
    each = [*(s.anchors for s in old), anchors]
    held, joined = np.concatenate(each), np.concatenate([*(s.vectors for s in old), vectors])
    if bool((held[1:] > held[:-1]).all()):
        return held, joined, gone
    kept = np.flatnonzero(np.concatenate(drop_repeated(each, shared_anchors(each))))
    order = kept[np.argsort(held[kept], kind="stable")]
    return held[order], joined[order], gone


def choose(sizes: Sequence[int], at: int, size: int, tiers: Sequence[int]) -> tuple[int, int]:
    """Return which neighbours, from and up to, a new stripe takes in.

    Args:
        sizes: of the stripes there are, in the order of their anchors.
        at: where among them the new one goes.
        size: the new one's.
        tiers: where one tier ends and the next begins.
    """
    levels = [bisect_right(tiers, s) for s in sizes]
    start = stop = at
    for level in range(bisect_right(tiers, size), len(tiers)):
        low, high = start, stop
        while low > 0 and levels[low - 1] <= level:
            low -= 1
        while high < len(levels) and levels[high] <= level:
            high += 1
        of_this_level = levels[low:start].count(level) + levels[stop:high].count(level)
        if of_this_level + 1 < FANOUT:
            break
        start, stop = low, high
    return start, stop


def _neighbours(
    store: Store, parent: Manifest, track: VendorTrack, span: tuple[int, int], size: int
) -> list[Fragment]:
    """Return the stripes that a new one takes in, in the order in which they count.

    None that differ from it in being flushed, or that have dropped columns.
    """
    tiers = TIERS[track.modality]
    if size >= tiers[-1]:
        return []
    held = [f for f in track.fragments(near=span) if f.address != MARK_ADDRESS]
    at = bisect_right([f.t0 for f in held], span[0])
    start, stop = choose([f.size for f in held], at, size, tiers)
    if start == stop:
        return []
    note = merge_notes(read_notes(store, parent))  # 0021-R14
    alike = [f.size if _is_plain(f.address, parent, note) else tiers[-1] for f in held]
    start, stop = choose(alike, at, size, tiers)
    chosen = held[start:stop]
    return [chosen[i] for i in widest_first(chosen)]


def _is_plain(address: Address, parent: Manifest, note: CoverNote) -> bool:
    """Whether a stripe may be joined with new rows: in the Tracks if they will be, and whole."""
    flushed = address in note.stripes
    dropped = any(address in listed for listed in note.dropped.values())
    return flushed == (flush_mode(parent) == "commit") and not dropped


def _bytes_of(
    store: Store, parent: Manifest, track: VendorTrack, fragments: Sequence[Fragment]
) -> list[bytes]:
    paths = [(fragment_path(parent.timeline, track.modality, f.address), f.address) for f in fragments]
    return fetch_many(store, paths)


def _one_type_a_name(tables: Sequence[pa.Table]) -> bool:
    """Whether columns of one name are of one type: another one is of an earlier field, and stays where it is."""
    kinds: dict[str, Any] = {}
    return all(kinds.setdefault(f.name, f.type.id) == f.type.id for t in tables for f in t.schema)


def _ascending(table: pa.Table) -> pa.Table:
    anchors = anchors_of(table)
    return table if bool((anchors[1:] > anchors[:-1]).all()) else table.sort_by(ANCHOR).combine_chunks()
