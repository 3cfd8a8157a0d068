from concurrent.futures import ThreadPoolExecutor

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.outboard import encode_outboard
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.store.batch import LARGE_BYTES, Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.faulty import FaultyStore


def test_objects_wait_for_the_flush():
    store = MemoryStore()
    batch = Batch(store)
    address = batch.add("tl/m/track", b"a track")
    assert address == address_of(b"a track")
    assert batch.pending_bytes == 7
    assert list(store.list()) == []
    batch.flush()
    assert batch.pending_bytes == 0
    assert {path: store.get(path) for path in store.list()} == {f"tl/m/track/{address}": b"a track"}


def test_payloads_bring_their_outboards():  # 0002-R9
    store = MemoryStore()
    batch, payloads = Batch(store), [b"", b"x" * 1024, b"y" * 5000]
    addresses = [batch.add_payload("tl/m/bucket", payload) for payload in payloads]
    batch.add("tl/m/index", b"z" * 5000)
    batch.flush()
    for address, payload in zip(addresses, payloads, strict=True):
        assert store.get(f"tl/m/bucket/{address}") == payload
        assert store.get(f"bao-outboard/{address}") == encode_outboard(payload)
    assert len(list(store.list())) == 7


def test_equal_bytes_are_written_once_a_directory():
    store = FaultyStore(MemoryStore())
    batch = Batch(store)
    for directory in ("a", "a", "b"):
        batch.add_payload(directory, b"same")
    batch.add("a", b"same")
    assert batch.pending_bytes == 8
    batch.flush()
    assert store.log == ["put_many 3"]


def test_an_object_that_becomes_a_payload_gets_its_outboard():
    store = MemoryStore()
    batch = Batch(store)
    batch.add("a", b"same")
    address = batch.add_payload("a", b"same")
    batch.flush()
    assert store.exists(f"bao-outboard/{address}")


def test_no_more_than_the_limit_waits():
    store = MemoryStore()
    batch = Batch(store, limit_bytes=1000)
    for i in range(100):
        batch.add_payload("a", b"%03d" % i * 100)
        assert batch.pending_bytes < 1000
    assert len(list(store.list("a/"))) == len(list(store.list("bao-outboard/"))) == 100
    batch.flush()
    batch.flush()


def test_a_failed_flush_can_be_repeated():
    store = FaultyStore(MemoryStore(), fail_at=1, mode="halfway")
    batch = Batch(store)
    batch.add_payload("a", b"x")
    batch.add_payload("a", b"y")
    with pytest.raises(StoreError):
        batch.flush()
    assert batch.pending_bytes == 2
    batch.flush()
    assert len(list(store.list())) == 4


def test_an_empty_flush_asks_nothing_of_the_store():
    store = FaultyStore(MemoryStore(), fail_at=1, mode="forever")
    Batch(store).flush()
    assert store.calls == 0


def test_a_large_object_is_written_at_once_and_may_come_in_parts():
    store = MemoryStore()
    batch, parts = Batch(store), [b"head", bytes(LARGE_BYTES), b"tail"]
    address = batch.add("a", *parts)
    assert address == address_of(b"".join(parts))
    assert store.get(f"a/{address}") == b"".join(parts)
    assert batch.pending_bytes == 0
    small = batch.add("a", b"he", b"ad")
    assert not store.exists(f"a/{small}")
    batch.flush()
    assert store.get(f"a/{small}") == b"head"
    assert list(store.list("bao-outboard/")) == []


def test_threads_may_add_together():
    store = MemoryStore()
    batch = Batch(store, limit_bytes=5000)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: batch.add_payload("a", b"%04d" % i * 50), range(200)))
    batch.flush()
    assert len(set(made)) == len(list(store.list("a/"))) == len(list(store.list("bao-outboard/"))) == 200
