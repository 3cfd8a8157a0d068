"""Clone, push, pull, mirror: what arrives, what is not copied again, what is refused. Specs 0008 and 0012."""

import os
import signal
import subprocess
import sys

import numpy as np
import obstore
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import (
    ConflictError,
    DigestMismatchError,
    InvalidInputError,
    ObjectNotFoundError,
    RefNotFoundError,
)
from dreamdb_arrow.history import transfer
from dreamdb_arrow.history.marking import mark
from dreamdb_arrow.store.bucket import BucketStore
from dreamdb_arrow.store.interface import Absent
from dreamdb_arrow.testing import check_objects
from tests.places import make_old

T0 = 1_700_000_000_000_000_000


def dataset(place, name="hello", flush="manual"):
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("label")
        .add_image("image", mime="png")
        .add_embedding("v", dim=4, lsh_bits=2)
    )
    return vd.Dataset.create(name, schema, place, flush=flush, cache_dir=None)


def rows(start, stop):
    random = np.random.default_rng(start)
    return [
        {"_anchor": T0 + n, "n": n, "label": "ab"[n % 2], "image": random.bytes(3000), "v": random.random(4)}
        for n in range(start, stop)
    ]


def refs(store):
    return {name: store.read_ref(name).address for name in store.list_refs()}


def same(one, two):
    """Check that two backends say the same of everything that refs lead to."""
    one, two = vd.open_store(one), vd.open_store(two)
    assert refs(one) == refs(two)
    assert check_objects(one) == check_objects(two)


def check_newest(place):
    """Check that all is there that the newest versions lead to; those behind them may have been collected."""
    store = vd.open_store(place)
    held = {path.rpartition("/")[2] for path in store.list()}
    assert {str(address) for address in mark(store, refs(store).values(), 0).live} <= held


@pytest.fixture
def space(tmp_path):
    """A Space with two branches, a snapshot, rows in stripes and in Tracks, and deleted ones."""
    place = tmp_path / "space"
    ds = dataset(place)
    ds.append_many(rows(0, 20))
    ds.snapshot("first")
    ds.flush()
    ds.branch("side").append_many(rows(100, 110))
    ds.append_many(rows(20, 30))
    ds.delete([T0 + 3])
    return place


@pytest.fixture
def bucket():
    """A bucket in memory: the code that talks to servers, without one."""
    return BucketStore(obstore.store.MemoryStore(), f"s3://memory/{os.urandom(4).hex()}")


def test_a_clone_is_the_same(space, tmp_path):
    done = vd.clone(space, tmp_path / "copy", cache_dir=None)
    same(space, tmp_path / "copy")
    held = set(vd.open_store(tmp_path / "copy").list())
    assert held == set(vd.open_store(space).list())  # outboards, too
    assert done["objects"] > 0
    assert done["versions"] == 6
    assert set(done["refs"]) == {"hello", "hello@first", "side"}
    table = vd.Dataset.open("hello", backend=tmp_path / "copy", cache_dir=None).to_arrow()
    assert table == vd.Dataset.open("hello", backend=space, cache_dir=None).to_arrow()


def test_what_is_there_is_not_copied_again(space, tmp_path):
    vd.clone(space, tmp_path / "copy", cache_dir=None)
    assert vd.clone(space, tmp_path / "copy", cache_dir=None)["refs"] == {}
    vd.Dataset.open("hello", backend=space, cache_dir=None).append_many(rows(40, 42))
    done = vd.push(space, tmp_path / "copy", ["hello"], cache_dir=None)
    assert (done["versions"], done["present"]) == (1, 0)  # nothing is even asked about
    same(space, tmp_path / "copy")


@pytest.mark.parametrize(
    "name", ["arrays", "cmaf", "entities", "geometry", "hot", "packed-images", "vec-vamana"]
)
def test_clones_of_what_the_reference_wrote(reference_space, name, tmp_path):
    place = reference_space(name)
    vd.clone(place, tmp_path / "copy", cache_dir=None)
    same(place, tmp_path / "copy")
    there = {path for path in vd.open_store(place).list() if "refs/" not in path}
    assert set(vd.open_store(tmp_path / "copy").list()) == there


def test_to_a_bucket_and_back(space, bucket, tmp_path):
    vd.clone(space, bucket, cache_dir=tmp_path / "cache")
    same(space, bucket)
    vd.clone(bucket, tmp_path / "back", cache_dir=tmp_path / "cache")
    same(space, tmp_path / "back")


def test_chunked_media_and_dropped_fields_arrive(tmp_path):
    schema = vd.Schema().add_scalar_int("n").add_image("a", mime="png", chunk_size=1000)
    schema = schema.add_image("b", mime="jpeg", required=False)
    ds = vd.Dataset.create("hello", schema, tmp_path / "space", cache_dir=None)
    blob = os.urandom(2500)
    ds.append_many([{"_anchor": T0, "n": 1, "a": blob, "b": blob[:1000]}])  # equal bytes in two directories
    ds.append_many(
        [{"_anchor": T0 + 1, "n": 1, "a": blob}, {"_anchor": T0 + 2, "n": 1, "a": b"x", "b": blob}]
    )
    vd.clone(tmp_path / "space", tmp_path / "copy", cache_dir=None)
    assert set(vd.open_store(tmp_path / "space").list()) == set(vd.open_store(tmp_path / "copy").list())
    ds.decommission_modality("b")
    vd.clone(tmp_path / "space", tmp_path / "late", depth=0, cache_dir=None)
    check_newest(tmp_path / "late")
    late = vd.Dataset.open("hello", backend=tmp_path / "late", cache_dir=None)
    assert late.to_arrow()["a"].to_pylist() == [blob, blob, b"x"]


def test_a_collector_between_copy_and_ref_takes_nothing(space, tmp_path, monkeypatch):  # 0005-R15
    """What the target has, and no Ref of it leads to any more, becomes as young as what is copied."""
    copy = tmp_path / "copy"
    vd.clone(space, copy, cache_dir=None)
    dataset_at(copy, "hello").delete_ref("side")
    make_old(vd.open_store(copy))
    swap = transfer.swap_settled

    def collect_first(*arguments):
        vd.gc(copy, 0, dry_run=False)
        return swap(*arguments)

    monkeypatch.setattr(transfer, "swap_settled", collect_first)
    vd.push(space, copy, ["side"], cache_dir=None)
    check_newest(copy)
    assert dataset_at(copy, "side").count() == 30


def dataset_at(place, ref):
    return vd.Dataset.open(ref, backend=place, cache_dir=None)


def test_with_a_depth_older_versions_stay_behind(space, tmp_path):
    done = vd.clone(space, tmp_path / "copy", ["hello"], depth=1, cache_dir=None)
    assert done["versions"] == 2
    copy = vd.Dataset.open("hello", backend=tmp_path / "copy", cache_dir=None)
    assert copy.count() == 29
    assert len(copy.history()) == 2


def test_a_space_whose_parents_were_collected_is_cloned(space, tmp_path):
    vd.gc(space, keep_manifests=0, dry_run=False, writers_paused=True)
    vd.clone(space, tmp_path / "copy", cache_dir=None)
    assert refs(vd.open_store(space)) == refs(vd.open_store(tmp_path / "copy"))
    check_newest(tmp_path / "copy")


def test_a_branch_behind_what_the_target_collected_is_copied_whole(space, tmp_path):
    """The target has versions after the branch's parent, but the parent no more."""
    old = vd.open_store(space).read_ref("hello@first").address
    vd.clone(space, tmp_path / "copy", ["hello"], cache_dir=None)
    vd.gc(tmp_path / "copy", keep_manifests=0, dry_run=False, writers_paused=True)
    vd.Dataset.open_by_manifest(str(old), backend=space, cache_dir=None).branch("late").append_many(
        rows(200, 203)
    )
    vd.push(space, tmp_path / "copy", ["late"], cache_dir=None)
    check_newest(tmp_path / "copy")
    assert vd.Dataset.open("late", backend=tmp_path / "copy", cache_dir=None).count() == 23


def test_a_ref_with_commits_of_its_own_is_refused_before_any_copy(space, tmp_path):  # 0012-R10
    copy = tmp_path / "copy"
    vd.clone(space, copy, cache_dir=None)
    for place, start in ((space, 300), (copy, 400)):
        vd.Dataset.open("hello", backend=place, cache_dir=None).append_many(rows(start, start + 2))
    before = set(vd.open_store(copy).list())
    with pytest.raises(ConflictError, match=r"ref 'hello' of .* has commits that"):
        vd.push(space, copy, ["side", "hello"], cache_dir=None)
    assert set(vd.open_store(copy).list()) == before
    with pytest.raises(ConflictError):
        vd.pull(space, copy, ["hello"], cache_dir=None)
    vd.push(space, copy, ["hello"], force=True, cache_dir=None)
    assert refs(vd.open_store(copy)) == refs(vd.open_store(space))


def test_a_pull_brings_what_others_committed(space, tmp_path):
    copy = tmp_path / "copy"
    vd.clone(space, copy, cache_dir=None)
    vd.Dataset.open("hello", backend=copy, cache_dir=None).append_many(rows(300, 302))
    assert list(vd.pull(space, copy, ["hello"], cache_dir=None)["refs"]) == ["hello"]
    same(space, copy)


def test_a_snapshot_of_another_version_is_not_moved(space, tmp_path):
    dataset(tmp_path / "copy").snapshot("first")
    with pytest.raises(ConflictError, match="snapshot 'hello@first'"):
        vd.push(space, tmp_path / "copy", ["hello@first"], cache_dir=None)


def test_a_mirror_has_no_other_refs(space, tmp_path):
    copy = tmp_path / "copy"
    dataset(copy, "other")
    dataset(copy, "hello").append_many(rows(0, 1))
    planned = vd.mirror(space, copy, dry_run=True, cache_dir=None)
    assert (planned["removed"], set(planned["refs"])) == (["other"], {"hello", "hello@first", "side"})
    assert isinstance(vd.open_store(copy).read_ref("hello@first"), Absent)
    vd.mirror(space, copy, cache_dir=None)
    assert refs(vd.open_store(space)) == refs(vd.open_store(copy))
    check_objects(vd.open_store(copy))


def test_what_cannot_be_copied_is_said(space, tmp_path):
    with pytest.raises(RefNotFoundError):
        vd.clone(space, tmp_path / "copy", ["nope"], cache_dir=None)
    with pytest.raises(InvalidInputError, match="both"):
        vd.clone(space, space, cache_dir=None)
    with pytest.raises(InvalidInputError, match="depth"):
        vd.clone(space, tmp_path / "copy", depth=-1, cache_dir=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="no ref"):
        vd.clone(tmp_path / "empty", tmp_path / "copy", cache_dir=None)
    assert list(vd.open_store(tmp_path / "copy").list()) == []


def _one(space, part):
    return next(file for file in sorted(space.rglob("*")) if part in str(file) and file.is_file())


def test_damage_is_not_copied(space, tmp_path):  # 0012-R9
    file = _one(space, "stripe.v1/0000")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(DigestMismatchError):
        vd.clone(space, tmp_path / "copy", cache_dir=None)
    copy = vd.open_store(tmp_path / "copy")
    assert copy.list_refs() == []
    assert all(file.name not in path for path in copy.list())


def test_a_missing_object_is_named(space, tmp_path):
    file = _one(space, "/bucket/")
    file.unlink()
    with pytest.raises(ObjectNotFoundError, match=file.name):
        vd.clone(space, tmp_path / "copy", cache_dir=None)
    assert vd.open_store(tmp_path / "copy").list_refs() == []


def test_a_damaged_outboard_stays_behind(space, tmp_path):
    file = _one(space, "bao-outboard")
    file.chmod(0o644)
    file.write_bytes(b"\0" * 8)
    vd.clone(space, tmp_path / "copy", cache_dir=None)
    same(space, tmp_path / "copy")
    assert not (tmp_path / "copy" / "bao-outboard" / file.name).exists()


KILLED = """
import os, signal, sys
import dreamdb_arrow as vd

def told(done, known, size):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

vd.clone(sys.argv[1], sys.argv[2], cache_dir=None, progress=told)
"""


def test_a_clone_that_is_killed_twice_goes_on(space, tmp_path):  # 0012-R8
    copy = tmp_path / "copy"
    for share in (15, 40):
        line = [sys.executable, "-c", KILLED, str(space), str(copy), str(share)]
        assert subprocess.run(line, check=False).returncode == -signal.SIGKILL
        assert vd.open_store(copy).list_refs() == []
    done = vd.clone(space, copy, cache_dir=None)
    assert done["present"] >= 15
    same(space, copy)


def test_progress_tells_objects_and_bytes(space, tmp_path):
    told = []
    done = vd.clone(space, tmp_path / "copy", cache_dir=None, progress=lambda *counts: told.append(counts))
    assert told[-1][0] == told[-1][1] == done["objects"]
    assert max(size for _, _, size in told) == done["bytes"]
