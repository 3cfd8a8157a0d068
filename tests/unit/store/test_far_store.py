"""The simulated store far away: it takes the time it should, and tells what it was asked. Spec 0005."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.store.ahead import fetch_ahead
from dreamdb_arrow.store.cached import CachedStore
from dreamdb_arrow.store.interface import Absent, NewObject, Ref
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.store.urls import is_far
from dreamdb_arrow.testing.far import NO_DELAY, FarStore, Network


def path(nth):
    return f"things/{address_of(b'%d' % nth)}"


@pytest.fixture
def held():
    memory = MemoryStore()
    memory.put_many([NewObject(path(nth), b"%d" % nth) for nth in range(40)])
    return memory


def seconds(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_it_is_a_store(held):
    store = FarStore(held, NO_DELAY)
    assert is_far(store)
    assert (store.get(path(3)), store.get_range(path(13), 1, 1), store.size(path(13))) == (b"3", b"3", 2)
    assert store.get_ranges(path(13), [(0, 1), (1, 1)]) == [b"1", b"3"]
    assert store.exists(path(0))
    assert len(list(store.list("things/"))) == 40
    store.delete(path(0))
    assert not store.exists(path(0))
    ref = store.swap_ref("r", Absent(), address_of(b""))
    assert (store.read_ref("r"), store.list_refs()) == (ref, ["r"])
    assert isinstance(ref, Ref)
    counts = {kind: store.count(kind) for kind in ("get", "put", "head", "list", "delete")}
    assert counts == {"get": 4, "put": 1, "head": 3, "list": 2, "delete": 1}
    assert {k: v for k, v in store.traffic.counts().items() if k in counts} == counts
    with pytest.raises(ObjectNotFoundError):
        store.get(path(0))
    assert store.count("get") == 5


def test_each_request_takes_the_latency(held):
    store = FarStore(held, Network(latency_s=0.02, tail=0))
    assert seconds(lambda: [store.get(path(n)) for n in range(3)]) >= 0.06
    assert store.round_trips == 3
    store.clear()
    with ThreadPoolExecutor(8) as pool:
        assert seconds(lambda: list(pool.map(lambda n: store.get(path(n)), range(8)))) < 0.15
    assert store.count("get") == 8
    assert store.round_trips < 4


def test_a_seed_says_which_are_slow(held):
    def slow(seed):
        store = FarStore(held, Network(latency_s=0, tail=0.2, tail_s=0.02), seed)
        for nth in range(40):
            store.get(path(nth))
        return [nth for nth, asked in enumerate(store.asked) if asked.end - asked.start >= 0.02]

    assert 2 <= len(slow(1)) <= 16
    assert set(slow(1)) == set(slow(1)) != set(slow(2))


def test_rates_and_bandwidth_are_kept(held):
    store = FarStore(held, Network(0, 0, 0, puts_per_s=100, gets_per_s=200, bytes_per_s=1e5))
    assert seconds(lambda: [store.get(path(n)) for n in range(21)]) >= 0.1
    new = [NewObject(f"new/{address_of(b'x%d' % n)}", b"x%d" % n) for n in range(11)]
    assert seconds(lambda: store.put_many(new)) >= 0.1
    assert seconds(lambda: store.put(f"big/{address_of(bytes(10_000))}", bytes(10_000))) >= 0.1


# --- read through a folder ----------------------------------------------------------------------------------


def test_objects_come_together_and_stay(held, tmp_path):
    store = FarStore(held, Network(latency_s=0.02, tail=0))
    cached = CachedStore(store, tmp_path)
    wanted = [path(n) for n in range(40)]
    assert seconds(lambda: fetch_ahead(cached, [*wanted, *wanted])) < 0.4
    assert store.count("get") == 40
    assert [cached.local_path(p).read_bytes() for p in wanted] == [b"%d" % n for n in range(40)]
    fetch_ahead(CachedStore(store, tmp_path), wanted)
    assert store.count("get") == 40
    assert cached.traffic.counts()["ahead"] == 40


def test_what_is_missing_or_damaged_is_left_to_its_reader(held, tmp_path):
    held.delete(path(1))
    held.delete(path(2))
    held.put(path(2), b"other")
    cached = CachedStore(FarStore(held, NO_DELAY), tmp_path)
    assert list(cached.bring([path(n) for n in range(4)], 10)) == [path(n) for n in range(4)]
    assert [cached.has(path(n)) for n in range(4)] == [True, False, False, True]


def test_offline_asks_for_nothing(held, tmp_path):
    store = FarStore(held, NO_DELAY)
    fetch_ahead(CachedStore(store, tmp_path, offline=True), [path(0)])
    assert store.asked == []


def test_stats_tell_what_was_asked(held, tmp_path):
    store = FarStore(MemoryStore(), NO_DELAY)
    ds = Dataset.create("d", Schema().add_scalar_int("a"), store, cache_dir=tmp_path / "w")
    ds.append({"a": [1, 2, 3]})
    cold = Dataset.open("d", backend=FarStore(store, NO_DELAY), cache_dir=tmp_path / "r")
    assert cold.count() == 3
    stats = cold.stats()
    assert (stats["get"], stats["put"]) == (4, 0)  # ref, Manifest, bundle, stripe
    assert stats["hit_rate"] < 0.5  # the Manifest is looked at more than once
    assert stats["bytes_received"] == sum(asked.size for asked in store.asked[-4:])
    warm = Dataset.open("d", backend=FarStore(store, NO_DELAY), cache_dir=tmp_path / "r")
    assert warm.count() == 3
    assert warm.stats()["get"] == 1
    assert warm.stats()["hit_rate"] > 0.7
    near = Dataset.create("d", Schema().add_scalar_int("a"), MemoryStore(), cache_dir=None)
    assert near.stats() == dict.fromkeys(stats, 0) | {"hit_rate": None}
