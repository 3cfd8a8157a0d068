"""Stripes ahead: those that a reader comes to next are fetched together while it reads the ones before. Spec 0021."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.store.ahead import fetch_ahead, folder_of

AHEAD_BYTES: Final = 256 << 20  # that are fetched before they are asked for
AHEAD_MAX: Final = 1024  # and in how many objects
TOGETHER_BYTES: Final = (
    48 << 20
)  # of objects that come at a time: more of them only take turns at the processor
TOGETHER_MIN: Final = 2 * (os.cpu_count() or 1)  # objects at a time, however large they are


def stripes_ahead(
    rows: RowSet, groups: Iterable[Sequence[Stripe]], names: Sequence[str] = ()
) -> Iterator[Sequence[Stripe]]:
    """Yield groups of stripes, each once it and its vectors of the named fields are in the folder; others come meanwhile."""
    cached = folder_of(rows.store)
    if cached is None:
        yield from groups
        return
    stored = [s for name in names for s in rows.stored_vectors(name)]
    held = [(group, _needed(group, stored)) for group in groups]
    paths = {s.address: s.path for _, needed in held for s in needed if s.directory}
    wanted = list(dict.fromkeys(paths.values()))
    largest = max((s.size for _, needed in held for s in needed), default=0)
    ahead, together = AHEAD_BYTES // max(1, largest), TOGETHER_BYTES // max(1, largest)
    brought = cached.bring(wanted, min(AHEAD_MAX, max(2, ahead)), max(TOGETHER_MIN, together))
    here = set[str]()
    for group, needed in held:
        for path in (paths[s.address] for s in needed if s.directory):
            while path not in here:
                here.add(next(brought))
        yield group


def _needed(group: Sequence[Stripe], vectors: Sequence[Stripe]) -> list[Stripe]:
    t0, t1 = min(s.t0 for s in group), max(s.t1 for s in group)
    return [*group, *(s for s in vectors if s.meets(t0, t1))]


def holders_ahead(rows: RowSet, wanted: I64, names: Sequence[str] = ()) -> None:
    """Have the stripes, and the vector stripes of fields, in the folder that may hold some of these anchors, int64 (n,) ascending."""
    if folder_of(rows.store) is not None:
        held = [rows.holders(wanted), *(rows.holders(wanted, name, listed=True) for name in names)]
        fetch_ahead(rows.store, [s.path for found in held for s, _, _ in found if s.path])
