"""SQLAlchemy's dialects in this process and over Flight SQL: reflection, queries, appends, pandas. ADR 0047."""

import subprocess
import sys
import threading
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import registry

import dreamdb_arrow as vd
from dreamdb_arrow.clients.dialect import FlightSql, InProcess
from dreamdb_arrow.clients.sql_types import sqlalchemy_type
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.servers.access import read_users
from dreamdb_arrow.servers.flight_sql.server import FlightSqlServer, Settings

ROOT = Path(__file__).parents[2]
# In place of the entry points, which a checkout that is not installed does not have.
registry.register("dreamdb", "dreamdb_arrow.clients.dialect", "InProcess")
registry.register("dreamdb.flightsql", "dreamdb_arrow.clients.dialect", "FlightSql")
ROWS = 50


@pytest.fixture
def dataset(tmp_path):
    schema = vd.Schema().add_scalar_int("n").add_scalar_categorical("label").add_embedding("v", dim=2)
    ds = vd.Dataset.create("hello", schema, backend=tmp_path / "s", cache_dir=tmp_path / "c")
    anchors = list(range(1, ROWS + 1))
    vectors = pa.array([[a, 1.0] for a in anchors], pa.list_(pa.float32(), 2))
    ds.append(
        pa.table(
            {
                "_anchor": pa.array(anchors, pa.int64()),
                "n": [a % 7 for a in anchors],
                "label": ["a"] * ROWS,
                "v": vectors,
            }
        )
    )
    ds.snapshot("v1")
    return ds


@pytest.fixture(params=["in process", "flightsql"])
def engine(request, dataset, tmp_path):
    if request.param == "in process":
        made = sa.create_engine(f"dreamdb:///{tmp_path / 's'}?cache_dir={tmp_path / 'c'}")
        yield made
        made.dispose()
        return
    users = tmp_path / "users"
    users.write_text("ann:write:s3cret/@:\n")
    users.chmod(0o600)
    settings = Settings(access=read_users(users))
    server = FlightSqlServer(Space(tmp_path / "s", cache_dir=tmp_path / "c"), "grpc://127.0.0.1:0", settings)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    made = sa.create_engine(sa.URL.create("dreamdb+flightsql", "ann", "s3cret/@:", "127.0.0.1", server.port))
    yield made
    made.dispose()
    assert server.halt(5)
    server.shutdown()
    thread.join()
    server.close()


@pytest.fixture
def con(engine):
    with engine.connect() as made:
        yield made


def test_refs_are_tables_snapshots_too(engine):
    inspector = sa.inspect(engine)
    assert inspector.get_schema_names() == ["main"]
    assert inspector.get_table_names() == ["hello", "hello@v1"]
    assert inspector.get_view_names() == []
    assert inspector.has_table("hello@v1", schema="main")
    assert not inspector.has_table("none")


def test_columns_have_types_and_comments(engine):
    found = {c["name"]: c for c in sa.inspect(engine).get_columns("hello")}
    assert list(found) == ["_anchor", "_time", "label", "n", "v"]
    kinds = {name: type(c["type"]) for name, c in found.items()}
    assert kinds["_anchor"] is sa.BigInteger
    assert kinds["label"] is sa.String
    assert kinds["v"] is sa.ARRAY
    assert found["v"]["comment"].startswith("embedding")
    assert found["n"]["comment"] == "scalar, int64"
    assert not found["_anchor"]["nullable"]


def test_the_rest_of_reflection(engine, dataset):
    inspector = sa.inspect(engine)
    assert inspector.get_pk_constraint("hello")["constrained_columns"] == ["_anchor"]
    assert inspector.get_foreign_keys("hello") == []
    assert inspector.get_indexes("hello") == []
    assert inspector.get_table_comment("hello@v1")["text"].startswith("snapshot, version ")
    for ask in (inspector.get_columns, inspector.get_pk_constraint, inspector.get_table_comment):
        with pytest.raises(sa.exc.NoSuchTableError):
            ask("none")


def test_autoload_makes_a_table_that_core_and_orm_ask(engine, con):
    table = sa.Table("hello@v1", sa.MetaData(), autoload_with=engine)
    assert [c.name for c in table.primary_key] == ["_anchor"]
    asked = sa.select(table.c.n, sa.func.count()).where(table.c.n < 3).group_by(table.c.n).order_by(table.c.n)
    assert con.execute(asked.limit(2)).fetchall() == [(0, 7), (1, 8)]
    base = orm.registry()
    row = base.map_imperatively(type("Row", (), {}), table).class_
    with orm.Session(engine) as session:
        assert session.get(row, 9).n == 2


def test_parameters_bind_by_name_and_position(con):
    by_name = con.execute(sa.text("SELECT n FROM hello WHERE _anchor = :a"), {"a": 9})
    assert by_name.scalar() == 2
    assert con.exec_driver_sql("SELECT count(*) FROM hello WHERE n IN (?, ?)", (1, 2)).scalar() == 15


def test_search_is_sql_too(con):
    found = con.execute(sa.text("SELECT _anchor FROM dreamdb_search('hello', 'v', [3, 1], k := 2)"))
    assert found.scalars().first() == 3


def test_a_ref_that_came_since_is_there(engine, con, tmp_path):
    assert con.execute(sa.text("SELECT 1")).scalar() == 1
    schema = vd.Schema().add_scalar_int("x")
    vd.Dataset.create("later", schema, backend=tmp_path / "s", cache_dir=tmp_path / "c").append_many(
        [{"x": 4}]
    )
    assert con.execute(sa.text("SELECT x FROM later")).scalar() == 4
    assert "later" in sa.inspect(engine).get_table_names()


def test_an_insert_is_one_commit(engine, con, tmp_path):
    schema = vd.Schema().add_scalar_int("x").add_scalar_categorical("y")
    made = vd.Dataset.create("plain", schema, backend=tmp_path / "s")
    table = sa.Table("plain", sa.MetaData(), autoload_with=engine)
    before = len(list(made.history()))
    con.execute(sa.insert(table), [{"x": i, "y": "a"} for i in range(10)])
    con.execute(sa.insert(table).values(x=11, y="b"))
    con.commit()
    assert con.execute(sa.select(sa.func.sum(table.c.x))).scalar() == 56
    assert len(list(vd.Dataset.open("plain", backend=tmp_path / "s").history())) == before + 2
    with pytest.raises(UnsupportedError, match="only rows of values"):
        con.execute(sa.insert(table).from_select(["x"], sa.select(table.c.x)))
    with pytest.raises(UnsupportedError, match="only rows of values"):
        con.execute(sa.insert(table).values(x=sa.func.abs(3), y="b"))
    with pytest.raises(UnsupportedError, match="only rows of values"):
        con.execute(sa.insert(table).values(x=sa.literal_column("3"), y="b"))


def test_pandas_reads_and_appends(engine, tmp_path):
    vd.Dataset.create("plain", vd.Schema().add_scalar_int("x"), backend=tmp_path / "s")
    pd.DataFrame({"x": [1, 2, 3]}).to_sql("plain", engine, if_exists="append", index=False)
    assert pd.read_sql("SELECT x FROM plain ORDER BY x", engine)["x"].to_list() == [1, 2, 3]
    whole = pd.read_sql_table("hello", engine, columns=["_anchor", "n"])
    assert len(whole) == ROWS


def test_errors_are_sqlalchemys(con):
    with pytest.raises(sa.exc.DBAPIError, match="none"):
        con.execute(sa.text("SELECT * FROM none"))


def test_urls_that_name_nothing_are_refused(tmp_path):
    for url in ("dreamdb://", "dreamdb://host/path", f"dreamdb:///{tmp_path}?mode=x"):
        with pytest.raises(sa.exc.ArgumentError):
            sa.create_engine(url).connect()
    with pytest.raises(sa.exc.ArgumentError):
        FlightSql().create_connect_args(sa.make_url("dreamdb+flightsql://h?mode=x"))


def test_arguments_of_connections(tmp_path):
    made = FlightSql().create_connect_args(sa.make_url("dreamdb+flightsql://u:p@h?tls=1"))
    expected = {"username": "u", "password": "p"}
    assert list(made) == [["grpc+tls://h:31337"], {"db_kwargs": expected, "autocommit": True}]
    assert InProcess().create_connect_args(sa.make_url("dreamdb:///?backend=memory://x"))[0] == ["memory://x"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DECIMAL(9,2)", sa.Numeric),
        ("HUGEINT", sa.Numeric),
        ("FLOAT[512]", sa.ARRAY),
        ("TIMESTAMP WITH TIME ZONE", sa.DateTime),
        ("STRUCT(a INTEGER)", sa.types.NullType),
    ],
)
def test_types(name, expected):
    assert type(sqlalchemy_type(name)) is expected


def test_the_dialect_loads_neither_duckdb_nor_pyarrow():
    code = "import sys, dreamdb_arrow.clients.dialect; print(sorted({'duckdb', 'pyarrow', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_entry_points_name_the_dialects():
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    named = {
        name: EntryPoint(name, value, "x").load() for name, value in points["sqlalchemy.dialects"].items()
    }
    assert named == {"dreamdb": InProcess, "dreamdb.flightsql": FlightSql}
