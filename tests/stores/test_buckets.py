"""Spaces in buckets: a real server, what it is asked for, what it refuses, and others who write there too."""

import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.cli import main
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import StoreError, UnsupportedError
from dreamdb_arrow.store.cached import CachedStore
from dreamdb_arrow.store.credentials import aws_settings
from dreamdb_arrow.store.interface import Absent
from dreamdb_arrow.store.kept import KeptObjects
from dreamdb_arrow.store.urls import open_store
from tests.servers import ADMIN, READER, free_ports, signed

T0 = 1_700_000_000_000_000_000
ONE, TWO = address_of(b"one"), address_of(b"two")


def schema() -> vd.Schema:
    return (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_float("x")
        .add_scalar_string("s")
        .add_scalar_categorical("c")
        .add_embedding("v", dim=4, lsh_bits=3)
    )


def batch(start: int, count: int = 50) -> dict:
    ids = np.arange(start, start + count)
    return {
        "_anchor": ids + T0,
        "n": ids,
        "x": ids / 4,
        "s": [f"text {i}" for i in ids],
        "c": [("a", "b")[i % 2] for i in ids],
        "v": np.random.default_rng(start).standard_normal((count, 4)).astype("f4"),
    }


def asked(space: Space, work) -> dict[str, int]:
    """What a piece of work asks a bucket for."""
    before = space.store.traffic.counts()
    work()
    after = space.store.traffic.counts()
    kinds = ("get", "put", "head", "list", "delete")
    return {k: after.get(k, 0) - before.get(k, 0) for k in kinds if after.get(k, 0) != before.get(k, 0)}


# --- what it does -------------------------------------------------------------------------------------------


def test_everything_works_in_a_bucket(seaweed_url, tmp_path):
    ds = vd.Dataset.create("main", schema(), seaweed_url, cache_dir=tmp_path / "one")
    for nth in range(4):
        ds.append(batch(100 * nth))
    ds.flush()
    ds.snapshot("first")
    side = ds.branch("side")
    side.append(batch(1000))
    ds.append(batch(2000))
    ds.merge("side", "union-tracks")
    ds.delete([T0 + 1])
    ds.compact()
    ds.delete_ref("side")
    other = vd.Dataset.open("main", backend=seaweed_url, cache_dir=tmp_path / "two")
    assert other.count() == 6 * 50 - 1
    assert (
        vd.Dataset.open("main", backend=seaweed_url, as_of="first", cache_dir=tmp_path / "two").count() == 200
    )
    con = vd.connect(seaweed_url, cache_dir=tmp_path / "three")
    counted = con.execute("SELECT c, count(*), sum(n) FROM main GROUP BY c ORDER BY c").fetchall()
    ids = [i for start in (0, 100, 200, 300, 1000, 2000) for i in range(start, start + 50) if i != 1]
    held = {c: [i for i in ids if ("a", "b")[i % 2] == c] for c in "ab"}
    assert counted == [(c, len(some), sum(some)) for c, some in held.items()]
    found = con.execute(
        "SELECT n, _distance FROM dreamdb_search('main', 'v', [1, 0, 0, 0], k := 3)"
    ).fetchall()
    assert len(found) == 3
    con.close()
    assert other.search("v", [1.0, 0, 0, 0], 3, nprobe=8).anchors.tolist() == [T0 + n for n, _ in found]
    assert vd.fsck(seaweed_url)["findings"] == []
    report = vd.gc(seaweed_url, 0, dry_run=False, writers_paused=True)
    assert report["deleted"] > 0
    assert vd.fsck(seaweed_url)["findings"] == []
    assert vd.Dataset.open("main", backend=seaweed_url, cache_dir=tmp_path / "six").count() == 299


def test_requests_are_few(seaweed_url, tmp_path):
    ds = vd.Dataset.create("main", schema(), seaweed_url, cache_dir=tmp_path / "writer")
    ds.append(batch(0))
    told = asked(ds.space, lambda: ds.append(batch(100)))
    assert told["put"] <= 8
    assert told["get"] <= 3
    assert set(told) == {"put", "get"}
    reader = Space(seaweed_url, cache_dir=tmp_path / "reader")
    opened = asked(reader, lambda: reader.rows(reader.resolve("main")).manifest)
    assert opened["get"] <= 8
    first = vd.Dataset.open("main", backend=seaweed_url, cache_dir=tmp_path / "reader")
    assert asked(first.space, lambda: first.count(T0, T0 + 10))["get"] <= 3
    assert asked(first.space, lambda: first.count(T0, T0 + 10)) == {}
    again = vd.Dataset.open("main", backend=seaweed_url, cache_dir=tmp_path / "reader")
    assert (
        asked(again.space, lambda: again.count(T0, T0 + 10)) == {}
    )  # another process: all but the ref is kept


def test_what_was_asked_for_is_told_in_sql(seaweed_url, tmp_path):
    vd.Dataset.create("main", schema(), seaweed_url, cache_dir=None).append(batch(0))
    for times in range(2):
        con = vd.connect(seaweed_url, cache_dir=tmp_path)
        assert con.execute("SELECT sum(n) FROM main").fetchall() == [(sum(range(50)),)]
        gets, hits, received, rate = con.execute(
            "SELECT get, hit, bytes_received, hit_rate FROM dreamdb_stats()"
        ).fetchone()
        con.close()
        if times == 0:
            assert gets > 2
            assert received > 1000
        else:
            assert gets <= 2  # the ref, for the view and for the query
            assert hits > 1
            assert rate > 0.4


def test_offline_answers_from_the_cache(seaweed_url, tmp_path):
    ds = vd.Dataset.create("main", schema(), seaweed_url, cache_dir=tmp_path / "cache")
    ds.append(batch(0))
    space = Space(seaweed_url, cache_dir=tmp_path / "cache", offline=True)
    assert len(space.rows(space.resolve("main")).stripes) == 1
    assert space.store.list_refs() == ["main"]
    with pytest.raises(
        StoreError, match=r"manifests/\w+ of http.* is not in .*, and offline=True asks for nothing"
    ):
        space.store.get(f"manifests/{ONE}")
    with pytest.raises(StoreError, match="offline=True"):
        space.store.swap_ref("main", Absent(), ONE)


def test_what_is_damaged_in_the_cache_is_fetched_again(seaweed_url, tmp_path):
    ds = vd.Dataset.create("main", schema(), seaweed_url, cache_dir=None)
    ds.append(batch(0))
    ds = vd.Dataset.open("main", backend=seaweed_url, cache_dir=tmp_path)
    assert ds.count() == 50
    for file in (tmp_path / "fetched" / "objects").glob("*/d*"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    again = vd.Dataset.open("main", backend=seaweed_url, cache_dir=tmp_path)
    assert again.to_arrow()["n"].to_pylist() == list(range(50))


def test_the_cache_is_bounded(tmp_path):
    kept = KeptObjects(tmp_path, limit_bytes=100_000)
    datas = [bytes([i]) * 10_000 for i in range(40)]
    for at, data in enumerate(datas):
        kept.keep(address_of(data), [data])
        os.utime(kept.path_of(address_of(data)), (at, at))
    held = kept.held()
    assert sum(each.size for each in held) <= 100_000 + 10_000
    assert kept.read(address_of(datas[-1])) == datas[-1]
    assert kept.read(address_of(datas[0])) is None
    assert kept.evict(0) == sum(each.size for each in kept.held()) or kept.held() == []


# --- who else writes there ----------------------------------------------------------------------------------


def test_the_reference_takes_turns(seaweed_url, tmp_path):
    ours = vd.Dataset.create("t", schema(), seaweed_url, flush="commit", cache_dir=tmp_path)
    ours.append(batch(0))
    theirs = dreamdb.Dataset.open("t", backend=seaweed_url)
    assert theirs.count() == 50
    for nth in range(1, 4):
        theirs = dreamdb.Dataset.open("t", backend=seaweed_url)
        row = {"n": nth, "x": 0.5, "s": "theirs", "c": "b", "v": np.ones(4, "f4")}
        theirs.append_many([row])
        ours.refresh()
        ours.append(batch(100 * nth))
        assert ours.count() == dreamdb.Dataset.open("t", backend=seaweed_url).count() == 50 + nth * 51
    assert vd.fsck(seaweed_url)["findings"] == []


APPENDER = """
import sys
import dreamdb_arrow as vd
url, number, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ds = vd.Dataset.open("main", backend=url, cache_dir=None)
print("ready", flush=True)
sys.stdin.readline()
for nth in range(rounds):
    at = number * 1_000_000 + nth
    ds.append_many([{"_anchor": at, "n": at}])
    print(at, flush=True)
"""


@pytest.mark.parametrize(
    ("processes", "rounds"), [(3, 6), pytest.param(8, 50, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_many_processes_append(seaweed_url, processes, rounds):
    vd.Dataset.create("main", vd.Schema().add_scalar_int("n"), seaweed_url, cache_dir=None)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDER, seaweed_url, str(n + 1), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(processes)
    ]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {int(word) for process in running for word in process.communicate()[0].split()}
    assert len(said) == processes * rounds
    assert (
        set(vd.Dataset.open("main", backend=seaweed_url, cache_dir=None).to_arrow()["n"].to_pylist()) == said
    )


def test_of_sixteen_creators_one_wins(seaweed_url):
    made = []

    def create():
        try:
            made.append(
                vd.Dataset.create("main", vd.Schema().add_scalar_int("n"), seaweed_url, cache_dir=None)
            )
        except vd.ConflictError:
            return

    threads = [Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert open_store(seaweed_url).read_ref("main").address == made[0]._version


# --- what is refused ----------------------------------------------------------------------------------------


def refused(url: str, match: str, error: type[Exception] = StoreError) -> None:
    with pytest.raises(error, match=match) as raised:
        vd.Dataset.open("main", backend=url, cache_dir=None)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("user", "token", "said"),
    [
        ((ADMIN[0], "wrong"), "", "SignatureDoesNotMatch"),
        (("NOBODY", "wrong"), "", "InvalidAccessKeyId"),
        (ADMIN, "expired", "InvalidAccessKeyId|ExpiredToken|InvalidToken"),
    ],
)
def test_wrong_credentials(guarded_server, monkeypatch, capsys, user, token, said):
    signed(monkeypatch, user, token)
    url = guarded_server.fresh()
    refused(url, rf"refuses access to refs/main: ({said}) .*check AWS_ACCESS_KEY_ID")
    assert main(["inspect", url, "main"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("dreamdb: http://")
    assert err.count("\n") == 1
    assert user[1] not in err


def test_a_reader_reads_and_does_not_write(guarded_server, monkeypatch, tmp_path):
    url = guarded_server.fresh()
    signed(monkeypatch, ADMIN)
    vd.Dataset.create("main", schema(), url, cache_dir=None).append(batch(0))
    signed(monkeypatch, READER)
    ds = vd.Dataset.open("main", backend=url, cache_dir=tmp_path)
    assert ds.count() == 50
    with pytest.raises(StoreError, match=r"refuses access to .*AccessDenied"):
        ds.append(batch(100))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(url, "AccessDenied")


def test_no_bucket_and_no_server(open_server, seaweed_url):
    refused(f"{open_server.endpoint}/nowhere/x", "no bucket at http", vd.NotFoundError)
    with pytest.raises(vd.NotFoundError, match="ref 'main' does not exist"):
        vd.Dataset.open("main", backend=seaweed_url, cache_dir=None)


def test_a_ref_that_is_no_address(seaweed_url):
    store = open_store(seaweed_url)
    store._client.put("refs/main", b"no address")
    refused(seaweed_url, "ref 'main' is malformed", vd.CorruptDataError)
    store._client.put("refs/main", b"x" * 33)
    refused(seaweed_url, "ref 'main' is malformed", vd.CorruptDataError)


class Careless(BaseHTTPRequestHandler):
    """A server that keeps what it is given and heeds no condition, or knows none."""

    held: ClassVar[dict[str, bytes]] = {}
    strict: ClassVar[bool] = False  # whether it refuses what has a condition

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.strict and (self.headers["If-Match"] or self.headers["If-None-Match"]):
            self.send_response(501)
            body = b"<Error><Code>NotImplemented</Code><Message>no such header</Message></Error>"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.held[self.path] = data
        self.send_response(200)
        self.send_header("ETag", '"same"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        if "list-type" in self.path:
            self.listing()
            return
        data = self.held.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("ETag", '"same"')
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 05:00:00 GMT")
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def do_DELETE(self):
        self.held.pop(self.path, None)
        self.send_response(204)
        self.end_headers()

    def do_POST(self):
        """Delete many, as clients do even of one."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        for key in re.findall("<Key>([^<]*)</Key>", body):
            self.held.pop(f"/bucket/{key}", None)
        self.answer(b"<DeleteResult></DeleteResult>")

    def listing(self):
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        found = "".join(
            f"<Contents><Key>{path[8:]}</Key><LastModified>2026-11-23T05:00:00.000Z</LastModified><ETag>x</ETag>"
            f"<Size>{len(data)}</Size></Contents>"
            for path, data in self.held.items()
            if path.startswith(f"/bucket/{prefix}")
        )
        self.answer(f"<ListBucketResult>{found}<IsTruncated>false</IsTruncated></ListBucketResult>".encode())

    def answer(self, data: bytes):
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815 - the server asks for that name

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def careless():
    Careless.held.clear()
    server = ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Careless)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/bucket"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("strict", [False, True])
def test_a_server_without_conditions_works_with_locks(careless, monkeypatch, strict):
    monkeypatch.setattr(Careless, "strict", strict)
    ds = vd.Dataset.create("main", schema(), f"{careless}?lock=object", cache_dir=None)
    ds.append(batch(0))
    ds.flush()
    assert vd.Dataset.open("main", backend=f"{careless}?lock=object", cache_dir=None).count() == 50


def test_a_server_that_knows_no_conditions_says_so(careless, monkeypatch):
    monkeypatch.setattr(Careless, "strict", True)
    with pytest.raises(UnsupportedError, match=r"knows no conditions on writes.*add \?lock=object"):
        vd.Dataset.create("main", schema(), careless, cache_dir=None)


def test_a_server_that_ignores_conditions_is_found_out(careless):
    with pytest.raises(UnsupportedError, match=r"ignores conditions on writes.*add \?lock=object"):
        vd.Dataset.create("main", schema(), careless, cache_dir=None)


def test_a_forked_process_is_told(seaweed_url):
    store = open_store(seaweed_url)
    store.put("a/b", b"x")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            store.get("a/b")
        except StoreError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert b"start workers with spawn" in os.read(reader, 1000)


def _count(ds: vd.Dataset) -> int:
    return ds.count()


def test_a_dataset_goes_to_another_process(seaweed_url, tmp_path):
    ds = vd.Dataset.create("main", schema(), seaweed_url, cache_dir=tmp_path)
    ds.append(batch(0))
    assert pickle.loads(pickle.dumps(ds)).count() == 50
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_count, [ds]) == [50]
    assert isinstance(ds.space.store, CachedStore)


# --- credentials --------------------------------------------------------------------------------------------


def test_what_the_environment_says(tmp_path):
    assert aws_settings({}) == {"skip_signature": True}
    assert aws_settings(
        {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}
    ) == {
        "access_key_id": "a",
        "secret_access_key": "b",
        "region": "eu-west-1",
    }
    (tmp_path / "credentials").write_text("[me]\naws_access_key_id = k\naws_secret_access_key = s\n")
    (tmp_path / "config").write_text("[profile me]\nregion = eu-north-1\nendpoint_url = http://host:1\n")
    env = {
        "AWS_PROFILE": "me",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    assert aws_settings(env) == {
        "access_key_id": "k",
        "secret_access_key": "s",
        "region": "eu-north-1",
        "endpoint": "http://host:1",
    }
    with pytest.raises(vd.InvalidInputError, match="AWS_PROFILE='nobody' has no aws_access_key_id"):
        aws_settings({**env, "AWS_PROFILE": "nobody"})
    with pytest.raises(vd.InvalidInputError, match="one of them is missing"):
        aws_settings({"AWS_ACCESS_KEY_ID": "a"})
