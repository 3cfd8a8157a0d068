"""Diff: what changed from one version to another, row by row. Specs 0006 and 0008.

A stripe that both versions have holds the same rows in both, but for deletions: it is not read. The others are read side by
side, a window of anchors at a time, however far the versions are apart and whatever lies between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.columnar.differences import Flags
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, anchors_of, stripe_schema
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.compare import (
    STEP,
    Pair,
    alike,
    group_starts,
    live_rows,
    pair_of,
    stored_differ,
    vector_anchors,
    vectors_differ,
    whole_column,
    windows,
    without,
)
from dreamdb_arrow.dataset.scan import plan_scan
from dreamdb_arrow.dataset.schema import row_fields
from dreamdb_arrow.dataset.take import take_rows
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field

ADDED, DELETED, CHANGED = "added", "deleted", "changed"
FIELD_ADDED, FIELD_DROPPED, FIELD_CHANGED = "field added", "field dropped", "field changed"
DIFF: Final = pa.schema([(ANCHOR, pa.int64()), ("change", pa.string()), ("fields", pa.list_(pa.string()))])
_NONE: Final = np.empty(0, np.int64)


def diff_rows(old: RowSet, new: RowSet) -> pa.RecordBatchReader:
    """Return what changed from one version to another, ascending by anchor.

    Columns: `_anchor`; `change`: `added`, `deleted` or `changed`; `fields`: the names of the fields whose values changed, empty
    but for a changed row. Rows without an anchor come first: a field that was added, dropped, or made anew as another
    (`field added`, `field dropped`, `field changed`), whose values are not compared, and constants with another value.

    Raises InvalidInputError for versions of two datasets.
    """
    if old.timeline != new.timeline:
        raise InvalidInputError(
            "the two versions are of different datasets, whose rows have nothing in common"
        )
    return pa.RecordBatchReader.from_batches(DIFF, _batches(old, new))


def _batches(old: RowSet, new: RowSet) -> Iterator[pa.RecordBatch]:
    told = _field_changes(old, new)
    if told:
        yield pa.RecordBatch.from_pylist(told, schema=DIFF)
    sides = _sides_of(pair_of(old, new))
    for low, high in windows(sides.starts()):
        batch = _compare(sides, low, high)
        if batch.num_rows:
            yield batch


# --- fields -------------------------------------------------------------------------------------------------


def _field_changes(old: RowSet, new: RowSet) -> list[dict[str, object]]:
    before, after = ({f.name: f for f in rows.fields} for rows in (old, new))
    found = dict.fromkeys(after.keys() - before.keys(), FIELD_ADDED)
    found |= dict.fromkeys(before.keys() - after.keys(), FIELD_DROPPED)
    found |= {
        n: FIELD_CHANGED for n in before.keys() & after.keys() if _made_anew(old, new, before[n], after[n])
    }
    return [{ANCHOR: None, "change": found[name], "fields": [name]} for name in sorted(found)]


def _made_anew(old: RowSet, new: RowSet, before: Field, after: Field) -> bool:
    """Whether values of a field cannot be compared row by row, and differ."""
    if not alike(before, after):
        return True
    if all(row_fields([f], rows.unavailable) for f, rows in ((before, old), (after, new))):
        return False
    entries = [row_entry(rows.manifest, before.name) for rows in (old, new)]
    return len({None if entry is None else entry.address for entry in entries}) > 1


# --- rows ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sides:
    """Two versions, the stripes that only one of them has, the same of vectors by field, and deletions that differ.

    `hidden` are the anchors that are deleted in theirs alone, and in ours alone; `shared` are the stripes of both.
    """

    pair: Pair
    own: tuple[tuple[Stripe, ...], tuple[Stripe, ...]]
    own_vectors: dict[str, tuple[tuple[Stripe, ...], tuple[Stripe, ...]]]
    hidden: tuple[I64, I64]
    shared: tuple[Stripe, ...]

    def starts(self) -> list[I64]:
        """Return anchors, each of which stands for about a row group to be read."""
        ours, theirs = self.pair.ours, self.pair.theirs
        found = [*group_starts(ours, self.own[0]), *group_starts(theirs, self.own[1])]
        for name, held in self.own_vectors.items():
            for rows, stripes in zip((ours, theirs), held, strict=True):
                found += [a[::STEP] for a in vector_anchors(rows, name, stripes)]
        return [*found, *(h[::STEP] for h in self.hidden)]


def _sides_of(pair: Pair) -> _Sides:
    ours, theirs = pair.ours, pair.theirs
    own = without(ours.stripes, theirs.stripes), without(theirs.stripes, ours.stripes)
    vectors = {f.name: _own_vectors(pair, f.name) for f in pair.embeddings}
    hidden = np.setdiff1d(theirs.hidden, ours.hidden), np.setdiff1d(ours.hidden, theirs.hidden)
    return _Sides(pair, own, vectors, hidden, without(ours.stripes, own[0]))


def _own_vectors(pair: Pair, name: str) -> tuple[tuple[Stripe, ...], tuple[Stripe, ...]]:
    """Return the vector stripes of a field that only one side has; none are made where both say the same."""
    said = [(row_entry(rows.manifest, name), rows.stored_vectors(name)) for rows in (pair.ours, pair.theirs)]
    if said[0] == said[1]:
        return (), ()
    ours, theirs = (rows.vectors.get(name, ()) for rows in (pair.ours, pair.theirs))
    return without(ours, theirs), without(theirs, ours)


def _compare(sides: _Sides, low: int, high: int) -> pa.RecordBatch:
    """Return the changes of the rows of one window."""
    pair = sides.pair
    schema = stripe_schema(pair.stored)
    read = partial(live_rows, schema=schema, low=low, high=high)
    ours, theirs = read(pair.ours, sides.own[0]), read(pair.theirs, sides.own[1])
    held = anchors_of(ours), anchors_of(theirs)
    both, at, there = np.intersect1d(*held, assume_unique=True, return_indices=True)
    gone = [
        _present(rows, sides.shared, _between(hidden, low, high))
        for rows, hidden in zip((pair.ours, pair.theirs), sides.hidden, strict=True)
    ]
    deleted = np.concatenate([np.setdiff1d(held[0], both, assume_unique=True), gone[0]])
    added = np.concatenate([np.setdiff1d(held[1], both, assume_unique=True), gone[1]])
    ours, theirs = (side.take(pa.array(i)).combine_chunks() for side, i in ((ours, at), (theirs, there)))
    changed = {f.name: both[_column_differs(pair, f, ours, theirs)] for f in pair.stored}
    for f in pair.embeddings:
        changed[f.name] = _changed_vectors(sides, f, low, high, np.concatenate([added, deleted]))
    return _told(added, deleted, changed)


def _column_differs(pair: Pair, f: Field, ours: pa.Table, theirs: pa.Table) -> Flags:
    columns = [whole_column(side, f.name) for side in (ours, theirs)]
    return stored_differ(pair, f, *columns)


def _present(rows: RowSet, stripes: Sequence[Stripe], anchors: I64) -> I64:
    """Return which of these anchors, ascending, have a live row in some stripes."""
    if not len(anchors):
        return anchors
    restricted = replace(rows, stripes=tuple(stripes))
    return anchors_of(take_rows(plan_scan(restricted, [ANCHOR]), anchors))


def _changed_vectors(sides: _Sides, f: Field, low: int, high: int, elsewhere: I64) -> I64:
    """Return the anchors of live rows of both whose vectors differ; `elsewhere` are rows of one side only."""
    pair = sides.pair
    candidates = _NONE
    for rows, stripes in zip((pair.ours, pair.theirs), sides.own_vectors[f.name], strict=True):
        met = [s for s in stripes if s.meets(low, high)]
        for anchors in vector_anchors(rows, f.name, met):
            candidates = np.union1d(candidates, _between(anchors, low, high))
    for rows in (pair.ours, pair.theirs):
        candidates = np.setdiff1d(candidates, rows.hidden_between(low, high), assume_unique=True)
    candidates = np.setdiff1d(candidates, elsewhere)
    return candidates[vectors_differ(pair, f, candidates)[0]]


def _between(anchors: I64, low: int, high: int) -> I64:
    start, stop = np.searchsorted(anchors, [low, high])
    return anchors[start:stop]


def _told(added: I64, deleted: I64, changed: dict[str, I64]) -> pa.RecordBatch:
    """Return the changes of a window as a batch, ascending by anchor."""
    names = list(changed)
    rows = np.unique(np.concatenate([_NONE, *changed.values()]))
    flags = np.zeros((len(rows), len(names)), dtype=bool)
    for nth, anchors in enumerate(changed.values()):
        flags[np.searchsorted(rows, anchors), nth] = True
    counts = np.concatenate([np.zeros(len(added) + len(deleted), np.int64), flags.sum(axis=1)])
    anchors = np.concatenate([added, deleted, rows])
    kinds = np.repeat([0, 1, 2], [len(added), len(deleted), len(rows)])
    listed = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32()),
        pa.array(names, pa.string()).take(pa.array(np.nonzero(flags)[1])),
    )
    change = pa.array([ADDED, DELETED, CHANGED]).take(pa.array(kinds))
    order = pa.array(np.argsort(anchors, kind="stable"))
    return pa.RecordBatch.from_arrays([pa.array(anchors), change, listed], schema=DIFF).take(order)
