"""Names, paths, times and damage as DuckDB meets them; what table functions give is in tests/engines."""

import shutil

import duckdb
import pytest

import dreamdb_arrow as vd

T0 = 1_700_000_000_000_000_000  # 2023-11-14 22:13:20 UTC


def space(root, schema=None, **columns):
    ds = vd.Dataset.create("x", schema or vd.Schema().add_scalar_int("n"), root / "s", cache_dir=root / "c")
    if columns:
        ds.append(columns)
    return ds


@pytest.fixture
def connect():
    made = []

    def connect(ds, **options):
        con = duckdb.connect()
        made.append((con, vd.attach(con, ds.space, **options)))
        return con

    yield connect
    for con, session in made:
        session.close()
        con.close()


NAMES = ["it's", 'a"b', "'; DROP VIEW x; --", '"; --', "read_parquet", "address", "filename", "stripe file", "value", "SELECT", "%s", "ü {x}"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_field_names_are_only_names(tmp_path, connect, name):
    schema = vd.Schema().add_image(name).add_embedding(f"{name} v", dim=2, algorithm="dreamdb.lsh-l2")
    ds = space(tmp_path, schema, **{"_anchor": [1], name: [b"i"], f"{name} v": [[1.0, 2.0]]})
    con = connect(ds)
    found = con.sql("SELECT * EXCLUDE _time FROM x").to_arrow_table().to_pylist()
    assert found == [{"_anchor": 1, name: b"i", f"{name} v": [1.0, 2.0]}]
    for field, value in ((name, b"i"), (f"{name} v", (1.0, 2.0))):
        track = con.execute("FROM dreamdb_track('x', ?)", [field]).fetchall()
        assert track[0][:2] == (1, value)
        assert len(track[0][2]) == 53
    assert con.execute("SELECT _anchor FROM dreamdb_knn('x', ?, [1, 2])", [f"{name} v"]).fetchall() == [(1,)]


@pytest.mark.parametrize("name", ["filename", "value", "object", "file_row_number", "select", "version"])
def test_scalar_names_that_mean_something_to_duckdb(tmp_path, connect, name):
    ds = space(tmp_path, vd.Schema().add_scalar_string(name), **{"_anchor": [1], name: ["mine"]})
    con = connect(ds)
    assert con.sql("SELECT * EXCLUDE _time FROM x").fetchall() == [(1, "mine")]
    anchor, value, stripe = con.execute("FROM dreamdb_track('x', ?)", [name]).fetchall()[0]
    assert (anchor, value) == (1, "mine")
    assert [stripe] == [o for (o,) in con.sql("SELECT address FROM dreamdb_objects('x')").fetchall()]


@pytest.mark.parametrize("ref", ["it's", 'a"b', "x'; --", "x@v1'", "../x", "X"])
def test_ref_names_and_labels_are_only_names(tmp_path, connect, ref):
    con = connect(space(tmp_path, _anchor=[1], n=[1]))
    for call in (
        "dreamdb_scan(?)",
        "dreamdb_history(?)",
        "dreamdb_track(?, 'n')",
        "dreamdb_scan('x', as_of := ?)",
    ):
        with pytest.raises(duckdb.Error, match=r"dreamdb: not a (ref name|snapshot label)|does not exist"):
            con.execute(f"FROM {call}", [ref]).fetchall()
    assert con.sql("SELECT count(*) FROM x").fetchall() == [(1,)]


def test_filters_are_one_condition(tmp_path, connect):
    schema = vd.Schema().add_scalar_int("n").add_embedding("v", dim=1, algorithm="dreamdb.lsh-l2")
    con = connect(space(tmp_path, schema, _anchor=[1, 2, 3], n=[1, 2, 3], v=[[1.0], [2.0], [3.0]]))

    def knn(condition):
        return con.execute(
            "SELECT _anchor FROM dreamdb_knn('x', 'v', [0], filter := ?)", [condition]
        ).fetchall()

    assert knn("n > 1 AND n < 3") == [(2,)]
    assert knn("n = 1 OR n = 3") == [(1,), (3,)]
    for attack in ("n = 1; DROP VIEW x", "n = 1) OR (1 = 1", "1 = 1 --", "n = ", "", "nope = 1", "n"):
        try:
            found = knn(attack)
        except duckdb.Error as error:
            assert "\n" not in str(error)  # noqa: PT017 - some are harmless
        else:
            assert attack in ("1 = 1 --", "n")
            assert len(found) == 3
    assert con.sql("SELECT count(*) FROM x").fetchall() == [(3,)]


@pytest.mark.parametrize(
    "folder", ["it's", "n=7", "a*", "a?", "a[1]", "[!b]", "{a,b}", "sp ace", "ü", "semi;--"]
)
def test_folders_are_only_folders(tmp_path, connect, folder):
    """A folder that looks like a pattern or a partition is neither, whatever lies beside it."""
    ds = space(tmp_path / folder, _anchor=[1], n=[1])
    for twin in ("ab", "a1", "a", "b", "x=1"):
        shutil.copytree(tmp_path / folder, tmp_path / "twins" / twin)
        if not (tmp_path / twin).exists():
            shutil.copytree(tmp_path / folder, tmp_path / twin)
    con = connect(ds)
    assert con.sql("SELECT * EXCLUDE _time FROM x").fetchall() == [(1, 1)]
    assert con.sql("SELECT ref FROM dreamdb_refs()").fetchall() == [("x",)]


def test_times_in_the_zone_of_the_session(tmp_path, connect):
    con = connect(space(tmp_path, _anchor=[T0, T0 + 500_000_000], n=[1, 2]))
    con.execute("SET TimeZone = 'Asia/Kolkata'")
    at = "'2023-11-14 22:13:20.4+00'"
    assert con.sql(f"SELECT n FROM dreamdb_scan('x', t0 := TIMESTAMPTZ {at})").fetchall() == [(2,)]
    assert con.sql(f"SELECT n FROM dreamdb_scan('x', t1 := TIMESTAMPTZ {at})").fetchall() == [(1,)]
    nanoseconds = "TIMESTAMP_NS '2023-11-14 22:13:20.500000001'"
    assert con.sql(f"SELECT n FROM dreamdb_scan('x', t0 := {nanoseconds})").fetchall() == []


def test_a_time_of_the_history_gives_that_version(tmp_path, connect):
    ds = space(tmp_path)
    ds._clock = lambda: T0 + 123_456_789
    ds.append({"_anchor": [1], "n": [1]})
    ds._version, version = ds.space.resolve("x"), ds.current_manifest()
    con = connect(ds)
    history = con.sql("SELECT time::VARCHAR, manifest FROM dreamdb_history('x')").fetchall()
    for time, manifest in history:
        found = con.execute(
            "SELECT manifest FROM dreamdb_history('x', as_of := ?) LIMIT 1", [time]
        ).fetchall()
        assert found == [(manifest,)]
    assert history[0][1] == version


def test_extreme_values_pass_through(tmp_path, connect):
    schema = (
        vd.Schema().add_scalar_int("i").add_scalar_float("f").add_scalar_string("s").add_scalar_timestamp("t")
    )
    values = {
        "_anchor": [0, 1, 2**63 - 2],
        "i": [2**63 - 1, -(2**63), 0],
        "f": [1.7976931348623157e308, 5e-324, -0.0],
        "s": ["zero\0byte", "", "\U0001f600'\""],
        "t": [0, -1, 2**63 - 2],
    }
    con = connect(space(tmp_path, schema, **values))
    found = con.sql('SELECT _anchor, i, f, s, epoch_ns("t") AS t FROM x ORDER BY _anchor').to_arrow_table()
    assert found.to_pydict() == values


def test_a_table_of_the_user_is_left_alone(tmp_path, connect):
    ds = space(tmp_path, _anchor=[1], n=[1])
    ds.branch("y")
    con = duckdb.connect()
    con.execute("CREATE TABLE x AS SELECT 'mine' AS n")
    session = vd.attach(con, ds.space)
    assert con.sql("FROM x").fetchall() == [("mine",)]
    assert (
        con.sql("SELECT n FROM dreamdb_scan('x')").fetchall()
        == con.sql("SELECT n FROM y").fetchall()
        == [(1,)]
    )
    session.close()
    con.close()


def test_new_refs_get_their_view_by_refresh(tmp_path):
    ds = space(tmp_path, _anchor=[1], n=[1])
    con = duckdb.connect()
    session = vd.attach(con, ds.space)
    ds.branch("later")
    with pytest.raises(duckdb.Error):
        con.sql("FROM later").fetchall()
    session.refresh()
    assert con.sql("SELECT n FROM later").fetchall() == [(1,)]
    session.close()
    con.close()


def test_fields_that_sql_cannot_tell_apart_are_said_to_be(tmp_path, connect, monkeypatch):
    monkeypatch.setattr("dreamdb_arrow.dataset.schema.find_clash", lambda _: None)
    schema = vd.Schema().add_image("img").add_image("IMG", required=False)
    ds = space(tmp_path, schema, _anchor=[1], img=[b"1"], IMG=[b"2"])
    con = connect(ds)
    with pytest.raises(duckdb.Error, match="SQL cannot tell field 'img' from 'IMG'"):
        con.sql("FROM dreamdb_scan('x')").fetchall()
    assert ds.to_arrow(["img", "IMG"]).to_pylist() == [{"img": b"1", "IMG": b"2"}]
