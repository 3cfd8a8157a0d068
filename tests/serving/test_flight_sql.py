"""Flight SQL and plain Flight, asked by their real clients: ADBC, Polars, pandas and pyarrow.flight. ADR 0041."""

import json
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from adbc_driver_flightsql import DatabaseOptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.servers.access import Audit, read_users
from dreamdb_arrow.servers.flight_sql.messages import MESSAGES, pack
from dreamdb_arrow.servers.flight_sql.server import FlightSqlServer, Settings
from dreamdb_arrow.servers.grants import Limits

ROWS = 100
ENDLESS = "SELECT count(*) FROM range(100_000_000_000) a WHERE hash(a.range) = 1"
LONG = "SELECT range AS i, hash(range) AS h FROM range(10_000_000_000)"
COLUMNS = {"_anchor": pa.int64(), "n": pa.int64(), "label": pa.utf8()}


def rows(*anchors):
    return pa.table(
        [list(anchors), [a % 7 for a in anchors], ["a"] * len(anchors)], schema=pa.schema(COLUMNS)
    )


def make_space(folder):
    schema = vd.Schema().add_scalar_int("n").add_scalar_categorical("label")
    ds = vd.Dataset.create("hello", schema, backend=folder / "s", cache_dir=folder / "c")
    ds.append(rows(*range(1, ROWS + 1)))
    ds.snapshot("v1")


@contextmanager
def serving(folder, scheme="grpc", **settings):
    made = FlightSqlServer(
        Space(folder / "s", cache_dir=folder / "c"), f"{scheme}://127.0.0.1:0", Settings(**settings)
    )
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        assert made.halt(5)
        made.shutdown()
        thread.join()
        made.close()


@pytest.fixture
def folder(tmp_path):
    make_space(tmp_path)
    return tmp_path


@pytest.fixture
def server(folder):
    with serving(folder, audit=Audit(folder / "log")) as made:
        yield made


@pytest.fixture
def con(server):
    with adbc.connect(f"grpc://127.0.0.1:{server.port}", autocommit=True) as made:
        yield made


@pytest.fixture
def flights(server):
    with fl.connect(f"grpc://127.0.0.1:{server.port}") as made:
        yield made


def ask(con, sql, *parameters):
    with con.cursor() as cursor:
        cursor.execute(sql, *parameters)
        return cursor.fetchall()


def test_select_and_parameters_of_each_style(con):
    assert ask(con, "SELECT count(*), sum(n) FROM hello")[0][0] == ROWS
    assert ask(con, "SELECT n FROM hello WHERE _anchor < ? AND label = ?", (3, "a")) == [(1,), (2,)]
    assert ask(con, "SELECT n FROM hello WHERE _anchor < $2 AND label = $1", ("a", 3)) == [(1,), (2,)]
    assert ask(con, "SELECT n FROM hello WHERE _anchor < $most AND label = $l", (3, "a")) == [(1,), (2,)]
    assert ask(con, "SELECT count(*) FROM dreamdb_scan('hello', as_of := ?)", ("v1",)) == [(ROWS,)]
    with pytest.raises(adbc_driver_manager.Error, match="1 parameters, 2 came"):
        ask(con, "SELECT n FROM hello WHERE _anchor < ?", (3, "a"))


def test_executemany_runs_once_for_each_row(con):
    with con.cursor() as cursor:
        cursor.executemany("FROM dreamdb_snapshot('hello', ?)", [("x",), ("y",)])
        assert cursor.rowcount == 2
    assert ask(con, 'SELECT count(*) FROM "hello@y"') == [(ROWS,)]


def test_polars_and_pandas_read(con):
    sql = "SELECT _anchor, label FROM hello ORDER BY 1 LIMIT 3"
    assert pl.read_database(sql, con)["_anchor"].to_list() == [1, 2, 3]
    assert list(pd.read_sql(sql, con)["label"]) == ["a"] * 3


def test_catalog(con):
    (catalog,) = con.adbc_get_objects(depth="all").read_all().to_pylist()
    (schema,) = catalog["catalog_db_schemas"]
    tables = {t["table_name"]: t for t in schema["db_schema_tables"]}
    assert (catalog["catalog_name"], schema["db_schema_name"]) == ("memory", "main")
    assert set(tables) == {"hello", "hello@v1"}
    assert [c["column_name"] for c in tables["hello"]["table_columns"]] == ["_anchor", "_time", "label", "n"]
    assert con.adbc_get_table_schema("hello").field("n").type == pa.int64()
    assert con.adbc_get_table_types() == ["VIEW"]
    assert con.adbc_get_info()["vendor_name"] == "dreamdb_arrow"
    with con.cursor() as cursor:
        assert cursor.adbc_execute_schema("SELECT n FROM hello").names == ["n"]


def test_ingest_appends_as_one_commit(con, folder):
    before = len(vd.Dataset.open("hello", backend=folder / "s", cache_dir=folder / "c").history(None))
    with con.cursor() as cursor:
        data = pa.RecordBatchReader.from_batches(pa.schema(COLUMNS), iter(rows(200, 201).to_batches()))
        assert cursor.adbc_ingest("hello", data, mode="append") == 2
    ds = vd.Dataset.open("hello", backend=folder / "s", cache_dir=folder / "c")
    assert (ds.count(), len(ds.history(None))) == (ROWS + 2, before + 1)
    assert ask(con, "SELECT count(*) FROM hello") == [(ROWS + 2,)]


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("new", "create", "mode append"),
        ("hello", "replace", "mode append"),
        ("nothing", "append", "nothing"),
        ("hello@v1", "append", "snapshot"),
    ],
)
def test_other_ingest_is_refused(con, folder, name, mode, said):
    with con.cursor() as cursor, pytest.raises(adbc_driver_manager.Error, match=said) as refused:
        cursor.adbc_ingest(name, rows(200), mode=mode)
    assert "Traceback" not in str(refused.value)
    assert ask(con, "SELECT count(*) FROM hello") == [(ROWS,)]


def test_transaction_sees_one_version(server, con):
    with adbc.connect(f"grpc://127.0.0.1:{server.port}") as other:  # a transaction, unless told otherwise
        assert ask(other, "SELECT count(*) FROM hello") == [(ROWS,)]
        with con.cursor() as cursor:
            cursor.adbc_ingest("hello", rows(200), mode="append")
        assert ask(other, "SELECT count(*) FROM hello") == [(ROWS,)]
        other.commit()
        assert ask(other, "SELECT count(*) FROM hello") == [(ROWS + 1,)]


def test_errors_are_one_line(con):
    for sql, said in [
        ("SELEC 1", "syntax error"),
        ("FROM nothing", "no table"),
        ("SELECT error('boom')", "boom"),
    ]:
        with pytest.raises(adbc_driver_manager.Error, match=said) as refused:
            ask(con, sql)
        assert "Traceback" not in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    ["FROM read_csv('/etc/passwd')", "ATTACH 'x'", "SET threads = 1", "COPY hello TO '/tmp/x'", "FROM rows"],
)
def test_sql_for_the_machine_is_refused_and_logged(con, folder, sql):
    with pytest.raises(adbc_driver_manager.Error):
        ask(con, sql)
    last = [json.loads(line) for line in (folder / "log").read_text().splitlines()][-1]
    assert (last["user"], bool(last["error"])) == ("anyone", True)


# ---------------------------------------------------------------- plain Flight


def test_refs_are_flights_with_parts(flights):
    described = fl.FlightDescriptor.for_path("hello")
    writer, _ = flights.do_put(described, pa.schema(COLUMNS))
    writer.write_table(rows(*range(1000, 1500)))
    writer.close()
    assert {f.descriptor.path[0] for f in flights.list_flights()} == {b"hello", b"hello@v1"}
    info = flights.get_flight_info(described)
    parts = [flights.do_get(e.ticket).read_all() for e in info.endpoints]
    together = pa.concat_tables(parts).sort_by("_anchor")
    assert together["_anchor"].to_pylist() == [*range(1, ROWS + 1), *range(1000, 1500)]
    assert together.schema == info.schema == flights.get_schema(described).schema


TICKETS = [
    b"",
    b"x",
    b"{}",
    b"{",
    b'{"dreamdb-rows": 1}',
    b'{"dreamdb-rows": ["hello", "x", 0, 1]}',
    b"\xff" * 9,
]


@pytest.mark.parametrize("ticket", TICKETS)
def test_other_tickets_are_refused(flights, ticket):
    with pytest.raises(fl.FlightServerError) as refused:
        flights.do_get(fl.Ticket(ticket)).read_all()
    assert "Traceback" not in str(refused.value)


def test_ticket_with_sql_in_it_finds_nothing(flights):
    info = flights.get_flight_info(fl.FlightDescriptor.for_path("hello"))
    held = json.loads(info.endpoints[0].ticket.ticket)["dreamdb-rows"]
    bad = ["hello') UNION ALL FROM read_csv('/etc/passwd') --", *held[1:]]
    for evil in (bad, [*held[:3], "1) --"], [held[0], held[1] + "'", *held[2:]]):
        with pytest.raises(fl.FlightServerError):
            flights.do_get(fl.Ticket(json.dumps({"dreamdb-rows": evil}).encode())).read_all()


# ---------------------------------------------------------------- running


def until(holds, seconds=2.0):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def test_cancel_stops_the_statement(server, con):
    with con.cursor() as cursor:
        cursor.execute(ENDLESS)
        assert until(lambda: server.running)
        cursor.adbc_cancel()
        with pytest.raises(adbc_driver_manager.Error):
            cursor.fetchall()
    assert until(lambda: not server.running)


def test_client_that_goes_away_stops_the_statement(server, flights, con):
    with con.cursor() as cursor:
        cursor.execute(LONG)
        next(iter(cursor.fetch_record_batch()))
        assert server.running == 1
    assert until(lambda: not server.running)


def cancel_bodies(info):
    data = bytes(info.serialize())
    return {
        "CancelFlightInfo": MESSAGES["CancelFlightInfoRequest"](info=data).SerializeToString(),
        "CancelQuery": pack("ActionCancelQueryRequest", info=data),
    }


@pytest.mark.parametrize("kind", ["CancelFlightInfo", "CancelQuery"])
def test_cancel_by_another_call_stops_a_statement_that_runs(server, flights, kind):
    asked = fl.FlightDescriptor.for_command(pack("CommandStatementQuery", query=LONG))
    info = flights.get_flight_info(asked)
    reader = flights.do_get(info.endpoints[0].ticket)
    assert reader.read_chunk().data.num_rows
    assert until(lambda: server.running)
    (answer,) = flights.do_action(fl.Action(kind, cancel_bodies(info)[kind]))
    assert answer.body.to_pybytes().endswith(b"\x08\x01")
    with pytest.raises(fl.FlightError, match="the client cancelled it"):
        reader.read_all()
    assert until(lambda: not server.running)
    with pytest.raises(fl.FlightError, match="no such statement"):
        flights.do_get(info.endpoints[0].ticket).read_all()


@pytest.mark.parametrize("body", [b"", b"x", b"\x0a\x03abc", b"\x0a\x00"])
def test_cancel_of_nothing_is_refused_or_nothing(flights, body):
    try:
        list(flights.do_action(fl.Action("CancelFlightInfo", body)))
    except fl.FlightError as error:
        assert "Traceback" not in str(error)  # noqa: PT017 - some bodies are an empty flight


def test_parameters_have_names_and_no_types(con):
    with con.cursor() as cursor:
        cursor.adbc_prepare("SELECT n FROM hello WHERE _anchor = $a AND label = $b")
        assert cursor.adbc_prepare("SELECT $a::INT + $b") == pa.schema([("a", pa.null()), ("b", pa.null())])
        assert cursor.adbc_prepare("SELECT n FROM hello") in (None, pa.schema([]))


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_paused_reader_leaves_memory_flat(server, con):
    with con.cursor() as cursor:
        cursor.execute(LONG)
        reader = cursor.fetch_record_batch()
        for _ in range(20):
            reader.read_next_batch()
        before = resident_bytes()
        time.sleep(1)
        assert resident_bytes() - before < 100 << 20
        reader.read_next_batch()
    assert until(lambda: not server.running)


def test_limits_of_rows_and_time(folder):
    with (
        serving(folder, limits=Limits(rows=10, seconds=0.5)) as server,
        adbc.connect(f"grpc://127.0.0.1:{server.port}", autocommit=True) as con,
    ):
        assert len(ask(con, "FROM hello LIMIT 10")) == 10
        with pytest.raises(adbc_driver_manager.Error, match="more than 10 rows"):
            ask(con, "FROM hello")
        with pytest.raises(adbc_driver_manager.Error, match=r"after 0\.5 s"):
            ask(con, ENDLESS)


def test_many_clients_at_once(server):
    times, wrong = [], []

    def client(number):
        try:
            with adbc.connect(f"grpc://127.0.0.1:{server.port}", autocommit=True) as con:
                for i in range(5):
                    begun = time.perf_counter()
                    assert ask(con, "SELECT n FROM hello WHERE _anchor = ?", (i + 1,)) == [((i + 1) % 7,)]
                    times.append(time.perf_counter() - begun)
        except Exception as error:  # noqa: BLE001 - told below
            wrong.append((number, error))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, len(times)) == ([], 40)


# ---------------------------------------------------------------- credentials and TLS


@pytest.fixture
def users(folder):
    file = folder / "users"
    file.write_text("ann:write:pw\nbob:read:word\n")
    file.chmod(0o600)
    return read_users(file)


def test_credentials(folder, users):
    with serving(folder, access=users, audit=Audit(folder / "log")) as server:
        url = f"grpc://127.0.0.1:{server.port}"
        for wrong in (
            {},
            {"username": "ann", "password": "no"},
            {DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer x"},
        ):
            with pytest.raises(adbc_driver_manager.Error, match="credentials"):
                connect_and_ask(url, wrong)
        with adbc.connect(url, db_kwargs={"username": "ann", "password": "pw"}, autocommit=True) as con:
            assert ask(con, "SELECT count(*) FROM dreamdb_snapshot('hello', 'x')") == [(1,)]
        with fl.connect(url) as client:
            _, token = client.authenticate_basic_token("bob", "word")
        header = {DatabaseOptions.AUTHORIZATION_HEADER.value: token.decode()}
        with adbc.connect(url, db_kwargs=header, autocommit=True) as con:
            assert ask(con, "SELECT count(*) FROM hello") == [(ROWS,)]
            for refused in (lambda: ask(con, "FROM dreamdb_snapshot('hello', 'y')"), lambda: ingest(con)):
                with pytest.raises(adbc_driver_manager.Error, match="may only read"):
                    refused()
    log = (folder / "log").read_text()
    assert '"bob"' in log
    assert "pw" not in log


def connect_and_ask(url, options):
    with adbc.connect(url, db_kwargs=options, autocommit=True) as con:
        return ask(con, "SELECT count(*) FROM hello")


def ingest(con):
    with con.cursor() as cursor:
        cursor.adbc_ingest("hello", rows(500), mode="append")


@pytest.fixture
def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / "a.crt", folder / "a.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return files


def test_tls(folder, certificate):
    file, key = certificate
    with serving(folder, "grpc+tls", certificate=file, key=key) as server:
        url = f"grpc+tls://127.0.0.1:{server.port}"
        with pytest.raises(adbc_driver_manager.Error, match=r"(?i)certificate"):
            connect_and_ask(url, {})
        roots = {DatabaseOptions.TLS_ROOT_CERTS.value: file.read_text()}
        with adbc.connect(url, db_kwargs=roots, autocommit=True) as con:
            assert ask(con, "SELECT count(*) FROM hello") == [(ROWS,)]
