"""Pruning: which stripes an Arrow filter leaves possible, told by their ranges alone.

Arrow has no way to ask an expression what it says of a column. But it leaves out files whose rows are known to satisfy
something that the filter contradicts; so each stripe is shown to it as a file that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.stripe import ANCHOR, TIME

FAN_OUT: Final = 64  # a stripe costs 25 microseconds, so many are first looked at in pages


def inside(t0: int, t1: int) -> pc.Expression:
    """Return the condition that a row's anchor is in [t0, t1), said so that Arrow finds `> t1 - 1` to contradict it."""
    return (pc.field(ANCHOR) >= t0) & (pc.field(ANCHOR) <= t1 - 1)


def may_match(stripes: Sequence[Stripe], schema: pa.Schema, wanted: pc.Expression | None) -> Sequence[Stripe]:
    """Return those of the stripes, given by first anchor, that may hold a row that satisfies a condition on a schema."""
    if wanted is None or not stripes:
        return stripes
    size = -(-len(stripes) // FAN_OUT)
    pages = [stripes[at : at + size] for at in range(0, len(stripes), size)]
    left = [page for page, kept in zip(pages, _possible(pages, schema, wanted), strict=True) if kept]
    return [s for page in left for s in (page if size == 1 else may_match(page, schema, wanted))]


def _possible(pages: Sequence[Sequence[Stripe]], schema: pa.Schema, wanted: pc.Expression) -> list[bool]:
    """Tell for each page whether the condition may hold for an anchor in its range."""
    files = pads.FileSystemDataset(
        [_NOT_THERE.make_fragment(str(i), _NOWHERE, _guarantee(page)) for i, page in enumerate(pages)],
        schema,
        _NOT_THERE,
        _NOWHERE,
    )
    possible = {int(f.path) for f in files.get_fragments(filter=wanted)}
    return [i in possible for i in range(len(pages))]


def _guarantee(page: Sequence[Stripe]) -> pc.Expression:
    t0, t1 = page[0].t0, max(s.t1 for s in page)
    first, last = (pa.scalar(t, pa.timestamp("ns")) for t in (t0, t1 - 1))
    return inside(t0, t1) & (pc.field(TIME) >= first) & (pc.field(TIME) <= last)


_NOT_THERE: Final = pads.ParquetFileFormat()
_NOWHERE: Final = pafs.LocalFileSystem()
