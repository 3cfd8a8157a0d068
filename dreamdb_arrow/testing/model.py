"""A model of a Space: plain dicts, no files, no cleverness. What a Space shows must equal it. Spec 0006.

A row is a dict of the values that are there; a version is its rows by anchor and the anchors that were deleted; a
Space is versions by name. Everything is copied, nothing shared: that a branch cannot change its origin is plain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from dreamdb_arrow.errors import AnchorConflict

Row = Mapping[str, Any]
Rows = Mapping[int, Row]

LAST_ANCHOR = 2**63 - 2


@dataclass(frozen=True, slots=True)
class Version:
    """Rows by anchor, and the anchors that no row may have any more."""

    rows: Rows = field(default_factory=lambda: MappingProxyType({}))
    deleted: frozenset[int] = frozenset()

    def append(self, anchors: Sequence[int], rows: Sequence[Row]) -> Version:
        """Return the version with rows at these anchors. Raises AnchorConflict when one is taken or given twice."""
        merged = dict(self.rows)
        for anchor, row in zip(anchors, rows, strict=True):
            if anchor in merged or anchor in self.deleted:
                raise AnchorConflict(anchor, f"anchor {anchor} is taken")
            merged[anchor] = row
        return Version(MappingProxyType(merged), self.deleted)

    def delete(self, anchors: Iterable[int]) -> Version:
        """Return the version without these anchors; those without a row count as deleted, too."""
        gone = frozenset(anchors)
        kept = {anchor: row for anchor, row in self.rows.items() if anchor not in gone}
        return Version(MappingProxyType(kept), self.deleted | gone)

    def is_taken(self, anchor: int) -> bool:
        """Whether no new row may have this anchor."""
        return anchor in self.rows or anchor in self.deleted


def spread(version: Version, ticks: Sequence[int]) -> list[int]:
    """Return the anchors of rows that are appended by tick: each the tick, or the first after it that is not taken.

    Rows of one tick are one nanosecond apart, in their order. Raises AnchorConflict when such a run meets a row.
    """
    anchors = [0] * len(ticks)
    given: set[int] = set()
    for tick in sorted(set(ticks)):
        anchor = tick
        while version.is_taken(anchor):
            anchor += 1
        for row in (i for i, t in enumerate(ticks) if t == tick):
            if version.is_taken(anchor) or anchor in given:
                raise AnchorConflict(anchor, f"two ticks run into one another at {anchor}")
            given.add(anchor)
            anchors[row] = anchor
            anchor += 1
    return anchors


def plain_row(row: Row) -> Row:
    """Return a row in the form in which all sources can be compared: no missing values, vectors as their bytes."""
    return {name: _plain(value) for name, value in row.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return np.asarray(value, dtype=np.float32).tobytes()
    # -0.0 is a value of its own, and equals 0.0 in Python.
    return (value, str(value)) if isinstance(value, float) else value


def rows_of_table(table: pa.Table) -> dict[int, Row]:
    """Return the rows of a scan by anchor. Two rows at one anchor, and a `_time` that is not the anchor, are refused."""
    columns = {name: _values(table[name]) for name in table.column_names}
    anchors = columns.pop("_anchor")
    times = columns.pop("_time", anchors)
    assert times == anchors, "_time must be the anchor"
    assert len(set(anchors)) == len(anchors), "an anchor is there twice"
    return {
        anchor: plain_row({name: values[i] for name, values in columns.items()})
        for i, anchor in enumerate(anchors)
    }


def _values(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values


def nearest_rows(version: Version, name: str, query: Any, metric: str) -> list[tuple[float, int]]:
    """Return (distance, anchor) of all rows that have a vector, nearest first, one by one in float64."""
    q = np.asarray(query, dtype=np.float64)
    found = []
    for anchor, row in version.rows.items():
        if row.get(name) is not None:
            v = np.asarray(row[name], dtype=np.float32).astype(np.float64)
            found.append((float(_DISTANCES[metric](q, v)), anchor))
    return sorted(found)


def _cosine(q: Any, v: Any) -> Any:
    lengths = np.linalg.norm(q) * np.linalg.norm(v)
    return 1.0 if lengths == 0 else 1.0 - np.dot(q, v) / lengths


def _l2(q: Any, v: Any) -> Any:
    return np.square(q - v).sum()


_DISTANCES = {"cosine": _cosine, "l2": _l2}
