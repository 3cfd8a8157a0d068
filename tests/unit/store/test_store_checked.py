"""Records of checked files: what counts, for how long, whose; and processes beside each other."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import DigestMismatchError
from dreamdb_arrow.store import checked, verified
from dreamdb_arrow.store.checked import DAY_NS, RECORDS_MAX, SETTLED_NS, CheckedFiles
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.verified import Verifier

NOON = 20_000 * DAY_NS + DAY_NS // 2
LOOKED = (NOON, NOON, 3, 4, 5)
LATER = NOON + SETTLED_NS
ONE, OTHER = address_of(b"one"), address_of(b"other")


class Clock:
    """A clock that stands until it is put on."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock(LATER)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "checked"


def records(folder, clock):
    """Return records as a process that starts now sees them."""
    return CheckedFiles(folder, clock)


@pytest.fixture
def hashed(monkeypatch):
    """How many files were hashed."""
    seen, real = [], verified._address_of_file
    monkeypatch.setattr(verified, "_address_of_file", lambda fd, size: seen.append(size) or real(fd, size))
    return seen


@pytest.fixture
def settled(monkeypatch):
    """Let files count as settled at once: tests do not wait."""
    monkeypatch.setattr(checked, "SETTLED_NS", -SETTLED_NS)


def put(root, data=b"the bytes"):
    root.mkdir()
    store, address = LocalStore(root), address_of(data)
    store.put(f"d/{address}", data)
    return store, f"d/{address}", address


def test_another_process_finds_a_record(folder, clock):
    records(folder, clock).add(ONE, LOOKED, LATER)
    found = records(folder, clock)
    assert found.has(ONE, LOOKED)
    assert not found.has(OTHER, LOOKED)


@pytest.mark.parametrize("part", range(5), ids=["mtime", "ctime", "size", "inode", "device"])
def test_a_file_that_looks_otherwise_has_no_record(folder, clock, part):
    records(folder, clock).add(ONE, LOOKED, LATER)
    changed = [*LOOKED]
    changed[part] += 1
    assert not records(folder, clock).has(ONE, tuple(changed))


@pytest.mark.parametrize("part", [0, 1], ids=["mtime", "ctime"])
def test_a_file_that_has_just_changed_is_not_recorded(folder, clock, part):
    young = [*LOOKED]
    young[part] += 1
    records(folder, clock).add(ONE, tuple(young), LATER)
    assert not folder.exists()


def test_records_count_on_their_day_and_the_next_and_then_go(folder, clock):
    records(folder, clock).add(ONE, LOOKED, LATER)
    clock.now += DAY_NS
    assert records(folder, clock).has(ONE, LOOKED)
    records(folder, clock).add(OTHER, LOOKED, LATER)
    clock.now += DAY_NS
    assert not records(folder, clock).has(ONE, LOOKED)
    assert records(folder, clock).has(OTHER, LOOKED)
    records(folder, clock).add(ONE, LOOKED, LATER)
    assert sorted(file.name for file in folder.iterdir()) == ["20001", "20002"]


def test_a_clock_that_was_put_back_finds_no_records(folder, clock):
    records(folder, clock).add(ONE, LOOKED, LATER)
    clock.now -= DAY_NS
    assert not records(folder, clock).has(ONE, LOOKED)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_records_that_others_may_write_do_not_count(folder, clock, mode):
    records(folder, clock).add(ONE, LOOKED, LATER)
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(mode)
    assert not records(folder, clock).has(ONE, LOOKED)


def test_records_of_another_user_do_not_count(folder, clock, monkeypatch):
    records(folder, clock).add(ONE, LOOKED, LATER)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert not records(folder, clock).has(ONE, LOOKED)


def test_a_folder_in_the_place_of_records_does_no_harm(folder, clock):
    (folder / "20000").mkdir(parents=True)
    made = records(folder, clock)
    made.add(ONE, LOOKED, LATER)
    assert not records(folder, clock).has(ONE, LOOKED)


def test_a_record_is_not_written_through_a_link(folder, clock, tmp_path):
    folder.mkdir(parents=True)
    (tmp_path / "theirs").write_bytes(b"")
    (folder / "20000").symlink_to(tmp_path / "theirs")
    records(folder, clock).add(ONE, LOOKED, LATER)
    assert (tmp_path / "theirs").read_bytes() == b""


def test_a_torn_file_is_started_anew(folder, clock):
    records(folder, clock).add(ONE, LOOKED, LATER)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes() + file.read_bytes()[:-1])
    assert records(folder, clock).has(ONE, LOOKED)  # what is whole still counts
    for _ in range(2):
        records(folder, clock).add(OTHER, LOOKED, LATER)
    assert records(folder, clock).has(OTHER, LOOKED)
    assert not records(folder, clock).has(ONE, LOOKED)


def test_the_records_of_a_day_are_bounded(folder, clock):
    records(folder, clock).add(ONE, LOOKED, LATER)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes() * RECORDS_MAX)
    full = file.stat().st_size
    records(folder, clock).add(OTHER, LOOKED, LATER)
    assert file.stat().st_size == full
    assert records(folder, clock).has(ONE, LOOKED)


def test_processes_append_beside_each_other(folder):
    text = (
        "import sys; from pathlib import Path; from dreamdb_arrow.codec.address import address_of\n"
        "from dreamdb_arrow.store.checked import CheckedFiles\n"
        "made = CheckedFiles(Path(sys.argv[1]), lambda: int(sys.argv[2]))\n"
        "for i in range(500): made.add(address_of(f'{sys.argv[3]} {i}'.encode()), (1, 2, 3, 4, 5), int(sys.argv[2]))"
    )
    command = [sys.executable, "-c", text, str(folder), str(LATER)]
    root = {**os.environ, "PYTHONPATH": str(Path(checked.__file__).parents[2])}
    started = [subprocess.Popen([*command, name], env=root) for name in "ab"]
    assert [process.wait(60) for process in started] == [0, 0]
    found = records(folder, Clock(LATER))
    assert all(
        found.has(address_of(f"{name} {i}".encode()), (1, 2, 3, 4, 5)) for name in "ab" for i in range(500)
    )


# ---------------------------------------------------------------- with a Verifier


@pytest.mark.usefixtures("settled")
def test_a_file_is_hashed_by_one_process_for_all(tmp_path, folder, hashed):
    store, path, address = put(tmp_path / "space")
    for _ in range(3):
        assert Verifier(records=CheckedFiles(folder)).verified_path(store, path, address)
    assert hashed == [9]


@pytest.mark.usefixtures("settled")
def test_a_change_shows_though_size_and_mtime_are_put_back(tmp_path, folder, hashed):  # 0002-R3, 0021-R11
    store, path, address = put(tmp_path / "space")
    file = tmp_path / "space" / path
    verifier = Verifier(records=CheckedFiles(folder))
    verifier.verified_path(store, path, address)
    before = file.stat()
    time.sleep(0.02)  # more than a tick of the system's clock
    with file.open("r+b") as held:
        held.write(b"THE")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (
        before.st_mtime_ns,
        before.st_size,
        before.st_ino,
    )
    for reader in (verifier, Verifier(records=CheckedFiles(folder))):
        with pytest.raises(DigestMismatchError, match=path):
            reader.verified_path(store, path, address)


@pytest.mark.usefixtures("settled")
def test_damage_is_never_recorded(tmp_path, folder):
    store, path, address = put(tmp_path / "space")
    (tmp_path / "space" / path).write_bytes(b"THE bytes")
    for _ in range(2):
        with pytest.raises(DigestMismatchError):
            Verifier(records=CheckedFiles(folder)).verified_path(store, path, address)
    assert not folder.exists()


@pytest.mark.usefixtures("settled")
def test_where_nothing_can_be_recorded_files_are_hashed(tmp_path, hashed):
    store, path, address = put(tmp_path / "space")
    (tmp_path / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        Verifier(records=CheckedFiles(tmp_path / "cache" / "checked")).verified_path(store, path, address)
    assert hashed == [9, 9]
