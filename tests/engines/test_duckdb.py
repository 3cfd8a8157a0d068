"""Table functions, views and late columns on a DuckDB connection."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.far import NO_DELAY, FarStore

T0 = 1_700_000_000_000_000_000
DIM = 8


def rows(n: int, start: int = 0, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed + start)
    return pa.table(
        {
            "_anchor": T0 + (np.arange(n) + start) * 1_000_000,
            "label": [f"l{i % 7}" for i in range(n)],
            "n": rng.integers(-100, 100, n),
            "f": rng.random(n),
            "img": pa.array([b"img-%d" % (i + start) for i in range(n)], pa.binary()),
            "v": pa.FixedSizeListArray.from_arrays(rng.standard_normal(n * DIM, dtype=np.float32), DIM),
        }
    )


def schema() -> vd.Schema:
    return (
        vd.Schema()
        .add_scalar_categorical("label")
        .add_scalar_int("n")
        .add_scalar_float("f")
        .add_image("img", mime="png")
        .add_embedding("v", dim=DIM, algorithm="dreamdb.ivf-cosine")
    )


@pytest.fixture
def ds(tmp_path):
    made = vd.Dataset.create("x", schema(), backend=tmp_path / "space", cache_dir=tmp_path / "cache")
    for start in range(0, 3000, 1000):
        made.append(rows(1000, start))
    return made


@pytest.fixture
def con(ds):
    made = duckdb.connect()
    session = ds.attach(made)
    yield made
    session.close()
    made.close()


@pytest.fixture
def truth() -> pa.Table:
    return pa.concat_tables([rows(1000, start) for start in range(0, 3000, 1000)])


def test_scan_gives_all_rows_with_their_types(con, truth):
    got = con.sql("SELECT * FROM dreamdb_scan('x') ORDER BY _anchor").to_arrow_table()
    types = dict(con.sql("DESCRIBE FROM dreamdb_scan('x')").select("column_name, column_type").fetchall())
    assert types == {
        "_anchor": "BIGINT",
        "_time": "TIMESTAMP_NS",
        "f": "DOUBLE",
        "img": "BLOB",
        "label": "VARCHAR",
        "n": "BIGINT",
        "v": f"FLOAT[{DIM}]",
    }
    for name in truth.column_names:
        assert got[name].to_pylist() == truth[name].to_pylist(), name


def test_views_and_macros_agree(con):
    assert (
        con.sql("SELECT count(*) FROM x").fetchall()
        == con.sql("SELECT count(*) FROM dreamdb_scan('x')").fetchall()
    )


def test_explain_shows_parquet_with_filters_and_projections(con):
    sql = f"EXPLAIN SELECT label, avg(n) FROM dreamdb_scan('x') WHERE _anchor BETWEEN {T0 + 5_000_000} AND {T0 + 1_500_000_000} GROUP BY 1"
    plan = con.sql(sql).fetchall()[0][1]
    assert "READ_PARQUET" in plan
    assert "Filters" in plan
    assert "_anchor" in plan.split("Filters")[1]
    projections = plan.split("READ_PARQUET")[1].split("Filters")[0]
    assert "label" in projections
    assert "img" not in plan


@pytest.mark.parametrize("deleted", [0, 3, 500])
def test_top_n_of_everything_reads_only_what_it_shows(tmp_path, deleted):
    ds = vd.Dataset.create("big", schema(), backend=tmp_path / "space", cache_dir=tmp_path / "cache")
    for start in range(0, 200_000, 50_000):
        ds.append(rows(50_000, start))
    if deleted:
        gone = np.random.default_rng(1).choice(200_000, deleted, replace=False)
        ds.delete(T0 + gone * 1_000_000)
    con = duckdb.connect()
    session = ds.attach(con)
    got = con.sql("SELECT * FROM dreamdb_scan('big') ORDER BY f DESC LIMIT 5").to_arrow_table()
    assert len(got) == 5
    assert session.reads["vector"] <= 5
    assert session.reads["media"] <= 5
    assert con.sql("SELECT count(*) FROM big").fetchall() == [(200_000 - deleted,)]
    con.sql("SELECT label, count(*), max(f) FROM big GROUP BY 1").fetchall()
    assert session.reads["vector"] <= 5
    session.close()
    con.close()


def test_time_arguments_prune_and_cut(con, truth):
    low, high = T0 + 1_200_000_000, T0 + 1_300_000_000
    want = [a for a in truth["_anchor"].to_pylist() if low <= a < high]
    assert [
        a
        for (a,) in con.execute(
            "SELECT _anchor FROM dreamdb_scan('x', t0 := ?, t1 := ?)", [low, high]
        ).fetchall()
    ] == want
    sql = "SELECT count(*) FROM dreamdb_scan('x', t0 := make_timestamp_ns(?), t1 := make_timestamp_ns(?))"
    assert con.execute(sql, [low, high]).fetchall() == [(len(want),)]
    plan = con.sql(f"EXPLAIN SELECT sum(n) FROM dreamdb_scan('x', t0 := {low}, t1 := {high})").fetchall()[0][
        1
    ]
    assert "READ_PARQUET" in plan


def test_as_of_label_address_and_time(ds, con):
    v = ds.snapshot("v1")
    published = ds.manifest.ts
    ds.append(rows(10, 5000))
    ds.delete([T0])
    for as_of in ("v1", "x@v1", v["manifest"], str(published), "x@v1"):
        assert con.execute("SELECT count(*) FROM dreamdb_scan('x', as_of := ?)", [as_of]).fetchall() == [
            (3000,)
        ]
    assert con.sql("SELECT count(*) FROM x").fetchall() == [(3009,)]
    assert con.sql("SELECT count(*) FROM dreamdb_scan('x@v1')").fetchall() == [(3000,)]


def exact(truth: pa.Table, query, k: int, keep=None) -> list[int]:
    matrix = np.asarray(truth["v"].combine_chunks().flatten()).reshape(-1, DIM).astype("f8")
    far = 1 - matrix @ query / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(query))
    anchors = np.asarray(truth["_anchor"])
    if keep is not None:
        far, anchors = far[keep], anchors[keep]
    return [int(anchors[i]) for i in np.argsort(far, kind="stable")[:k]]


def test_knn_of_literal_parameter_subquery_and_lateral(con, truth):
    q = np.random.default_rng(5).standard_normal(DIM).astype("f4")
    want = exact(truth, q, 10)
    text = str([float(v) for v in q])
    assert [a for a, _ in con.execute(f"FROM dreamdb_knn('x', 'v', {text})").fetchall()] == want
    assert [a for a, _ in con.execute("FROM dreamdb_knn('x', 'v', ?, k := 10)", [q]).fetchall()] == want
    con.execute(
        f"CREATE TABLE q AS SELECT 1 AS id, {text}::FLOAT[{DIM}] AS vec UNION ALL SELECT 2, [1,0,0,0,0,0,0,0]"
    )
    sub = "FROM dreamdb_knn('x', 'v', (SELECT vec FROM q WHERE id = 1), k := 10)"
    assert [a for a, _ in con.sql(sub).fetchall()] == want
    lateral = con.sql("SELECT q.id, n._anchor FROM q, dreamdb_knn('x', 'v', q.vec, k := 3) n").fetchall()
    assert sorted(a for i, a in lateral if i == 1) == sorted(want[:3])
    assert len(lateral) == 6


def test_knn_filters_before_it_searches(con, truth):
    q = np.ones(DIM, "f4")
    keep = np.array([label == "l3" for label in truth["label"].to_pylist()]) & (np.asarray(truth["n"]) > 90)
    assert 10 <= keep.sum() < 60
    sql = "FROM dreamdb_knn('x', 'v', ?, k := 10, filter := 'label = ''l3'' AND n > 90')"
    assert [a for a, _ in con.execute(sql, [q]).fetchall()] == exact(truth, q, 10, keep)
    timed = np.asarray(truth["_anchor"]) < T0 + 50_000_000
    sql = f"FROM dreamdb_knn('x', 'v', ?, k := 10, t1 := {T0 + 50_000_000})"
    assert [a for a, _ in con.execute(sql, [q]).fetchall()] == exact(truth, q, 10, timed)


def test_search_gives_whole_rows_nearest_first(con, truth):
    q = np.ones(DIM, "f4")
    got = con.execute("SELECT * FROM dreamdb_search('x', 'v', ?, k := 4)", [q]).fetchall()
    assert [r[0] for r in got] == exact(truth, q, 4)
    far = [r[-1] for r in got]
    assert far == sorted(far)


def test_probing_reads_cells_and_what_is_not_flushed(ds, con, truth):  # 0006-R13
    q = np.ones(DIM, "f4")
    ds.flush()
    every = con.execute("FROM dreamdb_knn('x', 'v', ?, k := 10, nprobe := 1000)", [q]).fetchall()
    assert [a for a, _ in every] == exact(truth, q, 10)
    near = pa.table(
        {
            **{c: rows(1, 9000)[c] for c in truth.column_names},
            "v": pa.array([[1.0] * DIM], pa.list_(pa.float32(), DIM)),
        }
    )
    ds.append(near)
    few = con.execute("FROM dreamdb_knn('x', 'v', ?, k := 1, nprobe := 1)", [q]).fetchall()
    assert few[0][0] == near["_anchor"][0].as_py()


def test_track_names_the_object_of_each_value(ds, con):
    for field in ("n", "label", "v", "img"):
        found = con.sql(
            f"SELECT count(*), count(DISTINCT object), count(value) FROM dreamdb_track('x', '{field}')"
        ).fetchall()
        assert found[0][0] == found[0][2] == 3000
        assert found[0][1] >= 3
    listed = {a for (a,) in con.sql("SELECT address FROM dreamdb_objects('x')").fetchall()}
    named = {a for (a,) in con.sql("SELECT DISTINCT object FROM dreamdb_track('x', 'n')").fetchall()}
    assert named <= listed


def test_the_space_as_tables(ds, con):
    ds.snapshot("a")
    ds.delete([T0], reason="test")
    assert con.sql("SELECT ref FROM dreamdb_refs() ORDER BY 1").fetchall() == [("x",), ("x@a",)]
    ops = [o for (o,) in con.sql("SELECT operation FROM dreamdb_history('x')").fetchall()]
    assert ops == ["delete", "commit", "commit", "commit", "create"]
    assert ("v", "embedding") in con.sql("SELECT field, kind FROM dreamdb_schema('x')").fetchall()
    assert con.sql("SELECT _anchor, reason FROM dreamdb_tombstones('x')").fetchall() == [(T0, "test")]
    assert con.sql("SELECT count(*) FROM dreamdb_tracks('x') WHERE kind = 'event'").fetchall() == [(3,)]
    assert con.sql("FROM dreamdb_constants('x')").fetchall() == []


BAD = {
    "FROM dreamdb_scan('nope')": "ref 'nope' does not exist",
    "FROM dreamdb_scan('../x')": "not a ref name",
    "FROM dreamdb_scan(NULL)": "ref must not be NULL",
    "FROM dreamdb_scan('x', as_of := 'never')": "does not exist",
    "FROM dreamdb_scan('x', t0 := 'soon')": "t0 must be",
    "FROM dreamdb_track('x', 'nope')": "no field 'nope'",
    "FROM dreamdb_knn('x', 'v', [1, 2])": "8 dimensions, the query has 2",
    "FROM dreamdb_knn('x', 'n', [1, 2])": "of kind scalar",
    "FROM dreamdb_knn('x', 'v', [1, 2, 3, 4, 5, 6, 7, 'nan'::FLOAT])": "NaN",
    "FROM dreamdb_knn('x', 'v', [1, 2, 3, 4, 5, 6, 7, 8], k := 0)": "k must be",
    "FROM dreamdb_knn('x', 'v', [1, 2, 3, 4, 5, 6, 7, 8], filter := 'nope = 1')": "condition 'nope = 1'",
    "FROM dreamdb_knn('x', 'v', [1, 2, 3, 4, 5, 6, 7, 8], filter := '1=1) OR (SELECT true')": "condition",
    "FROM dreamdb_search('nope', 'v', [1, 2, 3, 4, 5, 6, 7, 8])": "ref 'nope' does not exist",
}


@pytest.mark.parametrize("sql", BAD)
def test_errors_are_one_clear_line(con, sql):
    with pytest.raises(duckdb.Error) as error:
        con.execute(sql).fetchall()
    first = str(error.value).splitlines()[0]
    assert BAD[sql] in first
    assert "Traceback" not in str(error.value)


def test_prepared_statements_views_and_cursors_see_new_rows(ds, con):
    con.execute("CREATE VIEW mine AS SELECT count(*) AS n FROM dreamdb_scan('x')")
    con.execute("PREPARE p AS SELECT count(*) FROM dreamdb_scan('x')")
    con.execute("PREPARE k AS SELECT count(*) FROM dreamdb_knn('x', 'v', [1,1,1,1,1,1,1,1], k := 5000)")
    for n in (3000, 3010):
        for sql in ("FROM mine", "EXECUTE p", "SELECT count(*) FROM x", "EXECUTE k"):
            assert con.execute(sql).fetchall() == [(n,)], sql
            cursor = con.cursor()
            if "EXECUTE" not in sql:
                assert cursor.execute(sql).fetchall() == [(n,)]
            cursor.close()
        ds.append(rows(10, 8000)) if n == 3000 else None


def test_one_statement_and_one_transaction_see_one_version(ds, con):  # 0006-R12
    stop = threading.Event()

    def write():
        at = 20_000
        while not stop.is_set():
            ds.append(rows(5, at))
            at += 5

    def read(_):
        cursor = con.cursor()
        found = [
            cursor.execute(
                "SELECT (SELECT count(*) FROM dreamdb_scan('x')) - (SELECT count(*) FROM x)"
            ).fetchall()[0][0]
            for _ in range(15)
        ]
        cursor.execute("BEGIN")
        twice = [cursor.execute("SELECT count(*) FROM x").fetchall() for _ in range(3)]
        cursor.execute("COMMIT")
        cursor.close()
        return found, twice

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            for found, twice in pool.map(read, range(4)):
                assert set(found) == {0}
                assert len({str(t) for t in twice}) == 1
    finally:
        stop.set()
        writer.join()


def test_two_spaces_on_one_connection(ds, tmp_path):
    other = vd.Dataset.create(
        "y", vd.Schema().add_scalar_int("n"), backend="memory://other", cache_dir=tmp_path / "c2"
    )
    other.append({"n": [1, 2, 3]})
    con = duckdb.connect()
    first, second = ds.attach(con, as_="a"), vd.attach(con, "memory://other", as_="b")
    assert con.sql("SELECT (SELECT count(*) FROM a.x), (SELECT sum(n) FROM b.y)").fetchall() == [(3000, 6)]
    sql = "SELECT count(*) FROM a.dreamdb_search('x', 'v', [1,1,1,1,1,1,1,1], k := 3)"
    assert con.sql(sql).fetchall() == [(3,)]
    first.close()
    second.close()
    con.close()


def test_append_from_duckdb_polars_pandas_and_back(tmp_path):
    pl, pd = pytest.importorskip("polars"), pytest.importorskip("pandas")
    ds = vd.Dataset.create(
        "t", vd.Schema().add_scalar_int("n").add_scalar_string("s"), backend=tmp_path / "s", cache_dir=None
    )
    con = duckdb.connect()
    ds.append(con.sql("SELECT range AS n, 'duck' AS s FROM range(3)"))
    ds.append(pl.DataFrame({"n": [10], "s": ["polars"]}))
    ds.append(pd.DataFrame({"n": [20], "s": ["pandas"]}))
    ds.append(pa.table({"n": [30], "s": ["arrow"]}))
    ds.append(pa.table({"n": [31], "s": ["reader"]}).to_reader())
    ds.append({"n": np.array([40]), "s": ["columns"]})
    assert ds.to_pandas()["n"].tolist() == [0, 1, 2, 10, 20, 30, 31, 40]
    lazy = ds.to_polars()
    assert lazy.filter(pl.col("s").str.starts_with("p")).select("n").collect()["n"].to_list() == [10, 20]
    assert ds.to_dataset().to_table(columns=["s"], filter=pa.compute.field("n") > 20)["s"].to_pylist() == [
        "arrow",
        "reader",
        "columns",
    ]
    con.close()


def test_a_dropped_connection_is_let_go_and_its_cursors_still_work(ds):
    con = duckdb.connect()
    ds.attach(con)
    cursor, gone = con.cursor(), weakref.ref(con)
    del con
    gc.collect()
    assert gone() is None
    assert cursor.execute("SELECT count(*), count(v) FROM dreamdb_scan('x')").fetchall() == [(3000, 3000)]
    cursor.close()


def test_stats_of_a_far_space(tmp_path):
    store = FarStore(MemoryStore(), NO_DELAY)
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_int("a"), store, cache_dir=tmp_path)
    ds.append({"a": [1, 2, 3]})
    far = FarStore(store, NO_DELAY)
    con = vd.connect(far, cache_dir=None)
    assert con.sql("SELECT sum(a) FROM dreamdb_scan('x')").fetchall() == [(6,)]
    ((gets, received),) = con.sql("SELECT get, bytes_received FROM dreamdb_stats()").fetchall()
    assert gets == far.count("get") > 0
    assert received == sum(asked.size for asked in far.asked if asked.kind == "get")
