"""Anchors of new rows: given, spread, or assigned; and never one that is taken. Spec 0006.

An anchor is the primary key: unique within a batch and across a Space, live or deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.deleted import read_hidden
from dreamdb_arrow.columnar.projection import EVERYTHING, hot_shard_address, row_entry
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, anchors_of, decode_stripe
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.columnar.vendor import STRIPE, Fragment, vendor_entry
from dreamdb_arrow.dataset.incoming import Incoming
from dreamdb_arrow.errors import AnchorConflict, InvalidInputError
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import decode_schema, is_constant
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX

STEP_NS: Final = 1000  # between rows whose anchors are assigned, as the reference does
AHEAD_NS: Final = 3600 * 10**9  # how far large batches of assigned anchors may run ahead of the clock

Resolve = Callable[[], RowSet]


class Earlier:
    """The stripes that an append has written so far. Their anchors are read back where a later chunk runs into them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.stripes: list[Stripe] = []

    @property
    def end(self) -> int:
        """The anchor after the last, 0 when there is none."""
        return max((s.t1 for s in self.stripes), default=0)

    def add(self, fragment: Fragment, directory: str) -> None:
        """Take a stripe that lies in a directory of the store."""
        self.stripes.append(Stripe(fragment.address, fragment.t0, fragment.t1, directory, fragment.size))

    def anchors(self, stripe: Stripe) -> I64:
        """Return the anchors of one stripe, ascending."""
        data = fetch(self._store, stripe.path, stripe.address)
        return anchors_of(decode_stripe(pa.BufferReader(data), [ANCHOR]))

    def between(self, low: int, high: int) -> I64:
        """Return the anchors of the stripes that meet [low, high), ascending."""
        return united([self.anchors(s) for s in self.stripes if s.meets(low, high)])


def settle_anchors(
    rows: Incoming,
    store: Store,
    parent: Manifest,
    resolve: Resolve,
    now_ns: int,
    earlier: Earlier | None = None,
) -> I64:
    """Return the anchors of new rows on top of a version, int64 (n,), in the order of the rows.

    Raises AnchorConflict, naming the row, when one is taken by a live or a deleted row, or by one of an earlier chunk.
    `resolve` is called, to look at the rows themselves, only when the time range of the batch meets that of the Space.
    """
    earlier = earlier or Earlier(store)
    if rows.anchors is None:
        start = earlier.end + STEP_NS - 1 if earlier.stripes else now_ns  # a step after the last
        return _numbers(assign_ticks(rows.n, store, parent, resolve, start))
    low, high = int(rows.anchors.min()), int(rows.anchors.max()) + 1
    if rows.spread:
        return _spread_ticks(
            rows,
            lambda end: united(
                [
                    _taken_between(low, end, parent, resolve),
                    read_hidden(store, parent, low, end),
                    earlier.between(low, end),
                ]
            ),
        )
    deleted = read_hidden(store, parent, low, high)
    _refuse_taken(rows, rows.anchors, deleted, "was deleted, and stays so")  # 0006-R9, 0020-R8
    taken = _taken_between(low, high, parent, resolve)
    _refuse_taken(rows, rows.anchors, taken, "is taken")  # 0003-R5, 0021-R4
    _refuse_taken(rows, rows.anchors, earlier.between(low, high), "is given twice")
    return rows.anchors


def check_free(written: Earlier, store: Store, parent: Manifest, resolve: Resolve) -> None:
    """Raise AnchorConflict when rows that were written already cannot go on top of a version."""
    for stripe in written.stripes:
        deleted = read_hidden(store, parent, stripe.t0, stripe.t1)
        taken = united([_taken_between(stripe.t0, stripe.t1, parent, resolve), deleted])
        low, high = np.searchsorted(taken, [stripe.t0, stripe.t1])
        clash = np.intersect1d(written.anchors(stripe), taken[low:high]) if low < high else taken[:0]
        if len(clash):
            anchor = int(clash[0])
            more = f" (and {len(clash) - 1} more)" if len(clash) > 1 else ""
            raise AnchorConflict(
                anchor, f"anchor {anchor}{more} was taken while the rows were read; append them again"
            )


def assign_ticks(n: int, store: Store, parent: Manifest, resolve: Resolve, now_ns: int) -> range:
    """Return anchors from now on, at the first place where n of them are free, in a version.

    Raises InvalidInputError when there is none.
    """
    span = n * STEP_NS
    start = _after_recent_stripes(now_ns, span, parent, resolve)
    while start + span <= VISIBLE_ANCHOR_MAX:
        ticks, end = range(start, start + span, STEP_NS), start + span
        taken = united([_taken_between(start, end, parent, resolve), read_hidden(store, parent, start, end)])
        clash = np.intersect1d(_numbers(ticks), taken, assume_unique=True) if len(taken) else taken
        if len(clash) == 0:
            return ticks  # 0003-R6
        start = int(clash[-1]) + 1
    raise InvalidInputError(f"no anchors are left to assign from {now_ns} on; give the rows an '_anchor'")


def _numbers(ticks: range) -> I64:
    return np.arange(ticks.start, ticks.stop, ticks.step, dtype=np.int64)


def _after_recent_stripes(now_ns: int, span_ns: int, parent: Manifest, resolve: Resolve) -> int:
    """Return now, or the end of stripes that were assigned moments ago and reach ahead: theirs should not overlap."""
    start = now_ns
    if any(low < start + span_ns and start < high for low, high in _coverages(parent)):
        for stripe in sorted(resolve().stripes, key=lambda s: s.t0):
            if stripe.t0 < start + span_ns and start < stripe.t1 <= now_ns + AHEAD_NS:
                start = stripe.t1
    return start


def _coverages(parent: Manifest) -> list[tuple[int, int]]:
    fields = decode_schema(parent.registry)
    entries = [e for f in fields if not is_constant(f) and (e := row_entry(parent, f.name)) is not None]
    stripes = vendor_entry(parent, STRIPE)
    entries += [stripes] if stripes is not None else []
    if any(hot_shard_address(parent, e) is not None for e in entries):
        return [EVERYTHING]
    return [(e.coverage[0], e.coverage[1]) for e in entries]


def _taken_between(low: int, high: int, parent: Manifest, resolve: Resolve) -> I64:
    """Return the anchors of rows in [low, high), and perhaps some beside it, ascending."""
    if not any(c_low < high and low < c_high for c_low, c_high in _coverages(parent)):
        return np.empty(0, dtype=np.int64)
    return united([anchors_of(decode_stripe(path, [ANCHOR])) for path in resolve().stripe_files(low, high)])


def _refuse_taken(rows: Incoming, anchors: I64, taken: I64, why: str) -> None:
    clash = np.flatnonzero(np.isin(anchors, taken)) if len(taken) else taken
    if len(clash):
        row = int(clash[0])
        more = f" (and {len(clash) - 1} more)" if len(clash) > 1 else ""
        raise AnchorConflict(
            int(anchors[row]), f"anchor {anchors[row]} of row {rows.first + row} {why}{more}"
        )


def _spread_ticks(rows: Incoming, taken_before: Callable[[int], I64]) -> I64:
    """Give rows that share a tick one nanosecond each, in row order, after those that are there already.

    `taken_before` returns the anchors, ascending, that are taken from the first tick up to a given end.
    """
    ticks = rows.anchors
    assert ticks is not None
    order = np.argsort(ticks, kind="stable")
    ordered = ticks[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[first, len(ordered)])
    rank = np.arange(len(ordered)) - np.repeat(first, lengths)
    end, reach = 0, int(ordered[-1]) + 1
    while end < reach:  # a run of taken anchors may lead to stripes that were not looked at yet
        end = reach
        taken = taken_before(end)
        starts = _after_runs(ordered[first], taken)
        reach = int(starts.max()) + int(lengths.max())
    spread = np.empty_like(ticks)
    spread[order] = np.repeat(starts, lengths) + rank
    _check_spread(rows, spread, taken)
    return spread


def _after_runs(ticks: I64, taken: I64) -> I64:
    """Return each tick, or the end of the unbroken run of taken anchors that begins there."""
    if len(taken) == 0:
        return ticks
    run_ends = np.flatnonzero(np.r_[np.diff(taken) > 1, True])
    at = np.minimum(np.searchsorted(taken, ticks), len(taken) - 1)
    end = taken[run_ends[np.searchsorted(run_ends, at)]] + 1
    return np.where(taken[at] == ticks, end, ticks)


def _check_spread(rows: Incoming, anchors: I64, taken: I64) -> None:
    ordered = np.sort(anchors)
    if ordered[-1] > VISIBLE_ANCHOR_MAX:
        raise InvalidInputError(f"anchor {ordered[-1]} is above {VISIBLE_ANCHOR_MAX}")
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        anchor = int(ordered[twice[0]])
        raise AnchorConflict(
            anchor, f"spread by one nanosecond a row, two ticks run into one another at {anchor}"
        )
    _refuse_taken(rows, anchors, taken, "is taken")
