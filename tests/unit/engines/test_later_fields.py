"""Fields that came after rows did: old stripes lack their columns, in every engine."""

import duckdb
import polars as pl
import pyarrow.compute as pc
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.create import new_fields
from dreamdb_arrow.engines.plans import scan_sql, source_of
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.objects.schema import SCHEMA_KEY, decode_schema, encode_schema

LAST = 2**63 - 1
LATER = (
    vd.Schema()
    .add_scalar_string("later", required=False)
    .add_scalar_timestamp("at", required=False)
    .add_image("img", required=False)
    .add_embedding("v", dim=2, algorithm="dreamdb.lsh-l2", required=False)
)


def add_fields(ds, schema):
    def build(parent, _, batch):
        registry = {SCHEMA_KEY: encode_schema([*decode_schema(parent.registry), *schema.fields])}
        entries = new_fields(ds.space.store, batch, "x", parent.timelines[0], schema.fields, registry, {})
        return Change("add_field", tuple(entries), registry)

    commit(ds.space.store, "x", build)
    return ds.refresh()


@pytest.fixture
def ds(tmp_path):
    made = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), tmp_path / "s", cache_dir=tmp_path / "c")
    made.append({"_anchor": [1, 2], "n": [10, 20]})
    add_fields(made, LATER)
    return made


@pytest.fixture
def con(ds):
    made = duckdb.connect()
    session = ds.attach(made)
    yield made
    session.close()
    made.close()


def append_new(ds):
    ds.append({"_anchor": [3], "n": [30], "later": ["new"], "at": [7], "img": [b"i"], "v": [[1.0, 2.0]]})


ALL = 'SELECT _anchor, n, later, epoch_ns("at"), img, v FROM x ORDER BY _anchor'
OLD = [(1, 10, None, None, None, None), (2, 20, None, None, None, None)]
NEW = [(3, 30, "new", 7, b"i", (1.0, 2.0))]


def test_a_column_that_no_stripe_has_is_null_of_its_type(con):
    assert con.sql(ALL).fetchall() == OLD
    types = dict(con.sql("DESCRIBE FROM x").select("column_name, column_type").fetchall())
    assert (types["later"], types["at"], types["img"], types["v"]) == (
        "VARCHAR",
        "TIMESTAMP_NS",
        "BLOB",
        "FLOAT[2]",
    )
    for field in LATER.names:
        assert con.execute("FROM dreamdb_track('x', ?)", [field]).fetchall() == []


def test_old_and_new_stripes_are_one_table(ds, con):
    append_new(ds)
    assert con.sql(ALL).fetchall() == OLD + NEW
    assert con.sql("SELECT _anchor FROM x WHERE later = 'new'").fetchall() == [(3,)]
    assert con.sql("SELECT _anchor FROM x WHERE img IS NULL ORDER BY 1").fetchall() == [(1,), (2,)]
    assert con.sql("SELECT _anchor, value FROM dreamdb_track('x', 'later')").fetchall() == [(3, "new")]
    assert con.sql("SELECT _anchor, value FROM dreamdb_track('x', 'img')").fetchall() == [(3, b"i")]
    assert con.sql("FROM dreamdb_knn('x', 'v', [1, 1], k := 5)").fetchall() == [(3, 1.0)]
    assert con.sql("SELECT n, later FROM dreamdb_scan('x', t1 := 3) ORDER BY n").fetchall() == [
        (10, None),
        (20, None),
    ]


def test_columns_are_matched_by_name_only_where_stripes_differ(ds):
    rows = ds._rows
    assert "union_by_name" not in source_of(rows, 0, LAST).table("__dreamdb_")
    append_new(ds)
    assert "union_by_name" in scan_sql(ds._rows, source_of(ds._rows, 0, LAST), "__dreamdb_")
    assert "union_by_name" not in scan_sql(ds._rows, source_of(ds._rows, 0, 3), "__dreamdb_")
    assert source_of(ds._rows, 3, LAST).held >= {"_anchor", "_time", "n", "later", "at", "img"}


@pytest.mark.parametrize("flushed", [False, True])
def test_arrow_and_polars_agree(ds, flushed):
    append_new(ds)
    if flushed:
        ds.flush()
    table = ds.to_arrow()
    assert table["later"].to_pylist() == [None, None, "new"]
    assert table["v"].to_pylist() == [None, None, [1.0, 2.0]]
    assert ds.to_dataset().to_table(filter=pc.field("later").is_null())["n"].to_pylist() == [10, 20]
    assert ds.to_polars().collect().equals(pl.DataFrame(table))
    assert ds.to_polars().filter(pl.col("img").is_not_null()).select("n").collect()["n"].to_list() == [30]
    assert ds.take([3, 1], ["later"])["later"].to_pylist() == ["new", None]


def test_the_version_before_has_no_such_fields(ds, con):
    append_new(ds)
    before = ds.history()[2]["manifest"]
    assert con.execute("SELECT * EXCLUDE _time FROM dreamdb_scan('x', as_of := ?)", [before]).fetchall() == [
        (1, 10),
        (2, 20),
    ]
    with pytest.raises(duckdb.Error, match="no field 'later'; fields: n"):
        con.execute("FROM dreamdb_track('x', 'later', as_of := ?)", [before]).fetchall()
