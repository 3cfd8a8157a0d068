from datetime import UTC, datetime, timedelta, timezone

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.errors import RefConflictError, RefNotFoundError
from dreamdb_arrow.history.manifests import manifest_path
from dreamdb_arrow.history.refs import (
    create_branch,
    create_snapshot,
    parse_time_ns,
    resolve_as_of,
    resolve_ref,
    snapshot_name,
)
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing import FaultyStore

A, B = address_of(b"a"), address_of(b"b")
SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND  # 2023-11-14 22:13:20 UTC


def with_versions():
    """A store with two Manifests, into which nobody looks here."""
    store = MemoryStore()
    for data in (b"a", b"b"):
        store.put(manifest_path(address_of(data)), data)
    return store


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1700000000000000001", T0 + 1),
        ("0", 0),
        ("2023-11-14", T0 - 80_000 * SECOND),
        ("2023-11-14 22:13:20", T0),
        ("2023-11-14T22:13:20Z", T0),
        ("2023-11-14 22:13:20.123456789", T0 + 123_456_789),
        ("2023-11-14 22:13:20.000000001+00", T0 + 1),
        ("2023-11-15T03:43:20.5+05:30", T0 + SECOND // 2),
        ("1969-12-31 23:59:59.75", -SECOND // 4),
        ("yesterday", None),
        ("", None),
        ("2023-13-14", None),
        ("1" * 20, None),
        ("2023-11-14 22:13:20.5+x", None),
        (":00.5", None),
    ],
)
def test_times_as_text(text, time_ns):
    assert parse_time_ns(text) == time_ns


def test_snapshot_names():
    assert snapshot_name("x", "v1") == "x@v1"
    assert snapshot_name("x", "x@v1") == "x@v1"
    assert snapshot_name("x@v1", "v2") == "x@v2"
    assert snapshot_name("a/b", "v1") == "a/b@v1"
    for label in ("", "V1", "a b", "../x", "v" * 70, "a'b", "ü"):
        with pytest.raises(vd.InvalidInputError, match="snapshot label"):
            snapshot_name("x", label)


def test_a_branch_is_made_once():  # 0008-R2
    store = with_versions()
    create_branch(store, "main", A)
    assert resolve_ref(store, "main") == A
    for address in (A, B):
        with pytest.raises(RefConflictError, match="main"):
            create_branch(store, "main", address)
    assert resolve_ref(store, "main") == A


@pytest.mark.parametrize("name", ["x@y", "../x", "a//b", "", "A", "x" * 65, "a/../b", "a\0"])
def test_names_that_no_branch_has(name):
    store = with_versions()
    with pytest.raises(vd.InvalidInputError):
        create_branch(store, name, A)
    assert store.list_refs() == []


def test_a_snapshot_names_one_version_for_good():  # 0008-R1
    store = with_versions()
    assert create_snapshot(store, "x", "v1", A) == "x@v1"
    assert create_snapshot(store, "x", "v1", A) == "x@v1"
    with pytest.raises(RefConflictError, match="x@v1"):
        create_snapshot(store, "x", "v1", B)
    assert resolve_ref(store, "x@v1") == A


@pytest.mark.parametrize("create", [create_branch, lambda s, n, a: create_snapshot(s, "x", n, a)])
def test_a_lost_answer_is_no_failure(create):
    store = with_versions()
    create(FaultyStore(store, 2, "after"), "name", A)
    assert len(store.list_refs()) == 1
    with pytest.raises(vd.StoreError):
        create(FaultyStore(store, 2, "once"), "other", A)
    assert len(store.list_refs()) == 1


def test_a_version_that_is_gone_gets_no_name():  # 0008-R23
    store = with_versions()
    for create in (create_branch, lambda s, n, a: create_snapshot(s, "x", n, a)):
        with pytest.raises(vd.NotFoundError, match="no such version in this space"):
            create(store, "name", address_of(b"gone"))
    assert store.list_refs() == []


def test_an_unknown_ref_is_told_with_those_there_are():
    store = with_versions()
    create_branch(store, "main", A)
    with pytest.raises(RefNotFoundError, match=r"'nope' does not exist; known refs: main"):
        resolve_ref(store, "nope")
    with pytest.raises(vd.InvalidInputError, match="not a ref name"):
        resolve_ref(store, "../nope")


# ---------------------------------------------------------------- as_of


@pytest.fixture
def ds():
    """Versions at ticks 10, 20, 30 and 40 seconds after T0; the one at 20 is a snapshot, the one at 30 has a branch."""
    ticks = iter(range(T0 + 10 * SECOND, T0 + 100 * SECOND, 10 * SECOND))
    made = vd.Dataset.create(
        "x", vd.Schema().add_scalar_int("n"), MemoryStore(), cache_dir=None, clock=lambda: next(ticks)
    )
    for i in range(3):
        made._clock = lambda i=i: T0 + (i + 2) * 10 * SECOND
        made.append({"_anchor": [i], "n": [i]})
        if i == 0:
            made.snapshot("v1")
            made.snapshot("2023-11-14")
        if i == 1:
            made.branch("y").snapshot("v1")
    return made


@pytest.mark.parametrize(
    ("ref", "as_of", "rows"),
    [
        ("x", "v1", 1),
        ("x", "x@v1", 1),
        ("x", "y@v1", 2),
        ("y", "v1", 2),
        ("y", "x@v1", 1),
        ("x@v1", "v1", 1),
        ("x", "2023-11-14", 1),  # a label goes before a time
        ("x", T0 + 10 * SECOND, 0),
        ("x", T0 + 20 * SECOND - 1, 0),
        ("x", T0 + 20 * SECOND, 1),
        ("x", str(T0 + 35 * SECOND), 2),
        ("y", 2**63 - 1, 2),
        ("x", "2023-11-14 22:13:50", 2),
        ("x", "2023-11-14T22:13:49.999999999Z", 1),
        ("x", datetime(2023, 11, 14, 22, 13, 50), 2),  # noqa: DTZ001 - naive is UTC
        ("x", datetime(2023, 11, 14, 22, 13, 50, tzinfo=UTC), 2),
        ("x", datetime(2023, 11, 15, 0, 13, 49, 999_999, tzinfo=timezone(timedelta(hours=2))), 1),
    ],
)
def test_as_of(ds, ref, as_of, rows):
    assert vd.Dataset.open(ref, backend=ds.space.store, as_of=as_of, cache_dir=None).count() == rows


def test_as_of_a_version(ds):
    for version in ds.history():
        text = version["manifest"]
        found = vd.Dataset.open("x", backend=ds.space.store, as_of=text, cache_dir=None)
        assert found.current_manifest() == text


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        ("nope", "'x@nope' does not exist; known refs: x@"),
        ("y@nope", "y@nope"),
        (T0, "no version as old as"),
        (-1, "no version as old as"),
        ("1970-01-01", "no version as old as"),
        ("not a label", "not a snapshot label"),
        ("../x", "not a snapshot label"),
        (str(A), "no such version"),
    ],
)
def test_as_of_nothing(ds, as_of, message):
    with pytest.raises((vd.NotFoundError, vd.InvalidInputError), match=message):
        vd.Dataset.open("x", backend=ds.space.store, as_of=as_of, cache_dir=None).count()


def test_a_time_of_the_history_gives_that_version_whatever_its_nanoseconds(ds):
    odd = T0 + 50 * SECOND + 123_456_789
    ds._clock = lambda: odd
    ds.append({"_anchor": [9], "n": [9]})
    assert resolve_as_of(ds.space.store, "x", "2023-11-14 22:14:10.123456789") == ds._version
    assert resolve_as_of(ds.space.store, "x", "2023-11-14 22:14:10.123456788") != ds._version
