"""Large files past the page cache: the same bytes, whatever the system allows. Spec 0005."""

import errno
import fcntl
import os

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.store import direct, files
from dreamdb_arrow.store.interface import NewObject
from dreamdb_arrow.store.local import LocalStore

SIZES = [direct.DIRECT_BYTES, direct.DIRECT_BYTES + 1, 3 * direct.DIRECT_BYTES - 1, 2_345_678]


def parts_of(size):
    data = np.random.default_rng(size).bytes(size)
    return [data[:7], b"", memoryview(data)[7 : size // 3], data[size // 3 :]], data


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_large_object_is_written_whole(tmp_path, size, sync):
    parts, data = parts_of(size)
    store = LocalStore(tmp_path, sync=sync)
    store.put_many([NewObject("a/large", tuple(parts))])
    assert address_of(store.get("a/large")) == address_of(data)
    assert store.size("a/large") == size


def test_a_new_file_is_filled_past_the_page_cache_where_that_can_be(tmp_path):
    path, (parts, data) = tmp_path / "x", parts_of(2_000_003)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    done = direct.fill_direct(fd, parts)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == flags
    os.close(fd)
    assert path.read_bytes() == (data if done else b"")


@pytest.mark.parametrize("refused_at", ["flag", "write"])
def test_a_system_that_cannot_writes_as_ever(tmp_path, monkeypatch, refused_at):
    parts, data = parts_of(2_000_003)
    real, calls = os.write, []

    def write(fd, data):
        calls.append(len(data))
        if len(calls) == 2:  # after a first block
            raise OSError(errno.EINVAL, "other multiples")
        return real(fd, data)

    if refused_at == "flag":
        monkeypatch.setattr(direct, "_DIRECT", 0)
    else:
        monkeypatch.setattr(os, "write", write)
    files.write_new(str(tmp_path / "x"), parts, sync=True, direct=True)
    assert (tmp_path / "x").read_bytes() == data


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def write(_fd, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StoreError, match="No space left"):
        LocalStore(tmp_path).put("a/large", bytes(direct.DIRECT_BYTES))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_memory_is_lent_again(tmp_path):
    parts, _ = parts_of(direct.DIRECT_BYTES)
    files.write_new(str(tmp_path / "a"), parts, sync=False, direct=True)
    lent = list(map(id, direct._idle))
    files.write_new(str(tmp_path / "b"), parts, sync=False, direct=True)
    assert list(map(id, direct._idle)) == lent
