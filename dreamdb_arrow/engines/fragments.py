"""Fragments: a dataset in parts that other processes can read, with the methods of a pyarrow Fragment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from dreamdb_arrow.engines.scanner import PulledScanner
from dreamdb_arrow.errors import InvalidInputError


class DreamDBFragment:
    """The live rows of a range of anchors: a stripe's, or those of stripes that overlap.

    It pickles to the Space's address, the version's and the range; a worker opens its own files.

    Args:
        part: a `DreamDBDataset` of the range.
        partition_expression: what all its rows satisfy.
    """

    __slots__ = ("_part", "partition_expression")

    def __init__(self, part: Any, partition_expression: pc.Expression) -> None:
        self._part, self.partition_expression = part, partition_expression

    def __reduce__(self) -> tuple[Callable[..., DreamDBFragment], tuple[Any, ...]]:
        """Pickle to its address."""
        return DreamDBFragment, (self._part, self.partition_expression)

    def __repr__(self) -> str:
        return f"DreamDBFragment({self.partition_expression}, {self._part!r})"

    @property
    def schema(self) -> pa.Schema:
        """The schema of the dataset; a column that is nowhere in this part is null."""
        return self._part.schema

    @property
    def physical_schema(self) -> pa.Schema:
        """The same as `schema`: what a reader gets."""
        return self.schema

    def scanner(self, schema: pa.Schema | None = None, **options: Any) -> pads.Scanner | PulledScanner:
        """Return a scanner; options as `DreamDBDataset.scanner`. Raises InvalidInputError for another schema."""
        if schema is not None and not schema.equals(self.schema):
            raise InvalidInputError("a fragment has the schema of its version; cast what it gives")
        return self._part.scanner(**options)

    def to_table(self, schema: pa.Schema | None = None, **options: Any) -> pa.Table:
        """Return the rows as one table."""
        return self.scanner(schema, **options).to_table()

    def to_batches(self, schema: pa.Schema | None = None, **options: Any) -> Iterator[pa.RecordBatch]:
        """Yield the rows as batches."""
        yield from self.scanner(schema, **options).to_batches()

    def head(self, num_rows: int, **options: Any) -> pa.Table:
        """Return the first rows, by anchor."""
        return self._part.head(num_rows, **options)

    def count_rows(self, **options: Any) -> int:
        """Return how many rows there are."""
        return int(self._part.count_rows(**options))

    def take(self, indices: Any, **options: Any) -> pa.Table:
        """Return the rows at some places, counted from zero by anchor."""
        return self.scanner(**options).take(indices)
