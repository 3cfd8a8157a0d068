"""Garbage collection: what is kept, what goes, and when nothing may."""

import os
import time
from dataclasses import replace

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of, as_address
from dreamdb_arrow.columnar.vendor import add_track, read_track, track_path
from dreamdb_arrow.errors import (
    CorruptDataError,
    InvalidInputError,
    NotFoundError,
    RefConflictError,
    StoreError,
    UnsupportedError,
)
from dreamdb_arrow.history import gc as collector
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.history.manifests import manifest_path
from dreamdb_arrow.history.marking import mark
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing import FaultyStore
from dreamdb_arrow.testing.invariants import naive_live
from dreamdb_arrow.testing.model import rows_of_table
from tests.places import make_old


def schema():
    return (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("c", required=False)
        .add_image("img", mime="png", required=False)
        .add_image("part", mime="jpeg", required=False, chunk_size=3)
        .add_embedding("v", dim=2, lsh_bits=2, required=False)
        .add_embedding("w", dim=2, lsh_bits=2, rerank=True, required=False)
    )


def row(a):
    return {
        "_anchor": a,
        "n": a,
        "c": "ab"[a % 2],
        "img": b"%d" % a,
        "part": b"part %d" % a,
        "v": [1, a],
        "w": [a, 1],
    }


def filled(store, commits=4):
    ds = vd.Dataset.create("main", schema(), store, cache_dir=None)
    for nth in range(commits):
        ds.append_many([row(10 * nth + k) for k in range(3)])
        if nth % 2:
            ds.flush()
    ds.delete([1], reason="gone")
    return ds


@pytest.fixture
def store():
    return MemoryStore()


def shown(store, ref="main"):
    return rows_of_table(vd.Dataset.open(ref, backend=store, cache_dir=None).to_arrow())


def collect(store, **options):
    return vd.gc(store, dry_run=False, writers_paused=True, **options)


def would(store, **options):
    """What a collection would remove while nobody writes."""
    return vd.gc(store, writers_paused=True, **options)


def test_a_dry_run_tells_and_removes_nothing(store):
    filled(store)
    before = set(store.list())
    report = would(store, keep_manifests=0)
    assert set(store.list()) == before
    assert (report["dry_run"], report["deleted"], report["refs"]) == (True, 0, 1)
    assert report["deletable"] == len(report["paths"]) > 0
    assert report["listed"] == len(before) == report["live"] + report["deletable"]
    assert report["bytes"] == sum(store.size(path) for path in report["paths"])


def test_rows_stay_and_what_was_told_goes(store):  # 0008-R13
    filled(store)
    before, rows = set(store.list()), shown(store)
    told = would(store, keep_manifests=0)
    report = collect(store, keep_manifests=0)
    assert report["deleted"] == told["deletable"]
    assert before - set(store.list()) == set(told["paths"])
    assert shown(store) == rows
    check_live(store)
    assert would(store, keep_manifests=0)["deletable"] == 0
    vd.Dataset.open("main", backend=store, cache_dir=None).flush()
    assert shown(store) == rows


def check_live(store):
    """Every object that a tip leads to is there."""
    tips = list(collector.read_refs(store).values())
    stored = {path.rpartition("/")[2] for path in store.list()}
    assert {str(address) for address in mark(store, tips, 0).live} <= stored


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_so_many_ancestors_are_kept(store, keep):
    ds = filled(store)
    versions = [v["manifest"] for v in ds.history(None)]
    collect(store, keep_manifests=keep)
    kept = [v for v in versions if store.exists(f"manifests/{v}")]
    assert kept == versions[: keep + 1]
    for version in kept:
        vd.Dataset.open_at(version, store, cache_dir=None).to_arrow()


def test_refs_and_roots_keep_what_they_name(store):
    ds = filled(store)
    ds.snapshot("label")
    rows = shown(store)
    root = ds.current_manifest()
    ds.delete([10])
    ds.delete([11])
    middle = ds.current_manifest()
    ds.delete([12])
    report = collect(store, keep_manifests=0, roots=[middle])
    assert shown(store, "main@label") == rows
    assert store.exists(f"manifests/{middle}")
    assert report["refs"] == 2
    ds.delete_ref("main@label")
    collect(store, keep_manifests=0, roots=[middle])
    assert not store.exists(f"manifests/{root}")
    assert store.exists(f"manifests/{middle}")


def test_a_deleted_branch_goes_with_what_only_it_had(store):
    ds = filled(store)
    before = set(store.list())
    side = ds.branch("side")
    side.append_many([row(500)])
    side.flush()
    ds.delete_ref("side")
    collect(store, keep_manifests=100)
    assert set(store.list()) == before


def test_merged_and_compacted_spaces_are_kept_whole(store):
    ds = filled(store)
    side = ds.branch("side")
    side.append_many([row(500)])
    side.delete([10])
    ds.append_many([row(600)])
    ds.delete([11])
    ds.merge("side", "union-tracks")
    ds.flush()
    ds.compact()
    rows = shown(store)
    ds.delete_ref("side")
    collect(store, keep_manifests=0)
    assert shown(store) == rows
    ds.append_many([row(700)])
    ds.flush()
    assert set(shown(store)) == set(rows) | {700}


def test_foreign_files_stay_and_lost_objects_go(store):
    filled(store)
    lost = str(address_of(b"nobody's"))
    store.put(f"anywhere/at/all/{lost}", b"nobody's")
    store.put("notes/readme.txt", b"mine")
    report = collect(store, keep_manifests=100)
    assert report["paths"] == [f"anywhere/at/all/{lost}"]
    assert store.exists("notes/readme.txt")


def test_what_the_registry_of_others_names_is_kept(store):
    filled(store)
    address = address_of(b"theirs")
    store.put(f"theirs/{address}", b"theirs")
    commit(store, "main", lambda *_: Change("x", registry={"dreamdb.x": {"deep": [[bytes(address)]]}}))
    assert collect(store, keep_manifests=100)["deletable"] == 0
    assert store.exists(f"theirs/{address}")


def refused(store, error, match, **options):
    before = set(store.list())
    with pytest.raises(error, match=match):
        collect(store, **options)
    assert set(store.list()) == before


def test_writers_must_be_paused_and_numbers_sane(store):
    filled(store)
    with pytest.raises(InvalidInputError, match="pass writers_paused=True"):
        vd.gc(store, dry_run=False, keep_since_secs=0)
    refused(store, InvalidInputError, "at least 0", keep_manifests=-1)
    refused(store, InvalidInputError, "at least 0", keep_since_secs=-1)
    refused(store, InvalidInputError, "not a version: 'zz'", roots=["zz"])
    refused(MemoryStore(), InvalidInputError, "no ref")


def test_missing_ancestors_are_told_with_the_depth_that_is_there(store):  # 0008-R13
    filled(store)
    collect(store, keep_manifests=2)
    refused(store, NotFoundError, r"3 versions behind a ref; keep_manifests=2 asks", keep_manifests=5)
    collect(store, keep_manifests=2)


@pytest.mark.parametrize("field", ["n", "c", "img", "v"])
def test_missing_metadata_makes_it_refuse(store, field):
    ds = filled(store)
    store.delete(track_path(find_entry(ds.manifest.tracks, field)))
    refused(store, NotFoundError, "object not found")


def test_damaged_metadata_makes_it_refuse(store):
    ds = filled(store)
    path = track_path(find_entry(ds.manifest.tracks, "n"))
    data = bytearray(store.get(path))
    data[-1] ^= 1
    store.delete(path)
    store.put(path, bytes(data))
    refused(store, CorruptDataError, "does not hash to its address")


def with_track(ds, field, **changed):
    entry = find_entry(ds.manifest.tracks, field)
    track = replace(read_track(ds.space.store, entry), **changed)

    def build(_, __, batch):
        return Change("x", (replace(entry, address=add_track(batch, track)),))

    commit(ds.space.store, "main", build)


def test_unknown_kinds_make_it_refuse(store):
    ds = filled(store)
    with_track(ds, "img", item_key_index={"root": 1})
    refused(store, UnsupportedError, "collect with the SDK that wrote them")


def test_hot_overlays_keep_their_buffer_and_the_track_below(store):
    ds = filled(store)
    entry = find_entry(ds.manifest.tracks, "n")
    shard = address_of(b"hot")
    store.put(f"{entry.timeline}/{entry.modality}/hot-shard/{shard}", b"hot")
    index = {"form": "hot-overlay-v1", "hot_shard": bytes(shard), "base_track": bytes(entry.address)}
    with_track(ds, "n", object_index=index)
    collect(store, keep_manifests=0)
    assert store.exists(f"{entry.timeline}/{entry.modality}/hot-shard/{shard}")
    assert read_track(store, entry).object_index["form"] == "scalar-btree-v1"


def moving(happens):
    """A `progress` during whose first call, after marking, something happens."""
    waiting = [happens]

    def progress(stage, _):
        if stage == "mark" and waiting:
            waiting.pop()()

    return progress


def test_a_ref_that_moves_meanwhile_stops_it(store):  # 0008-R14
    ds = filled(store)
    progress = moving(lambda: ds.append_many([row(900)]))
    with pytest.raises(RefConflictError, match="'main' moved"):
        collect(store, keep_manifests=0, progress=progress)
    assert set(shown(store)) >= {900}


def test_a_new_ref_stops_it_too(store):
    ds = filled(store)
    progress = moving(lambda: ds.branch("new"))
    refused(store, RefConflictError, "'new' moved", keep_manifests=0, progress=progress)


def test_the_young_are_kept(tmp_path):
    root = tmp_path / "space"
    filled(str(root))
    assert would(root, keep_manifests=0, keep_since_secs=3600)["deletable"] == 0
    old = would(root, keep_manifests=0)["paths"][0]
    os.utime(root / old, (time.time() - 7200,) * 2)
    assert collect(root, keep_manifests=0, keep_since_secs=3600)["deletable"] == 0  # its child is young
    make_old(LocalStore(root))
    report = vd.gc(root, keep_manifests=0, dry_run=False)
    assert (report["deleted"], report["skipped_recent"]) == (report["deletable"], 0) > (0, 0)


def test_a_page_is_read_once_however_many_versions_name_it(store, monkeypatch):
    ds = vd.Dataset.create("main", vd.Schema().add_scalar_int("n"), store, flush="commit", cache_dir=None)
    for nth in range(12):
        ds.append_many([{"_anchor": nth, "n": nth}])
    reads = []
    get = MemoryStore.get
    monkeypatch.setattr(MemoryStore, "get", lambda self, path: reads.append(path) or get(self, path))
    would(store, keep_manifests=100)
    others = [path for path in reads if not path.startswith("manifests/")]
    assert len(others) == len(set(others))


def test_collecting_beside_an_old_handle_is_told_when_it_reads(store):
    ds = filled(store)
    old = vd.Dataset.open("main", backend=store, cache_dir=None)
    ds.delete([10])
    collect(store, keep_manifests=0)
    with pytest.raises(NotFoundError, match=r"no such version|object not found"):
        old.to_arrow()
    assert manifest_path(as_address(bytes(ds._version))) in set(store.list())


def test_versions_go_before_what_they_name(store):
    filled(store)
    paths = would(store, keep_manifests=1)["paths"]
    versions = [path for path in paths if path.startswith("manifests/")]
    assert paths[: len(versions)] == versions
    tip = vd.Dataset.open("main", backend=store, cache_dir=None)
    history = [v["manifest"] for v in tip.history(None)]
    assert paths[0] == f"manifests/{history[2]}"


# ---------------------------------------------------------------- beside writers


@pytest.fixture(params=["memory", "file"])
def aged(request, tmp_path):
    """A Space with an old branch that is gone, and old versions: all of it older than the grace period."""
    store = MemoryStore() if request.param == "memory" else LocalStore(tmp_path, sync=False)
    ds = filled(store)
    side = ds.branch("side")
    side.append_many([row(500), {**row(501), "img": b"only there"}])
    side.flush()
    ds.delete_ref("side")
    make_old(store)
    return store


def collect_beside(store, happens=lambda: None, **options):
    return vd.gc(store, 0, dry_run=False, progress=moving(happens), **options)


def test_exactly_the_unreachable_goes(aged):  # 0008-R13
    tips = collector.read_refs(aged).values()
    live, before = naive_live(aged, tips), set(aged.list())
    report = collect_beside(aged)
    assert {path.rpartition("/")[2] for path in aged.list()} == live
    assert report["deleted"] == report["deletable"] == len(before) - len(set(aged.list())) > 0
    assert collect_beside(aged)["deletable"] == 0


def test_what_is_written_again_meanwhile_stays(aged):  # 0005-R15
    ds = vd.Dataset.open("main", backend=aged, cache_dir=None)
    again = {**row(700), "img": b"only there"}

    def write():
        ds.append_many([again])
        ds.flush()

    collect_beside(aged, write)
    assert vd.Dataset.open("main", backend=aged, cache_dir=None).take([700], ["img"])["img"].to_pylist() == [
        b"only there"
    ]
    assert 700 in shown(aged)


def test_an_old_version_that_gets_a_name_meanwhile_stays_whole(aged):  # 0008-R23
    ds = vd.Dataset.open("main", backend=aged, cache_dir=None)
    old = [v["manifest"] for v in ds.history(None)][3]
    rows = rows_of_table(vd.Dataset.open_at(old, aged, cache_dir=None).to_arrow())
    collect_beside(aged, lambda: vd.Dataset.open_at(old, aged, cache_dir=None).branch("back"))
    assert shown(aged, "back") == rows
    make_old(aged)
    collect_beside(aged)
    assert shown(aged, "back") == rows


def test_a_version_that_is_gone_gets_no_name(aged):
    ds = vd.Dataset.open("main", backend=aged, cache_dir=None)
    old = vd.Dataset.open_at([v["manifest"] for v in ds.history(None)][3], aged, cache_dir=None)
    collect_beside(aged)
    with pytest.raises(NotFoundError, match="no such version"):
        old.branch("back")
    assert aged.list_refs() == ["main"]


def test_what_a_ref_named_within_the_grace_period_can_be_read(aged):
    """The version before a young one was the tip until just now; so was that of a Ref that was just deleted."""
    ds = vd.Dataset.open("main", backend=aged, cache_dir=None)
    reader, rows = vd.Dataset.open("main", backend=aged, cache_dir=None), shown(aged)
    old = ds.current_manifest()
    ds.branch("side")
    ds.delete([10, 11])
    ds.delete_ref("side")
    report = collect_beside(aged)
    assert report["deleted"] > 0
    assert rows_of_table(reader.to_arrow()) == rows
    make_old(aged)
    collect_beside(aged)
    assert not aged.exists(f"manifests/{old}")


def test_a_version_on_its_way_needs_not_be_whole(aged):
    """A Manifest may be there before its objects are. Nothing promises that it ever becomes a version."""
    ds = vd.Dataset.open("main", backend=aged, cache_dir=None)
    ds.append_many([row(900)])
    tip = ds.manifest
    gone = track_path(find_entry(tip.tracks, "org.dreamdb.arrow.stripe.v1"))
    ref = aged.read_ref("main")
    aged.swap_ref("main", ref, tip.parents[0])
    aged.delete(gone)
    assert collect_beside(aged)["deleted"] > 0
    assert shown(aged)


def test_shards_share_the_work(aged):
    whole = would(aged, keep_manifests=0)
    parts = [would(aged, keep_manifests=0, shard=(n, 5)) for n in range(1, 6)]
    for key in ("listed", "live", "deletable", "bytes"):
        assert sum(part[key] for part in parts) == whole[key]
    told = [path for part in parts for path in part["paths"]]
    assert sorted(told) == sorted(whole["paths"])
    assert len(set(told)) == len(told)
    removed = [collect_beside(aged, shard=(n, 5))["deleted"] for n in (3, 1, 5, 2, 4)]
    assert sum(removed) == whole["deletable"]
    assert would(aged, keep_manifests=0)["deletable"] == 0


@pytest.mark.parametrize("shard", [(0, 4), (5, 4), (1, 0), (-1, 1), (1, 1 << 17)])
def test_no_such_shard(store, shard):
    filled(store)
    refused(store, InvalidInputError, "not a shard", shard=shard)


def test_versions_are_kept_by_their_days(store):
    """Those that were a tip within so many days, by the times that they tell."""
    day = 86_400 * 10**9
    now = [time.time_ns() - 10 * day]
    ds = vd.Dataset.create(
        "main", vd.Schema().add_scalar_int("n"), store, cache_dir=None, clock=lambda: now[0]
    )
    for n, passed in enumerate((5, 2, 2, 0.5)):  # days ago: 5, 3, 1 and a half
        now[0] += int(passed * day)
        ds.append_many([{"_anchor": n, "n": n}])
    versions = [v["manifest"] for v in ds.history(None)]
    collect(store, keep_manifests=0, keep_days=4)
    kept = [v for v in versions if store.exists(f"manifests/{v}")]
    assert kept == versions[:4]  # the oldest of them was the tip four days ago
    collect(store, keep_manifests=0, keep_days=0.75)
    assert [v for v in versions if store.exists(f"manifests/{v}")] == versions[:2]
    refused(store, InvalidInputError, "at least 0", keep_days=-1)


@pytest.mark.parametrize("calls", range(1, 30, 4))
def test_an_interrupted_collection_is_run_again(aged, calls):
    rows = shown(aged)
    with pytest.raises(StoreError):
        vd.gc(FaultyStore(aged, calls, "halfway"), 0, dry_run=False)
    assert shown(aged) == rows
    collect_beside(aged)
    assert {p.rpartition("/")[2] for p in aged.list()} == naive_live(aged, collector.read_refs(aged).values())


def test_what_killed_writers_left_goes_when_it_is_old(tmp_path):
    root = tmp_path / "space"
    filled(str(root))
    old, young = (root / ".dreamdb-tmp" / name for name in ("1-old.tmp", "1-young.tmp"))
    for path in (old, young):
        path.write_bytes(b"half an object")
    os.utime(old, (1, 1))
    vd.gc(root)
    assert old.exists()
    vd.gc(root, dry_run=False)
    assert not old.exists()
    assert young.exists()
