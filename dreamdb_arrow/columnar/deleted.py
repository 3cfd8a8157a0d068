"""The deleted anchors of a version. Spec 0020.

What lies below the lowest pages that have children, up to 16,384 anchors each, is noted in the local cache by their
addresses: a version that hides one row more than another reads the pages that changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.tombstone_tree import NO_TOMBSTONES, Tombstones
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY, PageRef
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX
from dreamdb_arrow.tracks.tombstones import read_children, read_leaves, read_tombstones, roots_of


def tombstones_head(manifest: Manifest) -> Address | None:
    """Return the address of the tombstones of a version, if it has any."""
    entry = manifest.registry.get(TOMBSTONES_KEY)
    return as_address(entry["head"]) if isinstance(entry, dict) and "head" in entry else None


def read_tombstone_list(store: Store, manifest: Manifest) -> Tombstones:
    """Return the tombstones of a version: anchors, times and reasons."""
    head = tombstones_head(manifest)
    return NO_TOMBSTONES if head is None else read_tombstones(store, head)


def read_hidden(
    store: Store,
    manifest: Manifest,
    t0: int = 0,
    t1: int = VISIBLE_ANCHOR_MAX + 1,
    *,
    cache: LocalCache | None = None,
) -> I64:
    """Return the anchors in [t0, t1) that the tombstones of a version name, int64 (n,) ascending. 0020-R8."""
    head = tombstones_head(manifest)
    if head is None:
        return np.empty(0, np.int64)
    found = [_anchors_below(store, root, t0, t1, cache) for root in roots_of(store, head)]
    anchors = found[0] if len(found) == 1 else united(found)
    low, high = np.searchsorted(anchors, [t0, t1])
    return anchors[low:high]


def _anchors_below(store: Store, root: PageRef, t0: int, t1: int, cache: LocalCache | None) -> I64:
    level = [root]
    while level and level[0].level > 1:
        level = read_children(store, [ref for ref in level if _meets(ref, t0, t1)])
    if cache is None or not level or not level[0].level:
        return _ascending(read_leaves(store, level, t0, t1))
    noted = [_noted(store, ref, cache) for ref in level if _meets(ref, t0, t1)]
    return np.concatenate([np.empty(0, np.int64), *noted])


def _meets(ref: PageRef, t0: int, t1: int) -> bool:
    return ref.min_anchor < t1 and ref.max_anchor >= t0


def _noted(store: Store, ref: PageRef, cache: LocalCache) -> I64:
    key = f"deleted/{ref.address}"
    known = cache.read_note(key)
    if known is not None:
        return np.frombuffer(known, "<i8")
    anchors = _ascending(read_leaves(store, [ref]))
    cache.write_note(key, anchors.astype("<i8").tobytes())
    return anchors


def _ascending(leaves: Iterator[Tombstones] | Sequence[Tombstones]) -> I64:
    parts = [leaf.anchors[leaf.anchors <= VISIBLE_ANCHOR_MAX].astype(np.int64) for leaf in leaves]
    return np.concatenate([np.empty(0, np.int64), *parts])
