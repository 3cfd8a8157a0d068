"""Runs: stripes that Arrow's own Parquet reader scans in one go, with its threads. Spec 0021.

Stripes whose ranges follow one another are one run: their rows come in the order of the anchors as they lie. Stripes whose
ranges run into one another are a run of their own, and sorted as they are read, a window of anchors at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.columnar.ahead import stripes_ahead
from dreamdb_arrow.columnar.hidden import live_stripes
from dreamdb_arrow.columnar.overlaps import overlapping
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, conform, datasets, decode_stripe
from dreamdb_arrow.columnar.vectors import I64

if TYPE_CHECKING:
    import pyarrow.dataset as pads

WINDOW_GROUPS: Final = 8  # row groups that are sorted at once
LIVE_MAX: Final = 8192  # stripes of versions of which it is remembered what to read in their place
WHOLE: Final = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Run:
    """Some stripes as one dataset of Arrow's; `alive` is what its rows have to satisfy, `mixed` whether to sort them."""

    files: pads.Dataset
    alive: pc.Expression | None
    mixed: bool

    def batches(
        self, columns: Sequence[str], where: pc.Expression | None, batch_size: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield columns of live rows that satisfy a condition, ascending by anchor."""
        wanted = both(self.alive, where)
        if not self.mixed:
            yield from self.files.scanner(
                columns=list(columns), filter=wanted, batch_size=batch_size
            ).to_batches()
            return
        for low, high in _windows(self.files):
            inside = (pc.field(ANCHOR) >= low) & (pc.field(ANCHOR) < high)
            table = self.files.to_table(columns=list({*columns, ANCHOR}), filter=both(inside, wanted))
            yield from table.sort_by(ANCHOR).select(list(columns)).to_batches(max_chunksize=batch_size)


def both(one: pc.Expression | None, other: pc.Expression | None) -> pc.Expression | None:
    """Return the condition that both hold; None is no condition."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def runs_of(
    rows: RowSet,
    stripes: Sequence[Stripe],
    schema: pa.Schema,
    t0: int,
    t1: int,
    most: int = 0,
    vectors: Sequence[str] = (),
) -> Iterator[Run]:
    """Yield the live rows of [t0, t1) in these stripes, given by first anchor.

    Args:
        rows: the version.
        stripes: those that may hold rows of the range.
        schema: the columns of the runs; what a stripe lacks, or has of another type, is null.
        t0: the first anchor.
        t1: the anchor after the last.
        most: stripes of the first run; each has twice as many as the one before. Files are checked against their
            addresses as their run comes up, so that who reads a few rows checks a few files. 0: all there are.
        vectors: embedding fields that will be asked for beside the rows, to be fetched with them.
    """
    waiting: list[Stripe] = []
    for group in stripes_ahead(rows, overlapping(stripes), vectors):
        if len(group) > 1 and waiting:
            yield from _alike(rows, waiting, schema, t0, t1)
            waiting = []
        if len(group) > 1:
            yield _run(rows, [*group], schema, t0, t1)
        else:
            waiting.extend(group)
        if most and len(waiting) >= most:
            yield from _alike(rows, waiting, schema, t0, t1)
            waiting, most = [], most * 2
    if waiting:
        yield from _alike(rows, waiting, schema, t0, t1)


def _alike(rows: RowSet, stripes: list[Stripe], schema: pa.Schema, t0: int, t1: int) -> Iterator[Run]:
    """Yield runs of stripes whose columns have the types they should; a stripe with others is one by itself."""
    held: list[Stripe] = []
    for stripe in stripes:
        if _fits(_fragment(rows, stripe).physical_schema, schema):
            held.append(stripe)
            continue
        if held:
            yield _run(rows, held, schema, t0, t1)
            held = []
        yield _run(rows, [stripe], schema, t0, t1)
    if held:
        yield _run(rows, held, schema, t0, t1)


def _run(rows: RowSet, stripes: list[Stripe], schema: pa.Schema, t0: int, t1: int) -> Run:
    live = live_parts(rows, stripes, t0, t1)
    stripes, hidden = [s for s, _ in live], np.concatenate([gone for _, gone in live])
    fragments = [_fragment(rows, s) for s in stripes]
    if all(_fits(f.physical_schema, schema) for f in fragments):
        files: pads.Dataset = datasets().FileSystemDataset(
            fragments, schema, fragments[0].format, fragments[0].filesystem
        )
    else:
        tables = [conform(decode_stripe(s.local(rows.store, rows.cache)), schema) for s in stripes]
        files = datasets().InMemoryDataset(pa.concat_tables(tables))
    return Run(files, _alive(stripes, hidden, t0, t1), mixed=len(list(overlapping(stripes))) < len(stripes))


def live_parts(rows: RowSet, stripes: Sequence[Stripe], t0: int, t1: int) -> list[tuple[Stripe, I64]]:
    """Return what to read in the place of each stripe, and which deleted anchors are still in it."""
    kept = rows.cache.live
    known = [kept.get((rows.address, s.address)) for s in stripes]
    found = [k for k in known if k is not None and (k[0].directory or rows.cache.has_whole(k[0].address))]
    if len(found) < len(stripes):
        found = live_stripes(replace(rows, stripes=tuple(stripes)), t0, t1)
        if len(kept) > LIVE_MAX:
            kept.clear()
        kept.update(zip([(rows.address, s.address) for s in stripes], found, strict=True))
    return found


def _fragment(rows: RowSet, stripe: Stripe) -> pads.ParquetFileFragment:
    return rows.cache.fragment(stripe.local(rows.store, rows.cache), stripe.address)


def _fits(held: pa.Schema, schema: pa.Schema) -> bool:
    """Whether the columns that a stripe has are of the types they should have."""
    kinds = dict(zip(held.names, held.types, strict=True))
    return all(kinds.get(f.name, f.type).equals(f.type) for f in schema)


def _alive(stripes: list[Stripe], hidden: I64, t0: int, t1: int) -> pc.Expression | None:
    """Return what rows must satisfy to be in the range, if any of them sticks out, and not deleted, if any is."""
    anchor = pc.field(ANCHOR)
    low, high = stripes[0].t0, max(s.t1 for s in stripes)
    inside = None if t0 <= low and high <= t1 else (anchor >= t0) & (anchor < t1)  # 0006-R11
    shown = ~anchor.isin(pa.array(hidden)) if len(hidden) else None
    return both(inside, shown)  # 0006-R11, 0020-R8


def _windows(files: pads.Dataset) -> list[tuple[int, int]]:
    """Cut all anchors into ranges that hold a few row groups each, told by what the footers say."""
    firsts = sorted(
        group.statistics[ANCHOR]["min"]
        for fragment in files.get_fragments()
        for group in getattr(fragment, "row_groups", ())
        if group.statistics and ANCHOR in group.statistics
    )
    return list(pairwise([WHOLE[0], *sorted(set(firsts[WINDOW_GROUPS::WINDOW_GROUPS])), WHOLE[1]]))
