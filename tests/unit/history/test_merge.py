"""Merges of our own: what a union holds, what it refuses, and that nothing is written when it does."""

from dataclasses import replace

import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import as_address
from dreamdb_arrow.columnar.vendor import COVER, add_track, read_fragments, read_track
from dreamdb_arrow.dataset.merge import union_change
from dreamdb_arrow.errors import InvalidInputError, MergeError, RefNotFoundError, UnsupportedError
from dreamdb_arrow.history.ancestry import first_parents, is_ancestor, merge_base
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.history.merge import unite
from dreamdb_arrow.history.registries import Parting
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY, decode_index
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.model import rows_of_table
from dreamdb_arrow.tracks.vectors import iterate_vectors


def schema():
    return (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("c", required=False)
        .add_scalar_string("s", required=False)
        .add_image("img", mime="png", required=False)
        .add_image("part", mime="jpeg", required=False, chunk_size=3)
        .add_embedding("v", dim=2, lsh_bits=2, required=False)
        .add_embedding("w", dim=2, lsh_bits=2, rerank=True, required=False)
    )


def row(a, **changed):
    full = {
        "_anchor": a,
        "n": a % 3,
        "c": "ab"[a % 2],
        "s": f"text {a}",
        "img": b"image %d" % a,
        "part": b"parts of %d" % a,
        "v": [1.0, a],
        "w": [a, 1.0],
    }
    return full | changed


@pytest.fixture(params=["manual", "commit"])
def trunk(request):
    ds = vd.Dataset.create("trunk", schema(), MemoryStore(), flush=request.param, cache_dir=None)
    ds.append_many([row(a) for a in range(1, 5)])
    return ds


def shown(ds):
    """The rows, from the stripes and from the Tracks alone."""
    fresh = vd.Dataset.open(ds.ref_name(), backend=ds.space.store, cache_dir=None)
    return rows_of_table(fresh.to_arrow())


def objects(ds):
    return set(ds.space.store.list())


def test_fast_forward_moves_the_ref_and_writes_nothing(trunk):  # 0008-R12
    side = trunk.branch("side")
    side.append_many([row(9)])
    before = objects(trunk)
    assert trunk.merge("side") == side.current_manifest() == trunk.current_manifest()
    assert objects(trunk) == before
    assert shown(trunk) == shown(side)
    assert trunk.merge("side") == side.current_manifest()


def test_fast_forward_is_refused_where_both_have_moved(trunk):
    side = trunk.branch("side")
    side.append_many([row(9)])
    trunk.append_many([row(8)])
    before = objects(trunk), trunk.current_manifest()
    with pytest.raises(MergeError, match="does not descend from its tip"):
        trunk.merge("side")
    trunk.refresh()
    assert (objects(trunk), trunk.current_manifest()) == before


def test_a_union_has_the_rows_of_both(trunk):  # 0008-R7
    side = trunk.branch("side")
    side.append_many([row(a) for a in range(10, 14)])
    trunk.append_many([row(a) for a in range(20, 24)])
    wanted = shown(trunk) | shown(side)
    parents = trunk._version, side._version
    merged = trunk.merge("side", "union-tracks")
    assert trunk.manifest.parents == parents
    assert trunk.manifest.ts > side.manifest.ts
    assert ";operation=union-merge;" in trunk.manifest.writer
    assert (trunk.current_manifest(), shown(trunk)) == (merged, wanted)
    assert trunk.flush() in (0, 3)
    assert shown(trunk) == wanted


def test_unflushed_rows_of_both_sides_may_be_merged_and_are_flushed_once():
    ds = vd.Dataset.create("trunk", schema(), MemoryStore(), cache_dir=None)
    ds.append_many([row(1), row(2)])
    side = ds.branch("side")
    side.append_many([row(3)])
    side.flush()
    ds.append_many([row(4)])
    ds.flush()
    wanted = shown(ds) | shown(side)
    ds.merge("side", "union")
    assert shown(ds) == wanted
    assert ds.flush() == 0
    assert shown(ds) == wanted
    entry = find_entry(ds.manifest.tracks, "v")
    rows = ds.space.rows(ds._version)
    assert entry is not None
    assert rows.unavailable == {}


def test_rows_flushed_on_both_sides_lie_in_one_bucket_only():
    ds = vd.Dataset.create("trunk", schema(), MemoryStore(), cache_dir=None)
    ds.append_many([row(a) for a in range(1, 6)])
    side = ds.branch("side")
    side.append_many([row(9)])
    ds.append_many([row(8)])
    side.flush()
    ds.flush()
    ds.merge("side", "union-tracks")
    wanted = shown(ds)
    for field in ("v", "w"):
        assert sorted(stored_anchors(ds, field)) == sorted(wanted)
    report = ds.compact()
    assert report["manifest"] == ds.current_manifest()
    assert shown(ds) == wanted


def stored_anchors(ds, field):
    track = read_track(ds.space.store, find_entry(ds.manifest.tracks, field))
    return [int(a) for block in iterate_vectors(ds.space.store, track, 2) for a in block.anchors]


def test_what_only_one_side_changed_is_taken_from_it(trunk):
    trunk.flush()
    side = trunk.branch("side")
    side.append_many([{"_anchor": 50, "n": 1}])
    side.flush()
    trunk.delete([1])
    before = {e.field: e.address for e in side.manifest.tracks.active}
    trunk.merge("side", "union-tracks")
    after = {e.field: e.address for e in trunk.manifest.tracks.active}
    assert {f: a for f, a in after.items() if "cover" not in f} == {
        f: a for f, a in before.items() if "cover" not in f
    }


def test_deletions_of_both_sides_hold(trunk):  # 0008-R8, 0020-R7
    side = trunk.branch("side")
    side.delete([1], reason="theirs")
    trunk.delete([2], reason="ours")
    heads = sorted(as_address(ds.manifest.registry[TOMBSTONES_KEY]["head"]) for ds in (trunk, side))
    trunk.merge("side", "union-tracks")
    head = as_address(trunk.manifest.registry[TOMBSTONES_KEY]["head"])
    index = decode_index(trunk.space.store.get(f"tombstones/{head}"))
    assert (index.root, list(index.parents)) == (None, heads)
    assert trunk.tombstone_set() == [1, 2]
    assert set(shown(trunk)) == {3, 4}


@pytest.mark.parametrize("ours", [True, False])
def test_a_deletion_on_one_side_is_taken_as_it_is(trunk, ours):
    side = trunk.branch("side")
    (trunk if ours else side).delete([3])
    (side if ours else trunk).append_many([row(9)])
    head = (trunk if ours else side).manifest.registry[TOMBSTONES_KEY]
    trunk.merge("side", "union-tracks")
    assert trunk.manifest.registry[TOMBSTONES_KEY] == head
    assert set(shown(trunk)) == {1, 2, 4, 9}


@pytest.mark.parametrize("nth", range(6))  # whatever the addresses of the payloads are
def test_of_two_values_at_one_anchor_the_larger_shows_and_of_media_theirs(nth):  # 0001-R17
    ds = vd.Dataset.create("trunk", schema(), MemoryStore(), flush="commit", cache_dir=None)
    side = ds.branch("side")
    ds.append_many([row(7, n=5, c="b", s="x", img=b"ours")])
    side.append_many([row(7, n=4, c="c", s="y", img=b"theirs %d" % nth)])
    base = load_manifest(ds.space.store, merge_base(ds.space.store, ds.version, side.version))

    def build(parent, _, batch):  # as others do, who do not ask whether values differ
        parting = Parting(parent, side.manifest, base)
        return union_change(ds.space.store, batch, parting, [side.version], ds.manifest.ts)

    commit(ds.space.store, "trunk", build)
    ds.refresh()
    found = shown(ds)[7]
    assert (found["n"], found["c"], found["s"], found["img"]) == (5, "c", "y", b"theirs %d" % nth)
    ds.flush()
    assert shown(ds)[7] == found


def test_merging_what_is_there_already_is_no_commit(trunk):
    side = trunk.branch("side")
    side.append_many([row(9)])
    trunk.append_many([row(8)])
    merged = trunk.merge("side", "union-tracks")
    before = objects(trunk)
    assert trunk.merge("side", "union-tracks") == merged
    assert trunk.merge("trunk", "union-tracks") == merged
    assert objects(trunk) == before


def test_a_branch_can_be_merged_again_and_again(trunk):
    side = trunk.branch("side")
    wanted = set(shown(trunk))
    for nth in range(4):
        side.append_many([row(100 + nth)])
        trunk.append_many([row(200 + nth)])
        trunk.merge("side", "union-tracks")
        wanted |= {100 + nth, 200 + nth}
        assert set(shown(trunk)) == wanted
        if nth == 1:
            side.merge("trunk")
            assert set(shown(side)) == wanted


def test_merge_many_makes_one_version_of_branches_that_share_no_row(trunk):  # 0008-R24
    tips = [trunk.current_manifest()]
    for nth in range(3):
        branch = trunk.branch(f"b{nth}")
        branch.append_many([row(10 + nth), row(30 + nth)])
        branch.delete([1 + nth, 30 + nth])
        tips.append(branch.current_manifest())
    trunk.append_many([row(20)])
    tips[0] = trunk.current_manifest()
    count = len(trunk.history(None))
    last = trunk.merge_many(["b0", "b1", "b1", "b2"])
    assert list(map(str, trunk.manifest.parents)) == tips
    assert len(trunk.history(None)) == count + 1
    assert set(shown(trunk)) == {4, 10, 11, 12, 20}
    assert trunk.tombstone_set() == [1, 2, 3, 30, 31, 32]
    assert trunk.merge_many(["b0", "b1", "b2"]) == last
    assert trunk.branch("after").merge("b1", "union") == last
    trunk.flush()
    assert set(shown(trunk)) == {4, 10, 11, 12, 20}


@pytest.mark.parametrize("shared", [True, False])
def test_merge_many_goes_one_after_another_where_rows_or_schemas_meet(trunk, shared):  # 0008-R24
    for nth in range(3):
        branch = trunk.branch(f"b{nth}")
        branch.append_many([row(10 + nth), *([row(40)] if shared else [])])
        if not shared:
            branch.add_scalar_int(f"extra{nth}", required=False)
    trunk.merge_many(["b0", "b1", "b2"])
    assert [len(load_manifest(trunk.space.store, v).parents) for v in _line(trunk)[:3]] == [2, 2, 2]
    assert set(shown(trunk)) == {1, 2, 3, 4, 10, 11, 12, *([40] if shared else [])}


def _line(ds):
    return [address for address, _ in first_parents(ds.space.store, ds.version)]


@pytest.mark.parametrize("seed", range(6))
def test_merge_many_shows_what_merges_one_after_another_show(trunk, seed):  # 0008-R24
    rng = np.random.default_rng(seed)
    names = [f"b{nth}" for nth in range(5)]
    for nth, name in enumerate(names):
        branch = trunk.branch(name)
        for step in range(int(rng.integers(0, 3))):
            kept = rng.choice(["n", "c", "s", "img", "part", "v", "w"], 5, replace=False)
            branch.append_many(
                [
                    {
                        k: v
                        for k, v in row(100 + 10 * k + 2 * nth + step).items()
                        if k in {*kept, "n", "_anchor"}
                    }
                    for k in range(3)
                ]
            )
            branch.flush() if rng.random() < 0.4 else None
        branch.delete(rng.choice(5, 1)) if rng.random() < 0.5 else None
        branch.compact() if rng.random() < 0.2 else None
    other = trunk.branch("other")
    for name in names:
        other.merge(name, "union")
    trunk.merge_many(names)
    for ds in (trunk, other):
        ds.flush()
    assert shown(trunk) == shown(other)
    assert trunk.tombstone_set() == other.tombstone_set()


def test_merge_many_keeps_what_went_before_a_failure(trunk):
    trunk.branch("good").append_many([row(10)])
    trunk.branch("bad").set_meta("dreamdb.title", "theirs")
    trunk.set_meta("dreamdb.title", "ours")
    with pytest.raises(MergeError, match=r"branch 'bad': .*'dreamdb.title'.*; merged before: good$"):
        trunk.merge_many(["good", "bad"])
    assert set(shown(trunk)) == {1, 2, 3, 4, 10}
    assert trunk.current_manifest() == trunk.refresh().current_manifest()


def refused(ds, error, match, *args):
    """The merge is refused, and writes nothing."""
    before, tip = objects(ds), ds.current_manifest()
    with pytest.raises(error, match=match):
        ds.merge(*args)
    assert objects(ds) == before
    assert ds.refresh().current_manifest() == tip


def test_what_one_side_alone_says_in_the_registry_counts(trunk):  # 0008-R9
    trunk.set_meta("dreamdb.title", "old")
    trunk.set_meta("dreamdb.gone", "x")
    side = trunk.branch("side")
    side.add_scalar_int("extra", required=False)
    side.set_meta("dreamdb.title", "new")
    side.append_many([row(9, extra=90)])
    trunk.append_many([row(8)])
    trunk.set_description("ours")
    commit(trunk.space.store, "side", lambda *_: Change("x", registry={"dreamdb.x": {"ours": 1}}))
    commit(trunk.space.store, "side", lambda *_: Change("x", unregistered=frozenset({"dreamdb.gone"})))
    wanted = shown(side) | shown(trunk)
    trunk.refresh().merge("side", "union")
    said = trunk.manifest.registry
    assert (said["dreamdb.title"], said["dreamdb.description"]) == ("new", "ours")
    assert said["dreamdb.x"] == {"ours": 1}
    assert "dreamdb.gone" not in said
    assert {a: {k: v for k, v in r.items() if v is not None} for a, r in shown(trunk).items()} == {
        a: {k: v for k, v in r.items() if v is not None} for a, r in wanted.items()
    }
    assert shown(trunk)[9]["extra"] == 90
    trunk.append_many([row(30, extra=3)])
    trunk.flush()
    assert (shown(trunk)[30]["extra"], shown(trunk)[8].get("extra")) == (3, None)


def test_both_may_add_fields(trunk):
    side = trunk.branch("side")
    side.add_scalar_int("theirs", required=False)
    side.add_scalar_string("same", required=False)
    trunk.add_scalar_int("ours", required=False)
    trunk.add_scalar_string("same", required=False)
    side.append_many([row(9, theirs=1, same="a")])
    trunk.append_many([row(8, ours=2, same="b")])
    trunk.merge("side", "union")
    assert {"theirs", "ours", "same"} <= set(trunk.schema.names)
    assert [shown(trunk)[a].get(n) for a in (8, 9) for n in ("ours", "theirs", "same")] == [
        2,
        None,
        "b",
        None,
        1,
        "a",
    ]


def retitled(trunk):
    side = trunk.branch("side")
    side.set_meta("dreamdb.title", "theirs")
    trunk.set_meta("dreamdb.title", "ours")
    return side


def test_metadata_that_both_changed_is_told_with_both_values(trunk):
    retitled(trunk)
    refused(
        trunk,
        MergeError,
        r"'dreamdb.title' is 'ours' here, 'theirs' there; .*conflicts='ours'",
        "side",
        "union",
    )


@pytest.mark.parametrize("policy", ["ours", "theirs"])
def test_a_policy_decides_about_metadata(trunk, policy):
    retitled(trunk).append_many([row(9)])
    trunk.merge("side", "union", conflicts=policy)
    assert trunk.manifest.registry["dreamdb.title"] == policy
    assert 9 in shown(trunk)


@pytest.mark.parametrize("policy", ["error", "ours", "theirs"])
def test_schemas_that_no_rule_unites_are_refused_with_the_way_out(trunk, policy):
    side, other = trunk.branch("side"), trunk.branch("other")
    side.add_scalar_int("x", required=False)
    trunk.add_scalar_string("x", required=False)
    refused(
        trunk,
        MergeError,
        r"field 'x' is scalar \(.*string.*\) here, scalar \(.*int.*\) there; decomm",
        "side",
        "union",
        policy,
    )
    other.decommission_modality("s")
    refused(
        trunk,
        MergeError,
        "field 's' was dropped on one side .* drop it on the other one too",
        "other",
        "union",
        policy,
    )


def test_an_index_made_anew_beside_flushed_rows_is_refused():
    schema = vd.Schema().add_scalar_int("n")
    ds = vd.Dataset.create("trunk", schema, MemoryStore(), flush="commit", cache_dir=None)
    index = vd.train_and_publish_ivf_centroids(ds.space.store, np.eye(2, dtype="f4"), 2)
    ds.add_embedding("v", 2, algorithm="dreamdb.ivf-cosine", spatial_index=index, required=False)
    ds.append_many([{"_anchor": a, "n": a, "v": [1.0, float(a)]} for a in range(8)])
    ds.branch("other")
    side = ds.branch("side")
    side.rebuild_ivf("v", k=2, seed=5)
    ds.append_many([{"_anchor": 50, "n": 1, "v": [2.0, 1.0]}])
    refused(ds, MergeError, "the index of field 'v' was made anew on one side", "side", "union")
    other = vd.Dataset.open("other", backend=ds.space.store, cache_dir=None)
    other.append_many([{"_anchor": 60, "n": 1}])  # no vector: its Track stays as it was
    other.merge("side", "union")
    assert sorted(shown(other)) == [*range(8), 60]
    assert other.search("v", [[1.0, 3.0]], 1).anchors.tolist() == [[3]]


def test_other_datasets_are_refused(trunk):
    vd.Dataset.create("other", schema(), trunk.space.store, cache_dir=None)
    refused(trunk, MergeError, "not branches of one dataset", "other", "union")
    refused(trunk, MergeError, "does not descend", "other")


def test_what_cannot_be_asked_is_told(trunk):
    refused(
        trunk,
        InvalidInputError,
        r"strategy must be 'fast-forward' or 'union-tracks', not 'rebase'",
        "x",
        "rebase",
    )
    refused(trunk, RefNotFoundError, "ref 'nope' does not exist", "nope")
    snapshot = trunk.snapshot("s")["label"]
    with pytest.raises(InvalidInputError, match="is a snapshot and does not move"):
        vd.Dataset.open_ref(snapshot, trunk.space.store, cache_dir=None).merge("trunk")
    with pytest.raises(InvalidInputError, match="at least one branch"):
        trunk.merge_many([])


def test_a_snapshot_can_be_merged_from(trunk):
    side = trunk.branch("side")
    side.append_many([row(9)])
    label = side.snapshot("s")["label"]
    side.append_many([row(10)])
    trunk.append_many([row(8)])
    trunk.merge(label, "union")
    assert set(shown(trunk)) == {1, 2, 3, 4, 8, 9}


def test_constants_must_be_equal(trunk):
    side = trunk.branch("side")
    for ds in (trunk, side):
        ds.add_constant("title", "title.text", "same")
    side.append_many([row(9)])
    trunk.merge("side", "union")
    other = trunk.branch("other")
    assert other.constants() == {"title": "same"}


def test_differing_constants_are_refused(trunk):
    side = trunk.branch("side")
    trunk.add_constant("title", "title.text", "one")
    side.add_constant("title", "title.text", "two")
    refused(trunk, MergeError, "constant 'title' has another value on each side", "side", "union")
    trunk.merge("side", "union", conflicts="theirs")
    assert trunk.constants() == {"title": "two"}


def test_a_race_is_lost_and_the_merge_built_again(trunk, monkeypatch):  # 0005-R12
    side = trunk.branch("side")
    side.append_many([row(9)])
    other = vd.Dataset.open("trunk", backend=trunk.space.store, cache_dir=None)
    put = Batch.flush
    raced = []

    def flush(batch):
        put(batch)
        if not raced:
            raced.append(True)
            other.append_many([row(30)])

    trunk.append_many([row(8)])
    monkeypatch.setattr(Batch, "flush", flush)
    trunk.merge("side", "union-tracks")
    assert raced
    assert set(shown(trunk)) == {1, 2, 3, 4, 8, 9, 30}


def test_a_fast_forward_that_loses_the_race_looks_again(trunk):
    side = trunk.branch("side")
    side.append_many([row(9)])
    store = trunk.space.store
    swap = store.swap_ref

    class Racing:
        def __init__(self):
            self.raced = False

        def __getattr__(self, name):
            return getattr(store, name)

        def swap_ref(self, name, expect, new):
            if not self.raced:
                self.raced = True
                vd.Dataset.open("trunk", backend=store, cache_dir=None).append_many([row(30)])
            return swap(name, expect, new)

    racing = vd.Dataset.open("trunk", backend=Racing(), cache_dir=None)
    with pytest.raises(MergeError, match="does not descend"):
        racing.merge("side")
    assert set(shown(trunk)) == {1, 2, 3, 4, 30}


# --- covering -----------------------------------------------------------------------------------------------


def test_nothing_is_projected_after_a_merge_of_flushed_branches(trunk, monkeypatch):
    trunk.flush()
    side = trunk.branch("side")
    side.append_many([row(9)])
    trunk.append_many([row(8)])
    side.flush()
    trunk.flush()
    trunk.merge("side", "union-tracks")
    monkeypatch.setattr("dreamdb_arrow.columnar.folding.project", None)
    assert set(shown(trunk)) == {1, 2, 3, 4, 8, 9}
    trunk.compact()
    assert set(shown(trunk)) == {1, 2, 3, 4, 8, 9}


def test_many_notes_become_one():
    ds = vd.Dataset.create("trunk", vd.Schema().add_scalar_int("n"), MemoryStore(), cache_dir=None)
    for nth in range(20):
        side = ds.branch(f"b{nth}")
        side.append_many([{"_anchor": 100 + nth, "n": nth}])
        side.flush()
        ds.append_many([{"_anchor": 200 + nth, "n": nth}])
        ds.merge(f"b{nth}", "union")
    assert len(read_fragments(ds.space.store, ds.manifest, COVER)) <= 17
    assert len(shown(ds)) == 40


# --- bases --------------------------------------------------------------------------------------------------


def versions(ds):
    return ds._version


def test_the_merge_base_is_the_newest_version_behind_both(trunk):
    store = trunk.space.store
    start = versions(trunk)
    side = trunk.branch("side")
    assert merge_base(store, start, start) == start
    side.append_many([row(9)])
    trunk.append_many([row(8)])
    assert merge_base(store, versions(trunk), versions(side)) == start
    assert is_ancestor(store, start, versions(side))
    assert not is_ancestor(store, versions(side), versions(trunk))
    before = versions(side)
    trunk.merge("side", "union")
    assert merge_base(store, versions(trunk), before) == before
    assert is_ancestor(store, before, versions(trunk))
    side.append_many([row(10)])
    trunk.append_many([row(11)])
    assert merge_base(store, versions(trunk), versions(side)) == before
    other = vd.Dataset.create("other", schema(), store, cache_dir=None)
    assert merge_base(store, versions(trunk), versions(other)) is None


def test_after_a_criss_cross_a_base_is_found(trunk):
    side = trunk.branch("side")
    side.append_many([row(9)])
    trunk.append_many([row(8)])
    one, two = versions(trunk), versions(side)
    trunk.merge("side", "union")
    old = trunk.branch("old")
    side.merge("old", "union")
    trunk.append_many([row(18)])
    side.append_many([row(19)])
    assert merge_base(trunk.space.store, versions(trunk), versions(side)) in (one, two, versions(old))
    trunk.merge("side", "union")
    assert set(shown(trunk)) == {1, 2, 3, 4, 8, 9, 18, 19}


def test_without_a_base_both_sides_are_united_whole(trunk):
    trunk.flush()
    side = trunk.branch("side")
    side.append_many([row(9)])
    trunk.append_many([row(8)])
    wanted = shown(trunk) | shown(side)
    vd.gc(trunk.space.store, 0, dry_run=False, writers_paused=True)
    assert merge_base(trunk.space.store, versions(trunk), versions(side)) is None
    trunk.merge("side", "union")
    assert shown(trunk) == wanted
    trunk.flush()
    assert shown(trunk) == wanted


def test_cells_compacted_on_one_side_are_not_there_twice(trunk):
    trunk.flush()
    trunk.append_many([row(5)])
    trunk.flush()
    side = trunk.branch("side")
    for compacted, other, name in ((trunk, side, "side"), (side, trunk, "side")):
        compacted.compact()
        other.append_many([row(len(shown(other)) + 50)])
        other.flush()
        wanted = shown(trunk) | shown(side)
        trunk.merge(name, "union")
        assert shown(trunk) == wanted
        for field in ("v", "w"):
            assert sorted(stored_anchors(trunk, field)) == sorted(wanted)
        side.merge("trunk")


def test_cells_compacted_on_both_sides_are_refused(trunk):
    for a in (5, 6):
        trunk.append_many([row(a)])
        trunk.flush()
    side = trunk.branch("side")
    for ds, a in ((trunk, 30), (side, 40)):
        ds.append_many([row(a)])
        ds.flush()
        ds.compact()
    refused(trunk, MergeError, r"field '[vw]': both sides compacted cell '[01]+'", "side", "union")


def test_hot_buffers_are_refused_with_the_way_out(trunk):
    trunk.flush()
    entry = find_entry(trunk.manifest.tracks, "n")
    track = read_track(trunk.space.store, entry)
    index = {"form": "hot-overlay-v1", "hot_shard": entry.address, "base_track": entry.address}
    side = trunk.branch("side")

    def build(_, __, batch):
        address = add_track(batch, replace(track, object_index=index))
        return Change("append_hot", (replace(entry, address=address),))

    commit(trunk.space.store, "side", build)
    trunk.append_many([row(8)])
    trunk.flush()
    theirs = load_manifest(side.space.store, side.space.resolve("side"))
    parting = Parting(trunk.manifest, theirs, None)
    with pytest.raises(UnsupportedError, match=r"field 'n' has rows in a hot buffer; call flush_hot\(\)"):
        unite(trunk.space.store, Batch(trunk.space.store), parting, 0)


# --- refs ---------------------------------------------------------------------------------------------------


def test_a_ref_can_be_deleted_but_for_the_own_one(trunk):
    side = trunk.branch("side")
    label = trunk.snapshot("s")["label"]
    for name in ("side", label):
        trunk.delete_ref(name)
    assert trunk.list_refs() == ["trunk"]
    with pytest.raises(InvalidInputError, match="this dataset is on 'trunk'"):
        trunk.delete_ref("trunk")
    with pytest.raises(RefNotFoundError, match="ref 'side' does not exist"):
        trunk.delete_ref("side")
    assert np.array_equal(side.to_arrow()["n"], trunk.to_arrow()["n"])
