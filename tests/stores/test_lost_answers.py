"""A server acts and its answers are lost: nothing is done twice, and nothing is lost. Specs 0005 and 0008."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import RefConflictError, StoreError
from dreamdb_arrow.history.ancestry import first_parents
from dreamdb_arrow.store import clients
from dreamdb_arrow.store.interface import Absent, NewObject, holds
from dreamdb_arrow.store.urls import open_store
from dreamdb_arrow.testing.losing import Losing, losing
from tests.servers import Server, unsigned

SHARE = 0.2
SCHEMA = vd.Schema().add_scalar_int("n")
ONE, TWO, THREE = (address_of(text) for text in (b"one", b"two", b"three"))


@pytest.fixture
def proxy(open_server: Server, monkeypatch) -> Iterator[Losing]:
    unsigned(monkeypatch)
    monkeypatch.setattr("dreamdb_arrow.store.bucket_calls._PAUSE_SECONDS", 0.005)
    quick = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(milliseconds=50), "base": 2}
    monkeypatch.setitem(clients._RETRIES, "backoff", quick)
    with losing(open_server.endpoint, share=SHARE, seed=7) as made:
        yield made


@pytest.fixture(params=["", "?lock=object"], ids=["conditions", "locks"])
def places(proxy, open_server, request) -> tuple[str, str]:
    """A fresh place as it is, and the same behind the proxy."""
    clean = open_server.fresh()
    return clean + request.param, clean.replace(open_server.endpoint, proxy.url) + request.param


def opened(url: str, ref: str = "main") -> vd.Dataset:
    return vd.Dataset.open(ref, backend=url, cache_dir=None)


def test_objects_and_refs(places, proxy):
    clean, lossy = map(open_store, places)
    for n in range(10):
        lossy.put_many([NewObject(f"d/{n}-{i}", b"x" * n) for i in range(4)])
        old = clean.read_ref("r")
        held = lossy.swap_ref("r", old, address_of(b"%d" % n))
        assert holds(clean.read_ref("r"), held.address)
    assert sorted(clean.list("d/")) == sorted(f"d/{n}-{i}" for n in range(10) for i in range(4))
    for n in range(10):
        lossy.delete(f"d/{n}-0")
    lossy.freshen([f"d/{n}-1" for n in range(10)])
    gone = lossy.delete_aged([f"d/{n}-2" for n in range(10)], 1 << 62)
    assert len(gone) == 10
    assert sorted(clean.list("d/")) == sorted(f"d/{n}-{i}" for n in range(10) for i in (1, 3))
    lossy.swap_ref("r", clean.read_ref("r"), Absent())
    assert clean.read_ref("r") == Absent()
    assert {"GET", "PUT"} <= set(proxy.lost)


def test_a_lost_race_is_told_as_one(places):
    clean, lossy = map(open_store, places)
    for n in range(10):
        first = clean.swap_ref(f"r{n}", Absent(), ONE)
        clean.swap_ref(f"r{n}", first, TWO)
        with pytest.raises((RefConflictError, StoreError)):
            lossy.swap_ref(f"r{n}", first, THREE)
        assert holds(clean.read_ref(f"r{n}"), TWO)


@pytest.mark.parametrize("rounds", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_every_verb_happens_once(places, proxy, rounds):
    clean, lossy = places
    ds = vd.Dataset.create("main", SCHEMA, lossy, cache_dir=None)
    for n in range(rounds):
        ds.append_many([{"_anchor": n, "n": n}])
        ds.snapshot(f"s{n}")
        ds.branch(f"b{n}")
        if n % 2:
            ds.delete_ref(f"b{n}")
    found = opened(clean)
    assert Counter(found.to_arrow()["n"].to_pylist()) == Counter(range(rounds))
    versions = list(first_parents(open_store(clean), open_store(clean).read_ref("main").address))
    assert len(versions) == 1 + rounds
    refs = {"main", *(f"main@s{n}" for n in range(rounds)), *(f"b{n}" for n in range(0, rounds, 2))}
    assert set(open_store(clean).list_refs()) == refs
    for n in range(0, rounds, 2):
        assert opened(clean, f"b{n}").count() == n + 1
        ds.delete_ref(f"b{n}")
    report = vd.gc(lossy, 0, dry_run=False, writers_paused=True)
    assert report["deleted"] >= 0
    assert vd.fsck(clean)["findings"] == []
    assert opened(clean).count() == rounds
    assert sum(proxy.lost.values()) > 3 * rounds


@pytest.mark.parametrize("rounds", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_writers_side_by_side(places, proxy, rounds):
    """Others build upon a version whose writer was not told that it landed."""
    clean, lossy = places
    vd.Dataset.create("main", SCHEMA, clean, cache_dir=None)

    def write(writer: int) -> list[int]:
        ds = opened(lossy)
        anchors = [writer * 1000 + n for n in range(rounds)]
        for at in anchors:
            ds.append_many([{"_anchor": at, "n": at}])
        return anchors

    with ThreadPoolExecutor(4) as pool:
        told = [at for anchors in pool.map(write, range(4)) for at in anchors]
    assert sorted(opened(clean).to_arrow()["n"].to_pylist()) == sorted(told)
    versions = list(first_parents(open_store(clean), open_store(clean).read_ref("main").address))
    assert len(versions) == 1 + len(told)  # each once
    assert proxy.lost["PUT"] > rounds
