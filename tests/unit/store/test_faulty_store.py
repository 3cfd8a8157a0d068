import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.store.interface import Absent, NewObject
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing import FaultyStore

ITEMS = [NewObject(f"a/{i}", b"x") for i in range(4)]


def outcomes(store, calls):
    seen = []
    for call in calls:
        try:
            call()
            seen.append("ok")
        except StoreError as error:
            seen.append("failed" if error.retryable else "for good")
    return seen


@pytest.mark.parametrize(
    ("mode", "expected", "left"),
    [
        ("once", ["ok", "failed", "ok", "ok"], 1),
        ("forever", ["ok", "failed", "failed", "failed"], 1),
        ("after", ["ok", "failed", "ok", "ok"], 4),
        ("halfway", ["ok", "failed", "ok", "ok"], 2),
    ],
)
def test_modes(mode, expected, left):
    below = MemoryStore()
    store = FaultyStore(below, 2, mode)
    below.put("a/0", b"x")
    calls = [
        lambda: store.get("a/0"),
        lambda: store.put_many(ITEMS),
        store.list_refs,
        lambda: store.size("a/0"),
    ]
    assert outcomes(store, calls) == expected
    assert len(list(below.list())) == left
    assert store.calls == 4
    assert store.failed
    assert store.log == ["get a/0", "put_many 4", "list_refs ", "size a/0"]


def test_each_verb_counts_and_can_fail():
    address = address_of(b"x")
    verbs = [
        lambda store: store.get("a/0"),
        lambda store: store.get_range("a/0", 0, 1),
        lambda store: store.get_ranges("a/0", [(0, 1)]),
        lambda store: store.put("a/0", b"x"),
        lambda store: store.put_many(ITEMS),
        lambda store: list(store.list()),
        lambda store: store.size("a/0"),
        lambda store: store.exists("a/0"),
        lambda store: store.read_ref("demo"),
        lambda store: store.swap_ref("demo", Absent(), address),
        lambda store: store.list_refs(),
        lambda store: store.sweep(0),
        lambda store: store.delete("a/0"),
    ]
    below = MemoryStore()
    below.put("a/0", b"x")
    for verb in verbs:
        with pytest.raises(StoreError, match="injected fault: call 1"):
            verb(FaultyStore(below, 1))
        fine = FaultyStore(below, 2)
        verb(fine)
        assert (fine.calls, fine.failed) == (1, False)


def test_what_it_passes_through(tmp_path):
    below = MemoryStore("x")
    assert FaultyStore(below).url == "memory://x"
    assert FaultyStore(below).local_path("a/b") is None
