"""A Space as a catalog: by `attach` as a schema, by SQL alone as an external resource."""

import duckdb
import pytest

import dreamdb_arrow as vd

ATTACH = "ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store '{}') AS d"


@pytest.fixture
def space(tmp_path):
    schema = vd.Schema().add_scalar_int("n").add_image("pic", required=False).add_embedding("e", 2)
    ds = vd.Dataset.create("hello", schema, tmp_path / "s", cache_dir=tmp_path / "c")
    ds.append({"n": [1, 2], "pic": [b"x", None], "e": [[1, 2], [3, 4]]})
    ds.snapshot("v1")
    ds.append({"n": [3], "e": [[5, 6]]})
    return tmp_path / "s"


@pytest.fixture(params=["attach", "resource"])
def con(space, tmp_path, request):
    with duckdb.connect() as made:
        if request.param == "attach":
            vd.attach(made, space, "d", cache_dir=tmp_path / "c")
        else:
            vd.enable_attach(made, cache_dir=tmp_path / "c")
            made.execute(ATTACH.format(space))
        yield made


def test_refs_and_snapshots_are_tables(con):
    assert con.execute("SELECT n, pic, e FROM d.hello ORDER BY n").fetchall() == [
        (1, b"x", (1.0, 2.0)),
        (2, None, (3.0, 4.0)),
        (3, None, (5.0, 6.0)),
    ]
    assert con.execute('SELECT count(*) FROM d."hello@v1"').fetchall() == [(2,)]


def test_a_catalog_tells_what_it_has(con):
    con.execute("USE d")
    assert con.execute("SHOW TABLES").fetchall() == [("hello",), ("hello@v1",)]
    assert [row[:2] for row in con.execute("DESCRIBE hello").fetchall()] == [
        ("_anchor", "BIGINT"),
        ("_time", "TIMESTAMP_NS"),
        ("e", "FLOAT[2]"),
        ("n", "BIGINT"),
        ("pic", "BLOB"),
    ]
    told = con.execute("SELECT column_name, min, max FROM (SUMMARIZE SELECT n FROM hello)").fetchall()
    assert told == [("n", "1", "3")]
    comments = con.execute(
        "SELECT DISTINCT comment FROM duckdb_views() WHERE view_name LIKE 'hello%'"
    ).fetchall()
    assert comments == [("e: embedding[2], n: int, pic: image/jpeg?",)]


def test_commits_are_seen_and_statements_join(con, space, tmp_path):
    ds = vd.Dataset.open("hello", backend=space, cache_dir=tmp_path / "c")
    ds.append({"n": [4], "e": [[7, 8]]})
    both = 'SELECT count(*), count(v.n) FROM d.hello h LEFT JOIN d."hello@v1" v USING (_anchor)'
    assert con.execute(both).fetchall() == [(4, 2)]


def test_new_refs_appear(space, tmp_path):
    with duckdb.connect() as con:
        session = vd.attach(con, space, "d", cache_dir=tmp_path / "c")
        vd.Dataset.open("hello", backend=space, cache_dir=tmp_path / "c").branch("night")
        session.refresh()
        assert con.execute("SELECT count(*) FROM d.night").fetchall() == [(3,)]
        con.execute("COPY (SELECT 1 AS n) TO 'dreamdb+d://made' (FORMAT parquet)")
        assert con.execute("SELECT n FROM d.made").fetchall() == [(1,)]


def test_a_resource_goes_with_detach_and_comes_again(space, tmp_path):
    with duckdb.connect() as con:
        vd.enable_attach(con, cache_dir=tmp_path / "c")
        con.execute(ATTACH.format(space))
        vd.Dataset.open("hello", backend=space, cache_dir=tmp_path / "c").branch("night")
        con.execute("DETACH d")
        with pytest.raises(duckdb.Error):
            con.execute("FROM d.hello").fetchall()
        con.execute(ATTACH.format(space))
        assert con.execute("SELECT count(*) FROM d.night").fetchall() == [(3,)]


def test_two_resources_side_by_side(space, tmp_path):
    other = vd.Dataset.create(
        "hello", vd.Schema().add_scalar_int("n"), tmp_path / "o", cache_dir=tmp_path / "c"
    )
    other.append({"n": [9]})
    with duckdb.connect() as con:
        vd.enable_attach(con, cache_dir=tmp_path / "c")
        con.execute(ATTACH.format(space))
        con.execute(ATTACH.format(tmp_path / "o").replace("AS d", "AS other"))
        found = con.execute(
            "SELECT (SELECT sum(n) FROM d.hello), (SELECT sum(n) FROM other.hello)"
        ).fetchall()
        assert found == [(6, 9)]


@pytest.mark.parametrize("store", ["/no/such/place", "x'' y"])
def test_a_place_without_a_space_is_told_in_one_line(tmp_path, store):
    with duckdb.connect() as con:
        vd.enable_attach(con, cache_dir=tmp_path / "c")
        with pytest.raises(duckdb.Error, match="dreamdb: ") as caught:
            con.execute(ATTACH.format(store))
        assert "Traceback" not in str(caught.value)
