"""Stripes out of the columns of two Parquet files. Spec 0021."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.columnar.grafting import graft
from dreamdb_arrow.columnar.stripe import decode_stripe, field_id, open_stripe, stripe_schema
from dreamdb_arrow.columnar.thrift import decode_struct, encode_struct
from dreamdb_arrow.errors import LayoutError


def parquet(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return memoryview(sink.getvalue())


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
    whole = b"".join(graft(data, ["a", "t"], anchors(n), ["_anchor", "_time", "t", "a"]))
    file = open_stripe(pa.BufferReader(whole))
    assert file.metadata.num_row_groups == 4
    assert file.schema_arrow.names == ["_anchor", "_time", "t", "a"]
    read = decode_stripe(pa.BufferReader(whole))
    assert read.select(["a", "t"]).equals(given.select(["a", "t"]))
    assert read.select(["_anchor", "_time"]).equals(anchors(n))


def test_columns_have_the_field_ids_of_stripes():  # 0021-R5
    data = parquet(pa.table({"a": [1], "b": ["x"]}))
    whole = b"".join(graft(data, ["a", "b"], anchors(1), ["_anchor", "_time", "b", "a"]))
    ids = {
        f.name: int(f.metadata[b"PARQUET:field_id"])
        for f in pq.ParquetFile(pa.BufferReader(whole)).schema_arrow
    }
    assert ids == {name: field_id(name) for name in ("_anchor", "_time", "a", "b")}


def test_statistics_are_taken_over():
    data = parquet(pa.table({"a": [5, 7, None]}))
    whole = b"".join(graft(data, ["a"], anchors(3), ["_anchor", "_time", "a"]))
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
    whole = b"".join(graft(data, names, anchors(rows), ["_anchor", "_time", *names]))
    assert decode_stripe(pa.BufferReader(whole)).select(names).equals(given)


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
