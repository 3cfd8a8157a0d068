"""What a token allows, on each door of the Flight server and in SQL: other refs, other times, other verbs, other callers. Spec 0023."""

import json
import secrets
import time
from dataclasses import replace

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import duckdb
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from adbc_driver_flightsql import DatabaseOptions

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.scope import Scope
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import DreamDBError, StoreError, UnsupportedError
from dreamdb_arrow.servers import sandboxes
from dreamdb_arrow.servers.access import Access, Audit
from dreamdb_arrow.servers.flight_sql.messages import pack
from dreamdb_arrow.servers.flight_sql.server import FlightSqlServer, Settings
from dreamdb_arrow.servers.grants import Grant, Limits, User
from dreamdb_arrow.servers.sandboxes import Sandboxes
from dreamdb_arrow.servers.tokens import Claims, sign
from dreamdb_arrow.store.interface import Absent

KEY = bytes(range(32))
REFS = ("sales", "sales2", "teams/eu", "teams/us")
T0, T1 = 30, 60  # of the time range; anchors are 1 to 90
SECRET = "secret"


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scopes")
    schema = vd.Schema().add_scalar_int("n").add_scalar_categorical("label")
    schema = schema.add_embedding("v", dim=2, algorithm="dreamdb.lsh-cosine").add_image("img", mime="png")
    for ref in REFS:
        ds = vd.Dataset.create(ref, schema, backend=folder / "s", cache_dir=folder / "c")
        for low in (1, 31, 61):
            ds.append_many([row(ref, a) for a in range(low, low + 30)])
        ds.delete([5, 35], "old")
        ds.snapshot("v1")
    return Space(folder / "s", cache_dir=folder / "c")


def row(ref, a):
    label = SECRET if ref != "sales" else f"l{a % 3}"
    return {"_anchor": a, "n": a, "label": label, "v": [float(a), 1.0], "img": bytes([a])}


def grant(*refs, verbs=("read",), t0=None, t1=None, limits=None):
    scope = Scope(refs or ("sales",)) if t0 is None else Scope(refs or ("sales",), t0, t1)
    return Grant(frozenset(verbs), scope, limits or Limits(10**9, 60, None))


@pytest.fixture(scope="module")
def pool(space):
    made = Sandboxes(space, Limits(memory_bytes=10**9))
    yield made
    made.close()


def ask(pool, user, sql):
    with pool.lent(user) as sandbox:
        statement = sandbox.check(sql)
        with sandbox.cursor() as cursor:
            return cursor.sql(statement.text).fetchall()


# ---------------------------------------------------------------- refs

SALES = User("ann", grant())
BELOW = User("bob", grant("teams/*"))


def test_own_refs_are_seen(pool):  # 0023-R8
    assert ask(pool, SALES, "SELECT count(*) FROM sales") == [(88,)]
    assert ask(pool, SALES, 'SELECT count(*) FROM "sales@v1"') == [(88,)]
    assert ask(pool, BELOW, 'SELECT count(*) FROM "teams/eu"') == [(88,)]
    assert {r for (r,) in ask(pool, SALES, "SELECT ref FROM dreamdb_refs()")} == {"sales", "sales@v1"}
    assert {r[0] for r in ask(pool, BELOW, "SHOW TABLES")} == {
        f"teams/{c}{s}" for c in ("eu", "us") for s in ("", "@v1")
    }
    assert ask(pool, SALES, "SELECT count(*) FROM dreamdb_diff('sales', 'sales@v1')") == [(0,)]


def versions(space, ref):
    return [
        v["manifest"]
        for v in vd.Dataset.open(ref, backend=space.store, cache_dir=space.cache.root).history(None)
    ]


OTHER_REFS = [
    "FROM sales2",
    'FROM "sales2@v1"',
    'FROM "teams/eu"',
    'FROM "SALES2"',
    "FROM memory.main.sales2",
    "FROM dreamdb_scan('sales2')",
    "FROM dreamdb_scan('sales2@v1')",
    "FROM dreamdb_scan('teams/eu')",
    "FROM dreamdb_scan('teams/../sales2')",
    "FROM dreamdb_scan('sales\0')",
    "FROM dreamdb_scan('')",
    "FROM dreamdb_scan('*')",
    "FROM dreamdb_scan('sales', as_of := 'sales2@v1')",
    "FROM dreamdb_scan('sales', as_of := '{other}')",
    "FROM dreamdb_scan('sales@v1', as_of := '{other}')",
    "FROM dreamdb_history('sales', as_of := '{other}')",
    "FROM dreamdb_track('sales', 'label', as_of := '{other}')",
    "FROM dreamdb_take('sales', [1], as_of := '{other}')",
    "FROM dreamdb_take('sales2', [1])",
    "FROM dreamdb_knn('sales2', 'v', [1, 0])",
    "FROM dreamdb_knn('sales', 'v', [1, 0], as_of := '{other}')",
    "FROM dreamdb_knn('sales', 'v', [1, 0], as_of := 'sales2@v1', filter := 'true')",
    "FROM dreamdb_search('sales2', 'v', [1, 0])",
    "FROM dreamdb_search('sales', 'v', [1, 0], as_of := '{other}')",
    "FROM dreamdb_explain_search('sales2', 'v', [1, 0])",
    "FROM dreamdb_items('sales2', 'img')",
    "FROM dreamdb_diff('sales', 'sales2')",
    "FROM dreamdb_diff('sales', '{other}')",
    "FROM dreamdb_diff('sales', 'sales2@v1')",
    "FROM dreamdb_diff('sales2', 'sales')",
    "FROM dreamdb_schema('sales2')",
    "FROM dreamdb_constants('sales2')",
    "FROM dreamdb_tombstones('sales2')",
    "FROM dreamdb_tracks('sales2')",
    "FROM dreamdb_objects('sales2')",
    "FROM dreamdb_index_status('sales2', 'v')",
    "FROM dreamdb_stats()",
    "FROM dreamdb_align(['sales2.n'], INTERVAL 1 SECOND)",
    "FROM dreamdb_window('sales2', [1])",
    "FROM sales UNION ALL FROM sales2",
    "SELECT (SELECT any_value(label) FROM sales2)",
    "WITH sales2 AS (FROM sales) FROM main.sales2",
]


@pytest.mark.parametrize("sql", OTHER_REFS)
def test_other_refs_are_out_of_reach(pool, space, sql):  # 0023-R8, 0023-R9
    known = sql.replace("{other}", versions(space, "sales2")[0])
    with pytest.raises((DreamDBError, duckdb.Error)) as refused:
        ask(pool, SALES, known)
    assert SECRET not in str(refused.value)
    assert "teams" in sql or "teams" not in str(refused.value)


def test_refs_that_are_there_are_not_told_from_others(pool):  # 0023-R8
    lines = set()
    for ref in ("sales2", "nosuch"):
        with pytest.raises(duckdb.Error) as refused:
            ask(pool, SALES, f"FROM dreamdb_scan('{ref}')")
        lines.add(str(refused.value).replace(ref, "X"))
        with pytest.raises(DreamDBError) as refused:
            ask(pool, SALES, f"FROM {ref}")
        lines.add(str(refused.value).replace(ref, "X"))
    assert len(lines) == 2
    for sql in ("FROM dreamdb_scan('teams/nosuch')", "FROM dreamdb_merge('teams/nosuch', 'teams/eu')"):
        with pytest.raises(duckdb.Error) as refused:
            ask(pool, User("eve", grant("teams/*", verbs=("read", "merge"))), sql)
        assert "known refs" not in str(refused.value)


def test_versions_behind_the_ref_are_seen(pool, space):  # 0023-R9
    oldest_rows = versions(space, "sales")[-2]
    assert ask(pool, SALES, f"SELECT count(*) FROM dreamdb_scan('sales', as_of := '{oldest_rows}')") == [
        (30,)
    ]


# ---------------------------------------------------------------- effects

WRITER = User("wendy", grant(verbs=("read", "branch", "snapshot", "merge", "revert", "delete")))
BAD_EFFECTS = [
    "FROM dreamdb_branch('sales', 'evil')",
    "FROM dreamdb_branch('sales2', 'teams/x')",
    "FROM dreamdb_branch('sales', 'teams/x', as_of := '{other}')",
    "FROM dreamdb_snapshot('sales2', 'evil')",
    "FROM dreamdb_snapshot('sales', 'evil', as_of := '{other}')",
    "FROM dreamdb_merge('sales', 'sales2')",
    "FROM dreamdb_merge('sales2', 'sales')",
    "FROM dreamdb_merge('sales', '{other}')",
    "FROM dreamdb_revert('sales', '{other}')",
    "FROM dreamdb_revert('sales2', 'v1')",
    "FROM dreamdb_delete('sales2', anchors := [1])",
]


@pytest.mark.parametrize("sql", BAD_EFFECTS)
def test_effects_stay_inside(pool, space, sql):  # 0023-R9
    before = {name: str(space.store.read_ref(name)) for name in space.store.list_refs()}
    with pytest.raises((DreamDBError, duckdb.Error)):
        ask(pool, WRITER, sql.replace("{other}", versions(space, "sales2")[0]))
    assert {name: str(space.store.read_ref(name)) for name in space.store.list_refs()} == before


@pytest.mark.parametrize("verb", ["branch", "snapshot", "merge", "revert", "delete"])
def test_each_effect_is_a_verb(pool, verb):  # 0023-R7
    calls = {
        "branch": "FROM dreamdb_branch('sales', 'sales')",
        "snapshot": "FROM dreamdb_snapshot('sales', 'evil')",
        "merge": "FROM dreamdb_merge('sales', 'sales')",
        "revert": "FROM dreamdb_revert('sales', 'v1')",
        "delete": "FROM dreamdb_delete('sales', anchors := [1])",
    }
    others = User("w", grant(verbs=("read", *(set(calls) - {verb}))))
    with pytest.raises(UnsupportedError, match=f"{verb} is not granted"):
        ask(pool, others, calls[verb])


READS = [
    "FROM sales",
    "FROM dreamdb_scan('sales')",
    "WITH sales AS (SELECT 1) FROM (FROM sales)",
    "FROM dreamdb_refs()",
]


@pytest.mark.parametrize("sql", READS)
def test_without_read_nothing_is_read(pool, sql):  # 0023-R7
    with pytest.raises(UnsupportedError, match="read is not granted"):
        ask(pool, User("loader", grant(verbs=("append", "snapshot"))), sql)


def test_snapshot_is_made_with_its_verb(pool, space):
    only = User("snap", grant(verbs=("snapshot",)))
    assert ask(pool, only, "SELECT ref FROM dreamdb_snapshot('sales', 'v2')") == [("sales@v2",)]
    space.store.swap_ref(
        "sales@v2",
        space.store.read_ref("sales@v2"),
        Absent(),
    )


# ---------------------------------------------------------------- time

TIMED = User("tim", grant(t0=T0, t1=T1))
INSIDE = set(range(T0, T1)) - {35}
WAYS = [
    "FROM sales",
    'FROM "sales@v1"',
    "FROM dreamdb_scan('sales')",
    "FROM dreamdb_scan('sales', t0 := 0, t1 := 1000)",
    "FROM dreamdb_scan('sales', as_of := 'v1', t0 := '1970-01-01')",
    "FROM dreamdb_track('sales', 'label')",
    "FROM dreamdb_track('sales', 'v', t0 := 0)",
    "FROM dreamdb_track('sales', 'img', t1 := 9999)",
    "FROM dreamdb_take('sales', range(0, 100))",
    "FROM dreamdb_items('sales', 'img')",
    "FROM dreamdb_knn('sales', 'v', [1, 1], k := 100)",
    "FROM dreamdb_knn('sales', 'v', [1, 1], k := 100, t0 := 0, t1 := 1000)",
    "FROM dreamdb_knn('sales', 'v', [1, 1], k := 100, filter := 'n > 0')",
    "FROM dreamdb_knn('sales', 'v', [1, 1], k := 100, anchors := range(0, 100))",
    "FROM dreamdb_search('sales', 'v', [1, 1], k := 100)",
    "FROM dreamdb_window('sales', [50], before := to_microseconds(1), after := to_microseconds(1))",
    "FROM dreamdb_search('sales', 'v', [1, 1], k := 100, t0 := 0, t1 := 1000)",
    "FROM dreamdb_search('sales', 'v', [1, 1], k := 100, filter := 'n < 1000', anchors := range(0, 100))",
]


@pytest.mark.parametrize("way", WAYS)
def test_time_range_holds_on_every_way_to_rows(pool, way):  # 0023-R10
    assert {a for (a,) in ask(pool, TIMED, f"SELECT _anchor {way}")} == INSIDE
    everything = {a for (a,) in ask(pool, SALES, f"SELECT _anchor {way}")}
    assert everything == set(range(1, 91)) - {5, 35}


@pytest.mark.parametrize(
    ("t0", "t1", "inside"),
    [(T0, T0, 0), (T0 - 1, T0, 0), (T1, T1 + 5, 0), (T1 - 1, T1, 1), (T0, T0 + 1, 1), (0, 1, 0), (70, 90, 0)],
)
def test_edges_of_the_time_range(pool, t0, t1, inside):  # 0023-R10
    asked = f"SELECT count(*) FROM dreamdb_scan('sales', t0 := {t0}, t1 := {t1})"
    assert ask(pool, TIMED, asked) == [(inside,)]
    found = ask(
        pool,
        TIMED,
        f"SELECT count(*) FROM dreamdb_knn('sales', 'v', [1, 0], k := 99, t0 := {t0}, t1 := {t1})",
    )
    assert found == [(inside,)]


def test_tombstones_are_cut_too(pool):  # 0023-R10
    assert ask(pool, TIMED, "SELECT _anchor FROM dreamdb_tombstones('sales')") == [(35,)]


@pytest.mark.parametrize(
    "call",
    [
        "history('sales')",
        "objects('sales')",
        "tracks('sales')",
        "diff('sales', 'sales@v1')",
        "stats()",
        "index_status('sales', 'v')",
        "explain_search('sales', 'v', [1, 1])",
        "snapshot('sales', 'x')",
    ],
)
def test_functions_that_cannot_be_cut_are_refused(pool, call):  # 0023-R6, 0023-R10
    with pytest.raises(UnsupportedError, match=r"time range|is not granted"):
        ask(pool, TIMED, f"FROM dreamdb_{call}")


def test_a_grid_lies_inside_and_knows_nothing_of_what_lies_outside(tmp_path):  # 0023-R10
    ds = vd.Dataset.create("sales", vd.Schema().add_scalar_int("n"), tmp_path / "s", cache_dir=tmp_path / "c")
    ds.append_many([{"_anchor": a * 1000, "n": a} for a in range(1, 91)])
    timed = User("tim", grant(t0=T0 * 1000, t1=T1 * 1000))
    pool = Sandboxes(Space(tmp_path / "s", cache_dir=tmp_path / "c"), Limits(10**9))
    for more in ("", ", t0 := 0, t1 := 100_000", ", fill := 'linear'", ", fill := 'null'"):
        call = f"FROM dreamdb_align(['sales.n'], to_microseconds(1){more})"
        rows = ask(pool, timed, f'SELECT _anchor, "sales.n" {call}')
        assert [anchor // 1000 for anchor, _ in rows] == list(range(T0, T1))
        assert {value for _, value in rows} == set(range(T0, T1))
    pool.close()


# ---------------------------------------------------------------- callers


def test_callers_with_other_rights_have_other_databases(pool, monkeypatch, space):  # 0023-R11
    with pool.lent(SALES) as a, pool.lent(BELOW) as b, pool.lent(SALES) as again:
        assert a is again
        assert a is not b
    monkeypatch.setattr(sandboxes, "SANDBOXES_MAX", 2)
    small = Sandboxes(space, Limits(10**9))
    both = small.lent(SALES), small.lent(BELOW)
    with both[0], both[1], pytest.raises(StoreError, match="as many as may"):
        ask(small, TIMED, "SELECT 1")
    assert ask(small, TIMED, "SELECT count(*) FROM sales") == [(len(INSIDE),)]
    assert ask(small, SALES, "SELECT count(*) FROM sales") == [(88,)]
    small.close()


def test_memory_is_limited_by_caller(pool):
    little = User("lee", grant(limits=Limits(memory_bytes=20_000_000)))
    with pytest.raises(duckdb.OutOfMemoryException):
        ask(pool, little, "SELECT list(range) FROM range(10_000_000)")
    assert ask(pool, SALES, "SELECT len(list(range)) FROM range(10_000_000)") == [(10_000_000,)]


# ---------------------------------------------------------------- over Flight


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("audit") / "log"


@pytest.fixture(scope="module")
def url(space, log):
    server = FlightSqlServer(
        space, "grpc://127.0.0.1:0", Settings(access=Access(keys=(KEY,)), audit=Audit(log))
    )
    yield f"grpc://127.0.0.1:{server.port}"
    assert server.halt(5)
    server.shutdown()
    server.close()


def token(of=None, *, name="ann", seconds=600, age=0, key=KEY, mark=b"\0" * 8):
    now = int(time.time()) - age
    return sign(
        Claims(
            name, now, now + seconds, of or replace(grant(), limits=Limits(2**63 - 1, float("inf"))), mark
        ),
        key,
    )


def connect(url, text):
    header = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {text}"}
    return adbc.connect(url, db_kwargs=header, autocommit=True)


def query(url, text, sql, *parameters):
    with connect(url, text) as con, con.cursor() as cursor:
        cursor.execute(sql, *parameters)
        return cursor.fetchall()


def last_of(log, said=""):
    """Return the last line of the log, or the last one whose error says something."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if said in (line["error"] or "")][-1]


def unlimited(**changed):
    return replace(grant(**changed), limits=Limits(2**63 - 1, float("inf")))


def test_token_as_bearer_and_as_password(url, log):
    assert query(url, token(), "SELECT count(*) FROM sales") == [(88,)]
    assert f"ann#{'00' * 8}" in log.read_text()
    password = {"username": "x", "password": token()}
    with adbc.connect(url, db_kwargs=password, autocommit=True) as con, con.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sales")
        assert cursor.fetchone() == (88,)


REFUSED = {
    "expired": lambda: (token(seconds=5, age=6), "expired"),
    "from the future": lambda: (token(age=-100), "not count yet"),
    "tampered": lambda: (token().replace(".", ".A", 1), "signed by nobody"),
    "another key": lambda: (token(key=bytes(32)), "signed by nobody"),
    "cut": lambda: (token()[:-5], r"signed by nobody|written as it should"),
    "nothing": lambda: ("", "credentials"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_token_is_refused_in_one_line_and_logged(url, log, case):  # 0023-R3, 0023-R5, 0023-R12
    text, said = REFUSED[case]()
    with pytest.raises(adbc_driver_manager.Error, match=said) as refused:
        query(url, text, "SELECT 1")
    assert "\n" not in str(refused.value)
    assert last_of(log)["verb"] == "refused"
    with fl.connect(url) as client, pytest.raises(fl.FlightUnauthenticatedError, match=said):
        list(client.list_flights(options=bearer(text)))
    if text:
        assert text not in log.read_text()


def bearer(text):
    return fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {text}".encode())])


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("FROM sales2", "no table"),
        ("FROM dreamdb_scan('sales2')", "outside of what this token allows"),
        ("FROM dreamdb_snapshot('sales', 'x')", "snapshot is not granted"),
        ("SELECT * FROM read_csv('/etc/passwd')", "not available"),
        ("ATTACH 'x'", "only queries"),
        ("SET threads = 1", "only queries"),
    ],
)
def test_what_is_not_granted_is_refused_in_one_line_and_logged(url, log, sql, said):  # 0023-R7, 0023-R12
    mark = secrets.token_bytes(8)
    with pytest.raises(adbc_driver_manager.Error, match=said) as refused:
        query(url, token(mark=mark), sql)
    assert "\n" not in str(refused.value)
    assert last_of(log, said)["user"] == f"ann#{mark.hex()}"


ROWS = pa.table({"_anchor": pa.array([100], pa.int64()), "n": pa.array([1], pa.int64())})


def test_append_needs_its_verb_and_its_ref(url, log):
    for of, ref, said in [
        (unlimited(), "sales", "append is not granted"),
        (unlimited(verbs=("append",)), "sales2", "outside"),
        (unlimited(t0=T0, t1=T1), "sales", "append is not granted"),
    ]:
        mark = secrets.token_bytes(8)
        with pytest.raises(adbc_driver_manager.Error, match=said):
            ingest(url, token(of, mark=mark), ref)
        assert last_of(log, said)["user"] == f"ann#{mark.hex()}"
        with pytest.raises(fl.FlightError, match=said):
            put(url, token(of), ref)


def ingest(url, text, ref):
    with connect(url, text) as con, con.cursor() as cursor:
        cursor.adbc_ingest(ref, ROWS, mode="append")


def put(url, text, ref):
    with fl.connect(url) as client:
        writer, _ = client.do_put(fl.FlightDescriptor.for_path(ref), ROWS.schema, bearer(text))
        writer.write_table(ROWS)
        writer.close()


def test_plain_flight_keeps_to_the_scope(url):  # 0023-R8, 0023-R10
    with fl.connect(url) as client:
        mine = bearer(token(unlimited(t0=T0, t1=T1)))
        assert {f.descriptor.path[0] for f in client.list_flights(options=mine)} == {b"sales", b"sales@v1"}
        info = client.get_flight_info(fl.FlightDescriptor.for_path("sales"), mine)
        parts = [client.do_get(e.ticket, mine).read_all() for e in info.endpoints]
        assert set(pa.concat_tables(parts)["_anchor"].to_pylist()) == INSIDE
        for call in (client.get_flight_info, client.get_schema):
            with pytest.raises((fl.FlightError, pa.ArrowException), match="outside"):
                call(fl.FlightDescriptor.for_path("sales2"), mine)


def test_ticket_of_another_caller_gives_what_is_granted_to_this_one(url):  # 0023-R9, 0023-R10
    whole, mine = bearer(token(unlimited())), bearer(token(unlimited(t0=T0, t1=T1)))
    with fl.connect(url) as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_path("sales"), whole)
        found = [client.do_get(e.ticket, mine).read_all()["_anchor"].to_pylist() for e in info.endpoints]
        assert {a for part in found for a in part} == INSIDE
        others = bearer(token(replace(unlimited(), scope=Scope(("sales2",)))))
        other = client.get_flight_info(fl.FlightDescriptor.for_path("sales2"), others).endpoints[0]
        with pytest.raises(fl.FlightError, match="outside"):
            client.do_get(other.ticket, mine).read_all()
        held = json.loads(other.ticket.ticket)["dreamdb-rows"]
        forged = fl.Ticket(json.dumps({"dreamdb-rows": ["sales", *held[1:]]}).encode())
        with pytest.raises(fl.FlightError, match="no version"):
            client.do_get(forged, mine).read_all()


def test_statements_of_another_caller_are_none(url):  # 0023-R11
    first, second = bearer(token()), bearer(token(mark=b"\1" * 8))
    asked = pack("CommandStatementQuery", query="FROM sales")
    with fl.connect(url) as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(asked), first)
        with pytest.raises(fl.FlightError, match="no such statement"):
            client.do_get(info.endpoints[0].ticket, second).read_all()
        prepared = pack("ActionCreatePreparedStatementRequest", query="FROM sales")
        (made,) = client.do_action(fl.Action("CreatePreparedStatement", prepared), first)
        handle = made.body.to_pybytes()
        again = handle[handle.index(b"\n\x10") + 2 :][:16]
        command = pack("CommandPreparedStatementQuery", prepared_statement_handle=again)
        assert client.do_get(fl.Ticket(command), first).read_all().num_rows == 88
        with pytest.raises(fl.FlightError, match="no such statement"):
            client.do_get(fl.Ticket(command), second).read_all()
        close = pack("ActionClosePreparedStatementRequest", prepared_statement_handle=again)
        with pytest.raises(fl.FlightError, match="no such statement"):
            list(client.do_action(fl.Action("ClosePreparedStatement", close), second))


ENDLESS = "SELECT count(*) FROM range(100_000_000_000) a WHERE hash(a.range) = 1"


def test_statement_ends_when_its_token_expires(url):  # 0023-R5
    begun, mine = time.monotonic(), bearer(token(seconds=2))
    with fl.connect(url) as client:
        asked = fl.FlightDescriptor.for_command(pack("CommandStatementQuery", query=ENDLESS))
        info = client.get_flight_info(asked, mine)
        with pytest.raises(fl.FlightError, match="since the token has expired"):
            client.do_get(info.endpoints[0].ticket, mine).read_all()
        with pytest.raises(fl.FlightUnauthenticatedError, match="the token has expired"):
            client.get_flight_info(asked, mine)
    assert time.monotonic() - begun < 4


def test_rows_and_seconds_are_limited_by_token(url):
    few = replace(unlimited(), limits=Limits(2**63 - 1, 1.0, 10))
    with pytest.raises(adbc_driver_manager.Error, match="more than 10 rows"):
        query(url, token(few), "FROM sales")
    with pytest.raises(adbc_driver_manager.Error, match="after 1 s"):
        query(url, token(few), ENDLESS)
