"""Arrays as Arrow lists and structs, and back; through Parquet, DuckDB and Polars. Spec 0021, ADR 0010."""

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from dreamdb_arrow.columnar.arrays import (
    arrow_of_items,
    arrow_type,
    column_type,
    items_of_arrow,
    nested_lists,
)
from dreamdb_arrow.columnar.stripe import ANCHOR, TIME, decode_stripe, encode_stripe, stripe_schema
from dreamdb_arrow.engines.plans import arrow_type_sql
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_item import CsrItems, DenseItems, RaggedItems
from dreamdb_arrow.objects.array_type import CSR, DENSE, DTYPES, OFFSETS, RAGGED, ItemType, encode_item_type
from dreamdb_arrow.objects.schema import Field

DENSE_23 = ItemType(DENSE, "i16", (2, 3))
PAIRS = ItemType(RAGGED, "f32", (2,), codec=OFFSETS)
MATRIX = ItemType(CSR, "f64", (2, 3))
CSR_VALUE = {"row_offsets": [0, 1, 2], "column_indices": [2, 0], "values": [1.5, 2.5]}


@pytest.mark.parametrize(
    ("of", "items", "values"),
    [
        (ItemType(DENSE, "u64"), DenseItems(np.array([1, 2**64 - 1], "u8")), [1, 2**64 - 1]),
        (DENSE_23, DenseItems(np.arange(6, dtype="i2").reshape(1, 2, 3)), [[[0, 1, 2], [3, 4, 5]]]),
        (ItemType(DENSE, "f32", (2, 0)), DenseItems(np.empty((1, 2, 0), "f4")), [[[], []]]),
        (ItemType(DENSE, "f32", (0,)), DenseItems(np.empty((2, 0), "f4")), [[], []]),
        (
            PAIRS,
            RaggedItems(np.array([2, 0]), np.array([1, 0]), np.array([[1, 2]], "f4")),
            [[[[1.0, 2.0]], []], []],
        ),
        (
            MATRIX,
            CsrItems(
                np.array([[0, 1, 2]], "u8"), np.array([2]), np.array([2, 0], "u8"), np.array([1.5, 2.5])
            ),
            [CSR_VALUE],
        ),
    ],
    ids=["number", "dense", "no numbers", "nothing", "ragged", "sparse"],
)
def test_items_are_lists_and_come_back(of, items, values):
    column = arrow_of_items(of, items)
    assert column.type == arrow_type(of)
    assert column.to_pylist() == values
    assert column.equals(pa.array(values, arrow_type(of)))
    for part in (column, pa.concat_arrays([column, column]).slice(len(column))):  # with an offset
        found = items_of_arrow(of, part)
        for name in type(items).__slots__:
            assert np.array_equal(getattr(found, name), getattr(items, name)), name
    assert len(items_of_arrow(of, column.slice(0, 0))) == 0


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (DENSE_23, [[1, 2, 3]]),
        (DENSE_23, [[1, 2, 3], [4, 5]]),
        (DENSE_23, [[1, 2, 3], [4, 5, None]]),
        (DENSE_23, [[1, 2, 3], None]),
        (PAIRS, [[[1, 2, 3]]]),
        (PAIRS, [None]),
        (MATRIX, CSR_VALUE | {"row_offsets": [0, 2]}),
        (MATRIX, CSR_VALUE | {"row_offsets": [1, 1, 2]}),
        (MATRIX, CSR_VALUE | {"row_offsets": [0, 1, 3]}),
        (MATRIX, CSR_VALUE | {"row_offsets": [0, 3, 2]}),
        (MATRIX, CSR_VALUE | {"row_offsets": [0, 2, 2]}),
        (MATRIX, CSR_VALUE | {"column_indices": [2]}),
        (MATRIX, CSR_VALUE | {"column_indices": [3, 0]}),
        (MATRIX, CSR_VALUE | {"values": [1.5, None]}),
        (MATRIX, CSR_VALUE | {"values": None}),
    ],
    ids=str,
)
def test_lists_that_are_no_items(of, value):
    with pytest.raises(LayoutError):
        items_of_arrow(of, pa.array([value], arrow_type(of)))


def test_more_numbers_than_a_list_can_count(monkeypatch):
    monkeypatch.setattr("dreamdb_arrow.columnar.arrays.NUMBERS_MAX", 5)
    with pytest.raises(UnsupportedError, match="too many"):
        nested_lists(np.zeros((2, 3)), (3,), 2)


def array_field(of: ItemType, **options) -> Field:
    told = {"track_kind": "event", "object_kind": "unbucketed"} | options
    return Field("array", "x", False, {"item_type": encode_item_type(of), **told})


def test_fields_that_are_no_column():
    assert column_type(array_field(DENSE_23)) == pa.list_(pa.list_(pa.int16()))
    assert column_type(array_field(DENSE_23, track_kind="constant")) is None
    assert column_type(Field("array", "x", False, {"item_type": {"family": "blob"}})) is None
    assert column_type(Field("array", "x")) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", [DENSE, RAGGED, CSR])
def test_types_and_bits_survive_stripes_and_engines(family, dtype, tmp_path):
    shape, codec = {DENSE: ((2,), "raw"), RAGGED: ((), OFFSETS), CSR: ((1, 2), "raw")}[family]
    of = ItemType(family, dtype, shape, codec=codec)
    numbers = np.frombuffer(np.random.default_rng(0).bytes(2 * of.native.itemsize), of.native).tolist()
    value = {
        DENSE: numbers,
        RAGGED: [numbers, []],
        CSR: {"row_offsets": [0, 2], "column_indices": [0, 1], "values": numbers},
    }[family]
    schema = stripe_schema([array_field(of)])
    table = pa.table({ANCHOR: [1, 2], TIME: [1, 2], "x": pa.array([value, None], arrow_type(of))}).cast(
        schema
    )
    path = tmp_path / "x.parquet"
    path.write_bytes(encode_stripe(table))
    assert decode_stripe(path).cast(schema).equals(table)
    with duckdb.connect() as con:
        found = con.sql(f"SELECT x, typeof(x) FROM read_parquet('{path}')")
        told = found.to_arrow_table()
        assert told["x"].cast(arrow_type(of)).equals(table["x"])
        wanted = con.sql(f"SELECT typeof(NULL::{arrow_type_sql(arrow_type(of))})").fetchall()
        assert wanted == [(told["typeof(x)"][0].as_py(),)]
    assert pl.read_parquet(path)["x"].to_arrow().cast(arrow_type(of)).equals(table["x"].combine_chunks())


def test_nan_is_found_although_parquet_tells_no_nan_in_its_statistics(tmp_path):
    of = ItemType(DENSE, "f32")
    values = pa.array([1.0, float("nan"), 2.0], pa.float32())
    table = pa.table({ANCHOR: [1, 2, 3], TIME: [1, 2, 3], "x": values}).cast(stripe_schema([array_field(of)]))
    path = tmp_path / "x.parquet"
    path.write_bytes(encode_stripe(table))
    with duckdb.connect() as con:
        assert con.sql(f"SELECT {ANCHOR} FROM read_parquet('{path}') WHERE x > 5").fetchall() == [(2,)]
        assert con.sql(f"SELECT count(*) FROM read_parquet('{path}') WHERE isnan(x)").fetchall() == [(1,)]
