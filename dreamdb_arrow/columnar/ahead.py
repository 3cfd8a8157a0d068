"""Stripes ahead: those that a reader comes to next are fetched together while it reads the ones before. Spec 0021."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.store.ahead import fetch_ahead, folder_of

WINDOW_BYTES: Final = 256 << 20  # fetched together; as much again is read meanwhile
WINDOW_STRIPES: Final = 1024


def stripes_ahead(
    rows: RowSet, groups: Iterable[Sequence[Stripe]], names: Sequence[str] = ()
) -> Iterator[Sequence[Stripe]]:
    """Yield groups of stripes, each once it and its vectors of the named fields are in the folder; others come meanwhile."""
    if folder_of(rows.store) is None:
        yield from groups
        return
    windows = _windows(groups)
    with ThreadPoolExecutor(1) as beside:
        pending = [beside.submit(_bring, rows, window, names) for window in windows[:1]]
        for window, following in zip(windows, [*windows[1:], None], strict=True):
            pending.pop().result()
            if following is not None:
                pending.append(beside.submit(_bring, rows, following, names))
            yield from window


def holders_ahead(rows: RowSet, wanted: I64, names: Sequence[str] = ()) -> None:
    """Have the stripes, and the vector stripes of fields, in the folder that may hold some of these anchors, int64 (n,) ascending."""
    if folder_of(rows.store) is not None:
        held = [rows.holders(wanted), *(rows.holders(wanted, name, listed=True) for name in names)]
        fetch_ahead(rows.store, [s.path for found in held for s, _, _ in found if s.path])


def _bring(rows: RowSet, window: Sequence[Sequence[Stripe]], names: Sequence[str]) -> None:
    stripes = [stripe for group in window for stripe in group]
    t0, t1 = min(s.t0 for s in stripes), max(s.t1 for s in stripes)
    vectors = [s for name in names for s in rows.stored_vectors(name) if s.meets(t0, t1)]
    fetch_ahead(rows.store, [s.path for s in (*stripes, *vectors) if s.path])


def _windows(groups: Iterable[Sequence[Stripe]]) -> list[list[Sequence[Stripe]]]:
    """Cut groups into windows of so many bytes at most, or one group."""
    found: list[list[Sequence[Stripe]]] = []
    size = count = 0
    for group in groups:
        size, count = size + sum(s.size for s in group), count + len(group)
        if not found or size > WINDOW_BYTES or count > WINDOW_STRIPES:
            found.append([])
            size, count = sum(s.size for s in group), len(group)
        found[-1].append(group)
    return found
