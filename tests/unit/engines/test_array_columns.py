"""Array columns in every engine: present, missing, added later, filtered on. Specs 0006 and 0021."""

import json
import math

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.cli import main
from dreamdb_arrow.objects.array_type import DTYPES

PARTS = {"row_offsets": [0, 1, 1], "column_indices": [2], "values": [2.5]}


def with_arrays(schema: vd.Schema) -> vd.Schema:
    for dtype in DTYPES:
        schema.add_array(f"one_{dtype}", dtype, [], required=False)
    schema.add_array("grid", "u8", [2, 2], required=False).add_ragged_array("rows", "i16", required=False)
    return schema.add_sparse_csr("m", "f64", [2, 3], required=False)


@pytest.fixture
def place(tmp_path):
    return {"backend": tmp_path / "space", "cache_dir": tmp_path / "cache"}


def connected(place):
    return vd.connect(place["backend"], cache_dir=place["cache_dir"])


def test_fields_that_no_row_has(place):
    ds = vd.Dataset.create("main", with_arrays(vd.Schema().add_scalar_int("n")), **place)
    ds.append({"_anchor": [1, 2], "n": [1, 2]})
    table = ds.to_arrow()
    assert all(
        table[name].null_count == 2 for name in table.column_names if name not in ("_anchor", "_time", "n")
    )
    con = connected(place)
    found = con.sql("SELECT * FROM main").to_arrow_table()
    assert found.cast(table.schema).equals(table)
    assert ds.to_polars().collect().to_arrow().cast(table.schema).equals(table)
    con.close()


def test_fields_that_came_later(place):
    ds = vd.Dataset.create("main", vd.Schema().add_scalar_int("n"), **place)
    ds.append({"_anchor": [1, 2], "n": [1, 2]})
    con = connected(place)
    ds.add_array("grid", "u8", [2, 2])
    ds.add_sparse_csr("m", "f64", [2, 3])
    assert con.sql("SELECT count(grid), count(m) FROM main").fetchall() == [(0, 0)]
    ds.append_many([{"_anchor": 3, "n": 3, "grid": [[1, 2], [3, 4]], "m": PARTS}])
    want = [(1, None, None), (2, None, None), (3, 4, 2.5)]
    assert con.sql('SELECT n, grid[2][2], m."values"[1] FROM main ORDER BY n').fetchall() == want
    frame = ds.to_polars().filter(pl.col("grid").is_not_null()).collect()
    assert frame["grid"].to_list() == [[[1, 2], [3, 4]]]
    ds.flush()
    assert vd.Dataset.open("main", **place).to_arrow().equals(ds.to_arrow())
    con.close()


def test_filters_and_tracks(place):
    ds = vd.Dataset.create("main", with_arrays(vd.Schema()), **place)
    values = np.array([1, 5, np.nan, 7], "f4")
    ds.append(
        {
            "_anchor": [1, 2, 3, 4],
            "one_f32": values,
            "one_u64": np.array([0, 2**63, 2**64 - 1, 5], "u8"),
            "grid": np.arange(16, dtype="u1").reshape(4, 2, 2),
        }
    )
    ds.delete([4])
    con = connected(place)
    assert con.sql("SELECT _anchor FROM main WHERE one_u64 > 9223372036854775807 ORDER BY 1").fetchall() == [
        (2,),
        (3,),
    ]
    assert con.sql("SELECT _anchor FROM main WHERE isnan(one_f32)").fetchall() == [(3,)]
    assert con.sql("SELECT sum(grid[1][2]) FROM main").fetchall() == [(15,)]
    listed = con.sql("SELECT _anchor, value, object FROM dreamdb_track('main', 'grid') ORDER BY 1").fetchall()
    assert [(a, v) for a, v, _ in listed] == [
        (1, [[0, 1], [2, 3]]),
        (2, [[4, 5], [6, 7]]),
        (3, [[8, 9], [10, 11]]),
    ]
    assert all(len(address) == 53 for *_, address in listed)
    con.close()
    wanted = pc.field("one_u64") > pa.scalar(2**63, pa.uint64())
    assert ds.to_dataset().to_table(columns=["_anchor"], filter=wanted)["_anchor"].to_pylist() == [3]
    found = ds.to_polars().filter(pl.col("one_f32").is_nan()).select("grid").collect()
    assert found["grid"].to_list() == [[[8, 9], [10, 11]]]
    assert ds.to_polars().filter(pl.col("grid").list.get(0).list.get(0) > 3).collect()[
        "_anchor"
    ].to_list() == [2, 3]
    assert ds.take([3, 1], ["one_f32"])["one_f32"].to_pylist()[1] == 1.0
    assert math.isnan(ds.take([3], ["one_f32"])["one_f32"][0].as_py())


def test_what_inspect_says_of_arrays(place, capsys):
    ds = vd.Dataset.create("main", with_arrays(vd.Schema().add_scalar_int("n")), **place)
    ds.append_many([{"n": 1, "grid": [[1, 2], [3, 4]], "rows": [[1], [2, 3]]}, {"n": 2, "one_f32": math.nan}])
    ds.add_array_constant("k", [1, 2], dtype="u8", shape=[2])
    assert main(["inspect", str(place["backend"]), "main", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    pending = {t["field"]: t["pending_rows"] for t in told["tracks"]}
    assert [pending[name] for name in ("n", "grid", "rows", "one_f32", "m")] == [2, 1, 1, 1, 0]
    types = {f["field"]: f["type"] for f in told["fields"]}
    assert types["one_u16"] == "uint16"
    assert types["grid"] == "list<item: list<item: uint8>>"
    assert types["k"] == "array"


def test_audits_find_damage(place):  # 0002-R3
    ds = vd.Dataset.create("main", vd.Schema().add_array("x", "u8", [2]), **place)
    ds.append({"_anchor": [1, 2], "x": np.array([[1, 2], [3, 4]], "u1")})
    ds.add_array_constant("k", [1, 2], dtype="u8", shape=[2])
    assert ds.audit_array_field("x") == 0  # not flushed
    ds.flush()
    assert ds.audit_array_field("x") == 2
    with pytest.raises(vd.InvalidInputError, match="no items"):
        ds.audit_array_field("k")
    (payload,) = place["backend"].glob("*/array.*/0000000000000002/*")
    payload.chmod(0o644)
    payload.write_bytes(b"\3\5")
    with pytest.raises(vd.CorruptDataError):
        ds.audit_array_field("x")
