"""The PostgreSQL wire, spoken by its real clients: psql, psycopg, asyncpg and SQLAlchemy's own dialect. ADR 0048."""

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path

import asyncpg
import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.servers.access import NO_CREDENTIALS, Audit, read_users
from dreamdb_arrow.servers.grants import Limits
from dreamdb_arrow.servers.postgres.passwords import read_keys
from dreamdb_arrow.servers.postgres.server import PostgresServer, Settings

ROOT = Path(__file__).parents[2]
ROWS = 100
ENDLESS = "SELECT count(*) FROM range(100000000000) a WHERE hash(a.range) = 1"
LONG = "SELECT range AS i, hash(range)::VARCHAR AS h FROM range(10000000000)"
PSQL = shutil.which("psql")
GRAFANA_TABLES = """
    SELECT CASE WHEN quote_ident(table_schema) IN (
      SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
      FROM generate_series(
        array_lower(string_to_array(current_setting('search_path'),','),1),
        array_upper(string_to_array(current_setting('search_path'),','),1)) as i,
        string_to_array(current_setting('search_path'),',') s
    ) THEN quote_ident(table_name) ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
    FROM information_schema.tables
    WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache') AND table_name = 'hello'"""
GRAFANA_COLUMNS = """
    SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
    WHERE quote_ident(table_name) = 'hello' ORDER BY ordinal_position LIMIT 2"""


@contextmanager
def serving(folder, **settings):
    made = PostgresServer(Space(folder / "s", cache_dir=folder / "c"), "127.0.0.1", 0, Settings(**settings))
    try:
        yield made
    finally:
        assert made.halt(5)
        made.shutdown()
        made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("postgres")
    schema = vd.Schema().add_scalar_int("n").add_scalar_categorical("label").add_embedding("v", dim=2)
    ds = vd.Dataset.create("hello", schema, backend=folder / "s", cache_dir=folder / "c")
    ds.append(
        pa.table(
            {
                "_anchor": pa.array(range(1, ROWS + 1), pa.int64()),
                "n": [a % 7 for a in range(1, ROWS + 1)],
                "label": ["a"] * ROWS,
                "v": pa.array([[a, 1.0] for a in range(1, ROWS + 1)], pa.list_(pa.float32(), 2)),
            }
        )
    )
    ds.snapshot("v1")
    return folder


@pytest.fixture(scope="module")
def users(folder):
    file = folder / "users"
    file.write_text("ann:write:s3cret\nbob:read:pw\n")
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder, audit=Audit(folder / "log")) as made:
        yield made


def where(server, user="ann"):
    return f"host=127.0.0.1 port={server.port} user={user} dbname=memory connect_timeout=5"


@pytest.fixture
def con(server):
    with psycopg.connect(where(server), autocommit=True) as made:
        yield made


# ---------------------------------------------------------------- psql

needs_psql = pytest.mark.skipif(PSQL is None, reason="psql is not installed (Debian: postgresql-client)")


def psql(server, *commands, user="ann", **environment):
    arguments = [a for command in commands for a in ("-c", command)]
    return subprocess.run(
        [PSQL, where(server, user), "-X", "-w", "-P", "pager=off", "-A", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, **environment},
    )


@needs_psql
@pytest.mark.parametrize(
    ("command", "lines"),
    [
        (r"\d", ["main|hello|table|owner", "main|hello@v1|table|owner"]),
        (r"\dt", ["main|hello|table|owner"]),
        (r"\dt main.h*", ["main|hello|table|owner"]),
        (r"\d hello", ["_anchor|bigint|||", "label|text|||", "v|real[]|||"]),
        (r"\d+ hello", ["n|bigint||||plain|||"]),
        (r'\d "hello@v1"', ['Table "main.hello@v1"', "_time|timestamp without time zone|||"]),
        (r"\dn", ["main|owner"]),
        (r"\l", ["memory|owner|UTF8|C|C||libc|"]),
        (r"\dv", ["Did not find any relations."]),
        (r"\df", ["(0 rows)"]),
        (r"\du", ["owner|Cannot login"]),
        ("SELECT count(*) AS many FROM hello", ["many", "100"]),
        ("SHOW TABLES", ["hello", "hello@v1"]),
        ("SHOW server_version_num", ["150000"]),
        ("BEGIN; SELECT ';' AS s; COMMIT", ["BEGIN", ";", "COMMIT"]),
    ],
)
def test_psql(server, command, lines):
    done = psql(server, command)
    told = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, done.stderr
    if command == r"\du":  # what it says of a role depends on its version
        lines = ["owner|"]
    assert [line for line in lines if not any(line in one for one in told)] == []


@needs_psql
def test_psql_is_told_what_is_wrong_in_one_line(server):
    done = psql(server, "SELECT * FROM nope", "SELEC 1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "ERROR:  no table 'nope' here; SHOW TABLES lists them"
    assert "syntax error" in psql(server, "SELEC 1").stderr


@needs_psql
def test_ctrl_c_of_psql_stops_the_statement(server):
    process = subprocess.Popen(
        [PSQL, where(server), "-X", "-w", "-c", ENDLESS], stderr=subprocess.PIPE, text=True
    )
    until(lambda: server.running == 1)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=10)
    assert "canceling statement due to user request" in told
    assert time.monotonic() - start < 2
    assert server.running == 0


def until(happened, seconds=10):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


# ---------------------------------------------------------------- psycopg


@pytest.mark.parametrize("binary", [False, True])
def test_psycopg_reads_types_in_text_and_binary(con, binary):
    sql = (
        "SELECT 1::SMALLINT, 2::INTEGER, 3::BIGINT, 4::UBIGINT, 1.5::FLOAT, 2.5::DOUBLE, 1.25::DECIMAL(9, 2), true, 'x',"
        " 'y'::BLOB, DATE '2020-01-02', TIMESTAMP '2020-01-02 03:04:05.678901', [1, NULL, 3], ['a'], {'a': 1}, NULL"
    )
    row = con.cursor(binary=binary).execute(sql).fetchone()
    stamp = datetime(2020, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001 - it has no zone
    assert row[:12] == (1, 2, 3, 4, 1.5, 2.5, Decimal("1.25"), True, "x", b"y", date(2020, 1, 2), stamp)
    assert row[12:] == ([1, None, 3], ["a"], {"a": 1}, None)


def test_psycopg_binds_parameters(con):
    sql = "SELECT count(*) FROM hello WHERE label = %s AND n < %s AND _anchor <= %s LIMIT %s"
    assert con.execute(sql, ("a", 3, 70, 1)).fetchone() == (30,)
    assert con.execute("SELECT %s::INTEGER + 1", ("41",)).fetchone() == (42,)
    with pytest.raises(psycopg.Error, match="a parameter is not of its type"):
        con.execute("SELECT * FROM hello WHERE n = %s", ("x",))
    assert con.execute("SELECT _anchor FROM dreamdb_search('hello', 'v', [3, 1], k := 1)").fetchone() == (3,)


def test_statements_of_a_transaction_see_the_same_versions(folder, server):
    ds = vd.Dataset.create(
        "moving", vd.Schema().add_scalar_int("x"), backend=folder / "s", cache_dir=folder / "c"
    )
    ds.append_many([{"x": 1}])
    sql = "SELECT count(*) FROM moving"
    with psycopg.connect(where(server)) as con:
        assert con.execute(sql).fetchone() == (1,)
        ds.append_many([{"x": 2}])
        assert con.execute(sql).fetchone() == (1,)
        con.commit()
        assert con.execute(sql).fetchone() == (2,)
        with pytest.raises(psycopg.errors.UndefinedTable):
            con.execute("SELECT * FROM nope")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            con.execute("SELECT 1")
        con.rollback()
        assert con.execute("SELECT 1").fetchone() == (1,)


def test_rows_stream_in_bounded_memory(server, con):
    con.execute("SELECT 1")
    before = peak_mb()
    with con.cursor() as cursor:
        rows = cursor.stream(LONG, size=1)
        for _ in range(200_000):
            next(rows)
        time.sleep(0.5)  # the reader pauses, and so does the query
        assert peak_mb() - before < 100
        rows.close()  # cancels
    until(lambda: server.running == 0, 3)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_client_that_hangs_up_ends_its_statement(server):
    raw = psycopg.connect(where(server), autocommit=True)
    raw.pgconn.send_query(ENDLESS.encode())
    until(lambda: server.running == 1)
    raw.pgconn.finish()
    raw.close()
    until(lambda: server.running == 0, 2)


# ---------------------------------------------------------------- asyncpg, SQLAlchemy, Grafana


def test_asyncpg(server):
    async def ask():
        con = await asyncpg.connect(host="127.0.0.1", port=server.port, user="ann", database="memory")
        counted = await con.fetchval(
            "SELECT count(*) FROM hello WHERE n < $1 AND label = $2 LIMIT $3", 3, "a", 1
        )
        row = await con.fetchrow("SELECT n, label, v, _time FROM hello WHERE _anchor = $1", 9)
        since = await con.fetchval("SELECT count(*) FROM hello WHERE _time >= $1", datetime(1970, 1, 1))  # noqa: DTZ001
        async with con.transaction():
            cursor = [row["n"] async for row in con.cursor("SELECT n FROM hello", prefetch=7)]
        with pytest.raises(TimeoutError):
            await con.fetch(ENDLESS, timeout=0.5)
        after = await con.fetchval("SELECT 1")
        await con.reset()
        with pytest.raises(asyncpg.UndefinedTableError):
            await con.fetch("SELECT * FROM nope")
        await con.close()
        return counted, row, since, cursor, after

    counted, row, since, cursor, after = asyncio.run(ask())
    assert (counted, since, after, len(cursor)) == (44, ROWS, 1, ROWS)
    assert (row["n"], row["label"], row["v"]) == (2, "a", [9.0, 1.0])


def test_sqlalchemys_own_dialect_reflects(server):
    engine = sa.create_engine(f"postgresql+psycopg://ann@127.0.0.1:{server.port}/memory")
    inspector = sa.inspect(engine)
    assert inspector.get_schema_names() == ["main"]
    assert {"hello", "hello@v1"} <= set(inspector.get_table_names())
    found = {c["name"]: str(c["type"]) for c in inspector.get_columns("hello")}
    assert found == {"_anchor": "BIGINT", "_time": "TIMESTAMP", "label": "TEXT", "n": "BIGINT", "v": "ARRAY"}
    assert inspector.get_foreign_keys("hello") == []
    assert inspector.get_indexes("hello") == []
    assert list(sa.Table("hello@v1", sa.MetaData(), autoload_with=engine).c.keys()) == list(found)
    engine.dispose()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT current_setting('server_version_num')::int/100 AS version", [(1500,)]),
        (GRAFANA_TABLES, [("hello",)]),
        (GRAFANA_COLUMNS, [("_anchor", "bigint"), ("_time", "timestamp without time zone")]),
        ("SELECT pg_catalog.version() LIKE 'PostgreSQL 15%'", [(True,)]),
        ("SELECT current_schema()", [("main",)]),
    ],
)
def test_what_bi_tools_ask(con, sql, expected):
    if expected is None:
        pytest.xfail(
            "Grafana's list of tables takes a function of text arrays that DuckDB has under another name"
        )
    assert con.execute(sql).fetchall() == expected


# ---------------------------------------------------------------- who may come, and what they may do


def test_scram(folder, users):
    settings = {"access": read_users(users), "keys": read_keys(users), "audit": Audit(folder / "users.log")}
    with serving(folder, **settings) as server:
        with psycopg.connect(where(server), password="s3cret") as con:
            assert con.execute("SELECT 1").fetchone() == (1,)
        for user, password in (("ann", "wrong"), ("nobody", "s3cret"), ("bob", "s3cret"), ("ann", None)):
            with pytest.raises(psycopg.OperationalError, match=r"password|fe_sendauth"):
                psycopg.connect(where(server, user), password=password)
        with (
            psycopg.connect(where(server, "bob"), password="pw") as con,
            pytest.raises(psycopg.Error, match="may only read"),
        ):
            con.execute("FROM dreamdb_snapshot('hello', 'v2')")
    logged = [json.loads(line) for line in (folder / "users.log").read_text().splitlines()]
    assert {(one["user"], one["verb"]) for one in logged} >= {("ann", "connect"), ("bob", "run")}
    assert any("may only read" in (one["error"] or "") for one in logged)
    assert ("nobody", NO_CREDENTIALS) in {(one["user"], one["error"]) for one in logged}
    assert "s3cret" not in (folder / "users.log").read_text()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd'), pg_class",
        "SELECT * FROM pg_catalog.read_csv('/etc/passwd')",
        "SELECT read_text('/etc/passwd') FROM pg_class",
        "SELECT getenv('HOME'), version()",
        "SELECT getvariable('x'), version()",
        "SELECT * FROM duckdb_settings(), pg_class",
        "SELECT * FROM query('SELECT 1'), pg_class",
        "ATTACH '/tmp/x.db' AS x",
        "INSTALL httpfs",
        "COPY hello TO '/tmp/x.csv'",
        "COPY (SELECT version()) TO '/tmp/x.csv'",
        "PRAGMA database_list",
        "CREATE TABLE pg_x AS SELECT 1",
        "DROP VIEW hello",
        "DELETE FROM pg_class",
        "SELECT 1 FROM system.main.duckdb_secrets, pg_class",
        "WITH x AS (DELETE FROM pg_class RETURNING 1) SELECT * FROM x",
        "SELECT * FROM main.pg_class",
        "SELECT __dreamdb_plan('scan', 'hello', NULL, NULL, NULL, NULL, 0, '')",
    ],
)
def test_sql_of_strangers_is_refused(con, sql):
    with pytest.raises(psycopg.Error) as caught:
        con.execute(sql)
    assert "\n" not in str(caught.value)
    assert con.execute("SELECT count(*) FROM hello").fetchone() == (ROWS,)


def test_settings_of_duckdb_are_refused(con):
    with pytest.raises(psycopg.Error, match="unrecognized configuration parameter"):
        con.execute("SET enable_external_access = true")
    with pytest.raises(psycopg.Error):
        con.execute("SELECT * FROM read_csv('/etc/passwd')")


def test_a_statement_is_about_the_catalog_or_about_rows(con):
    assert con.execute("SELECT count(*) FROM hello -- pg_class").fetchone() == (ROWS,)
    assert con.execute("SELECT count(*) FROM hello WHERE label <> 'version()'").fetchone() == (ROWS,)
    with pytest.raises(psycopg.Error):
        con.execute("SELECT count(*) FROM hello, pg_catalog.pg_class")


def test_limits_hold(folder):
    with (
        serving(folder, limits=Limits(seconds=0.5, rows=1000)) as server,
        psycopg.connect(where(server), autocommit=True) as con,
    ):
        with pytest.raises(psycopg.Error, match=r"stopped after 0\.5 s"):
            con.execute(ENDLESS)
        with pytest.raises(psycopg.Error, match="more than 1000 rows"):
            con.execute("SELECT * FROM range(5000)")
        with pytest.raises(psycopg.Error, match=r"stopped after 0\.5 s"):
            con.execute("SELECT count(*) FROM generate_series(1, 100000000000) a, pg_catalog.pg_class")


def test_tls(folder):
    crt, key = certificate(folder)
    with serving(folder, certificate=crt, key=key) as server:
        asked = f"{where(server)} sslmode=verify-full sslrootcert={crt}"
        with psycopg.connect(asked) as con:
            assert con.pgconn.ssl_in_use
            assert con.execute("SELECT count(*) FROM hello").fetchone() == (ROWS,)
        with pytest.raises(psycopg.OperationalError, match="over TLS only"):
            psycopg.connect(f"{where(server)} sslmode=disable")
        with pytest.raises(psycopg.OperationalError, match="certificate"):
            psycopg.connect(f"{where(server)} sslmode=verify-full sslrootcert=system")


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    crt, file = folder / "a.crt", folder / "a.key"
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return crt, file


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x00\x00\x04\x00\x03\x00\x00",
        b"\x7f\xff\xff\xff\x00\x03\x00\x00",
        b"\x00\x00\x00\x0c\x00\x03\x00\x00\xff\xfe\xfd\xfc",
        b"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02",  # cancel what is not there
        b"\x00\x00\x00\x13\x00\x03\x00\x00user\x00ann\x00\x00Q\x7f\xff\xff\xff",
        b"\x00\x00\x00\x13\x00\x03\x00\x00user\x00ann\x00\x00B\x00\x00\x00\x05\xff",
    ],
)
def test_who_babbles_is_left(server, con, data):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(4096):
            pass
    assert con.execute("SELECT 1").fetchone() == (1,)


# ---------------------------------------------------------------- the command

CLI = "import sys; sys.argv[0] = 'dreamdb'; from dreamdb_arrow.cli import program; program()"


def test_the_command_serves_until_it_is_told(folder):
    command = [sys.executable, "-c", CLI, "serve", str(folder / "s"), "--pg", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        line = process.stdout.readline()
        place = line.split(" at ")[1].strip()
        with psycopg.connect(f"{place}/memory?user=ann") as con:
            assert con.execute("SELECT count(*) FROM hello").fetchone() == (ROWS,)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    "place", ["0.0.0.0:0", "[::]:0", "example.org:5433", "127.0.0.1", "127.0.0.1:x", "u@127.0.0.1:1"]
)
def test_open_doors_are_refused(folder, place):
    command = [sys.executable, "-c", CLI, "serve", str(folder / "s"), "--pg", place]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert done.returncode == 2
    assert "--token-keys, and TLS only" in done.stderr or "is no place" in done.stderr
