"""Late columns: what is fetched only for the rows that a query looks at, as functions over Arrow columns. Spec 0021.

Each takes the version (the text of its address) and the field's name as columns of one value, and beside them a column of
anchors or references; it returns as many values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.columns import media_column, vector_column
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.plans_take import taken_values


class LateColumns:
    """The functions of one Space. `reads` counts what they have fetched, by kind."""

    def __init__(self, space: Space) -> None:
        self.reads = {"vector": 0, "media": 0}
        self._space = space

    def _held(self, version: Any) -> RowSet:
        return self._space.rows(parse_address(version[0].as_py()))

    def vectors_of(self, dim: int | None) -> Callable[..., Any]:
        """Return the function that fetches vectors: of a dimension, or of any, then as lists."""
        kind = pa.list_(pa.float32()) if dim is None else pa.list_(pa.float32(), dim)

        def vectors(version: Any, field: Any, anchors: Any) -> Any:
            wanted = numbers(anchors)
            self.reads["vector"] += len(wanted)
            if len(wanted) == 0:
                return pa.array([], kind)
            column = vector_column(self._held(version), field[0].as_py(), wanted)
            return column if column.type == kind else column.cast(kind)

        return vectors

    def values_of(self, kind: pa.DataType) -> Callable[..., Any]:
        """Return the function that gives the values of a field at some anchors."""

        def values(version: Any, field: Any, anchors: Any) -> Any:
            wanted = numbers(anchors)
            if len(wanted) == 0:
                return pa.array([], kind)
            return taken_values(self._held(version), field[0].as_py(), wanted, kind)

        return values

    def media(self, version: Any, field: Any, refs: Any) -> Any:
        """Return the bytes that references of stripes lead to."""
        refs = whole(refs)
        self.reads["media"] += len(refs) - refs.null_count
        if len(refs) == 0:
            return pa.array([], pa.binary())
        return media_column(self._held(version), field[0].as_py(), refs).cast(pa.binary())

    def alive(self, version: Any, anchors: Any) -> Any:
        """Return whether rows are not deleted."""
        wanted = numbers(anchors)
        if len(wanted) == 0:
            return pa.array([], pa.bool_())
        hidden = self._held(version).hidden_between(int(wanted.min()), int(wanted.max()) + 1)
        if len(hidden) == 0:
            return pa.array(np.ones(len(wanted), dtype=bool))
        at = np.minimum(np.searchsorted(hidden, wanted), len(hidden) - 1)
        return pa.array(hidden[at] != wanted)

    def holder(self, version: Any, field: Any, anchors: Any) -> Any:
        """Return which vector stripe holds the vector of each row, as text."""
        wanted = numbers(anchors)
        if len(wanted) == 0:
            return pa.array([], pa.string())
        rows, name = self._held(version), field[0].as_py()
        out: list[str | None] = [None] * len(wanted)
        for stripe in rows.vectors.get(name, ()):
            for i in np.flatnonzero((wanted >= stripe.t0) & (wanted < stripe.t1)):
                out[i] = str(stripe.address)
        return pa.array(out, pa.string())


def address_texts(addresses: Any) -> Any:
    """Return addresses, given as bytes, in their text form."""
    texts = [None if a is None else str(Address(a)) for a in whole(addresses).to_pylist()]
    return pa.array(texts, pa.string())


def whole(column: Any) -> pa.Array:
    """Return a column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def numbers(column: Any) -> I64:
    """Return a column of integers, int64 (n,)."""
    return np.asarray(whole(column).to_numpy(zero_copy_only=False), dtype=np.int64)
