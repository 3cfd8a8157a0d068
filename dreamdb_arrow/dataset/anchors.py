"""Anchors of new rows: given, spread, or assigned; and never one that is taken. Spec 0006.

An anchor is the primary key: unique within a batch and across a Space, live or deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.rows import RowSet, read_hidden
from dreamdb_arrow.columnar.stripe import ANCHOR, anchors_of, decode_stripe
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.columnar.vendor import STRIPE, vendor_entry
from dreamdb_arrow.dataset.incoming import Incoming
from dreamdb_arrow.errors import AnchorConflict, InvalidInputError
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import decode_schema
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX

STEP_NS: Final = 1000  # between rows whose anchors are assigned, as the reference does

Resolve = Callable[[], RowSet]


def settle_anchors(rows: Incoming, store: Store, parent: Manifest, resolve: Resolve, now_ns: int) -> I64:
    """Return the anchors of new rows on top of a version, int64 (n,), in the order of the rows.

    Raises AnchorConflict, naming the row, when one is taken by a live or a deleted row. `resolve` is called, to look
    at the rows themselves, only when the time range of the batch meets that of the Space.
    """
    if rows.anchors is None:
        return _assigned(rows.n, parent, now_ns)
    taken, deleted = _taken_near(rows.anchors, parent, resolve), read_hidden(store, parent)
    if rows.spread:
        return _spread_ticks(rows.anchors, np.union1d(taken, deleted))
    _refuse_taken(rows.anchors, deleted, "was deleted, and stays so")
    _refuse_taken(rows.anchors, taken, "is taken")
    return rows.anchors


def _assigned(n: int, parent: Manifest, now_ns: int) -> I64:
    """Anchors from now on, or from the end of what the Space already holds of the time to come."""
    steps = np.arange(n, dtype=np.int64) * STEP_NS
    start = now_ns
    for low, high in sorted(_coverages(parent)):
        if low <= start + n * STEP_NS and start < high:
            start = high
    return start + steps


def _coverages(parent: Manifest) -> list[tuple[int, int]]:
    fields = decode_schema(parent.registry)
    entries = [e for f in fields if f.kind != "constant" and (e := row_entry(parent, f.name)) is not None]
    stripes = vendor_entry(parent, STRIPE)
    entries += [stripes] if stripes is not None else []
    return [(e.coverage[0], e.coverage[1]) for e in entries]


def _taken_near(anchors: I64, parent: Manifest, resolve: Resolve) -> I64:
    """Return the anchors of rows near the batch, ascending: all that could clash with it."""
    if len(anchors) == 0:
        return anchors
    low, high = int(anchors.min()), int(anchors.max()) + 1 + len(anchors)
    if not any(c_low < high and low < c_high for c_low, c_high in _coverages(parent)):
        return np.empty(0, dtype=np.int64)
    found = [anchors_of(decode_stripe(path, [ANCHOR])) for path in resolve().stripe_files(low, high)]
    return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)


def _refuse_taken(anchors: I64, taken: I64, why: str) -> None:
    clash = np.flatnonzero(np.isin(anchors, taken))
    if len(clash):
        row = int(clash[0])
        more = f" (and {len(clash) - 1} more)" if len(clash) > 1 else ""
        raise AnchorConflict(int(anchors[row]), f"anchor {anchors[row]} of row {row} {why}{more}")


def _spread_ticks(ticks: I64, taken: I64) -> I64:
    """Give rows that share a tick one nanosecond each, in row order, after those that are there already."""
    order = np.argsort(ticks, kind="stable")
    ordered = ticks[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else order
    lengths = np.diff(np.r_[first, len(ordered)])
    rank = np.arange(len(ordered)) - np.repeat(first, lengths)
    starts = _after_runs(ordered[first], taken)
    spread = np.empty_like(ticks)
    spread[order] = np.repeat(starts, lengths) + rank
    _check_spread(spread, taken)
    return spread


def _after_runs(ticks: I64, taken: I64) -> I64:
    """Return each tick, or the end of the unbroken run of taken anchors that begins there."""
    if len(taken) == 0:
        return ticks
    run_ends = np.flatnonzero(np.r_[np.diff(taken) > 1, True])
    at = np.minimum(np.searchsorted(taken, ticks), len(taken) - 1)
    end = taken[run_ends[np.searchsorted(run_ends, at)]] + 1
    return np.where(taken[at] == ticks, end, ticks)


def _check_spread(anchors: I64, taken: I64) -> None:
    ordered = np.sort(anchors)
    if len(ordered) and ordered[-1] > VISIBLE_ANCHOR_MAX:
        raise InvalidInputError(f"anchor {ordered[-1]} is above {VISIBLE_ANCHOR_MAX}")
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        anchor = int(ordered[twice[0]])
        raise AnchorConflict(
            anchor, f"spread by one nanosecond a row, two ticks run into one another at {anchor}"
        )
    _refuse_taken(anchors, taken, "is taken")
