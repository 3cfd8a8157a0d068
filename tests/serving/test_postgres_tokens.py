"""Tokens on the PostgreSQL wire, given as the password: what each allows there, and what the log has of it. Spec 0023."""

import json
import time

import psycopg
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.scope import Scope
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.servers.access import Audit, read_users
from dreamdb_arrow.servers.grants import Grant
from dreamdb_arrow.servers.postgres.passwords import read_keys
from dreamdb_arrow.servers.postgres.server import PostgresServer, Settings
from dreamdb_arrow.servers.tokens import Claims, sign

KEY = bytes(range(32))
ROWS = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    for ref in ("sales", "sales2"):
        schema = vd.Schema().add_scalar_int("n")
        ds = vd.Dataset.create(ref, schema, backend=folder / "s", cache_dir=folder / "c")
        ds.append_many([{"_anchor": a, "n": a} for a in range(1, ROWS + 1)])
    users = folder / "users"
    users.write_text("ann:write:s3cret\n")
    users.chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    access, keys = read_users(folder / "users", (KEY,)), read_keys(folder / "users")
    settings = Settings(access=access, keys=keys, audit=Audit(folder / "log"))
    made = PostgresServer(Space(folder / "s", cache_dir=folder / "c"), "127.0.0.1", 0, settings)
    yield made
    assert made.halt(5)
    made.shutdown()
    made.close()


def token(*refs, verbs=("read",), seconds=600, age=0, key=KEY, **scope):
    now = int(time.time()) - age
    grant = Grant(frozenset(verbs), Scope(refs or ("sales",), **scope))
    return sign(Claims("bob", now, now + seconds, grant, b"\0" * 8), key)


def connect(server, password, user="x"):
    return psycopg.connect(
        host="127.0.0.1", port=server.port, user=user, dbname="memory", password=password, autocommit=True
    )


def ask(server, password, sql):
    with connect(server, password) as con:
        return con.execute(sql).fetchall()


def last_error(folder):
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    return [line for line in lines if line["error"]][-1]


def test_a_token_shows_its_refs_and_no_other(server):
    assert ask(server, token(), "SELECT count(*) FROM sales") == [(ROWS,)]
    found = ask(server, token(), "SELECT relname FROM pg_class WHERE relkind = 'r' ORDER BY 1")
    assert [name for (name,) in found if name.startswith("sales")] == ["sales"]


def test_a_time_range_is_all_there_is(server):
    timed = token(t0=30, t1=60)
    assert ask(server, timed, "SELECT count(*), min(n), max(n) FROM sales") == [(30, 30, 59)]
    assert ask(server, timed, "SELECT count(*) FROM dreamdb_scan('sales', t0 := 0, t1 := 100)") == [(30,)]


def test_users_come_in_beside_tokens(server):
    with connect(server, "s3cret", "ann") as con:
        assert con.execute("SELECT count(*) FROM sales2").fetchone() == (ROWS,)
    with pytest.raises(psycopg.OperationalError, match="wrong or missing credentials"):
        connect(server, "wrong", "ann")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: token(seconds=5, age=6), "expired"),
        (lambda: token(key=bytes(32)), "signed by nobody"),
        (lambda: token().replace(".", ".A", 1), "signed by nobody"),
        (lambda: "", "credentials|no password supplied"),
        (lambda: "x" * 10_000, "credentials"),
    ],
    ids=["expired", "another key", "tampered", "nothing", "long"],
)
def test_a_bad_token_is_refused_in_one_line_and_logged(
    server, folder, made, said
):  # 0023-R3, 0023-R5, 0023-R12
    text = made()
    with pytest.raises(psycopg.OperationalError, match=said):
        connect(server, text)
    if text:
        assert last_error(folder)["verb"] == "refused"
        assert text not in (folder / "log").read_text()


@pytest.mark.parametrize(
    ("made", "sql", "said"),
    [
        (token, "SELECT * FROM sales2", "sales2"),
        (token, "SELECT * FROM dreamdb_scan('sales2')", "outside of what this token allows"),
        (token, "SELECT * FROM dreamdb_delete('sales', anchors := [1])", "not granted"),
        (lambda: token(t0=30, t1=60), "SELECT * FROM dreamdb_history('sales')", "time range"),
        (lambda: token(verbs=("append",)), "SELECT * FROM sales", "not granted"),
        (token, "SELECT * FROM read_csv('/etc/passwd')", "not available"),
        (token, "COPY (SELECT 1) TO '/tmp/x'", "only queries"),
        (token, "ATTACH '/tmp/x.db'", "only queries"),
        (token, "SET memory_limit = '100GB'", "unrecognized configuration parameter"),
        (token, "SET SESSION enable_external_access TO true", "unrecognized configuration parameter"),
        (token, "PRAGMA database_list", "only queries|not available"),
    ],
)
def test_what_is_not_granted_is_refused_in_one_line_and_logged(server, folder, made, sql, said):  # 0023-R7
    with connect(server, made()) as con, pytest.raises(psycopg.Error, match=said) as refused:
        con.execute(sql)
    assert "\n" not in str(refused.value).strip()
    told = last_error(folder)
    assert (told["user"], told["what"]) == (f"bob#{'00' * 8}", sql)


def test_what_clients_set_by_themselves_changes_nothing(server):
    with connect(server, token()) as con:
        for sql in (
            "SET extra_float_digits = 3",
            "SET application_name TO 'x'",
            "SET TIME ZONE 'UTC'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET client_encoding = 'UTF8'",
            "SET search_path TO public",
        ):
            con.execute(sql)
        assert con.execute("SELECT count(*) FROM sales").fetchone() == (ROWS,)


def test_a_token_that_expires_meanwhile_is_refused(server):  # 0023-R5
    with connect(server, token(seconds=2)) as con:
        assert con.execute("SELECT count(*) FROM sales").fetchone() == (ROWS,)
        time.sleep(2.2)
        with pytest.raises(psycopg.Error, match="expired"):
            con.execute("SELECT count(*) FROM sales")
