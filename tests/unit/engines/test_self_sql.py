import gc
import threading

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.store.memory import MemoryStore

A = 1_700_000_000_000_000_000


def make(name="x", store=None, n=6):
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("label")
        .add_image("img")
        .add_embedding("v", dim=2, algorithm="dreamdb.lsh-l2")
    )
    ds = vd.Dataset.create(name, schema, store or MemoryStore(), cache_dir=None)
    ds.append(rows(range(n)))
    return ds


def rows(ids):
    return {
        "_anchor": [A + i for i in ids],
        "n": list(ids),
        "label": ["ab"[i % 2] for i in ids],
        "img": [b"%d" % i for i in ids],
        "v": [[float(i), 0.0] for i in ids],
    }


@pytest.fixture(scope="module")
def ds():
    return make()


def test_self_is_the_dataset(ds):
    found = ds.sql("SELECT label, avg(n) AS mean FROM self GROUP BY 1 ORDER BY 1")
    assert isinstance(found, pa.Table)
    assert found.to_pylist() == [{"label": "a", "mean": 2.0}, {"label": "b", "mean": 3.0}]


def test_all_columns_come_as_arrow_has_them(ds):
    found = ds.sql("FROM self ORDER BY _anchor LIMIT 2")
    assert found["img"].to_pylist() == [b"0", b"1"]
    assert found.schema.field("v").type == pa.list_(pa.float32(), 2)
    assert found.schema.field("_time").type == pa.timestamp("ns")
    assert found.column_names == ds.arrow_schema.names


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT n FROM self WHERE n > ? AND label = ? ORDER BY n", [1, "b"]),
        ("SELECT n FROM self WHERE n > ? AND label = ? ORDER BY n", (1, "b")),
        ("SELECT n FROM self WHERE n > $least AND label = $label ORDER BY n", {"least": 1, "label": "b"}),
    ],
)
def test_parameters_by_place_and_by_name(ds, query, params):
    assert ds.sql(query, params)["n"].to_pylist() == [3, 5]


def test_a_result_outlives_dataset_and_database():
    ds = make()
    found = ds.sql("SELECT n, img FROM self ORDER BY n")
    del ds
    gc.collect()
    assert found["img"].to_pylist() == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert pl.from_arrow(found).height == duckdb.sql("SELECT count(*) FROM found").fetchall()[0][0] == 6


def test_self_is_the_version_of_the_handle(ds):
    moved, stays = make(), None
    stays = vd.Dataset.open_at(moved.current_manifest(), moved.space.store, cache_dir=None)
    moved.append(rows(range(6, 9)))
    moved.delete([A])
    count = "SELECT count(*) AS n FROM self"
    assert (moved.sql(count)["n"].to_pylist(), stays.sql(count)["n"].to_pylist()) == ([8], [6])
    branch = moved.branch("other")
    branch.delete([A + 1])
    assert (branch.sql(count)["n"].to_pylist(), moved.sql(count)["n"].to_pylist()) == ([7], [8])


def test_other_refs_and_table_functions_are_there(ds):
    other = make("other", ds.space.store, n=3)
    assert other.ref_name() == "other"
    joined = ds.sql("SELECT self.n FROM self JOIN dreamdb_scan('other') o USING (_anchor) ORDER BY 1")
    assert joined["n"].to_pylist() == [0, 1, 2]
    assert ds.sql("SELECT ref FROM dreamdb_refs() ORDER BY 1")["ref"].to_pylist() == ["other", "x"]
    near = ds.sql("SELECT n FROM dreamdb_search('x', 'v', [3.1, 0]::FLOAT[], k := 2)")
    assert near["n"].to_pylist() == [3, 4]


@pytest.mark.parametrize(
    ("query", "params", "message"),
    [
        ("SELEC", None, "syntax error"),
        ("SELECT nope FROM self", None, "nope"),
        ("FROM ds", None, "Table with name ds does not exist"),
        ("FROM x", None, "Table with name x does not exist"),
        ("FROM params", [], "Table with name params does not exist"),
        ("FROM dreamdb_scan('nope')", None, "ref 'nope' does not exist"),
        ("SELECT n FROM self WHERE n = ?", None, "Values were not provided"),
        ("SELECT n FROM self WHERE n = $n", {"m": 1}, "n"),
        ("", None, "a query that gives rows"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(ds, query, params, message):
    with pytest.raises(vd.InvalidInputError, match=message) as caught:
        ds.sql(query, params)
    assert "\n" not in str(caught.value)
    assert ds.sql("SELECT count(*) AS n FROM self")["n"].to_pylist() == [6]


def test_threads_share_a_dataset(ds):
    found = []

    def ask(least):
        found.append(len(ds.sql("SELECT * FROM self WHERE n >= ?", [least])) == 6 - least)

    threads = [threading.Thread(target=ask, args=(i % 6,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [True] * 12


def test_a_database_goes_with_its_dataset():
    ds = make()
    ds.sql("SELECT 1")
    session = ds._sql._open.session
    assert duckdb.sql("SELECT 1").fetchall() == [(1,)]
    con = ds._sql._open.con
    del ds
    gc.collect()
    with pytest.raises(duckdb.ConnectionException):
        con.execute("SELECT 1")
    assert session._con() is con
