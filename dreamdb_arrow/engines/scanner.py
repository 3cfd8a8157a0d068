"""A scanner whose batches are pulled: what a scan of embeddings and media gives in the place of Arrow's own.

Arrow's scanner over batches of ours reads on in the background, up to a gigabyte, also when nobody wants more; ten images would
cost as much as all of them. This one has its methods, fetches what is asked for, and has Arrow filter and project each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

Columns: TypeAlias = Sequence[str] | dict[str, pc.Expression] | None


class PulledScanner:
    """Some columns of the rows that satisfy a condition.

    Args:
        read: starts a scan: batches of `schema`.
        schema: their columns.
        columns: what to give of them, as pyarrow's own scanner takes it.
        wanted: the condition, or None.
    """

    def __init__(
        self,
        read: Callable[[], Iterator[pa.RecordBatch]],
        schema: pa.Schema,
        columns: Columns,
        wanted: pc.Expression | None,
    ) -> None:
        self._read, self.dataset_schema, self._columns, self._wanted = read, schema, columns, wanted
        self.projected_schema: pa.Schema = self._arrow([]).projected_schema

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as batches."""
        for batch in self._read():
            for found in self._arrow([batch]).to_batches():
                if found.num_rows:
                    yield found

    def to_reader(self) -> pa.RecordBatchReader:
        """Return the rows as a stream."""
        return pa.RecordBatchReader.from_batches(self.projected_schema, self.to_batches())

    def to_table(self) -> pa.Table:
        """Return the rows as one table."""
        return pa.Table.from_batches(self.to_batches(), schema=self.projected_schema)

    def head(self, num_rows: int) -> pa.Table:
        """Return the first rows."""
        found: list[pa.RecordBatch] = []
        for batch in self.to_batches() if num_rows > 0 else ():
            found.append(batch.slice(0, num_rows))
            num_rows -= len(found[-1])
            if num_rows == 0:
                break
        return pa.Table.from_batches(found, schema=self.projected_schema)

    def count_rows(self) -> int:
        """Return how many rows there are."""
        return sum(batch.num_rows for batch in self.to_batches())

    def take(self, indices: Any) -> pa.Table:
        """Return the rows at some places, counted from zero. Raises IndexError for one behind the last row."""
        places = np.asarray(indices, dtype=np.int64)
        wanted, order = np.unique(places, return_inverse=True)
        found, start = [], 0
        for batch in self.to_batches():
            inside = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
            found.append(batch.take(pa.array(inside)))
            start += batch.num_rows
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < start:
            raise IndexError(f"row {wanted[-1]} of {start}")
        return pa.Table.from_batches(found, schema=self.projected_schema).take(pa.array(order))

    def _arrow(self, batches: list[pa.RecordBatch]) -> pads.Scanner:
        return pads.Scanner.from_batches(
            iter(batches),
            schema=self.dataset_schema,
            columns=self._columns,
            filter=self._wanted,
            use_threads=False,
        )
