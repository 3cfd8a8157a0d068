import shutil

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.vectors import encode_vectors
from dreamdb_arrow.errors import DigestMismatchError, ObjectNotFoundError
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore


@pytest.fixture
def cache(tmp_path) -> LocalCache:
    return LocalCache(tmp_path / "cache")


def test_put_and_local(cache):
    address = cache.put(b"payload")
    assert address == address_of(b"payload")
    assert cache.local(address).read_bytes() == b"payload"
    assert cache.put(b"payload") == address
    assert LocalCache(cache.root).local(address).read_bytes() == b"payload"


def test_what_is_not_there_is_not_found(cache):
    with pytest.raises(ObjectNotFoundError):
        cache.local(address_of(b"nothing"))
    assert not cache.has_whole(address_of(b"nothing"))
    assert cache.read_note("nothing") is None


@pytest.mark.parametrize("bad", [b"", b"payloae", b"payload and more"])
def test_damage_is_seen_and_put_mends_it(cache, bad):
    address = cache.put(b"payload")
    cache.local(address).write_bytes(bad)
    assert not cache.has_whole(address)
    with pytest.raises(DigestMismatchError):
        cache.local(address)
    assert cache.put(b"payload") == address
    assert cache.local(address).read_bytes() == b"payload"


@pytest.mark.parametrize("bad", [b"", b"short", b"\0" * 50])
def test_a_damaged_note_is_no_note(cache, bad):
    cache.write_note("key", b"body")
    assert cache.read_note("key") == b"body"
    cache.write_note("key", b"newer")
    assert cache.read_note("key") == b"newer"
    note = next((cache.root / "notes").iterdir())
    note.write_bytes(bad)
    assert cache.read_note("key") is None


def test_an_object_of_a_store_with_files_is_used_where_it_lies(cache, tmp_path):
    store = LocalStore(tmp_path)
    address = address_of(b"payload")
    store.put(f"x/{address}", b"payload")
    held = cache.hold(store, f"x/{address}", address)
    assert held == tmp_path / "x" / str(address)
    held.write_bytes(b"damaged")
    with pytest.raises(DigestMismatchError, match=str(address)):
        cache.hold(store, f"x/{address}", address)
    held.write_bytes(b"payload")
    assert cache.hold(store, f"x/{address}", address) == held


def test_an_object_of_another_store_is_copied_once_and_again_when_the_copy_is_lost(cache):
    store = MemoryStore()
    address = address_of(b"payload")
    store.put(f"x/{address}", b"payload")
    held = cache.hold(store, f"x/{address}", address)
    store.delete(f"x/{address}")
    assert cache.hold(store, f"x/{address}", address) == held
    held.unlink()
    with pytest.raises(ObjectNotFoundError):
        cache.hold(store, f"x/{address}", address)
    store.put(f"x/{address}", b"payload")
    assert cache.hold(store, f"x/{address}", address).read_bytes() == b"payload"


def test_a_folder_that_was_deleted_is_made_again(cache):
    cache.put(b"payload")
    shutil.rmtree(cache.root)
    assert cache.local(cache.put(b"payload")).read_bytes() == b"payload"


def test_a_mapping_ends_with_its_file(cache, tmp_path):
    """A damaged file that a whole one took the place of is still mapped, and must not be looked at."""
    store = LocalStore(tmp_path)
    data = bytes(encode_vectors(np.array([1, 2], "i8"), np.ones((2, 3), "f4")))
    address = address_of(data)
    store.put(f"x/{address}", data)
    path = tmp_path / "x" / str(address)
    assert cache.vectors(store, f"x/{address}", address, 3).vectors.sum() == 6
    damaged = data.replace(np.ones(3, "f4").tobytes(), np.zeros(3, "f4").tobytes())
    path.write_bytes(damaged)
    with pytest.raises(DigestMismatchError):
        cache.vectors(store, f"x/{address}", address, 3)
    path.unlink()
    path.write_bytes(data)
    assert cache.vectors(store, f"x/{address}", address, 3).vectors.sum() == 6


def test_a_temporary_cache_goes_with_its_owner():
    cache = LocalCache(None)
    root = cache.root
    assert root.is_dir()
    del cache
    assert not root.exists()


def test_vectors_stay_mapped_up_to_a_bound(cache, monkeypatch):
    """What was mapped longest ago is let go of, and mapped again when it is asked for."""
    monkeypatch.setattr("dreamdb_arrow.columnar.cache.MAPPED_BYTES", 1000)
    store = MemoryStore()
    held = [np.full((10, 8), k, np.float32) for k in range(1, 6)]  # 320 bytes each
    addresses = [cache.put(encode_vectors(np.arange(10), vectors)) for vectors in held]
    for _ in range(2):
        for address, vectors in zip(addresses, held, strict=True):
            assert np.array_equal(cache.vectors(store, "", address, 8).vectors, vectors)
            assert cache._mapped_bytes == 320 * len(cache._mapped) <= 1000
    last = cache.vectors(store, "", addresses[-1], 8)
    assert cache.vectors(store, "", addresses[-1], 8) is last
