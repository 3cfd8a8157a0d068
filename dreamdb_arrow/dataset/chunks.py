"""Chunks: rows on their way in, so many at a time that they fit into memory. Spec 0006."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field

BUFFER_BYTES: Final = 256 << 20
BUFFER_BYTES_MAX: Final = 1 << 30  # a column of texts has no room for more than twice that
VIEW_BYTES: Final = 16
CHUNK_ROWS: Final = 1 << 20

Tabulate = Callable[[tuple[Field, ...]], pa.Table | pa.RecordBatchReader]


class Source:
    """Rows to append. A table can be gone through again and again; a stream but once, unless it is one chunk.

    Args:
        tabulate: gives the rows, once it is told the fields.
        buffer_bytes: how many bytes of rows wait at once: half of it is written while the other half is read. A chunk
            has at most `CHUNK_ROWS` rows.
    """

    def __init__(self, tabulate: Tabulate, buffer_bytes: int = BUFFER_BYTES) -> None:
        if type(buffer_bytes) is not int or buffer_bytes < 1:
            raise InvalidInputError(f"buffer_bytes must be a number of bytes above 0, not {buffer_bytes!r}")
        self._tabulate = tabulate
        self._chunk_bytes = max(1, min(buffer_bytes, BUFFER_BYTES_MAX) // 2)

    def chunks(self, fields: tuple[Field, ...], *, whole: bool = False) -> Iterator[pa.Table]:
        """Yield the rows in order, at least one table; `whole` for all of them in one."""
        data = self._tabulate(fields)
        if isinstance(data, pa.Table):
            yield from [data] if whole else cut(data, self._chunk_bytes)
        elif whole:
            yield self._keep(data.read_all())
        else:
            gathered = gather(data, self._chunk_bytes)
            first, second = next(gathered), next(gathered, None)
            if second is None:
                yield self._keep(first)
                return
            yield first
            del first
            yield second
            del second
            yield from gathered

    def _keep(self, table: pa.Table) -> pa.Table:
        """A commit may have to be built twice: keep what cannot be read again."""
        self._tabulate = lambda _: table
        return table


def cut(table: pa.Table, chunk_bytes: int) -> Iterator[pa.Table]:
    """Yield slices of a table, which copy nothing."""
    rows = _rows_that_fit(table, chunk_bytes)
    for start in range(0, max(1, len(table)), rows):
        yield table.slice(start, rows)


def gather(reader: pa.RecordBatchReader, chunk_bytes: int) -> Iterator[pa.Table]:
    """Yield the batches of a stream as tables of about so many bytes; an empty one when there are none."""
    held: list[pa.Table] = []
    size = rows = 0
    for batch in reader:
        for piece in cut(pa.Table.from_batches([batch]), chunk_bytes):
            adds = _size(piece)
            if held and (size + adds > chunk_bytes or rows + len(piece) > CHUNK_ROWS):
                yield _join(held)
                size = rows = 0
            held.append(piece)
            size += adds
            rows += len(piece)
    yield _join(held) if held else reader.schema.empty_table()


def _join(held: list[pa.Table]) -> pa.Table:
    joined = pa.concat_tables(held)
    held.clear()
    return joined


def _rows_that_fit(table: pa.Table, chunk_bytes: int) -> int:
    a_row = max(1, _size(table) // max(1, len(table)))
    return max(1, min(CHUNK_ROWS, chunk_bytes // a_row))


def _size(table: pa.Table) -> int:
    """Return how many bytes the rows take; of views, whose buffers many slices share, those that are theirs."""
    views = [i for i, kind in enumerate(table.schema.types) if kind in (pa.string_view(), pa.binary_view())]
    shown = sum(_shown_by(chunk) for i in views for chunk in table.column(i).chunks)
    rest = [i for i in range(table.num_columns) if i not in views]
    return shown + int(table.select(rest).nbytes)


def _shown_by(views: pa.Array) -> int:
    buffer = views.buffers()[1]
    if buffer is None or not len(views):
        return 0
    # Each view begins with the length of its text.
    lengths = np.frombuffer(buffer, np.int32)[:: VIEW_BYTES // 4]
    shown = lengths[views.offset : views.offset + len(views)]
    return len(views) * VIEW_BYTES + int(shown.sum(dtype=np.int64))


def source_of_samples(
    samples: Sequence[Mapping[str, Any]], convert: Callable[[Any, tuple[Field, ...]], pa.Table]
) -> Source:
    """Return dicts, one a row, as a source that converts once, however often the commit is tried."""
    made: list[tuple[tuple[Field, ...], pa.Table]] = []

    def tabulate(fields: tuple[Field, ...]) -> pa.Table:
        if not made or made[0][0] != fields:
            made[:] = [(fields, convert(samples, fields))]
        return made[0][1]

    return Source(tabulate)
