"""Objects that are written before they have a name."""

import errno
import gc
import os
import threading
import time

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.store import direct
from dreamdb_arrow.store.local import LocalStore

PARTS = [os.urandom(size) for size in (10, 3 << 20, 0, 4096, (1 << 20) + 1)]


@pytest.fixture(params=[True, False], ids=["fsync", "os"])
def store(tmp_path, request):
    return LocalStore(tmp_path, sync=request.param)


def leftovers(folder):
    return list((folder / ".dreamdb-tmp").glob("*"))


def grown(store, parts=PARTS):
    growing = store.begin()
    for part in parts:
        growing.write(part)
    assert growing.size == sum(map(len, parts))
    return growing


def finished(growing):
    address = growing.seal("stripe")
    assert growing.finish() == f"stripe/{address}"
    return address


@pytest.mark.parametrize("parts", [PARTS, [], [b"x"]], ids=["large", "nothing", "small"])
def test_it_lies_where_its_bytes_say(store, tmp_path, parts):
    address = finished(grown(store, parts))
    assert address == address_of(b"".join(parts))
    assert store.get(f"stripe/{address}") == b"".join(parts)
    assert leftovers(tmp_path) == []


def test_the_same_again_is_the_same(store, tmp_path):
    address = finished(grown(store))
    path = tmp_path / "stripe" / str(address)
    before = path.stat().st_mtime_ns
    time.sleep(0.01)
    assert finished(grown(store)) == address
    assert path.stat().st_mtime_ns > before  # as young as a new one
    assert leftovers(tmp_path) == []


def test_what_is_abandoned_leaves_nothing(store, tmp_path):
    grown(store).abandon()
    assert leftovers(tmp_path) == []


def test_no_thread_waits_for_what_is_forgotten(store):
    before = threading.active_count()
    growing = grown(store)
    assert threading.active_count() > before
    del growing
    gc.collect()
    for _ in range(500):
        if threading.active_count() == before:
            break
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_system_that_wants_other_blocks_gets_all_parts_again(store, monkeypatch):
    def refusing(fd, block):
        raise OSError(errno.EINVAL, "other multiples")

    monkeypatch.setattr(direct, "_write", refusing)
    address = finished(grown(store))
    assert store.get(f"stripe/{address}") == b"".join(PARTS)


def test_a_full_disk_is_told_and_leaves_nothing(store, tmp_path, monkeypatch):
    def full(fd, block):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(direct, "_write", full)
    with pytest.raises(StoreError, match=r"cannot write stripe/.*: No space left"):
        finished(grown(store))
    grown(store).abandon()
    assert leftovers(tmp_path) == []


def test_what_is_sealed_stays_when_it_is_abandoned_later(store, tmp_path):
    growing = grown(store)
    address = growing.seal("stripe")
    growing.abandon()
    assert store.get(f"stripe/{address}") == b"".join(PARTS)
    assert leftovers(tmp_path) == []


def test_what_is_forgotten_leaves_nothing(store, tmp_path):
    growing = grown(store)
    del growing
    gc.collect()
    for _ in range(500):
        if leftovers(tmp_path) == []:
            break
        time.sleep(0.01)
    assert leftovers(tmp_path) == []
