"""Values of a Parquet file that a stripe may not have, looked for where its footer does not say all. Spec 0006.

What is looked at is what an append looks at; where a check needs the values, they are decoded, and that is all.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dreamdb_arrow.columnar.thrift import decode_struct
from dreamdb_arrow.dataset.incoming import check_rows
from dreamdb_arrow.dataset.pieces import Pieces
from dreamdb_arrow.objects.scalar_values import STRING_BYTES_MAX
from dreamdb_arrow.objects.schema import Field

IN_DICTIONARY: Final = frozenset({"PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE"})  # PLAIN may be a page's own
PAGE_HEADER_BYTES: Final = 1 << 10
DUCKDB: Final = "DuckDB version v2."  # whose bounds are known to be as said below
LOOKED_AT: Final = ("float", "string")  # values that an append may refuse though their type is right


class LongWayError(Exception):
    """A file is no stripe after all: what it is, an append finds out."""


def check_values(data: Pieces, file: pq.ParquetFile, fields: Sequence[Field]) -> None:
    """Check the values of columns that are taken over, as far as their type does not say all.

    Raises what an append raises for them, and LongWayError where only an append can tell.
    """
    repeated = [f for f in fields if not f.required and _repeats(file, f.name)]
    texts = [f for f in repeated if f.options["value_type"] == "string"]
    _check_repeated(data, [f for f in texts if not _are_short(data, file, f.name)])
    rest = [f for f in fields if f not in repeated and not _told_finite(file, f)]
    seen = [f for f in rest if f.required or f.options["value_type"] in LOOKED_AT]
    if seen:
        check_rows(pq.read_table(data, columns=[f.name for f in seen]), seen)


def _are_short(data: Pieces, file: pq.ParquetFile, name: str) -> bool:
    """Whether all texts of a column are in dictionaries that are no larger than one text may be."""
    chunks = _chunks(file, name)
    return all({*chunk.encodings} <= IN_DICTIONARY and chunk.has_dictionary_page for chunk in chunks) and all(
        _page_size(data, chunk.dictionary_page_offset) <= STRING_BYTES_MAX for chunk in chunks
    )


def _check_repeated(data: Pieces, fields: Sequence[Field]) -> None:
    """Look at each text that repeats once. Raises LongWayError where one is too long, which an append tells of."""
    names = [f.name for f in fields]
    for column in pq.read_table(data, columns=names, read_dictionary=names).columns if names else ():
        longest = (pc.max(pc.binary_length(chunk.dictionary)).as_py() for chunk in column.chunks)
        if max((length or 0 for length in longest), default=0) > STRING_BYTES_MAX:
            raise LongWayError


def _chunks(file: pq.ParquetFile, name: str) -> list[pq.ColumnChunkMetaData]:
    at, told = file.schema_arrow.get_field_index(name), file.metadata
    return [told.row_group(i).column(at) for i in range(told.num_row_groups)]


def _page_size(data: Pieces, at: int) -> int:
    """Return the bytes of a page, without compression, by its header."""
    return int(decode_struct(data.whole(at, min(at + PAGE_HEADER_BYTES, data.size)))[2][1])


def _repeats(file: pq.ParquetFile, name: str) -> bool:
    """Whether a column of texts has most of its values in dictionaries."""
    chunks, text = _chunks(file, name), pa.types.is_string(file.schema_arrow.field(name).type)
    return text and 2 * sum(bool(chunk.has_dictionary_page) for chunk in chunks) > len(chunks)


def _told_finite(file: pq.ParquetFile, f: Field) -> bool:
    """Whether the footer says that a column has finite numbers only: DuckDB tells no bounds of a group with NaN."""
    if f.required or f.options["value_type"] != "float" or not file.metadata.created_by.startswith(DUCKDB):
        return False
    bounds = [chunk.statistics for chunk in _chunks(file, f.name)]
    return all(b is not None and b.has_min_max and isfinite(b.min) and isfinite(b.max) for b in bounds)
