"""Conflicts: values that both sides of a merge gave, differently, to one field of one row. Specs 0008 and 0021.

Only stripes that a side has of its own are looked into, and of these only what lies where another side has some too. Most
often no anchor is in two: then no value is read. A value that one side has as the base had it is no conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.differences import Flags, present
from dreamdb_arrow.columnar.overlaps import overlapping, shared_anchors
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, anchors_of, stripe_schema
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.compare import (
    STEP,
    Pair,
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
from dreamdb_arrow.dataset.take import stored_rows, take_rows, visible
from dreamdb_arrow.errors import MergeError
from dreamdb_arrow.history.registries import brief
from dreamdb_arrow.objects.lineage import LAYER_PREFIX

NAMED: Final = 5  # conflicts that a message names
CHUNK: Final = 8192  # rows that are compared at once
KEYS_ONLY: Final = stripe_schema([])

Conflicts = Mapping[str, I64]  # by field, the anchors, ascending


def find_conflicts(base: RowSet | None, ours: RowSet, theirs: RowSet) -> dict[str, I64]:
    """Return by field the anchors whose rows, live on both sides, have two values, neither of which is the base's."""
    pair = pair_of(ours, theirs)
    found: dict[str, list[I64]] = {}
    for shared in shared_rows(base, [ours, theirs]):
        for start in range(0, len(shared), CHUNK):
            for name, anchors in _clashes(base, pair, shared[start : start + CHUNK]).items():
                found.setdefault(name, []).append(anchors)
    return {name: np.concatenate(parts) for name, parts in sorted(found.items())}


def refuse_conflicts(pair: tuple[RowSet, RowSet], found: Conflicts) -> None:
    """Raise MergeError, with the first few conflicts by field, anchor and both values, if there are any."""
    total = sum(map(len, found.values()))
    if not total:
        return
    named = sorted((int(a), name) for name, anchors in found.items() for a in anchors[:NAMED])[:NAMED]
    shown = "; ".join(f"field {name!r} at anchor {a}: {_both(pair, name, a)}" for a, name in named)
    more = "" if total <= NAMED else f"; and {total - NAMED} more"
    raise MergeError(
        f"{total} {'value differs' if total == 1 else 'values differ'} between both sides: {shown}{more}; "
        "merge with conflicts='ours' or 'theirs' to say which counts",
        found,
    )


def _both(pair: tuple[RowSet, RowSet], name: str, anchor: int) -> str:
    tables = [take_rows(plan_scan(rows, [name]), np.array([anchor])) for rows in pair]
    ours, theirs = (brief(table[name][0].as_py()) for table in tables)
    return f"{ours} here, {theirs} there"


# --- which rows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Held:
    """A stripe of its own that a side has; `field` is that of a vector stripe."""

    side: int
    field: str
    stripe: Stripe

    @property
    def t0(self) -> int:
        return self.stripe.t0

    @property
    def t1(self) -> int:
        return self.stripe.t1


def shared_rows(base: RowSet | None, sides: Sequence[RowSet]) -> Iterator[I64]:
    """Yield, a window at a time, the anchors that more than one side has in stripes of its own, ascending."""
    for group in overlapping(sorted(_own(base, sides), key=lambda held: held.t0)):
        if len({held.side for held in group}) > 1:
            starts = [start for nth, rows in enumerate(sides) for start in _starts(rows, _of(group, nth))]
            for low, high in windows(starts):
                anchors = [_anchors(rows, _of(group, nth), low, high) for nth, rows in enumerate(sides)]
                if len(shared := shared_anchors(anchors)):
                    yield shared


def _of(group: Iterable[_Held], side: int) -> dict[str, tuple[Stripe, ...]]:
    found: dict[str, tuple[Stripe, ...]] = {}
    for held in group:
        if held.side == side:
            found[held.field] = (*found.get(held.field, ()), held.stripe)
    return found


def _own(base: RowSet | None, sides: Sequence[RowSet]) -> Iterator[_Held]:
    """Yield the stripes of each side that the base has not. The same rows may have other vectors, so one may be that of several."""
    for nth, rows in enumerate(sides):
        known = () if base is None else base.stripes
        yield from (_Held(nth, "", s) for s in without(rows.stripes, known))
        for name in late_fields(base, rows):
            known = () if base is None else base.vectors.get(name, ())
            yield from (_Held(nth, name, s) for s in without(rows.vectors[name], known))


def late_fields(base: RowSet | None, rows: RowSet) -> list[str]:
    """Return the embedding fields whose vectors may have come to rows that were there: their stripes tell, rows' do not."""
    known = set() if base is None else {f.name for f in base.fields}
    found = []
    for f in rows.fields:
        entry = row_entry(rows.manifest, f.name)
        if f.kind != "embedding" or f.name in rows.unavailable or entry is None:
            continue
        local = any(not s.path for s in rows.listed_vectors(f.name))
        if f.name not in known or local or entry.role.startswith(LAYER_PREFIX):
            found.append(f.name)
    return found


def _starts(rows: RowSet, held: Mapping[str, tuple[Stripe, ...]]) -> list[I64]:
    found = group_starts(rows, held.get("", ()))
    for name, stripes in held.items():
        found += [a[::STEP] for a in vector_anchors(rows, name, stripes)] if name else []
    return found


def _anchors(rows: RowSet, held: Mapping[str, tuple[Stripe, ...]], low: int, high: int) -> I64:
    """Return the distinct anchors in [low, high) of some stripes, ascending."""
    found = [anchors_of(live_rows(rows, held[""], KEYS_ONLY, low, high))] if "" in held else []
    for name, stripes in held.items():
        if name:
            met = [s for s in stripes if s.meets(low, high)]
            found += [a[(a >= low) & (a < high)] for a in vector_anchors(rows, name, met)]
    return united(found)


# --- which values -------------------------------------------------------------------------------------------


def _clashes(base: RowSet | None, pair: Pair, anchors: I64) -> dict[str, I64]:
    """Return by field which of these anchors have two values."""
    rows, anchors = _stored(pair, anchors)
    found = {}
    for f in pair.fields:
        if f.kind == "embedding":
            unlike, both = vectors_differ(pair, f, anchors)
        else:
            ours, theirs = (whole_column(side, f.name) for side in rows)
            both = present(ours) & present(theirs)
            unlike = stored_differ(pair, f, ours, theirs)
        clashing = anchors[unlike & both]
        if base is not None and len(clashing):
            clashing = clashing[
                _changed(base, pair.ours, f.name, clashing) & _changed(base, pair.theirs, f.name, clashing)
            ]
        if len(clashing):
            found[f.name] = clashing
    return found


def _stored(pair: Pair, anchors: I64) -> tuple[list[pa.Table], I64]:
    """Return what stripes hold of those rows, side by side, that are live on both sides; and their anchors."""
    names = [ANCHOR, *(f.name for f in pair.stored)]
    plans = [plan_scan(rows, names) for rows in (pair.ours, pair.theirs)]
    for plan in plans:
        anchors = visible(plan, anchors)
    tables = [stored_rows(plan, anchors) for plan in plans]
    both = np.intersect1d(anchors_of(tables[0]), anchors_of(tables[1]), assume_unique=True)
    kept = [t.filter(pa.array(np.isin(anchors_of(t), both))).combine_chunks() for t in tables]
    return kept, both


def _changed(base: RowSet, side: RowSet, name: str, anchors: I64) -> Flags:
    """Return where a side has another value than the base had, or the base had none; bool (n,)."""
    pair = pair_of(base, side)
    changed = np.ones(len(anchors), dtype=bool)
    f = next((f for f in pair.fields if f.name == name), None)
    if f is None:
        return changed
    if f.kind == "embedding":
        return vectors_differ(pair, f, anchors)[0]
    tables, both = _stored(replace(pair, fields=(f,)), anchors)
    changed[np.searchsorted(anchors, both)] = stored_differ(pair, f, *(whole_column(t, name) for t in tables))
    return changed
