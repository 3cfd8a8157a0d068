"""A version as a pyarrow Dataset: what Arrow, and anything that takes a Dataset, can scan.

Prune with our keys, decide with Arrow: stripes that cannot match are left out, then Arrow applies the filter to
what is read, exactly. What stripes hold, Arrow's own Parquet reader scans; only embeddings and media pass through us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.overlaps import overlapping
from dreamdb_arrow.columnar.rowset import RowSet, Stripe
from dreamdb_arrow.columnar.runs import both, runs_of
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS
from dreamdb_arrow.dataset.scan import TIME_MAX, count_rows, plan_scan, scan_batches
from dreamdb_arrow.dataset.schema import arrow_schema
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.fragments import DreamDBFragment
from dreamdb_arrow.engines.pruning import inside, may_match
from dreamdb_arrow.engines.scanner import Columns, PulledScanner

Scanner: TypeAlias = pads.Scanner | PulledScanner

BATCH_ROWS: Final = 65_536
USE_TABLE: Final = "a DreamDB dataset is no file: give Arrow its to_table()"


class DreamDBDataset(pads.UnionDataset):  # type: ignore[misc]
    """The rows of one version, read lazily: `_anchor`, `_time`, one column a field.

    Embeddings and media are fetched only when they are projected or filtered on. It pickles to its address.
    """

    def __init__(
        self,
        space: Space,
        version: Address,
        t0: int = 0,
        t1: int = TIME_MAX,
        wanted: pc.Expression | None = None,
    ) -> None:
        self._space, self._t0, self._t1, self._wanted = space, t0, t1, wanted
        self._rows = space.rows(version)
        self._full = arrow_schema(self._rows.fields, self._rows.unavailable)
        # Engines call `schema` and `scanner`. Who reaches for the C++ dataset behind them, as a join of Arrow's does,
        # must meet one: a plain subclass of pads.Dataset has a null pointer there. It names a file that says why.
        super().__init__(self._full, [_no_file(self._full)])

    def __reduce__(self) -> tuple[Callable[..., DreamDBDataset], tuple[Any, ...]]:
        """Pickle to its address. Raises InvalidInputError for a Space in memory."""
        return DreamDBDataset, (self._space, self._rows.address, self._t0, self._t1, self._wanted)

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
        batch_size: int = BATCH_ROWS,
        **options: Any,
    ) -> Scanner:
        """Return a scanner; `columns`, `filter` and options as pyarrow's own Dataset takes them.

        It is Arrow's own, but for embeddings and media, of which one that reads nothing ahead is returned. Arrow's
        writer passes `use_threads`, and takes only its own.
        """
        wanted = both(self._wanted, filter)
        if self._is_stored(columns, wanted):
            rows, schema = self._met(wanted), pa.schema([self._full.field(n) for n in self._stored])
            runs = list(runs_of(rows, rows.stripes, schema, self._t0, self._t1))
            if len(runs) == 1 and not runs[0].mixed:
                names = list(self._stored) if columns is None else columns
                wanted = both(runs[0].alive, wanted)
                return runs[0].files.scanner(columns=names, filter=wanted, batch_size=batch_size, **options)
        pulled = self._pulled(columns, wanted, batch_size)
        return pads.Scanner.from_batches(pulled.to_reader()) if "use_threads" in options else pulled

    def _pulled(self, columns: Columns, wanted: pc.Expression | None, batch_size: int) -> PulledScanner:
        """Return a scanner that reads as it is asked, by anchor, and fetches embeddings and media."""
        plan = plan_scan(self._met(wanted), self._needed(columns, wanted), self._t0, self._t1)
        early = wanted if wanted is not None and self._binds(self._stored, [], wanted) else None
        return PulledScanner(lambda: scan_batches(plan, batch_size, early), plan.schema, columns, wanted)

    def to_table(self, **options: Any) -> pa.Table:
        """Return the rows as one table."""
        return self.scanner(**options).to_table()

    def to_batches(self, **options: Any) -> Iterator[pa.RecordBatch]:
        """Yield the rows as batches."""
        yield from self.scanner(**options).to_batches()

    def head(self, num_rows: int, **options: Any) -> pa.Table:
        """Return the first rows, by anchor; files behind them are not looked at."""
        wanted = both(self._wanted, options.get("filter"))
        found = [self._pulled(options.get("columns"), wanted, BATCH_ROWS).head(0)]
        for part in self.get_fragments(wanted):
            left = num_rows - sum(map(len, found))
            if left <= 0:
                break
            # Arrow decodes whole pages whatever the batch; embeddings and media are fetched by the batch.
            size = BATCH_ROWS if self._is_stored(options.get("columns"), wanted) else min(left, BATCH_ROWS)
            found.append(part.scanner(**{"batch_size": size, **options}).head(left))
        return pa.concat_tables(found)

    def count_rows(self, filter: pc.Expression | None = None, **options: Any) -> int:  # noqa: A002
        """Return how many rows there are."""
        if filter is None and self._wanted is None:
            return count_rows(self._rows, self._t0, self._t1)
        return int(self.scanner(columns=[ANCHOR], filter=filter, **options).count_rows())

    def get_fragments(self, filter: pc.Expression | None = None) -> Iterator[DreamDBFragment]:  # noqa: A002
        """Yield the rows in parts that other processes can read: one a stripe, or a group of stripes that overlap.

        Those that cannot hold a row that satisfies the filter are left out; the filter itself is not applied.
        """
        for group in overlapping(self._met(both(self._wanted, filter)).stripes):
            t0, t1 = max(group[0].t0, self._t0), min(max(s.t1 for s in group), self._t1)
            part = DreamDBDataset(self._space, self._rows.address, t0, t1, self._wanted)
            yield DreamDBFragment(part, inside(t0, t1))

    def filter(self, expression: pc.Expression) -> DreamDBDataset:
        """Return a dataset of those rows that satisfy a condition, too."""
        wanted = both(self._wanted, expression)
        return DreamDBDataset(self._space, self._rows.address, self._t0, self._t1, wanted)

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

    @property
    def _stored(self) -> list[str]:
        """The columns that stripes hold; embeddings and media are fetched when they are needed."""
        late = {f.name for f in self._rows.fields if f.kind in (*BLOB_KINDS, "embedding")}
        return [name for name in self._full.names if name not in late]

    def _is_stored(self, columns: Columns, wanted: pc.Expression | None) -> bool:
        """Whether stripes hold all that a projection and a filter look at."""
        return set(self._needed(columns, wanted)) <= set(self._stored)

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

    def _met(self, wanted: pc.Expression | None) -> RowSet:
        """Return the version with only those stripes that the range and the filter leave possible."""
        met: list[Stripe] = [s for s in self._rows.stripes if s.meets(self._t0, self._t1)]
        return replace(self._rows, stripes=tuple(may_match(met, self._full, wanted)))


def _in_memory(other: Any) -> Any:
    return other._read() if isinstance(other, DreamDBDataset) else other  # noqa: SLF001 - one of us


def _no_file(schema: pa.Schema) -> pads.FileSystemDataset:
    """Return a dataset of one file that is not there."""
    return pads.FileSystemDataset.from_paths(
        [USE_TABLE], schema=schema, format=pads.ParquetFileFormat(), filesystem=pafs.LocalFileSystem()
    )
