"""Stripes out of the columns of two Parquet files. Spec 0021."""

import io

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.columnar.grafting import footer_size, graft
from dreamdb_arrow.columnar.stripe import decode_stripe, field_id, open_stripe, stripe_schema
from dreamdb_arrow.columnar.thrift import decode_struct, encode_struct
from dreamdb_arrow.columnar.ticks import as_ticks
from dreamdb_arrow.errors import LayoutError


def parquet(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return memoryview(sink.getvalue())


def grafted(data, kept, table, order, ticks=None):
    end = len(data) - 8 - footer_size(data)
    added = graft(data[end:-8], end, kept, table, order, ticks)
    return b"".join([data[:end], *added])


def anchors(n):
    held = pa.array(range(1000, 1000 + n), pa.int64())
    return pa.Table.from_arrays([held, held.view(pa.timestamp("ns"))], schema=stripe_schema([]))


@pytest.mark.parametrize(
    "options", [{}, {"compression": "snappy"}, {"use_dictionary": False}, {"write_page_index": True}]
)
def test_columns_of_both_files_with_their_values(options):
    n = 1000
    given = pa.table(
        {"a": range(n), "left": ["out"] * n, "t": [None if i % 3 else f"é{i}" for i in range(n)]}
    )
    data = parquet(given, row_group_size=300, **options)
    whole = grafted(data, ["a", "t"], anchors(n), ["_anchor", "_time", "t", "a"])
    file = open_stripe(pa.BufferReader(whole))
    assert file.metadata.num_row_groups == 4
    assert file.schema_arrow.names == ["_anchor", "_time", "t", "a"]
    read = decode_stripe(pa.BufferReader(whole))
    assert read.select(["a", "t"]).equals(given.select(["a", "t"]))
    assert read.select(["_anchor", "_time"]).equals(anchors(n))


def test_columns_have_the_field_ids_of_stripes():  # 0021-R5
    data = parquet(pa.table({"a": [1], "b": ["x"]}))
    whole = grafted(data, ["a", "b"], anchors(1), ["_anchor", "_time", "b", "a"])
    ids = {
        f.name: int(f.metadata[b"PARQUET:field_id"])
        for f in pq.ParquetFile(pa.BufferReader(whole)).schema_arrow
    }
    assert ids == {name: field_id(name) for name in ("_anchor", "_time", "a", "b")}


def test_statistics_are_taken_over():
    data = parquet(pa.table({"a": [5, 7, None]}))
    whole = grafted(data, ["a"], anchors(3), ["_anchor", "_time", "a"])
    group = pq.ParquetFile(pa.BufferReader(whole)).metadata.row_group(0)
    assert [(group.column(i).statistics.min, group.column(i).statistics.max) for i in (0, 2)] == [
        (1000, 1002),
        (5, 7),
    ]
    assert group.column(2).statistics.null_count == 1
    assert group.total_byte_size == sum(group.column(i).total_uncompressed_size for i in range(3))


@given(st.integers(1, 40), st.integers(1, 17), st.integers(1, 12))
def test_any_number_of_columns_rows_and_groups(columns, rows, group):
    names = [f"c{i}" for i in range(columns)]
    given = pa.table({name: range(i, i + rows) for i, name in enumerate(names)})
    data = parquet(given, row_group_size=group)
    whole = grafted(data, names, anchors(rows), ["_anchor", "_time", *names])
    assert decode_stripe(pa.BufferReader(whole)).select(names).equals(given)


@given(st.integers(2, 700), st.integers(1, 2**40), st.integers(0, 2**60), st.integers(1, 300))
def test_ticks_are_anchors_and_times(n, step, first, group):
    ticks = range(first, first + n * step, step)
    data = parquet(pa.table({"a": range(n)}), row_group_size=group)
    whole = grafted(data, ["a"], pa.table({}), ["_anchor", "_time", "a"], ticks)
    read = decode_stripe(pa.BufferReader(whole))
    held = pa.array(ticks, pa.int64())
    assert read.column("_anchor").to_pylist() == list(ticks)
    assert read.column("_time").combine_chunks().equals(held.view(pa.timestamp("ns")))
    told = pq.ParquetFile(pa.BufferReader(whole)).metadata
    bounds = [told.row_group(i).column(0).statistics for i in range(told.num_row_groups)]
    assert [b.min for b in bounds] == list(ticks)[::group]
    assert bounds[-1].max == ticks[-1]
    assert told.schema.equals(pq.ParquetFile(pa.BufferReader(by_arrow(data, held))).metadata.schema)


def by_arrow(data, held):
    table = pa.Table.from_arrays([held, held.view(pa.timestamp("ns"))], schema=stripe_schema([]))
    return grafted(data, ["a"], table, ["_anchor", "_time", "a"])


def test_duckdb_reads_ticks(tmp_path):
    n = 300_000
    data = parquet(pa.table({"a": range(n)}), row_group_size=122_880)
    ticks = range(5, 5 + 1000 * n, 1000)
    (tmp_path / "x.parquet").write_bytes(grafted(data, ["a"], pa.table({}), ["_anchor", "_time", "a"], ticks))
    asked = "SELECT count(*), sum(_anchor - a * 1000), max(epoch_ns(_time)), count(*) FILTER (_anchor = 1005)"
    found = duckdb.sql(f"{asked} FROM read_parquet('{tmp_path}/x.parquet')").fetchall()
    assert found == [(n, 5 * n, ticks[-1], 1)]
    found = duckdb.sql(f"SELECT a FROM read_parquet('{tmp_path}/x.parquet') WHERE _anchor = {ticks[250_000]}")
    assert found.fetchall() == [(250_000,)]


@pytest.mark.parametrize(
    ("anchors", "ticks"),
    [
        ([], None),
        ([3], None),
        ([3, 4], range(3, 5)),
        ([3, 5, 7], range(3, 8, 2)),
        ([3, 5, 8], None),
        ([3, 4, 6, 6, 7], None),
        ([3, 2, 1], None),
        ([3, 3], None),
    ],
)
def test_anchors_that_are_ticks(anchors, ticks):
    assert as_ticks(np.array(anchors, np.int64)) == ticks


@given(st.binary(max_size=60))
def test_footers_are_read_or_refused(data):
    try:
        found = decode_struct(memoryview(data))
    except LayoutError:
        return
    assert decode_struct(memoryview(encode_struct(found))) == found


def test_a_footer_there_and_back():
    data = parquet(
        pa.table({"a": [1.5, None], "b": [True, False], "c": [[1], [2, 3]], "d": [{"e": 1}, None]})
    )
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    told = decode_struct(footer)
    assert pq.ParquetFile(io.BytesIO(data)).metadata.num_rows == told[3][1]
    assert encode_struct(told) == bytes(footer)
