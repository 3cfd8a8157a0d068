"""COPY ... TO 'dreamdb://ref': one commit that the next statement sees, or none at all."""

import datetime as dt
import gc

import duckdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset import upload
from dreamdb_arrow.dataset.adopt import Adoption


@pytest.fixture
def con(tmp_path):
    with vd.connect(tmp_path / "s", create=True, cache_dir=tmp_path / "c") as made:
        yield made


def versions(con, ref):
    return con.execute("SELECT count(*) FROM dreamdb_history(?)", [ref]).fetchone()[0]


def names(con):
    return [name for (name,) in con.execute("SELECT ref FROM dreamdb_refs()").fetchall()]


def copy(con, query, ref="new"):
    con.execute(f"COPY ({query}) TO 'dreamdb://{ref}' (FORMAT parquet)")


def test_a_copy_makes_a_dataset_which_the_next_statement_sees(con):
    copy(con, "SELECT range AS n, 'row ' || range AS t FROM range(1000)")
    assert con.sql("SELECT count(*), sum(n), max(t) FROM new").fetchall() == [(1000, 499500, "row 999")]
    assert versions(con, "new") == 1


def test_a_copy_appends_as_one_commit(con):
    copy(con, "SELECT 1 AS n")
    before = versions(con, "new")
    copy(con, "SELECT range AS n FROM range(300_000)")
    assert versions(con, "new") == before + 1
    assert con.execute("SELECT count(*) FROM new").fetchone() == (300_001,)


def test_a_table_is_copied_by_its_anchors(con):
    con.execute("CREATE TABLE t AS SELECT 10 - range AS _anchor, range AS n FROM range(3)")
    con.execute("COPY t TO 'dreamdb://team/new' (FORMAT parquet)")
    assert con.sql("SELECT _anchor, n FROM dreamdb_scan('team/new') ORDER BY ALL").fetchall() == [
        (8, 2),
        (9, 1),
        (10, 0),
    ]
    with pytest.raises(duckdb.Error, match="anchor 10 of row 0 is taken"):
        con.execute("COPY t TO 'dreamdb://team/new' (FORMAT parquet)")


@pytest.mark.parametrize("rows", [1, 1_000_000])
def test_a_failing_query_leaves_no_version(con, rows):
    failing = f"SELECT CASE WHEN range = {rows - 1} THEN error('boom')::BIGINT ELSE range END AS n FROM range({rows})"
    with pytest.raises(duckdb.Error, match="boom"):
        copy(con, failing)
    assert names(con) == []
    copy(con, "SELECT 1 AS n")
    before = versions(con, "new")
    with pytest.raises(duckdb.Error, match="boom"):
        copy(con, failing)
    assert versions(con, "new") == before


REFUSED = [
    ("SELECT 1.5::DECIMAL(9, 2) AS x", "column 'x' of type decimal128.* is no field: cast it to DOUBLE"),
    ("SELECT uuid() AS x", "column 'x' .* is no field: cast it to VARCHAR"),
    ("SELECT TIME '10:00' AS x", "cast it to VARCHAR"),
    ("SELECT {'a': 1} AS x", "a column of its own"),
    ("SELECT union_value(a := 1) AS x", "a column of its own"),
    ("SELECT MAP {'a': 1} AS x", "to_json"),
    ("SELECT (1::UBIGINT << 63) AS n", "field 'n', row 0"),
    ("SELECT INTERVAL 1 DAY AS x", "cast it to VARCHAR"),
    ("SELECT 'a'::BLOB AS x", "dreamdb_create"),
    ("SELECT ['a'] AS x", "to_json"),
    ("SELECT [1.5]::FLOAT[] AS x", "declare it first, with dreamdb_create"),
    ("SELECT NULL AS x", "cast it to the type"),
    ("SELECT 'nan'::DOUBLE AS x", "field 'x', row 0: nan is not a finite number"),
    ("SELECT 1 AS _distance", "'_distance' is a reserved name"),
    ("SELECT -1 AS _anchor, 1 AS n", "outside 0"),
]


@pytest.mark.parametrize(("query", "told"), REFUSED)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(con, query, told):
    with pytest.raises(duckdb.Error, match=told):
        copy(con, query)
    assert names(con) == []


WHEN = dt.datetime.fromisoformat("2026-01-02T03:04:05.000006")
STORED = [
    ("true", "bool", True),
    ("7::TINYINT", "int", 7),
    ("7::UBIGINT", "int", 7),
    ("1.5::FLOAT", "float", 1.5),
    ("170141183460469231731687303715884105727::HUGEINT", "float", 1.7014118346046923e38),
    ("'é'", "string", "é"),
    ("'a'::ENUM ('a', 'b')", "string", "a"),
    ("""'{"a": 1}'::JSON""", "string", '{"a": 1}'),
    ("'101'::BIT", "string", "101"),
    ("123456789012345678901234567890::BIGNUM", "string", "123456789012345678901234567890"),
    ("sum(7)", "float", 7.0),
    ("DATE '2026-01-02'", "timestamp", WHEN.replace(hour=0, minute=0, second=0, microsecond=0)),
    ("TIMESTAMP '2026-01-02 03:04:05.000006'", "timestamp", WHEN),
    ("TIMESTAMPTZ '2026-01-02 03:04:05+01'", "timestamp", WHEN.replace(hour=2, microsecond=0)),
    ("[[1.5], [2.5, 3]]::FLOAT[][]", "f32[*, *]", [[1.5], [2.5, 3.0]]),
]


@pytest.mark.parametrize(("value", "kind", "read"), STORED, ids=[v for v, _, _ in STORED])
def test_types_there_and_back(con, tmp_path, value, kind, read):
    copy(con, f"SELECT {value} AS x UNION ALL SELECT NULL")
    ds = vd.Dataset.open("new", backend=tmp_path / "s", cache_dir=tmp_path / "c")
    assert repr(ds.schema) == f"Schema(x: {kind}?)"
    assert con.sql("SELECT x FROM new ORDER BY _anchor").fetchall() == [(read,), (None,)]


def test_a_declared_schema_takes_what_a_copy_brings(con, tmp_path):
    told = "{label: 'categorical', n: 'int?', v: 'embedding[2]', pic: 'image/png?', a: 'f32[2]?', l: 'i64[*, *]?'}"
    ref, version = con.execute(f"FROM dreamdb_create('new', {told})").fetchone()
    assert con.execute("SELECT count(*) FROM new").fetchone() == (0,)
    ds = vd.Dataset.open("new", backend=tmp_path / "s", cache_dir=tmp_path / "c")
    assert (ref, version) == ("new", ds.current_manifest())
    copy(
        con,
        "SELECT 'a' AS label, 3 AS n, [1, 2]::FLOAT[2] AS v, 'xyz'::BLOB AS pic, [3, 4]::FLOAT[] AS a, [[5]]::BIGINT[][] AS l",
    )
    found = con.sql("SELECT label, n, v, pic, a, l FROM new").fetchall()
    assert found == [("a", 3, (1.0, 2.0), b"xyz", [3.0, 4.0], [[5]])]
    with pytest.raises(duckdb.Error, match="field 'label' is required, row 0 has none"):
        copy(con, "SELECT [1, 2]::FLOAT[2] AS v")


UNDECLARED = [
    ("{n: 'number'}", "field 'n': 'number' is no type; use int"),
    ("{n: 'embedding[*]'}", "is no type"),
    ("{n: 'int[3]'}", "is no type"),
    ("{n: 3}", "is no type"),
    ("'int'", "schema must be a struct"),
    ("NULL", "schema must not be NULL"),
]


@pytest.mark.parametrize(("schema", "told"), UNDECLARED)
def test_what_is_no_schema_is_refused(con, schema, told):
    with pytest.raises(duckdb.Error, match=told.replace("[", r"\[")):
        con.execute(f"FROM dreamdb_create('new', {schema})").fetchall()
    assert names(con) == []


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("'dreamdb://Bad Name' (FORMAT parquet)", "not a ref name"),
        ("'dreamdb://../new' (FORMAT parquet)", "not a ref name"),
        ("'dreamdb://new@first' (FORMAT parquet)", "new@first"),
        ("'dreamdb://new' (FORMAT csv)", "FORMAT parquet"),
        ("'dreamdb://new' (FORMAT parquet, PARTITION_BY (n))", "not a ref name"),
    ],
)
def test_what_is_no_target_is_refused(con, target, told):
    with pytest.raises(duckdb.Error, match=told):
        con.execute(f"COPY (SELECT 1 AS n, 2 AS m) TO {target}")
    assert names(con) == []


def test_flush_and_compact_in_sql(con, tmp_path):
    for n in range(3):
        copy(con, f"SELECT {n} AS n FROM range(2000)")
    [(ref, version, stripes)] = con.execute("FROM dreamdb_flush('new')").fetchall()
    ds = vd.Dataset.open("new", backend=tmp_path / "s", cache_dir=tmp_path / "c")
    assert (ref, version, stripes > 0) == ("new", ds.current_manifest(), True)
    assert con.execute("FROM dreamdb_flush('new')").fetchall() == [("new", version, 0)]
    [(ref, version, _)] = con.execute("FROM dreamdb_compact('new')").fetchall()
    assert (ref, version) == ("new", ds.refresh().current_manifest())
    assert con.sql("SELECT count(*), sum(n) FROM new").fetchall() == [(6000, 6000)]


def test_cells_are_trained_in_sql(con, tmp_path):
    schema = vd.Schema().add_embedding("v", 4, algorithm="dreamdb.ivf-cosine")
    ds = vd.Dataset.create("new", schema, tmp_path / "s", cache_dir=tmp_path / "c")
    ds.append({"v": np.random.default_rng(1).normal(size=(600, 4)).astype("f4")})
    ds.flush()
    ref, version, cells = con.execute("FROM dreamdb_index('new', 'v', k := 8)").fetchone()
    assert (ref, version, cells) == ("new", ds.refresh().current_manifest(), 8)


def test_inside_a_schema_the_protocol_says_which(tmp_path):
    con = duckdb.connect()
    for name in ("a", "b"):
        vd.attach(con, tmp_path / name, name, create=True, cache_dir=tmp_path / "c")
    con.execute("COPY (SELECT 1 AS n) TO 'dreamdb+b://new' (FORMAT parquet)")
    assert con.sql("FROM a.dreamdb_refs()").fetchall() == []
    assert con.sql("SELECT n FROM b.new").fetchall() == [(1,)]


def test_a_rollback_does_not_take_a_copy_back(con):
    con.execute("BEGIN")
    copy(con, "SELECT 1 AS n")
    con.execute("ROLLBACK")
    assert con.sql("SELECT n FROM new").fetchall() == [(1,)]


@pytest.mark.parametrize("statement", ["INSERT INTO new SELECT 2", "DELETE FROM new", "UPDATE new SET n = 2"])
def test_statements_on_tables_are_refused_by_duckdb(con, statement):
    copy(con, "SELECT 1 AS n")
    with pytest.raises(duckdb.Error, match=r"(?i)(not an table|not a table|base table|view)"):
        con.execute(statement)


# --- files that become stripes as they are, or nearly -------------------------------------------------------

MANY = 70_000
COLUMNS = {
    "all kept": "range AS n, random() AS x, 'row ' || range % 50 AS r, range || ' rows' AS t, range % 2 = 0 AS b",
    "some change": "range::INTEGER AS n, (range / 8)::FLOAT AS x, TIMESTAMP '2026-01-01' + to_seconds(range) AS w, 'a' AS t",
    "with gaps": "CASE WHEN range % 3 = 0 THEN range END AS n, CASE WHEN range % 5 = 0 THEN 'x' || range END AS t",
    "with anchors": "range * 7 AS _anchor, range AS n, 'x' AS t",
    "with times": "make_timestamp_ns(range * 7) AS _time, range AS n",
    "not in order": "(range * 7919) % 70000 AS _anchor, range AS n",
}


@pytest.fixture
def adopted(monkeypatch):
    """Return which files became stripes without being encoded again."""
    told, build = [], Adoption.build

    def telling(*arguments):
        told.append(False)
        change = build(*arguments)
        told[-1] = True
        return change

    monkeypatch.setattr(Adoption, "build", telling)
    return told


@pytest.mark.parametrize("columns", COLUMNS)
def test_a_large_copy_holds_what_the_query_gave(con, tmp_path, adopted, columns):
    con.execute(f"CREATE TABLE given AS SELECT {COLUMNS[columns]} FROM range({MANY})")
    con.execute("COPY given TO 'dreamdb://new' (FORMAT parquet)")
    assert adopted == [columns != "not in order"]
    names = ", ".join(name for name, *_ in con.sql("DESCRIBE given").fetchall())
    assert con.sql("SELECT count(*) FROM new").fetchall() == [(MANY,)]
    assert con.sql(f"(SELECT {names} FROM new) EXCEPT ALL (SELECT {names} FROM given)").fetchall() == []
    ds = vd.Dataset.open("new", backend=tmp_path / "s", cache_dir=tmp_path / "c")
    before = ds.count()
    con.execute("COPY (SELECT 3 AS n) TO 'dreamdb://new' (FORMAT parquet)")
    ds.refresh().flush()
    ds.compact()
    assert ds.refresh().count() == before + 1
    assert con.sql(f"(SELECT {names} FROM given) EXCEPT ALL (SELECT {names} FROM new)").fetchall() == []
    assert vd.fsck(tmp_path / "s")["findings"] == []


def test_declared_fields_that_are_left_out_are_null(con, adopted):
    con.execute("FROM dreamdb_create('new', {n: 'int', c: 'categorical?', x: 'float?'})").fetchall()
    copy(con, f"SELECT range AS n FROM range({MANY})")
    assert adopted == [True]
    assert con.sql("SELECT count(n), count(c), count(x) FROM new").fetchall() == [(MANY, 0, 0)]


TOO_LONG = "repeat('x', 8193)"
WRONG = [
    (
        f"CASE WHEN range = {MANY - 2} THEN 'nan'::DOUBLE ELSE range END AS f",
        f"field 'f', row {MANY - 2}: nan",
    ),
    ("CASE WHEN range = 69000 THEN 'inf'::DOUBLE ELSE range END AS f", "field 'f', row 69000: inf"),
    (f"CASE WHEN range = 69000 THEN {TOO_LONG} ELSE 't' || range END AS t", "field 't', row 69000"),
    (f"CASE WHEN range = 69000 THEN {TOO_LONG} ELSE 't' END AS t", "field 't', row 69000"),
    ("CASE WHEN range = 69000 THEN NULL ELSE range END AS n", "field 'n' is required, row 69000"),
    ("range AS n, 1 AS more", "unknown field 'more'"),
    ("range // 2 AS _anchor, range AS n", "anchor 0 is given twice"),
    ("range - 1 AS _anchor, range AS n", "'_anchor', row 0: -1 is outside"),
]


@pytest.mark.parametrize(("columns", "told"), WRONG)
def test_a_large_copy_is_checked_as_any_append(con, columns, told):
    con.execute("FROM dreamdb_create('new', {f: 'float?', t: 'string?', n: 'int'})").fetchall()
    before = versions(con, "new")
    given = columns if " AS n" in columns else f"{columns}, range AS n"
    with pytest.raises(duckdb.Error, match=told):
        copy(con, f"SELECT {given} FROM range({MANY})")
    assert versions(con, "new") == before


def leftovers(folder):
    return [path.name for path in (folder / ".dreamdb-tmp").glob("*")]


def test_a_file_is_written_while_it_comes(con, tmp_path, monkeypatch):
    monkeypatch.setattr(upload, "AHEAD_BYTES", 1)
    monkeypatch.setattr(upload, "FOOTER_BYTES", 0)  # so that DuckDB's own is taken along
    begun, begin = [], upload.Upload._write_ahead

    def noting(this):
        begin(this)
        begun.append(this._growing.size)

    monkeypatch.setattr(upload.Upload, "_write_ahead", noting)
    copy(con, f"SELECT range AS n, random() AS x FROM range({MANY})")
    assert begun
    assert con.sql("SELECT count(*), sum(n) FROM new").fetchall() == [(MANY, MANY * (MANY - 1) // 2)]
    with pytest.raises(duckdb.Error, match="anchor 0 is given twice"):
        copy(con, f"SELECT 0 AS _anchor, range AS n, random() AS x FROM range({MANY})")
    assert leftovers(tmp_path / "s") == []
    assert vd.fsck(tmp_path / "s")["findings"] == []


def test_whoever_makes_the_ref_first_gets_rows_appended(con, tmp_path, monkeypatch, adopted):
    build = Adoption.build

    def overtaken(*arguments):
        if not adopted:
            vd.Dataset.create(
                "new", vd.Schema().add_scalar_int("n"), tmp_path / "s", cache_dir=tmp_path / "c"
            )
        return build(*arguments)

    monkeypatch.setattr(Adoption, "build", overtaken)
    copy(con, f"SELECT range AS n FROM range({MANY})")
    assert adopted == [True, True]
    assert versions(con, "new") == 2
    assert con.execute("SELECT count(*), sum(n) FROM new").fetchall() == [(MANY, MANY * (MANY - 1) // 2)]


NOT_FINITE = ["'nan'::DOUBLE", "'inf'::DOUBLE", "'-inf'::DOUBLE"]


@pytest.mark.parametrize("at", [0, MANY - 1])
@pytest.mark.parametrize("others", ["random()", "0.5", "(range % 7)::DOUBLE", "{wrong}", "NULL"])
@pytest.mark.parametrize("wrong", NOT_FINITE)
def test_duckdbs_bounds_hide_no_number_that_is_none(con, wrong, others, at):
    column = f"CASE WHEN range = {at} THEN {wrong} ELSE {others.format(wrong=wrong)} END"
    with pytest.raises(duckdb.Error, match=r"is not a finite number"):
        copy(con, f"SELECT {column} AS x FROM range({MANY})")
    assert names(con) == []


def test_a_file_larger_than_what_waits_in_memory(con, monkeypatch, adopted):
    monkeypatch.setattr(upload, "MEMORY_MAX", 1 << 16)
    copy(con, f"SELECT range AS n, random() AS x FROM range({MANY})")
    assert adopted == []
    assert con.sql("SELECT count(*), sum(n) FROM new").fetchall() == [(MANY, MANY * (MANY - 1) // 2)]


def test_a_cursor_copies_after_its_connection_is_gone(tmp_path):
    con = vd.connect(tmp_path / "s", create=True, cache_dir=tmp_path / "c")
    cursor = con.cursor()
    del con
    gc.collect()
    copy(cursor, "SELECT 1 AS n")
    assert vd.Dataset.open("new", backend=tmp_path / "s", cache_dir=tmp_path / "c").count() == 1


def test_a_session_that_is_closed_takes_no_rows(tmp_path):
    with duckdb.connect() as con:
        session = vd.attach(con, tmp_path / "s", "d", create=True, cache_dir=tmp_path / "c")
        session.close()
        with pytest.raises(duckdb.Error):
            con.execute("COPY (SELECT 1 AS n) TO 'dreamdb+d://new' (FORMAT parquet)")
