"""Collectors beside writers: exactly what nothing leads to goes, also while others commit the very bytes that are garbage."""

import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import ADDRESS_BYTES, BLAKE3_CODE, Address, is_address_text
from dreamdb_arrow.codec.cbor import decode_cbor
from dreamdb_arrow.dataset.create import create_dataset
from dreamdb_arrow.errors import CorruptDataError, NotFoundError
from dreamdb_arrow.history import gc as collector
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.history.refs import create_branch, delete_ref
from dreamdb_arrow.objects.manifest import decode_manifest
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.sample import write_sample

HOUR = 3600

# A writer goes through its rounds again and again, so that what a deleted branch left behind is what it writes next.
WRITER = """
import random, sys, time
import dreamdb_arrow as vd
root, number, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
name, chance, until, done = f"w{number}", random.Random(number), time.monotonic() + float(seconds), 0
print("ready", flush=True)
sys.stdin.readline()
while time.monotonic() < until:
    side = vd.Dataset.open("start", backend=root, cache_dir=None, durability="os").branch(name)
    for nth in range(4):
        at = number * 1000 + nth * 10
        side.append_many([{"_anchor": at + i, "n": at + i, "s": f"text {at + i}"} for i in range(5)])
        if nth == 2:
            side.flush()
    if chance.random() < 0.4:
        side.delete([number * 1000])
    main = vd.Dataset.open("main", backend=root, cache_dir=None, durability="os")
    if done == 0 or chance.random() < 0.3:
        main.merge(name, "union-tracks")
    main.delete_ref(name)
    done += 1
print("end", done, flush=True)
"""


def age(root: Path) -> None:
    """Make every object two hours old."""
    old = time.time() - 2 * HOUR
    for file in root.rglob("*"):
        if file.is_file() and is_address_text(file.name):
            os.utime(file, (old, old))


def base(root: Path) -> vd.Dataset:
    schema = vd.Schema().add_scalar_int("n").add_scalar_string("s", required=False)
    ds = vd.Dataset.create("main", schema, root, cache_dir=None, durability="os")
    ds.append_many([{"_anchor": i, "n": i, "s": "base"} for i in range(10)])
    ds.flush()
    return ds


def beside_writers(root: Path, writers: int, seconds: float) -> tuple[int, int]:
    """Run writers and a collector for a while; return how many branches they made and how many objects went."""
    base(root).branch("start")
    age(root)
    command = [sys.executable, "-c", WRITER, str(root)]
    running = [
        subprocess.Popen(
            [*command, str(n + 1), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in range(writers)
    ]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    removed, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        removed += vd.gc(root, 2, 60, dry_run=False)["deleted"]
        age_garbage(root)
    ends = [process.communicate()[0].split()[-2:] for process in running]
    assert [end[0] for end in ends] == ["end"] * writers
    return sum(int(end[1]) for end in ends), removed


def age_garbage(root: Path) -> None:
    """Make what is garbage now look old, as if the collector came hours later."""
    old = time.time() - 2 * HOUR
    for path in vd.gc(root, 2, 0)["paths"]:
        file = root / path
        try:
            if time.time() - file.stat().st_mtime > 0.5:  # what a writer has just put stays young
                os.utime(file, (old, old))
        except FileNotFoundError:
            continue


@pytest.mark.parametrize("seconds", [6.0, pytest.param(120.0, marks=pytest.mark.slow)])
def test_nothing_that_counts_goes(tmp_path, seconds):  # 0008-R19, 0008-R20
    root = tmp_path / "space"
    branches, removed = beside_writers(root, 4, seconds)
    assert branches > 4
    assert removed > 0
    assert vd.fsck(root, cache_dir=None).findings == []
    rows = vd.Dataset.open("main", backend=root, cache_dir=None).to_arrow().to_pylist()
    values = {row["_anchor"]: (row["n"], row["s"]) for row in rows}
    assert {i: values[i] for i in range(10)} == {i: (i, "base") for i in range(10)}
    for writer in range(1, 5):
        at = writer * 1000 + 14  # merged in the first round, and never deleted
        assert values[at] == (at, f"text {at}")
    vd.gc(root, 2, dry_run=False, writers_paused=True)
    assert vd.fsck(root, cache_dir=None).findings == []


# --- exactly what nothing leads to --------------------------------------------------------------------------


def naive_live(root: Path) -> set[str]:
    """Follow everything that looks like an address, from all refs; of the parents of a version, the first."""
    files = {
        f.name: f
        for f in root.rglob("*")
        if f.is_file() and is_address_text(f.name) and f.parent.name != "bao-outboard"
    }
    store, seen = LocalStore(root), set()
    pending = [str(store.read_ref(name)) for name in store.list_refs()]
    while pending:
        name = pending.pop()
        if name in seen or name not in files:
            continue
        seen.add(name)
        data = files[name].read_bytes()
        others = decode_manifest(data).parents[1:] if files[name].parent.name == "manifests" else ()
        pending += [str(address) for address in addresses_in(data) if address not in others]
    return seen


def addresses_in(data: bytes) -> list[Address]:
    """All byte strings in CBOR that look like an address; a payload names nothing."""
    try:
        pending = [decode_cbor(data)]
    except CorruptDataError:
        return []
    found = []
    while pending:
        value = pending.pop()
        pending += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if isinstance(value, bytes) and len(value) == ADDRESS_BYTES and value[0] == BLAKE3_CODE:
            found.append(Address(value))
    return found


@pytest.mark.parametrize("space", ["sample", "branches"])
def test_exactly_what_a_naive_walk_does_not_reach(tmp_path, space):  # 0008-R13
    root = tmp_path / "space"
    if space == "sample":
        ds = write_sample(root, rows=30)
    else:
        ds, chance = base(root), random.Random(1)
        for nth in range(12):
            side = ds.branch(f"b{nth}")
            side.append_many([{"_anchor": 100 * nth + 50 + i, "n": i} for i in range(5)])
            side.flush()
            if chance.random() < 0.5:
                ds.merge(f"b{nth}", "union-tracks")
    for name in [n for n in ds.list_refs() if n != "main"][::2]:
        ds.delete_ref(name)
    there = {str(f.relative_to(root)) for f in root.rglob("*") if f.is_file() and is_address_text(f.name)}
    live = naive_live(root)
    vd.gc(root, 100_000, dry_run=False, writers_paused=True)
    left = {str(f.relative_to(root)) for f in root.rglob("*") if f.is_file() and is_address_text(f.name)}
    assert {path.rpartition("/")[2] for path in left} == live
    assert {path for path in there if path.rpartition("/")[2] in live} == left


def test_shards_together_are_the_whole(tmp_path):
    root = tmp_path / "space"
    ds = write_sample(root, rows=30)
    ds.delete_ref("side")
    ds.delete_ref("main@first")
    whole = vd.gc(root, 0, 0)
    parts = [vd.gc(root, 0, 0, shard=(nth, 5)) for nth in range(1, 6)]
    versions = {path for path in whole["paths"] if path.startswith("manifests/")}
    rest = [[p for p in part["paths"] if p not in versions] for part in parts]
    assert sorted(p for part in rest for p in part) == sorted(set(whole["paths"]) - versions)
    assert min(map(len, rest)) > 0
    for nth in range(1, 6):
        vd.gc(root, 0, dry_run=False, shard=(nth, 5), writers_paused=True)
    assert vd.gc(root, 0, 0)["deletable"] == 0
    assert vd.fsck(root, cache_dir=None).ok


# --- races, one step at a time ------------------------------------------------------------------------------


def garbage_of(store) -> tuple:
    """A space with a version that no ref leads to, and what a collector decides about it."""
    create_dataset(store, "main", (), "manual", time.time_ns)
    create_branch(store, "side", store.read_ref("main").address)
    version, _ = commit(store, "side", lambda *_: Change("note", registry={"dreamdb.note": "x"}))
    delete_ref(store, "side")
    kept = collector.Kept(0, store.now_ns() + 1)  # as if all of it were old
    return version, collector.find_garbage(store, kept), kept


@pytest.fixture(params=["memory", "local"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path)


def test_a_branch_made_before_versions_go_keeps_its_version(store):
    version, garbage, kept = garbage_of(store)
    assert f"manifests/{version}" in garbage.versions
    time.sleep(0.01)
    create_branch(store, "again", version)
    collector.sweep(store, garbage, kept)
    assert store.exists(f"manifests/{version}")
    assert vd.fsck(store, cache_dir=None, rows=False).ok


def test_no_branch_is_made_of_a_version_that_is_gone(store):
    version, garbage, kept = garbage_of(store)
    collector.sweep(store, garbage, kept)
    with pytest.raises(NotFoundError, match="there is no version"):
        create_branch(store, "again", version)


def test_what_is_put_again_stays(store):  # 0005-R15, 0005-R16
    data = b"some bytes"
    path = "tl/image.png/0000000000000000/dxyz"
    store.put(path, data)
    before = store.now_ns() + 1
    time.sleep(0.01)
    store.put(path, data)
    assert not store.delete_old(path, before)
    assert store.get(path) == data
    assert store.delete_old(path, store.now_ns() + 10**12)
    assert not store.exists(path)
    assert store.delete_old(path, before)
    with pytest.raises(NotFoundError):
        store.freshen(path)
    assert not store.exists(path)


def test_a_file_that_becomes_young_while_it_is_moved_is_put_back(tmp_path, monkeypatch):
    store, path = LocalStore(tmp_path), "a/b"
    store.put(path, b"x")
    os.utime(tmp_path / path, (1, 1))
    rename = os.rename

    def freshened(source, target):
        os.utime(source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", freshened)
    assert not store.delete_old(path, time.time_ns() - 10**9)
    assert store.get(path) == b"x"
    assert not list((tmp_path / ".dreamdb-tmp").iterdir())


def test_ages_are_listed(store):
    before = store.now_ns()
    store.put("a/b", b"xyz")
    (found,) = store.list_aged()
    assert (found.path, found.size) == ("a/b", 3)
    assert before - 10**9 < found.modified_ns <= store.now_ns() + 10**9


def test_a_damaged_young_version_stops_nobody(store):
    create_dataset(store, "main", (), "manual", time.time_ns)
    store.put(f"manifests/{'d' + 'a' * 52}", b"no manifest")
    with pytest.raises(CorruptDataError):
        decode_manifest(b"no manifest")
    assert vd.gc(store, 0)["deletable"] == 0


# --- ten thousand versions ----------------------------------------------------------------------------------

MANY = """
import resource, sys, time
import dreamdb_arrow as vd
began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = vd.gc(sys.argv[1], int(sys.argv[2]), 60, dry_run=False)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(report["deleted"], grown, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter() - began)
"""


@pytest.mark.parametrize("versions", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_memory_for_many_versions(tmp_path, versions):
    root = tmp_path / "space"
    ds = vd.Dataset.create("main", vd.Schema().add_scalar_int("n"), root, cache_dir=None, durability="os")
    for nth in range(versions):
        ds.append_many([{"_anchor": nth, "n": nth}])
    side = ds.branch("side")
    side.append_many([{"_anchor": versions + 5, "n": 0}])
    ds.delete_ref("side")
    age(root)
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(root), str(versions + 1)], capture_output=True, text=True, check=True
    )
    deleted, _, peak, seconds = map(float, done.stdout.split())
    assert 0 < deleted < 20
    print(f"{versions:,} versions: {peak / 1024:.0f} MB, {seconds:.1f} s")  # noqa: T201
    assert peak < 300 * 1024
    assert resource.getpagesize() > 0
    shutil.rmtree(root)
