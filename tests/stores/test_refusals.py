"""What goes wrong with a server, in one clear line each: through the library, SQL and the command line. Spec 0005."""

import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import duckdb
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.cli import main
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.store import clients
from dreamdb_arrow.store.urls import open_store
from tests.servers import ADMIN, READER, free_ports, signed, unsigned

BODY = b"x" * 33
SCHEMA = vd.Schema().add_scalar_int("n")


class Scripted(BaseHTTPRequestHandler):
    """A server that fails with a status for so many requests, or hangs, and then works: all objects are alike."""

    protocol_version = "HTTP/1.1"
    status: ClassVar[int] = 503
    failures: ClassVar[int] = 0
    hang_seconds: ClassVar[float] = 0.0
    code: ClassVar[str] = "SlowDown"
    asked: ClassVar[Counter] = Counter()

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked[self.command] += 1
        if self.asked.total() > self.failures:
            self.send(200, BODY if self.command == "GET" else b"")
            return
        time.sleep(self.hang_seconds)
        self.send(
            self.status, f"<Error><Code>{self.code}</Code><Message>wait a while</Message></Error>".encode()
        )

    def send(self, status, data):
        self.send_response(status)
        self.send_header("ETag", '"same"')
        self.send_header("Retry-After", "1")
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 05:00:00 GMT")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_POST = answer  # noqa: N815 - the server asks for these names

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def scripted(monkeypatch) -> Iterator[str]:
    unsigned(monkeypatch)
    monkeypatch.setattr("dreamdb_arrow.store.bucket_calls._PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(Scripted, "asked", Counter())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/bucket"
    server.shutdown()
    server.server_close()


def one_line(capsys, url: str, said: str, *hidden: str) -> None:
    """The same sentence comes from the library, from SQL and from the command line, and shows no secret."""
    with pytest.raises(vd.DreamDBError, match=said) as raised:
        vd.Dataset.open("main", backend=url, cache_dir=None)
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 500
    assert all(secret not in text for secret in hidden)
    capsys.readouterr()
    assert main(["inspect", url, "main"]) == 1
    assert capsys.readouterr().err == f"dreamdb: {text}\n"
    with pytest.raises((duckdb.Error, vd.DreamDBError), match=said) as raised:
        sql(url)
    assert "\n" not in str(raised.value).partition("\n\nLINE")[0].strip()


def sql(url: str) -> None:
    with vd.connect(url, cache_dir=None) as con:
        con.execute("FROM dreamdb_refs()").fetchall()


USERS = {
    "wrong secret": ((ADMIN[0], "not-the-secret"), "", r"refuses access to refs/\w*: SignatureDoesNotMatch"),
    "unknown key": (("AKNOBODY", "not-the-secret"), "", r"refuses access to refs/\w*: InvalidAccessKeyId"),
    "expired token": (ADMIN, "token-of-yesterday", r"refuses access to refs/\w*: \w*(Token|AccessKeyId)"),
    "nobody": (None, "", r"refuses access to refs/\w*: AccessDenied"),
}


@pytest.mark.parametrize("name", USERS)
def test_who_is_not_let_in(guarded_server, monkeypatch, capsys, name):
    user, token, said = USERS[name]
    if user is None:
        unsigned(monkeypatch)
    else:
        signed(monkeypatch, user, token)
    secret = () if user is None else (user[1],)
    one_line(capsys, guarded_server.fresh(), f"{said}.*check AWS_ACCESS_KEY_ID", *secret)


def test_a_token_that_has_expired(scripted, monkeypatch, capsys):
    """As Amazon says it; SeaweedFS has no tokens that expire."""
    monkeypatch.setattr(Scripted, "failures", 10**6)
    monkeypatch.setattr(Scripted, "status", 400)
    monkeypatch.setattr(Scripted, "code", "ExpiredToken")
    one_line(capsys, scripted, r"refuses access to refs/\w*: ExpiredToken \(wait a while\)")


def test_a_reader_is_told_what_it_may_not(guarded_server, monkeypatch, capsys):
    url = guarded_server.fresh()
    signed(monkeypatch, ADMIN)
    made = vd.Dataset.create("main", SCHEMA, url, cache_dir=None)
    made.append({"n": [1]})
    made.snapshot("s")
    signed(monkeypatch, READER)
    said = r"refuses access to .*AccessDenied.*what this user may do"
    ds = vd.Dataset.open("main", backend=url, cache_dir=None)
    for write in (
        lambda: ds.append({"n": [2]}),
        lambda: ds.delete([1]),
        lambda: ds.branch("side"),
        lambda: ds.snapshot("t"),
        lambda: vd.Dataset.open("main@s", backend=url, cache_dir=None).delete_ref("main"),
        lambda: vd.gc(url, 0, dry_run=False, writers_paused=True),
        lambda: vd.Dataset.create("other", SCHEMA, url, cache_dir=None),
    ):
        with pytest.raises(StoreError, match=said) as raised:
            write()
        assert "\n" not in str(raised.value)
    with vd.connect(url, cache_dir=None) as con:
        assert con.execute("SELECT n FROM main").fetchall() == [(1,)]
        with pytest.raises(duckdb.Error, match=said):
            con.execute("FROM dreamdb_branch('main', 'side')").fetchall()
    assert main(["gc", url, "--delete", "--keep-manifests", "0", "--writers-paused"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("dreamdb: http://")
    assert err.count("\n") == 1
    assert open_store(url).list_refs() == ["main", "main@s"]


def test_no_bucket(open_server, monkeypatch, capsys):
    unsigned(monkeypatch)
    one_line(
        capsys,
        f"{open_server.endpoint}/nowhere/x",
        "no bucket at http://.*; create it first, or check the name",
    )


def test_no_server(monkeypatch, capsys):
    unsigned(monkeypatch)
    monkeypatch.setitem(clients._RETRIES, "max_retries", 1)
    url = f"http://127.0.0.1:{free_ports(1)[0]}/bucket/x"
    one_line(capsys, url, rf"{url} failed at refs/\w*: no server answers there \(Connection refused\)")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_passes_is_tried_again(scripted, monkeypatch, status):
    monkeypatch.setattr(Scripted, "status", status)
    monkeypatch.setattr(Scripted, "failures", 2)
    store = open_store(scripted)
    assert store.get("d/x") == BODY
    assert Scripted.asked == {"GET": 3}
    monkeypatch.setattr(Scripted, "failures", 5)
    store.put("d/x", BODY)
    assert Scripted.asked == {"GET": 3, "PUT": 3}


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_does_not_pass_is_told(scripted, monkeypatch, capsys, status):
    monkeypatch.setitem(clients._RETRIES, "max_retries", 1)
    monkeypatch.setattr(Scripted, "status", status)
    monkeypatch.setattr(Scripted, "failures", 10**6)
    one_line(capsys, scripted, rf"{scripted} failed at refs/\w*: SlowDown \(wait a while\)$")
    with pytest.raises(StoreError, match=r"failed at d/x: SlowDown \(wait a while\)$") as raised:
        open_store(scripted).put("d/x", BODY)
    assert raised.value.retryable
    assert Scripted.asked["PUT"] == 10


def test_a_server_that_hangs(scripted, monkeypatch, capsys):
    monkeypatch.setitem(clients._RETRIES, "max_retries", 0)
    monkeypatch.setattr(Scripted, "failures", 10**6)
    monkeypatch.setattr(Scripted, "hang_seconds", 5.0)
    began = time.monotonic()
    url = f"{scripted}?timeout=0.2"
    one_line(capsys, url, r"failed at refs/\w*: no answer in time; \?timeout=SECONDS in the URL allows more")
    assert time.monotonic() - began < 4
    with pytest.raises(vd.InvalidInputError, match=r"timeout in .* must be a number of seconds"):
        open_store(f"{scripted}?timeout=soon")
