"""Downloads: complete or fetched again, whole or refused, and what is said when a registry does not answer."""

import hashlib
import io
import json
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from dreamdb_arrow.demo import data
from dreamdb_arrow.demo.data import LISTING, Source, fetch, is_complete, run_client
from dreamdb_arrow.errors import StoreError

DEBIAN = Source("Debian", "words", "1 MB", ("usr/share/a", "usr/share/b"))


def sdist(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


PACKAGE = sdist({"p-1/a.csv": b"a,b", "p-1/setup.py": b"raise SystemExit"})
PYPI = Source("PyPI", "p", "1 MB", ("p-1/a.csv",), version="1", sha256=hashlib.sha256(PACKAGE).hexdigest())


class Client:
    """Stands in for pip, apt-get and dpkg-deb: notes each command, answers as told, writes what they would."""

    def __init__(
        self, *failures: str, package: bytes = PACKAGE, unpacked: tuple[str, ...] = DEBIAN.files
    ) -> None:
        self.commands: list[list[str]] = []
        self.failures, self.package, self.unpacked = list(failures), package, unpacked

    def __call__(self, command, folder):
        self.commands.append(list(command))
        failure = self.failures.pop(0) if self.failures else ""
        if failure:
            return failure
        if "pip" in command:
            (folder / "p-1.tar.gz").write_bytes(self.package)
        elif command[0] == "apt-get" and "download" in command:
            (folder / "words_1_all.deb").write_bytes(b"deb")
        elif command[0] == "dpkg-deb":
            for name in self.unpacked:
                place = Path(command[-1]) / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(name.encode())
        return ""


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


def test_a_source_distribution_is_fetched_once(tmp_path):
    client = Client()
    folder = fetch(PYPI, tmp_path, client)
    assert (folder / "a.csv").read_bytes() == b"a,b"
    assert sorted(p.name for p in folder.iterdir()) == ["a.csv", LISTING]
    assert [p.name for p in tmp_path.iterdir()] == ["p"]
    assert fetch(PYPI, tmp_path, client) == folder
    (command,) = client.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[-1] == "p==1"


def test_a_debian_package_is_unpacked_not_installed(tmp_path):
    client = Client()
    folder = fetch(DEBIAN, tmp_path, client)
    assert [(folder / n).read_bytes() for n in ("a", "b")] == [b"usr/share/a", b"usr/share/b"]
    assert [c[0] for c in client.commands] == ["apt-get", "dpkg-deb"]
    assert "install" not in client.commands[0]


def test_without_package_lists_apt_fetches_its_own(tmp_path):
    client = Client("E: Unable to locate package words")
    fetch(DEBIAN, tmp_path, client)
    assert [c[-1] for c in client.commands[:3]] == ["words", "update", "words"]
    assert all(
        str(tmp_path) in " ".join(c) for c in client.commands[1:3]
    )  # the machine's lists stay as they are


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "no listing", "bad listing", "other files"])
def test_a_damaged_download_is_fetched_again(tmp_path, damage):
    folder = fetch(PYPI, tmp_path, Client())
    file, listing = folder / "a.csv", folder / LISTING
    match damage:
        case "changed":
            file.write_bytes(b"a;b")
        case "cut":
            file.write_bytes(b"a")
        case "missing":
            file.unlink()
        case "no listing":
            listing.unlink()
        case "bad listing":
            listing.write_text("{")
        case "other files":
            listing.write_text(json.dumps({}))
    assert not is_complete(folder, PYPI)
    client = Client()
    fetch(PYPI, tmp_path, client)
    assert len(client.commands) == 1
    assert is_complete(folder, PYPI)


def test_an_unreachable_registry_is_named_with_what_to_do(tmp_path):
    with pytest.raises(
        StoreError, match=r"pip could not download p==1: ERROR: No matching.*Check the network"
    ) as e:
        fetch(PYPI, tmp_path, Client("ERROR: No matching distribution"))
    assert e.value.retryable
    failures = [
        "E: Unable to locate package words",
        "E: Could not resolve",
        "E: Unable to locate package words",
    ]
    with pytest.raises(
        StoreError, match=r"apt-get could not download words: E: Could not resolve.*apt-get update"
    ):
        fetch(DEBIAN, tmp_path, Client(*failures))
    assert list(tmp_path.iterdir()) == []


def test_a_package_list_that_fails_matters_only_if_the_package_is_not_found(tmp_path):
    client = Client("E: Unable to locate package words", "E: a mirror of something else is down")
    assert is_complete(fetch(DEBIAN, tmp_path, client), DEBIAN)


def test_a_machine_without_apt_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "apt-get" else name)
    with pytest.raises(StoreError, match="there is no apt-get here: run the demo on Debian or Ubuntu"):
        fetch(DEBIAN, tmp_path, Client())


def test_another_file_than_the_pinned_one_is_refused(tmp_path):
    with pytest.raises(StoreError, match="its digest differs"):
        fetch(PYPI, tmp_path, Client(package=sdist({"p-1/a.csv": b"evil"})))
    assert not (tmp_path / "p").exists()


def test_a_package_that_cannot_be_used_is_refused(tmp_path):
    cut = PACKAGE[:60]
    source = replace(PYPI, sha256=hashlib.sha256(cut).hexdigest())
    with pytest.raises(StoreError, match="cannot be unpacked"):
        fetch(source, tmp_path, Client(package=cut))
    with pytest.raises(StoreError, match=r"has no usr/share/b: is it another release\?"):
        fetch(DEBIAN, tmp_path, Client(unpacked=("usr/share/a",)))
    assert not is_complete(tmp_path / "words", DEBIAN)
    with pytest.raises(StoreError, match=r"words_1_all\.deb cannot be unpacked: bad archive"):
        fetch(DEBIAN, tmp_path, Client("", "bad archive"))
    with pytest.raises(StoreError, match="gave 0 files"):
        fetch(DEBIAN, tmp_path, lambda *_: "")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('fine')", ""),
        ("import sys; sys.exit('W: hm\\nE: broken\\nhint: see above')", "E: broken"),
        ("import sys; sys.exit('broken')", "broken"),
        ("import sys; sys.exit(3)", "exit 3"),
    ],
)
def test_a_client_s_last_word(tmp_path, program, said):
    assert run_client([sys.executable, "-c", program], tmp_path) == said


def test_a_client_that_cannot_be_started_or_hangs(tmp_path, monkeypatch):
    assert "No such file" in run_client([str(tmp_path / "nothing")], tmp_path)
    monkeypatch.setattr(data, "TIMEOUT_S", 0.1)
    assert "no answer" in run_client([sys.executable, "-c", "import time; time.sleep(5)"], tmp_path)
