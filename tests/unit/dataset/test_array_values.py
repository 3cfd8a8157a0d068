"""Arrays on their way in: what is accepted, and what is refused with its field and row. Spec 0006."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.schema import arrow_schema, describe
from dreamdb_arrow.errors import InvalidInputError

PARTS = {"row_offsets": [0, 1, 2], "column_indices": [2, 0], "values": [7, 8]}


def schema() -> vd.Schema:
    return (
        vd.Schema()
        .add_scalar_int("n", required=False)
        .add_array("one", "f32", [], required=False)
        .add_array("grid", "i16", [2, 3], required=False)
        .add_array("u", "u64", [2], required=False)
        .add_ragged_array("rows", "u8", required=False)
        .add_ragged_array("pairs", "f64", [2], required=False)
        .add_sparse_csr("m", "i32", [2, 3], required=False)
    )


@pytest.fixture
def ds(tmp_path):
    return vd.Dataset.create("main", schema(), backend=tmp_path / "space", cache_dir=tmp_path / "cache")


GOOD = [
    ("one", 1.5, 1.5),
    ("one", np.float64(0.1), float(np.float32(0.1))),
    ("one", np.array(2, ">i4"), 2.0),
    ("grid", [[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]),
    ("grid", np.arange(6, dtype=">i8").reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
    ("grid", np.asfortranarray(np.arange(6.0).reshape(2, 3)), [[0, 1, 2], [3, 4, 5]]),
    ("u", [0, 2**64 - 1], [0, 2**64 - 1]),
    ("u", (2**63, 1), [2**63, 1]),
    ("rows", [[1, 2], [], [3]], [[1, 2], [], [3]]),
    ("rows", [], []),
    ("rows", [[]], [[]]),
    ("rows", np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    ("rows", {"row_offsets": [0, 2, 3], "values": np.array([7, 8, 9])}, [[7, 8], [9]]),
    ("pairs", [[[1, 2]], []], [[[1.0, 2.0]], []]),
    ("pairs", {"row_offsets": [0, 0], "values": np.empty((0, 2))}, [[]]),
    ("m", PARTS, PARTS),
    ("m", {"indptr": [0, 1, 2], "indices": [2, 0], "data": [7, 8]}, PARTS),
    (
        "m",
        SimpleNamespace(
            indptr=np.array([0, 1, 2], "i4"),
            indices=np.array([2, 0], "i4"),
            data=np.array([7, 8]),
            shape=(2, 3),
        ),
        PARTS,
    ),
]


@pytest.mark.parametrize(("name", "value", "shown"), GOOD, ids=str)
def test_rows_that_are_taken(ds, name, value, shown):  # 0006-R1
    ds.append_many([{"_anchor": 1, "n": 1}, {"_anchor": 2, "n": 2, name: value}])
    assert ds.to_arrow()[name].to_pylist() == [None, shown]


BAD = [
    ("one", [1.0], "shape"),
    ("one", "x", "not an array"),
    ("one", 1e300, "does not have"),
    ("one", 16_777_217, "does not have"),
    ("one", True, "not an array"),
    ("grid", [[1, 2, 3]], "shape"),
    ("grid", [[1, 2], [3]], "not an array"),
    ("grid", [[1, 2, 3], [4, 5, 1.5]], "does not have"),
    ("grid", [[1, 2, 3], [4, 5, 70_000]], "does not have"),
    ("grid", np.full((2, 3), np.nan), "does not have"),
    ("grid", [[1, 2, 3], [4, 5, None]], "not an array"),
    ("u", [-1, 0], "does not have"),
    ("u", [2**64, 0], "not an array"),
    ("u", [0.5, 2**64 - 1], "does not have"),
    ("u", np.array([-1, 0]), "does not have"),
    ("rows", [1, 2], "cells"),
    ("rows", "text", "list of rows"),
    ("rows", 5, "list of rows"),
    ("rows", {"values": [1]}, "row_offsets or indptr"),
    ("rows", {"row_offsets": [0, 2], "values": [1]}, "row offsets"),
    ("rows", {"row_offsets": [], "values": []}, "row offsets"),
    ("rows", [[256]], "does not have"),
    ("pairs", [[[1, 2, 3]]], "cells"),
    ("pairs", [[1, 2]], "cells"),
    ("m", {"indptr": [0, 1, 2], "indices": [2, 0]}, "values or data"),
    ("m", PARTS | {"row_offsets": [0, 2]}, "offsets"),
    ("m", PARTS | {"row_offsets": [0, 2, 1]}, "row offsets"),
    ("m", PARTS | {"column_indices": [3, 0]}, "column 3"),
    ("m", PARTS | {"column_indices": [2]}, "a column for each value"),
    ("m", PARTS | {"row_offsets": [0, 2, 2]}, "ascend"),
    ("m", PARTS | {"row_offsets": [0, 2, 2], "column_indices": [1, 1]}, "sum_duplicates"),
    ("m", PARTS | {"column_indices": [-1, 0]}, "does not have"),
    ("m", SimpleNamespace(indptr=[0, 1], indices=[0], data=[1], shape=(1, 3)), "shape"),
    ("m", np.eye(2, 3), "row_offsets or indptr|values or data|shape"),
    ("m", 5, "values or data"),
]


@pytest.mark.parametrize(("name", "value", "match"), BAD, ids=str)
def test_rows_that_are_refused(ds, name, value, match):  # 0006-R1, 0006-R6
    with pytest.raises(InvalidInputError, match=f"field '{name}', row 1.*({match})"):
        ds.append_many([{"n": 1}, {"n": 2, name: value}])
    assert ds.count() == 0


COLUMNS = [
    ("one", pa.array([1, None, 3], pa.int64()), [1.0, None, 3.0]),
    ("one", np.array([1, 2, 3], ">f4"), [1.0, 2.0, 3.0]),
    ("grid", np.arange(18).reshape(3, 2, 3), np.arange(18).reshape(3, 2, 3).tolist()),
    ("grid", pa.array([[[1, 2, 3], [4, 5, 6]], None, None]), [[[1, 2, 3], [4, 5, 6]], None, None]),
    (
        "grid",
        pa.array([[[1, 2, 3], [4, 5, 6]]] * 3, pa.large_list(pa.list_(pa.int8(), 3))),
        [[[1, 2, 3], [4, 5, 6]]] * 3,
    ),
    (
        "grid",
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(18, dtype="i2").reshape(3, 2, 3)),
        np.arange(18).reshape(3, 2, 3).tolist(),
    ),
    ("u", np.array([[1, 2]] * 3, "u8"), [[1, 2]] * 3),
    ("u", pl.Series([[1, 2]] * 3, dtype=pl.Array(pl.UInt64, 2)).to_arrow(), [[1, 2]] * 3),
    ("rows", [[[1], []], [], None], [[[1], []], [], None]),
    ("m", [PARTS, None, PARTS], [PARTS, None, PARTS]),
    ("m", [{"indptr": [0, 1, 2], "indices": [2, 0], "data": [7, 8]}] * 3, [PARTS] * 3),
]


@pytest.mark.parametrize(("name", "column", "shown"), COLUMNS, ids=str)
def test_columns_that_are_taken(ds, name, column, shown):
    ds.append({"_anchor": [1, 2, 3], "n": [1, 2, 3], name: column})
    assert ds.to_arrow()[name].to_pylist() == shown


BAD_COLUMNS = [
    ("one", ["a", "b", "c"], "a column of string holds no float"),
    ("one", pa.array([1.0, 2.0, 1e300]), "row 2: a number is too large"),
    ("grid", np.zeros((3, 3, 2)), "row 0: shape"),
    ("grid", np.zeros((3, 6)), "holds no"),
    ("grid", [[[1, 2, 3], [4, 5, 6]], None, [[1, 2, 3], [4, 5]]], "row 2: shape"),
    ("grid", [[[1, 2, 3], [4, 5, 6]], None, [[1, 2, 3], [4, 5, None]]], "row 2: a number is missing"),
    ("grid", [[[1, 2, 3], [4, 5, 70_000]], None, None], "row 0"),
    ("u", pa.array([[1.5, 2.0]] * 3), "row 0"),
    ("m", [PARTS, PARTS, PARTS | {"column_indices": [3, 0]}], "row 2: column 3"),
    ("m", [{"a": 1}] * 3, "holds no"),
    ("m", [[1]] * 3, "holds no"),
    ("m", [PARTS, PARTS | {"row_offsets": None}, PARTS], "row 1: a list is missing"),
]


@pytest.mark.parametrize(("name", "column", "match"), BAD_COLUMNS, ids=str)
def test_columns_that_are_refused(ds, name, column, match):
    with pytest.raises(InvalidInputError, match=f"field '{name}'.*{match}"):
        ds.append({"_anchor": [1, 2, 3], "n": [1, 2, 3], name: column})
    assert ds.count() == 0


def test_a_required_array_must_be_there(tmp_path):  # 0006-R1
    made = vd.Schema().add_array("x", "f32", [2])
    ds = vd.Dataset.create("main", made, backend=tmp_path / "space", cache_dir=tmp_path / "cache")
    with pytest.raises(InvalidInputError, match="required, row 1 has none"):
        ds.append_many([{"x": [1, 2]}, {"x": None}])


@pytest.mark.parametrize(
    ("declare", "match"),
    [
        (lambda s: s.add_array("x", "f16", [2]), "dtype 'f16'"),
        (lambda s: s.add_array("x", np.float32, [2]), "dtype must be a text"),
        (lambda s: s.add_array("x", "f32", 2), "shape"),
        (lambda s: s.add_array("x", "f32", "23"), "shape"),
        (lambda s: s.add_array("x", "f32", [-1]), "shape"),
        (lambda s: s.add_array("x", "f32", [2.5]), "shape"),
        (lambda s: s.add_array("x", "f32", [True]), "shape"),
        (lambda s: s.add_array("x", "f32", [1 << 40]), "numbers"),
        (lambda s: s.add_array("x", "f32", [2], codec="zstd"), "codec"),
        (lambda s: s.add_array("x", "f32", [2], units="u" * 2000), "units"),
        (lambda s: s.add_array("x", "f32", [2], track_kind="continuous"), "object_kind"),
        (lambda s: s.add_array("x", "f32", [2], object_kind="time-batch"), "object_kind"),
        (lambda s: s.add_array("x", "f32", [2], track_kind="constant"), "add_array_constant"),
        (lambda s: s.add_array("x", "f32", [2], family="blob"), "family"),
        (
            lambda s: s.add_array("x", "f32", [1] * 30, family="dense-array", units="x").add_array(
                "x", "f32", []
            ),
            "there already",
        ),
        (lambda s: s.add_ragged_array("x", "f32", [0]), "no numbers"),
        (lambda s: s.add_ragged_array("x", "f32", layout="f"), "layout"),
        (lambda s: s.add_sparse_csr("x", "f32", [3]), "two dimensions"),
        (lambda s: s.add_sparse_csr("x", "f32", [3, 4], codec="npy"), "codec"),
    ],
)
def test_declarations_that_are_refused(declare, match):
    with pytest.raises(InvalidInputError, match=match):
        declare(vd.Schema())


def test_what_a_schema_says_of_arrays():
    fields = {f.name: f for f in schema().fields}
    assert describe(fields["grid"]) == "grid: i16[2, 3]?"
    assert describe(fields["pairs"]) == "pairs: f64[*, *, 2]?"
    assert describe(fields["m"]) == "m: sparse i32[2, 3]?"
    told = arrow_schema(fields.values()).field("grid").metadata
    assert told[b"dreamdb.shape"] == b"[2, 3]"
    assert told[b"dreamdb.dtype"] == b"i16"
    assert told[b"dreamdb.family"] == b"dense-array"
