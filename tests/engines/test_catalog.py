"""Spaces attached in SQL: what comes, goes, fails, and what is the user's own. Beside test_attach_sql.py, also on S3."""

from pathlib import Path

import duckdb
import pytest

import dreamdb_arrow as vd
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
