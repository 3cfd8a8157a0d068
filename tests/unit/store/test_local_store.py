"""What is special about a directory: durability, errors of the system, and files that others leave. Spec 0005."""

import errno
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import ConflictError, CorruptDataError, RefConflictError, StoreError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.interface import Absent, NewObject, holds
from dreamdb_arrow.store.local import LocalStore

ONE, TWO = address_of(b"one"), address_of(b"two")


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


@pytest.fixture
def events(monkeypatch, tmp_path):
    """What was flushed, linked and renamed, in order, below tmp_path."""
    seen = []

    def spy(owner, name, describe):
        real = getattr(owner, name)

        def call(*arguments):
            result = real(*arguments)
            seen.append((name, describe(*arguments)))
            return result

        monkeypatch.setattr(owner, name, call)

    def relative(path):
        path = Path(path).relative_to(tmp_path)
        return "temporary" if path.suffix == ".tmp" else str(path)

    spy(os, "fsync", lambda fd: relative(Path(f"/proc/self/fd/{fd}").readlink()))
    spy(os, "link", lambda _source, path: relative(path))
    spy(os, "replace", lambda _source, path: relative(path))
    return seen


def flushed(events):
    return sorted(path for name, path in events if name == "fsync")


def test_files_are_flushed_before_they_are_linked_and_directories_after(tmp_path, events):  # 0005-R2
    LocalStore(tmp_path, threads=1).put_many([NewObject("a/b/2", b"xx"), NewObject("a/b/3", b"x")])
    assert events[:4] == [
        ("fsync", "temporary"),
        ("link", "a/b/3"),
        ("fsync", "temporary"),
        ("link", "a/b/2"),
    ]
    assert flushed(events[4:]) == [".", "a", "a/b"]


def test_each_directory_is_flushed_once_a_batch(store, events):
    store.put_many([NewObject(f"a/{i % 2}/{i}", b"x") for i in range(10)])
    assert flushed(events) == [".", "a", "a/0", "a/1"] + 10 * ["temporary"]
    events.clear()
    store.put_many([NewObject(f"a/{i % 2}/{i}", b"x") for i in range(10, 14)])
    assert flushed(events) == ["a/0", "a/1"] + 4 * ["temporary"]  # what lies above has been flushed
    events.clear()
    store.put("a/new/1", b"x")
    assert flushed(events) == [".", "a", "a/new", "temporary"]


def test_a_removed_directory_is_made_and_flushed_again(store, tmp_path, events):
    store.put("a/b/1", b"x")
    shutil.rmtree(tmp_path / "a")
    events.clear()
    store.put("a/b/1", b"x")
    assert flushed(events) == [".", "a", "a/b", "temporary"]


def test_what_another_writer_wrote_is_flushed_before_it_is_relied_upon(store, events):
    LocalStore(store.url.removeprefix("file://"), sync=False).put("a/b/1", b"x")
    assert flushed(events) == []
    store.put("a/b/1", b"x")
    assert flushed(events) == [".", "a", "a/b", "a/b/1"]


def test_a_ref_is_flushed_before_and_after_it_moves(store, events):  # 0005-R8, 0005-R10
    one = store.swap_ref("demo", Absent(), ONE)
    assert events[:2] == [("fsync", "temporary"), ("link", "refs/demo")]
    assert flushed(events[2:]) == [".", "refs"]
    events.clear()
    two = store.swap_ref("demo", one, TWO)
    assert events == [("fsync", "temporary"), ("replace", "refs/demo"), ("fsync", "refs")]
    events.clear()
    store.swap_ref("demo", two, Absent())
    assert events == [("fsync", "refs")]


def test_unsynced_flushes_nothing(tmp_path, events):
    store = LocalStore(tmp_path, sync=False)
    store.put_many([NewObject("a/1", b"x"), NewObject("a/2", b"x")])
    store.swap_ref("demo", Absent(), ONE)
    assert flushed(events) == []


# What lies in the directory


def test_the_files_are_those_of_the_layout(store, tmp_path):  # 0005-R14
    store.put(f"manifests/{ONE}", b"one")
    store.swap_ref("team/demo@v1", Absent(), ONE)
    assert (tmp_path / "refs/team/demo@v1").read_bytes() == bytes(ONE)
    assert len(bytes(ONE)) == 33
    lock = tmp_path / ".dreamdb-cas-locks" / f"{address_of(b'refs/team/demo@v1')}.lock"
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(
        [f"manifests/{ONE}", "refs/team/demo@v1", str(lock.relative_to(tmp_path))]
    )
    assert lock.stat().st_size == 0


def test_foreign_files_are_no_objects_and_no_refs(store, tmp_path):  # 0005-R5
    store.put("a/b", b"x")
    store.swap_ref("demo", Absent(), ONE)
    sdk = f"{ONE}.tmp-{ONE}-4937-0"
    for path in (
        f"a/{sdk}",
        f"refs/demo.tmp-{ONE}-1-4",
        "refs/.hidden",
        "refs/README",
        ".dreamdb-tmp/1-a.tmp",
        ".dreamdb-cas-locks/x",
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"foreign")
    (tmp_path / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"foreign")
    (tmp_path / "refs/empty/empty").mkdir(parents=True)
    (tmp_path / "notes.txt").write_bytes(b"may be read")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert sorted(store.list()) == ["a/b", "notes.txt"]
    assert store.list_refs() == ["demo"]


@pytest.mark.parametrize(
    "content", [b"", b"x", bytes(33), bytes(ONE)[:-1], bytes(ONE) + b"\n", bytes(100_000)]
)
def test_a_malformed_ref(store, tmp_path, content):  # 0005-R7
    store.swap_ref("demo", Absent(), ONE)
    (tmp_path / "refs/demo").write_bytes(content)
    for call in (lambda: store.read_ref("demo"), lambda: store.swap_ref("demo", Absent(), TWO)):
        with pytest.raises(CorruptDataError, match=f"ref 'demo' is malformed: its {len(content)} bytes"):
            call()
    assert (tmp_path / "refs/demo").read_bytes() == content


def test_refs_below_a_ref(store):
    store.swap_ref("a", Absent(), ONE)
    with pytest.raises(ConflictError, match="ref 'a/b' cannot be made"):
        store.swap_ref("a/b", Absent(), ONE)
    assert store.read_ref("a/b") == Absent()
    store.swap_ref("x/y/z", Absent(), ONE)
    with pytest.raises(ConflictError, match="ref 'x' cannot be made"):
        store.swap_ref("x", Absent(), ONE)
    assert store.read_ref("x") == Absent()
    store.swap_ref("x/y/z", store.read_ref("x/y/z"), Absent())
    store.swap_ref("x", Absent(), TWO)
    assert holds(store.read_ref("x"), TWO)
    assert store.list_refs() == ["a", "x"]


def test_a_ref_created_without_the_lock_wins(store, tmp_path, monkeypatch):  # 0005-R13
    def faster(source, path, real=os.link):
        Path(path).write_bytes(bytes(TWO))  # as the reference SDK may, between our look and our link
        return real(source, path)

    (tmp_path / "refs").mkdir()
    monkeypatch.setattr(os, "link", faster)
    with pytest.raises(RefConflictError) as raised:
        store.swap_ref("demo", Absent(), ONE)
    assert (raised.value.expected, raised.value.found) == ("no ref", str(TWO))
    assert holds(store.read_ref("demo"), TWO)


def test_a_name_left_beside_a_ref_is_not_written_through(store, tmp_path, monkeypatch):
    one = store.swap_ref("demo", Absent(), ONE)
    left = tmp_path / ".dreamdb-cas-locks" / f"{address_of(b'refs/demo')}.lock.tmp"
    left.hardlink_to(tmp_path / "refs/demo")  # killed between linking the ref and removing its first name
    monkeypatch.setattr(os, "replace", refuse(errno.EIO))
    with pytest.raises(StoreError):
        store.swap_ref("demo", one, TWO)
    assert store.read_ref("demo") == one


def test_sweep_takes_old_temporary_files_only(store, tmp_path):
    store.put("a/b", b"x")
    (tmp_path / ".dreamdb-tmp/old.tmp").write_bytes(b"x")
    (tmp_path / ".dreamdb-tmp/young.tmp").write_bytes(b"x")
    os.utime(tmp_path / ".dreamdb-tmp/old.tmp", ns=(0, 10**18))
    assert store.sweep(10**18 + 1) == 1
    assert [p.name for p in (tmp_path / ".dreamdb-tmp").iterdir()] == ["young.tmp"]


# Errors of the system


def refuse(number):
    def fail(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failed_write_leaves_nothing(store, tmp_path, monkeypatch, call, number):  # 0005-R2
    monkeypatch.setattr(os, call, refuse(number))
    with pytest.raises(StoreError, match=f"cannot write a/b: {os.strerror(number)}") as raised:
        store.put("a/b", b"x")
    assert raised.value.retryable is (number == errno.EMFILE)
    with pytest.raises(StoreError, match="cannot write refs/demo"):
        store.swap_ref("demo", Absent(), ONE)
    monkeypatch.undo()
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".lock"] == []
    store.put("a/b", b"x")
    store.swap_ref("demo", Absent(), ONE)


def test_a_short_write_goes_on(store, monkeypatch):
    monkeypatch.setattr(os, "write", lambda fd, data, real=os.write: real(fd, data[:7]))
    store.put("a/b", bytes(range(100)))
    assert store.get("a/b") == bytes(range(100))


def test_a_short_read_goes_on(store, monkeypatch):
    store.put("a/b", bytes(range(100)))
    monkeypatch.setattr(os, "pread", lambda fd, n, at, real=os.pread: real(fd, min(n, 7), at))
    assert store.get("a/b") == bytes(range(100))
    assert store.get_range("a/b", 13, 50) == bytes(range(13, 63))
    monkeypatch.setattr(os, "pread", lambda _fd, _n, _at: b"")  # cut while it was read
    with pytest.raises(CorruptDataError, match="a/b ends before"):
        store.get("a/b")


def test_without_hard_links(store, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    store.put("a/b", b"x")
    store.put("a/b", b"y")
    assert store.get("a/b") == b"x"
    one = store.swap_ref("demo", Absent(), ONE)
    store.swap_ref("demo", one, TWO)
    with pytest.raises(FileExistsError):
        files.link_new(f"{tmp_path}/refs/demo", f"{tmp_path}/a/b")
    assert list((tmp_path / ".dreamdb-tmp").iterdir()) == []


def test_a_space_that_was_removed_stays_removed(store, tmp_path):
    shutil.rmtree(tmp_path)
    assert list(store.list()) == store.list_refs() == []
    assert store.read_ref("demo") == Absent()
    for write in (lambda: store.put("a/b", b"x"), lambda: store.swap_ref("demo", Absent(), ONE)):
        with pytest.raises(StoreError, match="No such file or directory"):
            write()
    assert not tmp_path.exists()


def test_an_object_where_a_directory_should_be(store):
    store.put("a/b", b"x")
    with pytest.raises(StoreError, match="cannot write a/b/c: Not a directory"):
        store.put("a/b/c", b"x")


def test_reading_writes_nothing(tmp_path):
    store = LocalStore(tmp_path)
    store.read_ref("demo")
    store.list_refs()
    list(store.list())
    store.exists("a/b")
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_directory_is_read(monkeypatch):
    root = Path(tempfile.mkdtemp())
    try:
        LocalStore(root).put("a/b", b"x")
        LocalStore(root).swap_ref("demo", Absent(), ONE)
        for path in [root, *root.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        as_somebody_else(lambda: reads_but_does_not_write(LocalStore(root)))
    finally:
        root.chmod(0o755)
        for path in root.rglob("*"):
            path.chmod(0o755)
        shutil.rmtree(root)


def reads_but_does_not_write(store):
    assert store.get("a/b") == b"x"
    assert holds(store.read_ref("demo"), ONE)
    assert list(store.list()) == ["a/b"]
    for write in (
        lambda: store.put("a/c", b"x"),
        lambda: store.swap_ref("demo", store.read_ref("demo"), TWO),
    ):
        with pytest.raises(StoreError, match="Permission denied"):
            write()


def as_somebody_else(work):
    """Run in a child that is not root, for whom permissions count."""
    if os.getuid():
        return work()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setuid(65534)
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    return None


def test_the_url_does_not_move_with_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = LocalStore("space")
    monkeypatch.chdir("/")
    assert store.url == f"file://{tmp_path}/space"
    assert repr(store) == f"LocalStore('{tmp_path}/space')"


def test_many_small_objects_cost_little_more_than_their_bytes(tmp_path):
    """A guard against a flush or a directory walk a file creeping in, with a wide margin."""
    store = LocalStore(tmp_path, sync=False)
    started = time.perf_counter()
    store.put_many([NewObject(f"a/{i}", b"x") for i in range(500)])
    assert time.perf_counter() - started < 2


def test_a_file_of_somebody_else_is_made_young_by_an_equal_one(store, tmp_path, monkeypatch):
    store.put("d/x", b"theirs")
    path = tmp_path / "d" / "x"
    os.utime(path, (1, 1))

    def refuse(*_):
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", refuse)
        store.put("d/x", b"theirs")
    assert path.read_bytes() == b"theirs"
    assert path.stat().st_mtime > 1
    assert list(store.list()) == ["d/x"]
