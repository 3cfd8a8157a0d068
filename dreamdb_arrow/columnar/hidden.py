"""Hidden rows: local copies of stripes without the rows that are deleted. Spec 0021.

A condition that names deleted anchors costs every scan something; a copy without them costs once. So stripes with many
deleted rows are copied into the local cache, and a note of each stripe tells which copies there are and what they leave
out. Anchors stay deleted: a later version uses the copy that leaves out most, as long as it leaves out nothing that the
version shows, and is told the few anchors that came since. Once those are more than a share of the rows, it copies again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, ROW_GROUP_ROWS, anchors_of, open_stripe, stripe_writer
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.store.verified import call_each

VERSION: Final = 1
NAMED_MAX: Final = 8  # deleted rows of a whole plan that are worth no copy
SHARE: Final = 1024  # a stripe is copied when one row in so many is deleted, and no copy leaves it out
COPY_ALL: Final = 1 << 40  # as a share: whatever is deleted
BYTES_MAX: Final = 4 << 30  # of stripes, copied for one plan
KEPT_MAX: Final = 4  # copies of a stripe
GRACE_NS: Final = (
    600_000_000_000  # how long a query that began before may still open a copy that another took the place of
)
NONE: Final[I64] = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """A local copy of a stripe, and the anchors it leaves out. `replaced_ns` is when a newer copy came, 0 if none has."""

    address: Address
    without: I64
    replaced_ns: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Note:
    """What is known of a stripe: of the anchors that were looked for, those that it holds; and its copies, newest first."""

    asked: I64
    held: I64
    copies: tuple[Copy, ...]


def live_stripes(rows: RowSet, t0: int, t1: int, *, share: int = SHARE) -> list[tuple[Stripe, I64]]:
    """Return for each stripe that meets [t0, t1) what to read in its place, and which anchors to leave out of that.

    In the order of `rows.stripes`; most often the stripe itself and no anchors. `share`: see SHARE. Makes copies where
    they are worth it.
    """
    met = [s for s in rows.stripes if s.meets(t0, t1)]
    hidden = [rows.hidden_between(s.t0, s.t1) for s in met]
    if not any(map(len, hidden)):
        return [(s, NONE) for s in met]
    with rows.cache.making:
        known = [_look(rows, s, h) if len(h) else None for s, h in zip(met, hidden, strict=True)]
        live = [(s, NONE) if n is None else _nearest(s, n) for s, n in zip(met, known, strict=True)]
        if sum(len(_between(left, t0, t1)) for _, left in live) <= NAMED_MAX:
            return live
        stale = [i for i, (s, left) in enumerate(live) if len(left) * share > _num_rows(rows, met[i])]
        if sum(_size(rows, met[i]) for i in stale) > BYTES_MAX:
            return live
        wanted = [(met[i], note) for i in stale if (note := known[i]) is not None]
        for i, copied in zip(stale, _copy_all(rows, wanted), strict=True):
            live[i] = copied
        return live


def _between(anchors: I64, t0: int, t1: int) -> I64:
    low, high = np.searchsorted(anchors, [t0, t1])
    return anchors[low:high]


def _num_rows(rows: RowSet, stripe: Stripe) -> int:
    return rows.cache.num_rows(stripe.local(rows.store, rows.cache), stripe.address)


def _size(rows: RowSet, stripe: Stripe) -> int:
    return stripe.size or stripe.local(rows.store, rows.cache).stat().st_size


# ---------------------------------------------------------------- which copy


def _nearest(stripe: Stripe, note: Note) -> tuple[Stripe, I64]:
    """Return the copy that leaves out most of what is hidden and nothing else, and what is hidden in it; or the stripe."""
    best, most = stripe, NONE
    for copy in note.copies:
        if len(copy.without) > len(most) and np.isin(copy.without, note.held).all():
            best, most = replace(stripe, address=copy.address, directory="", size=0), copy.without
    return best, np.setdiff1d(note.held, most, assume_unique=True)


def _look(rows: RowSet, stripe: Stripe, hidden: I64) -> Note:
    """Return the note of a stripe, of which `held` is told for these anchors; copies that are gone are left out."""
    note = _read_note(rows.cache, stripe)
    whole = tuple(c for c in note.copies if rows.cache.has_whole(c.address))
    new = np.setdiff1d(hidden, note.asked, assume_unique=True)
    found = held_anchors(stripe.local(rows.store, rows.cache), new) if len(new) else NONE
    now = Note(united([note.asked, new]), united([note.held, found]), _expire(rows.cache, whole))
    if len(new) or now.copies != note.copies:
        _write_note(rows.cache, stripe, now)
    return replace(now, held=np.intersect1d(now.held, hidden, assume_unique=True))


def held_anchors(file: Path, wanted: I64) -> I64:
    """Return those of some ascending anchors that a stripe holds. Reads the row groups that may hold one."""
    stripe = open_stripe(file)
    found = [NONE]
    for nth in range(stripe.num_row_groups):
        leaves = map(stripe.metadata.row_group(nth).column, range(stripe.metadata.num_columns))
        told = next(leaf for leaf in leaves if leaf.path_in_schema == ANCHOR)
        if _tells(told) and not len(_between(wanted, told.statistics.min, told.statistics.max + 1)):
            continue
        found.append(_in_both(anchors_of(stripe.read_row_group(nth, [ANCHOR])), wanted))
    return np.concatenate(found)


def _in_both(anchors: I64, wanted: I64) -> I64:
    """Return what two ascending arrays have in common; np.intersect1d would look at all that is wanted."""
    near = _between(wanted, int(anchors[0]), int(anchors[-1]) + 1) if len(anchors) else NONE
    there: I64 = near[anchors[np.searchsorted(anchors, near)] == near]
    return there


# ---------------------------------------------------------------- making copies


def _copy_all(rows: RowSet, wanted: Sequence[tuple[Stripe, Note]]) -> list[tuple[Stripe, I64]]:
    """Copy stripes without what their notes call held. A copy for which the disk has no room is done without."""

    def copy(item: tuple[Stripe, Note]) -> tuple[Stripe, I64]:
        with suppress(OSError):
            return _copy(rows, *item)
        return _nearest(*item)

    return call_each(copy, wanted)


def _copy(rows: RowSet, stripe: Stripe, note: Note) -> tuple[Stripe, I64]:
    with rows.cache.work_file() as file:
        write_live(stripe.local(rows.store, rows.cache), note.held, file)
        made = Copy(rows.cache.adopt(file), note.held)
    now = time.time_ns()
    older = tuple(
        replace(c, replaced_ns=c.replaced_ns or now) for c in note.copies if c.address != made.address
    )
    whole = _read_note(rows.cache, stripe)  # which tells of more anchors than this version hides
    _write_note(rows.cache, stripe, replace(whole, copies=_expire(rows.cache, (made, *older))))
    return _nearest(stripe, replace(note, copies=(made,)))


def _expire(cache: LocalCache, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
    """Remove copies that were replaced long ago, or are too many, and return the others."""
    past = time.time_ns() - GRACE_NS
    kept = tuple(c for c in copies[:KEPT_MAX] if not 0 < c.replaced_ns <= past)
    for copy in copies:
        if copy not in kept:
            cache.remove(copy.address)
    return kept


def write_live(source: Path, hidden: I64, target: Path) -> None:
    """Write a stripe again without some ascending anchors, row group by row group."""
    stripe = open_stripe(source)
    groups = range(stripe.num_row_groups)
    sample = stripe.read_row_group(0) if groups else stripe.schema_arrow.empty_table()
    with stripe_writer(target, sample, _untold(stripe.metadata)) as out:
        for nth in groups:
            table = stripe.read_row_group(nth) if nth else sample
            out.write_table(table.filter(_live(anchors_of(table), hidden)), row_group_size=ROW_GROUP_ROWS)


def _live(anchors: I64, hidden: I64) -> pa.Array:
    keep = np.ones(len(anchors), dtype=bool)
    at = np.searchsorted(anchors, hidden)
    inside = at < len(anchors)
    there = at[inside][anchors[at[inside]] == hidden[inside]]
    keep[there] = False
    return pa.array(keep)


def _untold(told: pq.FileMetaData) -> set[str]:
    """Name the columns without statistics in some row group: of numbers with NaN among them they would be wrong."""
    groups = map(told.row_group, range(told.num_row_groups))
    leaves = (g.column(at) for g in groups for at in range(told.num_columns))
    return {leaf.path_in_schema for leaf in leaves if not _tells(leaf)}


def _tells(column: Any) -> bool:
    return bool(column.is_stats_set and column.statistics.has_min_max)


# ---------------------------------------------------------------- notes


def _read_note(cache: LocalCache, stripe: Stripe) -> Note:
    data = cache.read_note(_key(stripe))
    raw: Any = None if data is None else decode_cbor(data)
    if not isinstance(raw, list) or raw[:1] != [VERSION]:
        return Note(NONE, NONE, ())
    _, asked, held, copies = raw
    return Note(
        np.frombuffer(asked, "<i8"),
        np.frombuffer(held, "<i8"),
        tuple(Copy(as_address(a), np.frombuffer(w, "<i8"), at) for a, w, at in copies),
    )


def _write_note(cache: LocalCache, stripe: Stripe, note: Note) -> None:
    copies = [[bytes(c.address), _bytes(c.without), c.replaced_ns] for c in note.copies]
    cache.write_note(_key(stripe), encode_cbor([VERSION, _bytes(note.asked), _bytes(note.held), copies]))


def _key(stripe: Stripe) -> str:
    return f"live/{stripe.address}"


def _bytes(anchors: I64) -> bytes:
    return anchors.astype("<i8").tobytes()
