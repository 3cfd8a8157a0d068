"""Results of a query, out of the door: a table for people; JSON, CSV or Arrow for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.csv as pa_csv

from dreamdb_arrow.cli.cells import cell
from dreamdb_arrow.cli.tables import Column, print_table, screen
from dreamdb_arrow.cli.values import csv_column, json_text, plain_values
from dreamdb_arrow.cli.words import counted, printable
from dreamdb_arrow.errors import InvalidInputError

BATCH_ROWS: Final = 2048
TABLE_ROWS: Final = 50  # unless --max-rows says otherwise


def show(relation: Any, max_rows: int | None) -> str:
    """Print the first rows of a DuckDB relation as a table and return a remark: how many there are."""
    most = TABLE_ROWS if max_rows is None else max_rows
    table = (relation.limit(most + 1) if most else relation).to_arrow_table()
    if table.column_names == ["explain_key", "explain_value"]:
        return _show_plans(table)
    cut = 0 < most < len(table)
    left_out = print_table(screen(), table_columns(table.slice(0, most) if cut else table))
    if cut:  # said where the rows are, so that nobody takes a part for the whole
        sys.stdout.write(f"… the first {counted(most, 'row')}; --max-rows 0 for all\n")
    rows = f"{counted(most, 'row')} shown" if cut else counted(len(table), "row")
    return f"{rows}, {counted(left_out, 'column')} not shown" if left_out else rows


def _show_plans(table: pa.Table) -> str:
    """Print query plans, which are drawings of many lines, as they are."""
    for text in table["explain_value"].to_pylist():
        sys.stdout.write("\n".join(printable(line) for line in text.splitlines()) + "\n")
    return counted(len(table), "plan")


def table_columns(table: pa.Table) -> list[Column]:
    """Return the columns of an Arrow table as texts."""
    return [
        Column(printable(name), [cell(v) for v in plain_values(values)], right=is_number(values.type))
        for name, values in zip(table.column_names, table.columns, strict=True)
    ]


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type are written flush right."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


# ---------------------------------------------------------------- for programs


def write_json(reader: pa.RecordBatchReader, out: BinaryIO) -> int:
    """Write rows as one JSON array of objects, a line a row; return how many."""
    written = 0
    for batch in reader:  # comes before the first byte: most failures leave `out` as it was
        lines = _json_lines(batch)
        if lines:
            head = "[\n" if written == 0 else ",\n"
            out.write((head + ",\n".join(lines)).encode())
        written += len(lines)
    out.write(b"\n]\n" if written else b"[]\n")
    return written


def _json_lines(batch: pa.RecordBatch) -> list[str]:
    columns = [plain_values(c) for c in batch.columns]
    names = batch.schema.names
    return [json_text(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def write_csv(reader: pa.RecordBatchReader, out: BinaryIO) -> int:
    """Write rows as CSV with a header; return how many. A null is nothing at all, an empty text is `""`."""
    first = next(iter(reader), None) or _no_rows(reader.schema)
    first = _csv_batch(first)
    written = int(first.num_rows)
    with pa_csv.CSVWriter(out, first.schema) as writer:
        writer.write_batch(first)
        for batch in reader:
            writer.write_batch(_csv_batch(batch))
            written += batch.num_rows
    return written


def _csv_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([csv_column(c) for c in batch.columns], names=batch.schema.names)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def write_arrow_stream(reader: pa.RecordBatchReader, out: BinaryIO) -> int:
    """Write rows as an Arrow IPC stream; return how many."""
    with pa.ipc.new_stream(out, reader.schema) as writer:
        return _write_batches(reader, writer)


def write_arrow_file(reader: pa.RecordBatchReader, out: BinaryIO) -> int:
    """Write rows as an Arrow IPC file; return how many."""
    with pa.ipc.new_file(out, reader.schema) as writer:
        return _write_batches(reader, writer)


def _write_batches(reader: pa.RecordBatchReader, writer: Any) -> int:
    written = 0
    for batch in reader:
        writer.write_batch(batch)
        written += batch.num_rows
    return written


Writer = Callable[[pa.RecordBatchReader, BinaryIO], int]


def to_stdout(relation: Any, max_rows: int | None, write: Writer) -> str:
    """Write the rows of a DuckDB relation to stdout and return a remark: how many."""
    sys.stdout.flush()
    return counted(write(_reader(relation, max_rows), sys.stdout.buffer), "row")


def to_file(relation: Any, max_rows: int | None, path: Path) -> str:
    """Write the rows to an Arrow IPC file, which appears when it is whole, and return a remark."""
    if path.exists() and not path.is_file():  # a pipe, a device
        with path.open("wb") as out:
            return counted(write_arrow_stream(_reader(relation, max_rows), out), "row")
    if not path.parent.is_dir():
        raise InvalidInputError(f"cannot write {path}: no such folder")
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as out:
            written = write_arrow_file(_reader(relation, max_rows), out)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return f"{counted(written, 'row')} to {path}"


def _reader(relation: Any, max_rows: int | None) -> pa.RecordBatchReader:
    limited = relation.limit(max_rows) if max_rows else relation
    return limited.to_arrow_reader(BATCH_ROWS)
