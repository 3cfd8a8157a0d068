"""Spaces of many Refs: views of the same columns are made together, and are what each would be by itself."""

import duckdb
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.engines import planner
from dreamdb_arrow.engines import views as engine
from dreamdb_arrow.store.interface import Absent
from dreamdb_arrow.store.urls import open_store
from tests.places import url_of

MANY = engine.VIEWS_MIN + 4
NAMES = [f"r{i}" for i in range(MANY)]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """Many Refs of one schema with a row each, one of another schema, and one that is damaged."""
    root = tmp_path_factory.mktemp("many") / "space"
    schema = vd.Schema().add_scalar_int("n").add_embedding("v", 2)
    for i, name in enumerate(NAMES):
        vd.Dataset.create(name, schema, root, durability="os").append({"n": [i], "v": [[i, 1.0]]})
    other = vd.Dataset.create("other", vd.Schema().add_scalar_string("t"), root, durability="os")
    other.append({"t": ["x"]})
    open_store(root).swap_ref("torn", Absent(), address_of(b"gone"))
    return url_of(root)


@pytest.fixture(params=["connect", "attach", "resource"])
def attached(request, space, tmp_path):
    """A connection, and what stands before names."""
    options = {"cache_dir": tmp_path / "cache"}
    if request.param == "connect":
        yield vd.connect(space, **options), ""
        return
    con = duckdb.connect()
    if request.param == "attach":
        vd.attach(con, space, "d", **options)
    else:
        vd.enable_attach(con, **options)
        con.execute(f"ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store '{space}') AS d")
    yield con, "d."


def test_each_ref_is_its_own_view(attached):
    con, place = attached
    for i, name in enumerate(NAMES):
        assert con.execute(f"SELECT n, v FROM {place}{name}").fetchall() == [(i, (i, 1.0))]
    assert con.execute(f"SELECT t FROM {place}other").fetchall() == [("x",)]
    shown = con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL").fetchall()
    assert shown == sorted((name,) for name in [*NAMES, "other"])
    described = con.execute(f"DESCRIBE {place}r3").fetchall()
    assert [row[:2] for row in described] == [
        ("_anchor", "BIGINT"),
        ("_time", "TIMESTAMP_NS"),
        ("n", "BIGINT"),
        ("v", "FLOAT[2]"),
    ]


def test_what_stood_in_is_gone(space, tmp_path):
    con = duckdb.connect()
    vd.attach(con, space, "d", cache_dir=tmp_path / "cache")
    assert con.execute("SELECT n FROM d.dreamdb_scan('r3', t0 := 0)").fetchall() == [(3,)]
    assert con.execute("SELECT t FROM d.dreamdb_scan('other')").fetchall() == [("x",)]


@pytest.mark.parametrize("catalog", [False, True])
def test_schemas_and_plans_are_made_once(space, tmp_path, monkeypatch, catalog):
    counts = {"schemas": 0, "plans": 0}
    decode, plan = planner.decode_schema, planner.Planner.plan

    def decoding(registry):
        counts["schemas"] += 1
        return decode(registry)

    def planning(*arguments):
        counts["plans"] += 1
        return plan(*arguments)

    monkeypatch.setattr(planner, "decode_schema", decoding)
    monkeypatch.setattr(planner.Planner, "plan", planning)
    con = duckdb.connect()
    vd.enable_attach(con, cache_dir=tmp_path / "cache")
    if catalog:
        con.execute(f"ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store '{space}') AS d")
    else:
        vd.attach(con, space, "d", cache_dir=tmp_path / "cache")
    macros = counts["plans"]
    con.execute("SELECT count(*) FROM d.r0").fetchall()
    assert counts["schemas"] == 2
    assert macros < MANY + 2


def test_a_table_of_the_users_takes_no_other_view_away(space, tmp_path):
    con = duckdb.connect()
    con.execute("CREATE TABLE r3 AS SELECT 'mine' AS n")
    session = vd.attach(con, space, cache_dir=tmp_path / "cache")
    for _ in range(2):
        assert con.execute("FROM r3").fetchall() == [("mine",)]
        assert con.execute("SELECT n FROM r4").fetchall() == [(4,)]
        session.refresh()


def test_inside_a_transaction_of_the_users(space, tmp_path):
    con = duckdb.connect()
    con.execute("BEGIN")
    con.execute("CREATE TABLE mine AS SELECT 1 AS n")
    vd.attach(con, space, "d", cache_dir=tmp_path / "cache")
    assert con.execute("SELECT n FROM d.r3").fetchall() == [(3,)]
    con.execute("ROLLBACK")
    with pytest.raises(duckdb.Error, match="mine"):
        con.execute("FROM mine")


def test_refs_that_come_later(space, tmp_path):
    con = duckdb.connect()
    catalogs = vd.enable_attach(con, cache_dir=tmp_path / "cache")
    con.execute(f"ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store '{space}') AS d")
    ds = vd.Dataset.open("r3", backend=space, cache_dir=tmp_path / "cache")
    ds.branch("late")
    try:
        catalogs.refresh()
        assert con.execute("SELECT n FROM d.late").fetchall() == [(3,)]
        assert con.execute("SELECT n FROM d.r5").fetchall() == [(5,)]
    finally:
        ds.delete_ref("late")
