"""Spaces attached in SQL: what comes, goes, fails, and what is the user's own. Beside test_attach_sql.py, also on S3."""

from pathlib import Path

import duckdb
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.engines.planner import Planner
from tests.places import url_of


@pytest.fixture
def space(tmp_path):
    """A Space with a Ref, a snapshot of it, and a Ref with media and embeddings."""
    url = url_of(tmp_path / "space")
    ds = vd.Dataset.create("hello", vd.Schema().add_scalar_int("n"), url, cache_dir=tmp_path / "cache")
    ds.append_many([{"n": 1}])
    ds.snapshot("v1")
    ds.append_many([{"n": 2}])
    vd.Dataset.create("pictures", vd.Schema().add_image("im", mime="png"), url, cache_dir=tmp_path / "cache")
    return url


@pytest.fixture
def con(tmp_path):
    """A connection of the user's that knows Spaces as resources."""
    with duckdb.connect() as con:
        vd.enable_attach(con, cache_dir=tmp_path / "cache")
        yield con


def attach(con, url, name="d", more=""):
    con.execute(f"ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store '{url}'{more}) AS {name}")


def rows(con, sql):
    return con.execute(sql).fetchall()


def test_new_refs_appear_and_old_ones_go(tmp_path, space):
    with duckdb.connect() as con:
        catalogs = vd.enable_attach(con, cache_dir=tmp_path / "cache")
        attach(con, space)
        ds = vd.Dataset.open("hello", backend=space)
        ds.branch("later")
        ds.delete_ref("pictures")
        catalogs.refresh()
        assert rows(con, "SHOW TABLES FROM d") == [("hello",), ("hello@v1",), ("later",)]
        assert rows(con, "SELECT count(*) FROM d.later") == [(2,)]


def test_detach_leaves_nothing(con, space):
    attach(con, space)
    (path,) = [
        Path(p) for p, name in rows(con, "SELECT path, database_name FROM duckdb_databases()") if name == "d"
    ]
    assert path.exists()
    con.execute("DETACH d")
    assert not path.exists()
    assert rows(con, "SELECT * FROM duckdb_schemas() WHERE schema_name LIKE '%dreamdb%'") == []
    attach(con, space)
    assert rows(con, "SELECT count(*) FROM d.hello") == [(2,)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("(store '/nowhere/space')", "no Space at /nowhere/space"),
        ("", "say where the Space is"),
        ("(stor 'x')", "a Space has no option 'stor'"),
        ("(store '/etc/passwd')", "it is a file"),
    ],
)
def test_what_cannot_be_attached_is_told_and_leaves_nothing(con, options, told):
    with pytest.raises(duckdb.Error, match=told):
        con.execute(f"ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' {options} AS d")
    assert "d" not in {name for (name,) in rows(con, "SELECT database_name FROM duckdb_databases()")}


def test_a_damaged_ref_does_not_keep_the_others_away(con, space):
    store = vd.open_store(space)
    if not space.startswith("file:"):
        pytest.skip("looks into the folder of the Space")
    Path(space.removeprefix("file://"), "refs", "broken").write_bytes(b"x" * 33)
    attach(con, space)
    assert store.list_refs() == ["broken", "hello", "hello@v1", "pictures"]
    assert rows(con, "SELECT count(*) FROM d.hello") == [(2,)]
    assert "broken" not in {name for (name,) in rows(con, "SHOW TABLES FROM d")}


def test_an_open_transaction_of_the_user_stays_open(space, tmp_path):
    with duckdb.connect() as con:
        con.execute("CREATE TABLE mine (x INT)")
        con.begin()
        con.execute("INSERT INTO mine VALUES (1)")
        vd.attach(con, space, "d", cache_dir=tmp_path / "cache")
        assert rows(con, "SELECT count(*) FROM d.hello") == [(2,)]
        con.rollback()
        assert rows(con, "SELECT * FROM mine") == []


# ---------------------------------------------------------------- many Refs

MANY = 40


@pytest.fixture
def many(tmp_path):
    """A Space with many Refs of the same fields, and one of its own."""
    ds = vd.Dataset.create(
        "hello",
        vd.Schema().add_scalar_int("n").add_embedding("e", 2),
        tmp_path / "many",
        cache_dir=tmp_path / "c",
    )
    ds.append({"n": [1], "e": [[1, 2]]})
    for nth in range(MANY):
        ds.branch(f"b{nth}")
    other = vd.Schema().add_scalar_string("t")
    vd.Dataset.create("other", other, tmp_path / "many", cache_dir=tmp_path / "c").append({"t": ["x"]})
    return ds


@pytest.fixture
def planned(monkeypatch):
    """What DuckDB asks our planner for while it binds."""
    asked = []
    whole = Planner.plan
    monkeypatch.setattr(Planner, "plan", lambda self, *of: asked.append(of[:2]) or whole(self, *of))
    return asked


def connected(how, path, cache):
    """Return a connection on a Space, the session or catalogs to refresh, and what names of its views begin with."""
    if how == "connect":
        return vd.connect(path, cache_dir=cache), None, ""
    con = duckdb.connect()
    if how == "attach":
        return con, vd.attach(con, path, "d", cache_dir=cache), "d."
    catalogs = vd.enable_attach(con, cache_dir=cache)
    attach(con, path)
    return con, catalogs, "d."


@pytest.mark.parametrize("how", ["connect", "attach", "resource"])
def test_refs_of_the_same_fields_are_bound_without_our_planner(tmp_path, many, planned, how):
    con, _, d = connected(how, tmp_path / "many", tmp_path / "c")
    with con:
        assert not {ref for kind, ref in planned if kind == "scan"} & set(many.list_refs()) - {"other"}
        assert [row[:2] for row in rows(con, f"DESCRIBE {d}b7")] == [
            ("_anchor", "BIGINT"),
            ("_time", "TIMESTAMP_NS"),
            ("e", "FLOAT[2]"),
            ("n", "BIGINT"),
        ]
        assert rows(con, f"SELECT n, e FROM {d}b7") == [(1, (1.0, 2.0))]
        assert rows(con, f"SELECT t FROM {d}other") == [("x",)]
        told = dict(rows(con, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"))
        assert told.keys() == set(many.list_refs())
        assert not d or (told["b7"], told["other"]) == ("e: embedding[2], n: int", "t: string")
        assert rows(con, "SELECT * FROM duckdb_tables() WHERE NOT internal") == []


@pytest.mark.parametrize("how", ["attach", "resource"])
def test_refresh_binds_what_is_new_or_has_other_fields(tmp_path, many, planned, how):
    con, session, d = connected(how, tmp_path / "many", tmp_path / "c")
    with con:
        many.branch("later")
        vd.Dataset.open("b3", backend=tmp_path / "many").add_scalar_string("s")
        many.delete_ref("b4")
        planned.clear()
        session.refresh()
        assert {ref for _, ref in planned} == {"b3", "later"}
        assert rows(con, f"SELECT n, s FROM {d}b3 UNION ALL SELECT n, NULL FROM {d}later") == [(1, None)] * 2
        assert "b4" not in {name for (name,) in rows(con, "SHOW TABLES FROM d")}


def test_many_refs_beside_a_table_of_the_users(tmp_path, many):
    file = tmp_path / "mine.duckdb"
    with duckdb.connect(file) as con:
        con.execute("CREATE TABLE b7 (x INT)")
    with vd.connect(tmp_path / "many", database=str(file), cache_dir=tmp_path / "c") as con:
        assert rows(con, "SELECT x FROM b7") == []
        assert rows(con, "SELECT n FROM b8") == [(1,)]


def test_many_refs_in_an_open_transaction(tmp_path, many):
    with duckdb.connect() as con:
        con.begin()
        vd.attach(con, tmp_path / "many", "d", cache_dir=tmp_path / "c")
        assert rows(con, "SELECT n FROM d.b7") == [(1,)]
        con.rollback()
        assert rows(con, "SELECT * FROM duckdb_schemas() WHERE schema_name = 'd'") == []
