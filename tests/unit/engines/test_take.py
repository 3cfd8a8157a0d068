"""dreamdb_take: rows by anchor in SQL, the same as those of a scan."""

import duckdb
import pyarrow as pa
import pytest

from dreamdb_arrow import Dataset, Schema
from dreamdb_arrow.engines.duckdb import attach, connect


@pytest.fixture
def ds(tmp_path):
    schema = Schema().add_scalar_int("n", required=False).add_scalar_float("f").add_scalar_bool("b")
    schema.add_scalar_string("s").add_scalar_categorical("c").add_scalar_timestamp("t")
    schema.add_embedding("v", 2).add_image("img", required=False)
    schema.add_array("grid", "f32", [2, 2]).add_array("one", "u64", [])
    made = Dataset.create("x", schema, tmp_path / "s", cache_dir=tmp_path / "c", durability="os")
    for start in (0, 20, 10):
        ids = range(start, start + 10)
        made.append(
            {
                "_anchor": list(ids),
                "n": [i if i % 2 else None for i in ids],
                "f": [i / 3 for i in ids],
                "b": [i % 3 == 0 for i in ids],
                "s": [f"it's {i}" for i in ids],
                "c": [f"c{i % 2}" for i in ids],
                "t": [i * 10 for i in ids],
                "v": [[i, 0.5] for i in ids],
                "img": [b"%d" % i if i % 4 else None for i in ids],
                "grid": [[[i / 7, float("inf")], [-0.0, 1e-30]] for i in ids],
                "one": pa.array([2**64 - 1 - i for i in ids], pa.uint64()),
            }
        )
    made.delete([13])
    return made


@pytest.fixture
def con(ds, tmp_path):
    made = connect(tmp_path / "s", cache_dir=tmp_path / "c")
    yield made
    made.close()


@pytest.mark.parametrize(
    "wanted", ["[25, 3, 13, 3, 99, 0]", "'[25, 3, 13, 3, 99, 0]'", "range(0, 40, 7)", "[]"]
)
def test_the_rows_are_those_of_a_scan(con, wanted):
    taken = con.sql(f"FROM dreamdb_take('x', {wanted})")
    scanned = con.sql(
        f"SELECT s.* FROM (SELECT unnest({wanted}::BIGINT[]) AS a, generate_subscripts({wanted}::BIGINT[], 1) AS nth) w "
        "JOIN dreamdb_scan('x') s ON s._anchor = w.a ORDER BY nth"
    )
    assert taken.columns == scanned.columns
    assert taken.types == scanned.types
    assert taken.fetchall() == scanned.fetchall()


def test_parameters_and_versions(ds, con):
    text = "SELECT s FROM dreamdb_take('x', ?)"
    assert con.execute(text, [[3, 13]]).fetchall() == [("it's 3",)]
    old = ds.snapshot("old")["label"]
    ds.delete([3])
    assert con.execute(text, [[3, 4]]).fetchall() == [("it's 4",)]
    assert con.execute("SELECT s FROM dreamdb_take('x', [3], as_of := ?)", [old]).fetchall() == [("it's 3",)]


def test_only_what_is_looked_at_is_fetched(con, ds, monkeypatch):
    monkeypatch.setattr("dreamdb_arrow.dataset.scan.media_column", None)
    monkeypatch.setattr("dreamdb_arrow.dataset.scan.vector_column", None)
    assert con.sql("SELECT n, grid[1][1] FROM dreamdb_take('x', [7, 1])").fetchall() == [
        (7, 1.0),
        (1, pytest.approx(1 / 7)),
    ]


def test_in_a_schema_of_its_own(ds, tmp_path):
    con = duckdb.connect()
    attach(con, ds.space, as_="d")
    assert con.sql("SELECT n FROM d.dreamdb_take('x', [7])").fetchall() == [(7,)]
    con.close()


@pytest.mark.parametrize(
    ("wanted", "told"),
    [("NULL", "list of integers"), ("[-1]", "outside"), ("[1, NULL]", "no integer"), ("5", "BIGINT\\[\\]")],
)
def test_what_is_no_list_of_anchors(con, wanted, told):
    with pytest.raises(duckdb.Error, match=told):
        con.sql(f"FROM dreamdb_take('x', {wanted})").fetchall()
