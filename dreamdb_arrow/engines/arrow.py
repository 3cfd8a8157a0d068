"""A version as a pyarrow Dataset: what Arrow, Acero and anything that takes a Dataset can scan.

Prune with our keys, decide with Arrow: stripes that cannot match are left out, then Arrow applies the filter to
what is read, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS
from dreamdb_arrow.dataset.scan import TIME_MAX, count_rows, plan_scan, scan_batches
from dreamdb_arrow.dataset.schema import arrow_schema

Columns = Sequence[str] | dict[str, pc.Expression] | None

USE_TABLE: Final = "a DreamDB dataset is no file: give Arrow its to_table()"


class DreamDBDataset(pads.UnionDataset):  # type: ignore[misc]
    """The rows of one version, read lazily: `_anchor`, `_time`, one column a field.

    Embeddings and media are fetched only when they are projected or filtered on.
    """

    def __init__(
        self, rows: RowSet, t0: int = 0, t1: int = TIME_MAX, wanted: pc.Expression | None = None
    ) -> None:
        self._rows, self._t0, self._t1, self._wanted = rows, t0, t1, wanted
        self._full = arrow_schema(rows.fields, rows.unavailable)
        # Engines call `schema` and `scanner`. Who reaches for the C++ dataset behind them, as a join of Arrow's does,
        # must meet one: a plain subclass of pads.Dataset has a null pointer there. It names a file that says why.
        super().__init__(self._full, [_file_dataset(USE_TABLE, self._full)])

    @property
    def schema(self) -> pa.Schema:
        """The schema of a full scan."""
        return self._full

    def __repr__(self) -> str:
        return f"DreamDBDataset(version {str(self._rows.address)[:12]}.., {', '.join(self._full.names)})"

    def scanner(
        self,
        columns: Columns = None,
        filter: pc.Expression | None = None,  # noqa: A002 - pyarrow's name
        batch_size: int = 65_536,
        **options: Any,
    ) -> pads.Scanner:
        """Return a scanner; `columns` and `filter` as pyarrow's own Dataset takes them."""
        del options  # hints on threads, readahead and fragments: nothing to hint at
        wanted = self._both(filter)
        plan = plan_scan(self._rows, self._needed(columns, wanted), *self._range(wanted))
        early = wanted if wanted is not None and self._binds(self._stored, [], wanted) else None
        batches = scan_batches(plan, batch_size, early)
        # Arrow's own threads would still be pulling when a scan is left half read, and the interpreter ends.
        return pads.Scanner.from_batches(
            batches, schema=plan.schema, columns=columns, filter=wanted, use_threads=False
        )

    def to_table(self, **options: Any) -> pa.Table:
        """Return the rows as one table."""
        return self.scanner(**options).to_table()

    def to_batches(self, **options: Any) -> Iterator[pa.RecordBatch]:
        """Yield the rows as batches."""
        yield from self.scanner(**options).to_batches()

    def head(self, num_rows: int, **options: Any) -> pa.Table:
        """Return the first rows, by anchor."""
        return self.scanner(**options).head(num_rows)

    def count_rows(self, filter: pc.Expression | None = None, **options: Any) -> int:  # noqa: A002
        """Return how many rows there are."""
        if filter is None and self._wanted is None:
            return count_rows(self._rows, self._t0, self._t1)
        return int(self.scanner(columns=[ANCHOR], filter=filter, **options).count_rows())

    def get_fragments(self, filter: pc.Expression | None = None) -> Iterator[Any]:  # noqa: A002
        """Refuse: the rows of a version are no list of files; deleted rows would show."""
        raise NotImplementedError("a DreamDB dataset has no fragments; use scanner()")

    def filter(self, expression: pc.Expression) -> DreamDBDataset:
        """Return a dataset of those rows that satisfy a condition, too."""
        return DreamDBDataset(self._rows, self._t0, self._t1, self._both(expression))

    def sort_by(self, sorting: Any, **options: Any) -> pads.InMemoryDataset:
        """Return the rows in another order, read into memory."""
        return self._read().sort_by(sorting, **options)

    def join(self, right_dataset: pads.Dataset, *keys: Any, **options: Any) -> pads.InMemoryDataset:
        """Return the rows joined with another dataset's, both read into memory."""
        return self._read().join(_in_memory(right_dataset), *keys, **options)

    def join_asof(self, right_dataset: pads.Dataset, *keys: Any, **options: Any) -> pads.InMemoryDataset:
        """Return the rows joined with the nearest of another dataset's, both read into memory."""
        return self._read().join_asof(_in_memory(right_dataset), *keys, **options)

    def replace_schema(self, schema: pa.Schema) -> pads.Dataset:
        """Refuse: a version has the schema it has."""
        raise NotImplementedError("the schema of a DreamDB dataset is that of its version; cast the table")

    def _read(self) -> pads.InMemoryDataset:
        return pads.InMemoryDataset(self.to_table())

    def _both(self, wanted: pc.Expression | None) -> pc.Expression | None:
        if self._wanted is None or wanted is None:
            return wanted if self._wanted is None else self._wanted
        return self._wanted & wanted

    @property
    def _stored(self) -> list[str]:
        """The columns that stripes hold; embeddings and media are fetched when they are needed."""
        late = {f.name for f in self._rows.fields if f.kind in (*BLOB_KINDS, "embedding")}
        return [name for name in self._full.names if name not in late]

    def _needed(self, columns: Columns, wanted: pc.Expression | None) -> list[str]:
        """Name the columns to read: those without which projection and filter cannot be told."""
        names = self._full.names
        if columns is None:
            return list(names)
        return [n for n in names if not self._binds([m for m in names if m != n], columns, wanted)]

    def _binds(self, names: list[str], columns: Columns, wanted: pc.Expression | None) -> bool:
        """Whether these columns are enough for a projection and a filter."""
        held = pa.schema([self._full.field(name) for name in names])
        try:
            pads.Scanner.from_batches(iter(()), schema=held, columns=columns, filter=wanted)
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            return False
        return True

    def _range(self, wanted: pc.Expression | None) -> tuple[int, int]:
        """Narrow the time range to stripes that the filter's condition on `_anchor` leaves possible."""
        if wanted is None:
            return self._t0, self._t1
        stripes = [s for s in self._rows.stripes if s.meets(self._t0, self._t1)]
        left = [s for s in stripes if self._may_match(wanted, s.t0, s.t1)]
        if not left:
            return self._t0, self._t0
        return max(self._t0, min(s.t0 for s in left)), min(self._t1, max(s.t1 for s in left))

    def _may_match(self, wanted: pc.Expression, t0: int, t1: int) -> bool:
        anchor = pc.field(ANCHOR)
        guarantee = (anchor >= np.int64(t0)) & (anchor < np.int64(t1))
        stripe = _file_dataset("stripe", self._full, guarantee)
        return any(True for _ in stripe.get_fragments(filter=wanted))


def _in_memory(other: Any) -> Any:
    return other._read() if isinstance(other, DreamDBDataset) else other  # noqa: SLF001 - one of us


def _file_dataset(
    name: str, schema: pa.Schema, guarantee: pc.Expression | None = None
) -> pads.FileSystemDataset:
    """Return a dataset of one file that is not there, of which all rows satisfy a condition."""
    return pads.FileSystemDataset.from_paths(
        [name],
        schema=schema,
        format=pads.ParquetFileFormat(),
        partitions=None if guarantee is None else [guarantee],
        filesystem=pafs.LocalFileSystem(),
    )
