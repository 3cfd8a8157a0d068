"""Delete: anchors that no read shows any more. Specs 0006 and 0020."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.distinct import distinct
from dreamdb_arrow.columnar.deleted import tombstones_head
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX
from dreamdb_arrow.tracks.tombstones import add_tombstones, delete_anchors


def delete_rows(
    store: Store, name: str, anchors: Any, reason: str | None, clock: Clock = time.time_ns
) -> tuple[Address, Manifest]:
    """Hide anchors from every read of the versions to come; return the new version and its Manifest.

    Anchors without a row may be named, as in the reference. The bytes stay until somebody collects them.

    Raises InvalidInputError for what is no list of anchors.
    """
    wanted = as_anchors(anchors)
    if reason is not None and not isinstance(reason, str):
        raise InvalidInputError(f"reason must be a text, not {reason!r:.60}")

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        entry = parent.registry.get(TOMBSTONES_KEY) or {}
        now_ms = max(clock(), parent.ts) // 1_000_000
        new = delete_anchors(wanted, now_ms, reason)
        head = add_tombstones(store, batch, parent.timeline, tombstones_head(parent), new, now_ms)
        registry = {} if head is None else {TOMBSTONES_KEY: {**entry, "head": bytes(head)}}
        return Change("delete", registry=registry)

    return commit(store, name, build, clock=clock)


def as_anchors(anchors: Any) -> I64:
    """Return anchors, given as integers in a list or an array of NumPy or Arrow, as int64 (n,), ascending, distinct."""
    return distinct(check_anchors(anchors))


def check_anchors(anchors: Any) -> I64:
    """Return the same as int64 (n,) in their order. Raises InvalidInputError, naming the item, for what is none."""
    if isinstance(anchors, pa.Array | pa.ChunkedArray):
        anchors = (
            anchors.to_numpy(zero_copy_only=False) if isinstance(anchors, pa.Array) else anchors.to_numpy()
        )
    if isinstance(anchors, int | np.integer):
        anchors = [anchors]
    if not isinstance(anchors, Iterable) or isinstance(anchors, str | bytes):
        raise InvalidInputError(f"anchors must be a list of integers, not {anchors!r:.60}")
    if isinstance(anchors, np.ndarray) and np.issubdtype(anchors.dtype, np.integer):
        outside = np.flatnonzero((anchors < 0) | (anchors > VISIBLE_ANCHOR_MAX))
        if len(outside):
            _refuse(int(outside[0]), anchors[outside[0]])
        return anchors.reshape(-1).astype(np.int64)
    listed = list(anchors)
    for at, anchor in enumerate(listed):
        if isinstance(anchor, bool) or not isinstance(anchor, int | np.integer):
            raise InvalidInputError(f"anchors, item {at}: {anchor!r:.60} is no integer")
        if not 0 <= anchor <= VISIBLE_ANCHOR_MAX:
            _refuse(at, anchor)
    return np.array(listed, dtype=np.int64)


def _refuse(at: int, anchor: Any) -> NoReturn:
    raise InvalidInputError(f"anchors, item {at}: {anchor} is outside 0 .. {VISIBLE_ANCHOR_MAX}")
