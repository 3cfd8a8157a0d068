"""Plans that are kept: when they are made, what they check, which files they name; deletes; views that come and go."""

import shutil

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dreamdb_arrow as vd
from dreamdb_arrow.columnar import hidden as hidden_rows
from dreamdb_arrow.engines import duckdb as engine
from dreamdb_arrow.engines import planner
from dreamdb_arrow.engines.plans import error_sql
from dreamdb_arrow.history.refs import delete_ref

LAST = 2**63 - 1
SCHEMA = vd.Schema().add_scalar_int("n").add_embedding("v", dim=2, algorithm="dreamdb.lsh-l2")


def rows(start, stop):
    anchors = np.arange(start, stop)
    vectors = np.stack([anchors, -anchors], axis=1).astype("f4")
    return pa.table(
        {"_anchor": anchors, "n": anchors * 2, "v": pa.FixedSizeListArray.from_arrays(vectors.ravel(), 2)}
    )


@pytest.fixture
def ds(tmp_path):
    made = vd.Dataset.create("x", SCHEMA, backend=tmp_path / "space", cache_dir=tmp_path / "cache")
    for start in range(0, 300, 100):
        made.append(rows(start, start + 100))
    return made


@pytest.fixture
def con(ds):
    made = duckdb.connect()
    session = vd.attach(made, ds.space)
    yield made
    session.close()
    made.close()


@pytest.fixture
def planned(monkeypatch):
    """Return a list that grows by the range of each plan that is made."""
    made, real = [], planner.source_of

    def counted(rows, t0, t1, **options):
        made.append((t0, t1))
        return real(rows, t0, t1, **options)

    monkeypatch.setattr(planner, "source_of", counted)
    return made


def anchors(con, source="x"):
    return [a for (a,) in con.execute(f"SELECT _anchor FROM {source} ORDER BY 1").fetchall()]


def stripe_file(ds, nth=0):
    rows = ds.space.rows(ds.space.resolve("x"))
    return rows.stripes[nth].local(rows.store, rows.cache)


def test_a_plan_is_made_once_for_a_version_and_a_range(ds, con, planned):
    for _ in range(3):
        assert len(anchors(con)) == len(anchors(con, "dreamdb_scan('x')")) == 300
        assert con.sql("SELECT count(value) FROM dreamdb_track('x', 'n')").fetchall() == [(300,)]
        assert anchors(con, "dreamdb_scan('x', t0 := 50, t1 := 120)") == list(range(50, 120))
    assert planned == [(0, LAST), (50, 120)]
    ds.append(rows(300, 310))
    assert len(anchors(con)) == 310
    assert len(planned) == 3


def test_a_flipped_bit_is_refused_before_the_engine_sees_it(ds, con, planned):
    file = stripe_file(ds, 1)
    whole = file.read_bytes()
    assert len(anchors(con)) == 300
    file.write_bytes(bytes([*whole[:100], whole[100] ^ 1, *whole[101:]]))
    for _ in range(2):
        with pytest.raises(duckdb.Error, match=f"dreamdb: .*{file.name}"):
            anchors(con)
    assert anchors(con, "dreamdb_scan('x', t1 := 100)") == list(range(100))
    file.write_bytes(whole)
    assert len(anchors(con)) == 300
    file.unlink()
    with pytest.raises(duckdb.Error, match="dreamdb: "):
        anchors(con)


def test_footers_that_duckdb_keeps_are_of_the_file_that_was_checked(ds, tmp_path):
    con = vd.connect(tmp_path / "space", cache_dir=tmp_path / "cache")
    file = stripe_file(ds, 1)
    whole = file.read_bytes()
    assert con.sql("SELECT sum(n) FROM x").fetchall() == [(300 * 299,)]
    file.write_bytes(b"PAR1" * 100)
    with pytest.raises(duckdb.Error, match="dreamdb: "):
        con.sql("SELECT sum(n) FROM x").fetchall()
    file.unlink()
    file.write_bytes(whole)
    assert con.sql("SELECT sum(n) FROM x").fetchall() == [(300 * 299,)]
    con.close()


def test_the_cache_folder_may_vanish_between_queries(tmp_path):
    ds = vd.Dataset.create("x", SCHEMA, backend="memory://vanishing", cache_dir=tmp_path / "cache")
    ds.append(rows(0, 100))
    ds.delete(range(50))
    con = duckdb.connect()
    session = vd.attach(con, ds.space)
    for _ in range(2):
        assert anchors(con) == list(range(50, 100))
        assert any((tmp_path / "cache").iterdir())
        shutil.rmtree(tmp_path / "cache")
    session.close()
    con.close()


def test_plans_that_were_forgotten_are_made_again(ds, con):
    session = next(s for s in engine._OPEN if s.space is ds.space)
    relation = con.sql("SELECT sum(n) FROM x")
    text = session._planner.plan("scan", "x", None, None, None, None, 7, None)
    session._planner.forget()
    assert con.sql(f"SELECT count(*) FROM ({text})").fetchall() == [(300,)]
    assert relation.fetchall() == [(300 * 299,)]


# ---------------------------------------------------------------- settings


def test_only_connections_of_ours_are_set(ds, con, tmp_path):
    own = vd.connect(tmp_path / "space", cache_dir=tmp_path / "cache")
    fresh = duckdb.connect()

    def told(which):
        return dict(which.sql("SELECT name, value FROM duckdb_settings()").fetchall())

    for name, value in engine.SETTINGS.items():
        assert told(own)[name] == value
        assert told(con)[name] == told(fresh)[name] != value
    own.close()
    fresh.close()


def test_a_file_of_the_user_that_changes_is_read_again(ds, tmp_path):
    con, file = vd.connect(tmp_path / "space", cache_dir=tmp_path / "cache"), tmp_path / "mine.parquet"
    for n in (3, 5):
        duckdb.sql(f"COPY (SELECT * FROM range({n})) TO '{file}'")
        for source in (f"'{file}'", f"read_parquet(['{file}', '{file}'])"):
            assert con.sql(f"SELECT count(*) FROM {source}").fetchall()[0][0] in (n, 2 * n)
    con.close()


# ---------------------------------------------------------------- deletes


def test_deletes_leave_no_filter_and_the_original_is_named(ds, con):
    named = con.sql("SELECT _anchor, object FROM dreamdb_track('x', 'n') ORDER BY 1").fetchall()
    ds.delete(range(0, 300, 3))
    left = [(a, o) for a, o in named if a % 3]
    assert con.sql("SELECT _anchor, object FROM dreamdb_track('x', 'n') ORDER BY 1").fetchall() == left
    assert "_anchor" not in con.sql("EXPLAIN SELECT sum(n) FROM x").fetchall()[0][1]
    got = con.sql("SELECT _anchor, v FROM x ORDER BY 1").fetchall()
    assert got == [(a, (float(a), float(-a))) for a, _ in left]
    objects = {a for (a,) in con.sql("SELECT address FROM dreamdb_objects('x')").fetchall()}
    assert {o for _, o in left} <= objects


def test_a_filter_that_slows_queries_gives_way_to_copies(ds, con, planned, monkeypatch):
    monkeypatch.setattr(hidden_rows, "NAMED_MAX", 0)
    monkeypatch.setattr(planner, "NAMED_MAX", 0)
    ds.delete(range(0, 300, 100))
    monkeypatch.setattr(planner, "SHARE", 1)
    for _ in range(planner.PATIENCE + 3):
        assert len(anchors(con)) == 297
    assert planned == [(0, LAST)] * 2
    assert "NOT" not in con.sql("EXPLAIN SELECT sum(n) FROM x").fetchall()[0][1]


DELETES = st.lists(st.sets(st.integers(0, 410), max_size=120), min_size=1, max_size=4)


@settings(max_examples=12)
@given(DELETES, st.integers(0, 400), st.integers(0, 400))
def test_scans_after_deletes_are_as_the_model_says(tmp_path_factory, deletes, one, other):
    root = tmp_path_factory.mktemp("model")
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), root / "s", cache_dir=root / "c")
    for start in range(4):  # every range is about the same
        ds.append({"_anchor": np.arange(start, 400, 4), "n": np.arange(start, 400, 4)})
    con, gone = vd.connect(root / "s", cache_dir=root / "c"), set()
    t0, t1 = sorted((one, other))
    versions = [(ds.space.resolve("x"), set(range(400)))]
    for some in deletes:
        if some:
            ds.delete(sorted(some))
        gone |= some
        versions.append((ds.space.resolve("x"), set(range(400)) - gone))
        for version, shown in versions:
            source = f"dreamdb_scan('x', as_of := '{version}', t0 := {t0}, t1 := {t1})"
            assert anchors(con, source) == sorted(a for a in shown if t0 <= a < t1)
        found = con.execute("SELECT count(*), coalesce(sum(n), 0) FROM x").fetchall()
        assert found == [(len(versions[-1][1]), sum(versions[-1][1]))]
    con.close()


# ---------------------------------------------------------------- views, errors


def test_views_of_refs_that_are_gone_go(ds, tmp_path):
    file = str(tmp_path / "mine.duckdb")
    ds.branch("y")
    ds.branch("z")
    con = duckdb.connect(file)
    vd.attach(con, ds.space, as_="it's").close()
    con.close()
    con = duckdb.connect(file)  # what another session made counts, too
    con.execute('CREATE VIEW "it\'s".own AS SELECT 1 AS a')
    con.execute('CREATE TABLE "it\'s".z2 AS SELECT 1 AS a')
    session = vd.attach(con, ds.space, as_="it's")
    delete_ref(ds.space.store, "y")
    session.refresh()
    session.refresh()
    left = con.sql("SELECT view_name FROM duckdb_views() WHERE schema_name = 'it''s' ORDER BY 1").fetchall()
    assert left == [("own",), ("x",), ("z",)]
    assert con.sql('SELECT count(*) FROM "it\'s".z').fetchall() == [(300,)]
    session.close()
    con.close()


def test_connecting_reads_no_rows_and_views_know_their_columns(ds, tmp_path, planned):
    stripe_file(ds).write_bytes(b"damaged")
    con = vd.connect(tmp_path / "space", cache_dir=tmp_path / "cache")
    assert planned == []
    listed = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'x' ORDER BY 1"
    shown = [("_anchor", "BIGINT"), ("_time", "TIMESTAMP_NS"), ("n", "BIGINT"), ("v", "FLOAT[2]")]
    assert con.sql(listed).fetchall() == shown
    with pytest.raises(duckdb.Error, match="dreamdb: "):
        con.sql("FROM x").fetchall()
    assert anchors(con, "dreamdb_scan('x', t0 := 100)") == list(range(100, 300))
    con.close()


MESSAGES = ["it's", 'a "b"', "'; DROP VIEW x; --", "$1 ? %s {x} \\", "ü\n\n  two lines", "nul \0 in it"]


@pytest.mark.parametrize("message", MESSAGES)
def test_errors_are_raised_as_they_are(con, message):
    shown = " ".join(message.split()).replace("\0", "\\0")
    for text in (f"FROM ({error_sql(message)})", f"SELECT n FROM ({error_sql(message)})"):
        with pytest.raises(duckdb.InvalidInputException) as error:
            con.sql(text).fetchall()
        assert str(error.value).splitlines()[0] == f"Invalid Input Error: dreamdb: {shown}"


def test_arguments_may_be_numbers_texts_and_times(ds, con):
    for t0 in ("100", "'100'", "100::HUGEINT", "'1970-01-01 00:00:00.0000001'", "make_timestamp_ns(100)"):
        assert anchors(con, f"dreamdb_scan('x', t0 := {t0})") == list(range(100, 300))
    for t0 in ("-5", "'-5'", "(-5)::HUGEINT", "NULL", "0::UBIGINT"):
        assert len(anchors(con, f"dreamdb_scan('x', t0 := {t0})")) == 300
    for bad in ("1.5", "true", "[1]", "1e3"):
        with pytest.raises(duckdb.Error, match="t0 must be nanoseconds or a timestamp"):
            anchors(con, f"dreamdb_scan('x', t0 := {bad})")
    with pytest.raises(duckdb.Error, match="t0 is after t1: 3 > 2"):
        anchors(con, "dreamdb_scan('x', t0 := 3, t1 := 2)")
    for as_of in (ds.manifest.ts, f"'{ds.manifest.ts}'", f"{ds.manifest.ts}::HUGEINT"):
        assert len(anchors(con, f"dreamdb_scan('x', as_of := {as_of})")) == 300


# ---------------------------------------------------------------- looking ahead


def connected(tmp_path):
    """Return a connection as a process that starts now has it."""
    return vd.connect(tmp_path / "space", cache_dir=tmp_path / "cache")


def test_the_first_plan_of_the_process_before_is_made_while_duckdb_starts(ds, planned, tmp_path):
    own = connected(tmp_path)
    assert planned == []
    assert len(anchors(own, "dreamdb_scan('x', t0 := 10, t1 := 20)")) == 10
    assert len(anchors(own)) == 300
    assert planned == [(10, 20), (0, LAST)]
    own.close()
    again = connected(tmp_path)
    assert planned == [(10, 20), (0, LAST), (10, 20)]
    assert len(anchors(again, "dreamdb_scan('x', t0 := 10, t1 := 20)")) == 10
    assert planned[3:] == []
    again.close()


def test_the_note_follows_what_is_asked_first(ds, planned, tmp_path):
    for source, count in (("x", 300), ("dreamdb_scan('x', t0 := 10, t1 := 20)", 10), ("x", 300)):
        own = connected(tmp_path)
        assert len(anchors(own, source)) == count
        own.close()
    assert planned == [(0, LAST), (0, LAST), (10, 20), (10, 20), (0, LAST)]


def test_nothing_is_planned_ahead_of_a_version_that_is_no_tip(ds, planned, tmp_path):
    own = connected(tmp_path)
    anchors(own)
    own.close()
    ds.append(rows(300, 310))
    own = connected(tmp_path)
    assert len(planned) == 1
    assert len(anchors(own)) == 310
    own.close()


@pytest.mark.parametrize("limit", ["AHEAD_FILES", "AHEAD_BYTES"])
def test_what_takes_long_to_plan_is_not_noted(ds, planned, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(planner, limit, 0)
    for _ in range(2):
        own = connected(tmp_path)
        assert len(anchors(own)) == 300
        own.close()
    assert len(planned) == 2


def test_damage_that_is_found_ahead_is_told_by_the_query(ds, tmp_path):
    own = connected(tmp_path)
    anchors(own)
    own.close()
    file = stripe_file(ds)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    own = connected(tmp_path)
    with pytest.raises(duckdb.Error, match="hash"):
        anchors(own)
    own.close()


@pytest.mark.parametrize("end", [b"", b" 1", b" 1 2 3", b" 1 x", b" 9 1", b" 1" * 40])
def test_a_note_that_makes_no_sense_is_passed_over(ds, tmp_path, end):
    body = str(ds.space.resolve("x")).encode() + end
    ds.space.cache.write_note(planner.Planner(ds.space, "")._note_key(), body)
    own = connected(tmp_path)
    assert len(anchors(own)) == 300
    own.close()
