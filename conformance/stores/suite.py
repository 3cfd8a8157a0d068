"""What every store must do. Spec 0005.

Each test asks for the fixture `store`: an empty one. Who runs them says which: `tests/stores/test_store_suite.py` all that this
package has, `python -m conformance.stores URL` the one at a URL.
"""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import (
    CorruptDataError,
    DigestMismatchError,
    InvalidInputError,
    ObjectNotFoundError,
    RefConflictError,
)
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Absent, NewObject, Ref, holds
from dreamdb_arrow.store.readback import swap_confirmed
from dreamdb_arrow.store.verified import Verifier, fetch, fetch_many

HOSTILE_PATHS = [
    "",
    "/",
    "/etc/passwd",
    "../x",
    "a/../x",
    "a/..",
    "..",
    ".",
    "./a",
    "a//b",
    "a/",
    "a\0b",
    "a\nb",
    "a\\b",
    "a\ud800",
    "a" * 2000,
    "refs/demo",
    "refs",
    ".dreamdb-cas-locks/x.lock",
    ".dreamdb-tmp/x",
    "manifests/dabc.tmp-dabc-1-0",
]
HOSTILE_NAMES = [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "..",
    "../x",
    "a/../../x",
    ".hidden",
    "a.b",
    "A",
    "a b",
    "a\n",
    "a\0",
    "é",
    "a" * 65,
    "a/" * 600 + "a",
]
ONE, TWO, THREE = (address_of(text) for text in (b"one", b"two", b"three"))


# Objects


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"bytes",
        bytearray(b"array"),
        memoryview(b"..view..")[2:6],
        np.arange(6, dtype="<f4").reshape(2, 3),
    ],
    ids=["empty", "bytes", "bytearray", "memoryview", "ndarray"],
)
def test_put_then_get(store, data):
    store.put("tl/image.png/0000000000000000/d1", data)
    assert store.get("tl/image.png/0000000000000000/d1") == bytes(data)
    assert store.size("tl/image.png/0000000000000000/d1") == memoryview(data).nbytes
    assert store.exists("tl/image.png/0000000000000000/d1")


def test_modality_characters_in_paths(store):
    path = f"tl/array.f32.kind=event.storage=unbucketed.shape=2x3.item={ONE}/track/{TWO}"
    store.put(path, b"x")
    assert list(store.list("tl/array.f32.kind=")) == [path]


@pytest.mark.parametrize("path", ["manifests/nothing", "manifests", "manifests/there/below", "none/at/all"])
def test_missing_object(store, path):
    store.put("manifests/there", b"x")
    reads = [
        store.get,
        store.size,
        lambda path: store.get_range(path, 0, 1),
        lambda path: store.get_ranges(path, [(0, 1)]),
    ]
    for read in reads:
        with pytest.raises(ObjectNotFoundError, match=f"object not found: {path}") as raised:
            read(path)
        assert isinstance(raised.value, KeyError)
        assert raised.value.path == path
    assert not store.exists(path)


def test_the_first_bytes_at_a_path_stay(store):  # 0005-R1
    store.put("manifests/x", b"first")
    store.put("manifests/x", b"first")
    store.put("manifests/x", b"other")
    store.put_many([NewObject("manifests/x", b"again"), NewObject("manifests/y", b"new")])
    assert store.get("manifests/x") == b"first"
    assert store.get("manifests/y") == b"new"


def test_another_length_at_a_path_is_damage(store):  # 0005-R1
    store.put("manifests/x", b"first")
    for shorter_or_longer in (b"", b"firs", b"first!"):
        with pytest.raises(CorruptDataError, match="manifests/x"):
            store.put("manifests/x", shorter_or_longer)
    assert store.get("manifests/x") == b"first"


def test_put_many(store):
    items = [NewObject(f"tl/{i % 7}/bucket/{i:03}", bytes([i]) * i) for i in range(100)]
    store.put_many([])
    store.put_many([*items, items[3], *items[:10]])
    assert sorted(store.list()) == sorted(item.path for item in items)
    assert all(store.get(item.path) == item.data for item in items)


def test_a_hostile_path_in_a_batch_writes_nothing(store):
    with pytest.raises(InvalidInputError):
        store.put_many([NewObject("a/b", b"1"), NewObject("a/../../c", b"2")])
    assert list(store.list()) == []


def test_many_writers_of_the_same_objects(store):
    items = [NewObject(f"d{i % 3}/{i}", bytes(1000 + i)) for i in range(12)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.put_many, [items] * 8))
    assert sorted(store.list()) == sorted(item.path for item in items)
    assert [store.size(item.path) for item in items] == [1000 + i for i in range(12)]


def test_list_by_prefix(store):  # 0005-R5
    for path in ("a/b/1", "a/b/2", "a/bc/3", "ab/4", "top"):
        store.put(path, b"")
    store.swap_ref("a/b", Absent(), ONE)
    listed = {prefix: sorted(store.list(prefix)) for prefix in ("a/b", "a/b/", "a/", "a", "t", "x/", "a/b/1")}
    assert listed == {
        "a/b": ["a/b/1", "a/b/2", "a/bc/3"],
        "a/b/": ["a/b/1", "a/b/2"],
        "a/": ["a/b/1", "a/b/2", "a/bc/3"],
        "a": ["a/b/1", "a/b/2", "a/bc/3", "ab/4"],
        "t": ["top"],
        "x/": [],
        "a/b/1": ["a/b/1"],
    }
    for prefix in ("refs/", "../", "/", "a//", ".dreamdb-"):
        assert list(store.list(prefix)) == []


def test_delete(store):
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/there")
    assert not store.exists("a/b")
    store.put("a/b", b"other")
    assert store.get("a/b") == b"other"


def test_ranges(store):  # 0005-R4
    data = bytes(range(200))
    store.put("a/b", data)
    assert store.get_range("a/b", 10, 5) == data[10:15]
    assert store.get_range("a/b", 200, 0) == b""
    assert store.get_ranges("a/b", [(190, 10), (0, 3), (0, 200), (7, 0)]) == [data[190:], data[:3], data, b""]
    assert store.get_ranges("a/b", []) == []


@pytest.mark.parametrize(
    ("start", "length"), [(0, 201), (200, 1), (199, 2), (10**9, 1), (0, 2**62), (2**62, 2**62)]
)
def test_a_range_beyond_the_end(store, start, length):  # 0005-R4
    store.put("a/b", bytes(200))
    with pytest.raises(CorruptDataError, match="a/b ends before"):
        store.get_range("a/b", start, length)


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (5, -1)])
def test_a_negative_range(store, start, length):
    store.put("a/b", bytes(200))
    with pytest.raises(InvalidInputError, match="a/b"):
        store.get_range("a/b", start, length)


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=lambda path: repr(path)[:40])
def test_hostile_paths(store, path):  # 0005-R3
    calls = [
        lambda: store.get(path),
        lambda: store.get_range(path, 0, 1),
        lambda: store.get_ranges(path, [(0, 1)]),
        lambda: store.put(path, b"x"),
        lambda: store.put_many([NewObject(path, b"x")]),
        lambda: store.delete(path),
        lambda: store.size(path),
        lambda: store.exists(path),
        lambda: store.local_path(path),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match="not an object path"):
            call()


# Refs


def test_life_of_a_ref(store):
    assert store.read_ref("demo") == Absent()
    held = store.swap_ref("demo", Absent(), ONE)
    assert held == store.read_ref("demo")
    assert isinstance(held, Ref)
    assert held.address == ONE
    held = store.swap_ref("demo", held, TWO)
    assert holds(store.read_ref("demo"), TWO)
    assert store.swap_ref("demo", held, Absent()) == Absent()
    assert store.read_ref("demo") == Absent()
    store.swap_ref("demo", Absent(), THREE)
    assert holds(store.read_ref("demo"), THREE)


def test_a_ref_that_moved(store):  # 0005-R8
    one = store.swap_ref("demo", Absent(), ONE)
    two = store.swap_ref("demo", one, TWO)
    for expect, new in [
        (Absent(), ONE),
        (Absent(), TWO),
        (one, THREE),
        (one, Absent()),
        (Absent(), Absent()),
    ]:
        with pytest.raises(RefConflictError, match="ref 'demo' moved") as raised:
            store.swap_ref("demo", expect, new)
        assert (raised.value.expected, raised.value.found) == (str(expect), str(TWO))
    assert store.read_ref("demo") == two


def test_a_ref_that_is_gone(store):
    for new in (TWO, Absent()):
        with pytest.raises(RefConflictError) as raised:
            store.swap_ref("demo", Ref(ONE), new)
        assert (raised.value.expected, raised.value.found) == (str(ONE), "no ref")
    assert store.swap_ref("demo", Absent(), Absent()) == Absent()
    assert store.list_refs() == []


def test_list_refs(store):
    for name in ("demo", "demo@v1", "demo-2", "team/a/demo", "team/b", "t_1"):
        store.swap_ref(name, Absent(), ONE)
    store.put("manifests/x", b"")
    assert store.list_refs() == ["demo", "demo-2", "demo@v1", "t_1", "team/a/demo", "team/b"]
    assert store.list_refs("demo@") == ["demo@v1"]
    assert store.list_refs("team/") == ["team/a/demo", "team/b"]
    assert list(store.list()) == ["manifests/x"]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: repr(name)[:40])
def test_hostile_ref_names(store, name):  # 0005-R6
    for call in (lambda: store.read_ref(name), lambda: store.swap_ref(name, Absent(), ONE)):
        with pytest.raises(InvalidInputError, match="not a ref name") as raised:
            call()
        assert repr(name)[1:20] in str(raised.value)
    assert store.list_refs() == []


@pytest.mark.parametrize("name", ["a" * 64, "0/_/@/-", "@", "x/" * 100 + "x"])
def test_odd_ref_names(store, name):  # 0005-R6
    store.swap_ref(name, Absent(), ONE)
    assert store.list_refs() == [name]


def test_of_eight_threads_one_wins_each_round(store):  # 0005-R8
    # SeaweedFS lets those wait for seconds who lose the race for a key.
    found, rounds, wins = Absent(), 3 if store.url.startswith("http") else 25, Counter()
    for number in range(rounds):
        start = threading.Barrier(8)

        def attempt(writer, start=start, number=number, found=found):
            start.wait()
            return swap_confirmed(store, "demo", found, address_of(f"{number} {writer}".encode()))

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(attempt, range(8)))
        assert won.count(True) == 1
        wins[won.index(True)] += 1
        found = store.read_ref("demo")
        assert holds(found, address_of(f"{number} {won.index(True)}".encode()))
    assert wins.total() == rounds


def test_no_increment_is_lost(store):
    def commit(parent: Ref | Absent, count: int, writer: int) -> bool:
        data = (
            f"{count} by {writer}".encode()
        )  # two writers that wrote the same would have nothing to disagree about
        store.put(f"counts/{address_of(data)}", data)
        return swap_confirmed(store, "count", parent, address_of(data))

    def increment(writer):
        done = 0
        while done < 10:
            found = store.read_ref("count")
            done += commit(found, int(store.get(f"counts/{found}").split()[0]) + 1, writer)

    commit(Absent(), 0, 0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(8)))
    assert store.get(f"counts/{store.read_ref('count')}").startswith(b"80 by ")


# Verification


def test_fetch_checks(store):  # 0002-R3, 0002-R10
    good = b"the bytes of an object" * 100
    address = address_of(good)
    store.put(f"manifests/{address}", good)
    assert fetch(store, f"manifests/{address}", address) == good
    damaged = {
        "flipped": good[:7] + bytes([good[7] ^ 1]) + good[8:],
        "cut": good[:-1],
        "longer": good + b"\0",
        "": b"",
    }
    for name, data in damaged.items():
        path = f"d{name}/{address}"
        store.put(path, data)
        with pytest.raises(DigestMismatchError, match=path) as raised:
            fetch(store, path, address)
        assert (raised.value.expected, raised.value.found) == (str(address), str(address_of(data)))
        with pytest.raises(DigestMismatchError):
            fetch_many(store, [(f"manifests/{address}", address), (path, address)])


def test_fetch_many_keeps_the_order(store):
    datas = [str(i).encode() * (i % 11) for i in range(300)]
    batch = Batch(store)
    wanted = [(f"d/{address}", address) for address in [batch.add("d", data) for data in datas]]
    batch.flush()
    assert fetch_many(store, wanted) == datas
    assert fetch_many(store, wanted, threads=1) == datas
    assert fetch_many(store, []) == []
    with pytest.raises(ObjectNotFoundError):
        fetch_many(store, [*wanted, ("d/none", address_of(b"none"))])


def test_verified_path(store):
    verifier, data = Verifier(), b"to be mapped" * 1000
    address = address_of(data)
    store.put(f"d/{address}", data)
    found = verifier.verified_path(store, f"d/{address}", address)
    assert found == store.local_path(f"d/{address}")
    assert found is None or found.read_bytes() == data


def test_sweep_leaves_objects_and_refs(store):
    store.put("a/b", b"x")
    store.swap_ref("demo", Absent(), ONE)
    assert store.sweep(2**63) == 0
    assert list(store.list()) == ["a/b"]
    assert store.list_refs() == ["demo"]


# ---------------------------------------------------------------- ages

FOREVER = 1 << 62


def ages(store):
    return {found.path: found for found in store.list_aged()}


def test_lists_tell_sizes_and_ages(store):
    before = store.now_ns()
    store.put_many([NewObject("a/b", b"xyz"), NewObject("c", b"")])
    store.swap_ref("demo", Absent(), ONE)
    found = ages(store)
    assert {path: one.size for path, one in found.items()} == {"a/b": 3, "c": 0}
    assert all(before <= one.modified_ns <= store.now_ns() for one in found.values())
    assert (
        [one.path for one in store.list_aged("a/")] == [one.path for one in store.list_aged("a/b")] == ["a/b"]
    )
    assert list(store.list_aged("none/")) == []


def later(store):
    """A time that is after all that was put, and not after what is put from now on."""
    newest = max(one.modified_ns for one in store.list_aged())
    while (now := store.now_ns()) <= newest:
        pass
    return now


def test_only_the_old_is_removed(store, monkeypatch):  # 0005-R15
    # A bucket writes again what is older than ten minutes; here everything is younger.
    monkeypatch.setattr("dreamdb_arrow.store.bucket.FRESH_NS", -(10**10))
    paths = [f"d/{n}" for n in range(4)]
    for path in paths:
        store.put(path, b"x")
    before = later(store)
    store.put(paths[1], b"x")  # as young as a new one
    store.freshen([paths[2]])
    assert sorted(store.delete_aged([*paths, "none"], before)) == [paths[0], paths[3]]
    assert sorted(store.list()) == [paths[1], paths[2]]
    assert sorted(store.delete_aged(paths, FOREVER)) == [paths[1], paths[2]]
    assert store.delete_aged([], FOREVER) == []


def test_what_is_gone_cannot_be_made_young(store):
    store.freshen([])
    with pytest.raises(ObjectNotFoundError, match="none"):
        store.freshen(["none"])
    with pytest.raises(InvalidInputError):
        store.freshen(["../x"])
    with pytest.raises(InvalidInputError):
        store.delete_aged(["refs/demo"], FOREVER)


def test_a_put_that_returned_is_never_undone(store):  # 0005-R15
    """A collector with a time that is past takes away what was put before, over and over; what was put last stays."""
    started, done = store.now_ns(), threading.Event()

    def sweep():
        while not done.is_set():
            store.delete_aged(["d/x"], started)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for _ in range(300):
            store.put("d/x", b"x")
            assert store.get("d/x") == b"x"
    finally:
        done.set()
        sweeper.join()


def test_a_batch_keeps_what_it_has_written_young(store, monkeypatch):
    monkeypatch.setattr("dreamdb_arrow.store.batch.YOUNG_S", -1.0)
    batch = Batch(store, limit_bytes=1)
    first = f"d/{batch.add('d', b'first')}"
    held = "e/held"
    store.put(held, b"held")
    batch.hold([held])
    before = later(store)
    batch.add("d", b"second")
    batch.flush()
    assert store.delete_aged(list(store.list()), before) == []
    assert {first, held} <= set(batch.take_written())
    batch.hold([held])
    store.delete(held)
    with pytest.raises(ObjectNotFoundError, match="held"):
        batch.flush()
