"""`dreamdb serve`: what it refuses, and that it serves until it is told to end. ADR 0041, 0042."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import pyarrow.flight as fl
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.cli import main
from dreamdb_arrow.servers.flight_sql.messages import pack

ROOT = Path(__file__).parents[3]


@pytest.fixture
def space(tmp_path):
    ds = vd.Dataset.create("hello", vd.Schema().add_scalar_int("n"), tmp_path / "s", cache_dir=tmp_path / "c")
    ds.append({"n": [1, 2, 3]})
    return tmp_path / "s"


REFUSED = [
    ([], "name where to listen"),
    (["--flight-sql", "http://127.0.0.1:1"], "no place such as"),
    (["--flight-sql", "grpc://127.0.0.1"], "no place such as"),
    (["--flight-sql", "grpc://127.0.0.1:99999"], "no place such as"),
    (["--flight-sql", "grpc+tls://127.0.0.1:0"], "come together"),
    (["--flight-sql", "grpc://127.0.0.1:0", "--tls-cert", "x"], "come together"),
    (["--flight-sql", "grpc://127.0.0.1:0", "--tls-cert", "x", "--tls-key", "y"], "come together"),
    (["--flight-sql", "grpc://0.0.0.0:0"], "--token-keys, and TLS"),
    (["--flight-sql", "grpc://[::]:0", "--users", "u"], "--token-keys, and TLS"),
    (
        ["--flight-sql", "grpc+tls://example.org:0", "--tls-cert", "x", "--tls-key", "y"],
        "--token-keys, and TLS",
    ),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_doors_that_would_stay_open_are_refused(space, options, said, capsys):
    assert main(["serve", str(space), *options]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


LONG = "FROM range(10_000_000_000)"


@pytest.mark.parametrize(("number", "paused"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_serves_until_it_is_told_to_end(space, number, paused, tmp_path):
    words = [
        sys.executable,
        "-m",
        "dreamdb_arrow.cli",
        "serve",
        str(space),
        "--flight-sql",
        "grpc://127.0.0.1:0",
    ]
    log = tmp_path / "log"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*words, "--audit-log", str(log)], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            url = process.stdout.readline().split()[-1]
            with adbc.connect(url, autocommit=True) as con, con.cursor() as cursor:
                cursor.execute("SELECT sum(n) FROM hello")
                assert cursor.fetchall() == [(6,)]
            with fl.connect(url) as client:
                if paused:
                    asked = fl.FlightDescriptor.for_command(pack("CommandStatementQuery", query=LONG))
                    reader = client.do_get(client.get_flight_info(asked).endpoints[0].ticket)
                    assert reader.read_chunk().data.num_rows
                process.send_signal(number)
                assert process.wait(20) == 0
        finally:
            process.kill()
    assert "SELECT sum(n) FROM hello" in log.read_text()


def test_metrics_and_tokens_from_the_command_line(space, tmp_path):
    keys = tmp_path / "keys"
    words = [sys.executable, "-m", "dreamdb_arrow.cli"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    issue = ["token", "--key", str(keys), "--new-key", "--user", "ann", "--refs", "hello"]
    token = subprocess.run(
        [*words, *issue], capture_output=True, text=True, env=env, check=True
    ).stdout.strip()
    doors = ["--flight-sql", "grpc://127.0.0.1:0", "--metrics", "127.0.0.1:0", "--token-keys", str(keys)]
    with subprocess.Popen(
        [*words, "serve", str(space), *doors], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            url = process.stdout.readline().split()[-1]
            page = process.stdout.readline().split()[-1]
            password = {"username": "x", "password": token}
            with adbc.connect(url, db_kwargs=password, autocommit=True) as con, con.cursor() as cursor:
                cursor.execute("SELECT sum(n) FROM hello")
                assert cursor.fetchall() == [(6,)]
            with fl.connect(url) as client, pytest.raises(fl.FlightUnauthenticatedError, match="credentials"):
                list(client.list_flights())
            with urllib.request.urlopen(page, timeout=5) as answer:
                assert b"dreamdb_statement_returned_rows_total 1.0" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0


@pytest.mark.parametrize(
    "place", ["9464", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:9464/x", "http://127.0.0.1:1"]
)
def test_bad_place_for_metrics_is_refused(space, capsys, place):
    assert main(["serve", str(space), "--flight-sql", "grpc://127.0.0.1:0", "--metrics", place]) == 2
    assert "is no place such as 127.0.0.1:9464" in capsys.readouterr().err
