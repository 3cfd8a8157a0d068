"""SQL functions with effects: done once a statement, when it runs, and not when it is bound, planned or explained."""

import duckdb
import pytest

import dreamdb_arrow as vd


@pytest.fixture
def ds(tmp_path):
    made = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), tmp_path / "s", cache_dir=tmp_path / "c")
    made.append({"_anchor": [1, 2], "n": [1, 2]})
    made.snapshot("first")
    made.append({"_anchor": [3], "n": [3]})
    return made


@pytest.fixture
def con(ds, tmp_path):
    with vd.connect(tmp_path / "s", cache_dir=tmp_path / "c") as made:
        yield made


def versions(ds):
    return len(ds.refresh().history(None))


def test_a_branch_a_commit_and_a_merge(ds, con, tmp_path):
    assert con.sql("FROM dreamdb_branch('x', 'side')").fetchall() == [("side", ds.current_manifest())]
    side = vd.Dataset.open("side", backend=tmp_path / "s", cache_dir=tmp_path / "c")
    side.append({"_anchor": [4], "n": [4]})
    assert con.sql("FROM dreamdb_merge('x', 'side')").fetchall() == [("x", side.current_manifest())]
    ds.refresh().append({"_anchor": [5], "n": [5]})
    side.append({"_anchor": [6], "n": [6]})
    ref, version = con.execute("FROM dreamdb_merge('x', 'side', strategy := 'union-tracks')").fetchall()[0]
    assert (ref, version) == ("x", ds.refresh().current_manifest())
    assert con.sql("SELECT n FROM dreamdb_scan('x') ORDER BY n").fetchall() == [(n,) for n in range(1, 7)]


def test_branches_and_snapshots_of_older_versions(ds, con):
    first = ds.space.resolve("x@first")
    assert con.sql("FROM dreamdb_branch('x', 'old', as_of := 'first')").fetchall() == [("old", str(first))]
    assert con.sql("FROM dreamdb_snapshot('x', 'again', as_of := 'first')").fetchall() == [
        ("x@again", str(first))
    ]
    assert con.sql("SELECT count(*) FROM dreamdb_scan('x@again')").fetchall() == [(2,)]


def test_a_revert_is_a_new_version(ds, con):
    before = versions(ds)
    ref, version = con.execute("FROM dreamdb_revert('x', 'first')").fetchall()[0]
    assert (ref, version, versions(ds)) == ("x", ds.current_manifest(), before + 1)
    assert con.sql("SELECT n FROM dreamdb_scan('x')").fetchall() == [(1,), (2,)]


UNTOUCHED = [
    "EXPLAIN {}",
    "DESCRIBE {}",
    "CREATE VIEW shown AS {}",
    "PREPARE later AS {}",
    "SELECT * FROM ({}) WHERE false",
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_does_not_run_has_no_effect(ds, con, text):
    con.execute(text.format("FROM dreamdb_revert('x', 'first')")).fetchall()
    assert ds.refresh().count() == 3


ONCE = [
    "{}",
    "SELECT count(*) FROM ({})",
    "SELECT 1 FROM ({})",
    "SELECT * FROM ({}) WHERE version = 'no such'",
    "SELECT * FROM ({}), range(5000)",
    "SELECT * FROM ({}) d JOIN range(5000) r ON r.range = length(d.version)",
    "WITH done AS MATERIALIZED ({}) SELECT * FROM done, done again",
    "SELECT EXISTS({})",
    "SELECT (SELECT version FROM ({})) AS version, range FROM range(5000)",
    "CREATE TABLE kept AS {}",
    "COPY ({}) TO '{folder}/out.csv'",
    "EXPLAIN ANALYZE {}",
    "BEGIN; {}; ROLLBACK",
]


@pytest.mark.parametrize("text", ONCE)
def test_what_runs_has_its_effect_once(ds, con, tmp_path, text):
    """A second call would fail, since the branch would be there already."""
    con.execute("SET threads = 4")
    filled = text.replace("{folder}", str(tmp_path)).replace("{}", "FROM dreamdb_branch('x', 'side')")
    con.execute(filled).fetchall()
    assert "side" in ds.list_refs()
    with pytest.raises(duckdb.Error, match="exists already"):
        con.execute("FROM dreamdb_branch('x', 'side')").fetchall()


def test_a_relation_runs_when_it_is_read(ds, con):
    relation = con.sql("FROM dreamdb_branch('x', 'side')")
    assert "side" not in ds.list_refs()
    assert len(relation.to_arrow_table()) == 1
    assert "side" in ds.list_refs()


def test_a_prepared_statement_has_its_effect_each_time(ds, con):
    con.execute("PREPARE make AS FROM dreamdb_branch('x', $1)")
    for name in ("a", "b"):
        con.execute(f"EXECUTE make('{name}')").fetchall()
    assert {"a", "b"} <= set(ds.list_refs())
    con.execute("FROM dreamdb_branch(?, ?)", ["x", "c"]).fetchall()
    assert "c" in ds.list_refs()


def test_a_column_names_one_each(ds, con):
    found = con.sql("FROM (VALUES ('a'), ('b'), ('c')) t(name), dreamdb_branch('x', t.name)").fetchall()
    assert sorted(found) == [(n, n, ds.current_manifest()) for n in "abc"]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        ("dreamdb_branch('nope', 'y')", "dreamdb: ref 'nope' does not exist"),
        ("dreamdb_branch(NULL, 'y')", "dreamdb: ref must not be NULL"),
        ("dreamdb_branch('x', NULL)", "dreamdb: name must not be NULL"),
        ("dreamdb_branch('x', 'x')", "dreamdb: .*'x' exists already"),
        ("dreamdb_branch('x', '''; DROP VIEW x; --')", "dreamdb: not a ref name"),
        ("dreamdb_snapshot('x', 'ä')", "dreamdb: not a snapshot label"),
        ("dreamdb_merge('x', 'x@first')", "dreamdb: 'x' cannot be fast-forwarded"),
        ("dreamdb_merge('x', 'x@first', strategy := 'rebase')", "dreamdb: strategy must be"),
        ("dreamdb_revert('x', 'never')", "dreamdb: ref 'x@never' does not exist"),
        ("dreamdb_revert('x@first', 'first')", "dreamdb: 'x@first' is a snapshot and does not move"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(ds, con, call, match):
    before = ds.list_refs(), ds.current_manifest()
    with pytest.raises(duckdb.Error, match=match):
        con.execute(f"FROM {call}").fetchall()
    assert (ds.list_refs(), ds.refresh().current_manifest()) == before


def test_executing_is_enough(ds, con):
    con.execute("FROM dreamdb_branch('x', 'side')")  # nothing is fetched
    assert "side" in ds.list_refs()


def test_rows_are_deleted_by_condition_time_and_anchor(ds, con):
    def left():
        return [n for (n,) in con.sql("SELECT n FROM dreamdb_scan('x') ORDER BY n").fetchall()]

    ds.append({"_anchor": range(10, 20), "n": range(10, 20)})
    calls = {
        "filter := 'n % 2 = 0', t0 := 10, reason := 'it''s even'": [1, 2, 3, 11, 13, 15, 17, 19],
        "t0 := 17": [1, 2, 3, 11, 13, 15],
        "t0 := 2, t1 := 4": [1, 11, 13, 15],
        "anchors := [1, 99]": [11, 13, 15],
        "anchors := (SELECT list(_anchor) FROM dreamdb_scan('x') WHERE n > 13)": [11, 13],
    }
    for call, wanted in calls.items():
        before = len(left())
        ((ref, version, rows),) = con.execute(f"FROM dreamdb_delete('x', {call})").fetchall()
        assert (ref, version, rows) == ("x", ds.refresh().current_manifest(), before - len(wanted))
        assert left() == wanted
    reasons = con.sql(
        "SELECT _anchor, reason FROM dreamdb_tombstones('x') WHERE reason IS NOT NULL"
    ).fetchall()
    assert reasons == [(n, "it's even") for n in range(10, 20, 2)]


def test_a_delete_of_nothing_makes_no_version(ds, con):
    version = ds.current_manifest()
    assert con.execute("FROM dreamdb_delete('x', filter := 'n > 100')").fetchall() == [("x", version, 0)]
    assert ds.delete(where="n > 100") == version


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("'x'", "name the rows to delete: by anchors, or by filter, t0 and t1"),
        ("'x', anchors := [1], t0 := 3", "name the rows to delete"),
        ("'x', filter := 'nope = 1'", "condition 'nope = 1': Binder Error"),
        ("'x', filter := 'n = 1; DROP TABLE t'", "condition 'n = 1; DROP TABLE t': Parser Error"),
        ("'x', filter := 'n = 1) OR (n = 2'", "Parser Error"),
        ("'x', anchors := [-1]", "anchors, item 0: -1 is outside"),
        ("'y', t0 := 1", "ref 'y' does not exist; known refs: x"),
    ],
)
def test_what_cannot_be_deleted(ds, con, call, message):
    version = ds.current_manifest()
    with pytest.raises(duckdb.Error) as caught:
        con.execute(f"FROM dreamdb_delete({call})").fetchall()
    assert message in str(caught.value)
    assert ds.refresh().current_manifest() == version


def test_a_dataset_deletes_what_a_condition_names(ds):
    ds.append({"_anchor": range(10, 20), "n": range(10, 20)})
    ds.delete(where="n IN (2, 11)", reason="gdpr")
    ds.delete(start_ns=13, end_ns=15)
    ds.delete(where="n > 0", start_ns=18)
    assert ds.to_arrow()["n"].to_pylist() == [1, 3, 10, 12, 15, 16, 17]
    for wrong in ({}, {"anchors": [1], "where": "n = 1"}):
        with pytest.raises(vd.InvalidInputError, match="name the rows to delete"):
            ds.delete(**wrong)
