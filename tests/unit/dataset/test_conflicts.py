"""Conflicts of a merge: named by field and anchor, decided by a policy in both faces, and not seen where there are none."""

import random

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset import conflicts as found_by
from dreamdb_arrow.errors import InvalidInputError, MergeError, UnsupportedError
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.model import rows_of_table

NAMES = ("n", "c", "s", "im", "a", "v", "w")


def schema():
    return (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("c", required=False)
        .add_scalar_string("s", required=False)
        .add_image("im", required=False)
        .add_array("a", "f32", (2,), required=False)
        .add_embedding("v", dim=2, lsh_bits=2, required=False)
        .add_embedding("w", dim=2, lsh_bits=2, rerank=True, required=False)
    )


def row(a, nth=0, **changed):
    full = {
        "_anchor": a,
        "n": a + nth,
        "c": "xyz"[nth],
        "s": f"text {a} {nth}",
        "im": b"image %d %d" % (a, nth),
        "a": [float(a), float(nth)],
        "v": [1.0, float(a + nth)],
        "w": [float(nth), 1.0],
    }
    return full | changed


@pytest.fixture(params=["manual", "commit"])
def ds(request):
    made = vd.Dataset.create("x", schema(), MemoryStore(), flush=request.param, cache_dir=None)
    made.append_many([row(a) for a in range(1, 5)])
    return made


def shown(ds):
    return rows_of_table(vd.Dataset.open(ds.ref_name(), backend=ds.space.store, cache_dir=None).to_arrow())


def in_tracks(ds):
    """What somebody reads who does not know stripes."""

    def build(parent: Manifest, *_):
        gone = frozenset(e.field for e in parent.tracks.active if e.modality.startswith("org.dreamdb.arrow."))
        return Change("x", removed=gone)

    vd.Dataset.open(ds.ref_name(), backend=ds.space.store, cache_dir=None).branch("tracks").flush()
    commit(ds.space.store, "tracks", build)
    found = shown(vd.Dataset.open("tracks", backend=ds.space.store, cache_dir=None))
    ds.delete_ref("tracks")
    return found


def test_the_same_row_on_both_sides_is_no_conflict(ds):
    side = ds.branch("side")
    side.append_many([row(9), row(10, s=None)])
    ds.append_many([row(8), row(9), row(10)])
    ds.merge("side", "union")
    assert sorted(shown(ds)) == [1, 2, 3, 4, 8, 9, 10]
    assert shown(ds)[10]["s"] == "text 10 0"


def test_conflicts_are_named_by_field_and_anchor_and_nothing_is_written(ds):  # 0008-R20
    side = ds.branch("side")
    side.append_many([row(9, n=1, s="theirs"), row(10)])
    ds.append_many([row(9, n=2, s="ours"), row(10)])
    before = set(ds.space.store.list()), ds.current_manifest()
    with pytest.raises(MergeError) as caught:
        ds.merge("side", "union")
    told = str(caught.value)
    assert told.startswith("2 values differ between both sides: field 'n' at anchor 9: 2 here, 1 there; ")
    assert (
        "field 's' at anchor 9: 'ours' here, 'theirs' there; merge with conflicts='ours' or 'theirs'" in told
    )
    assert {name: a.tolist() for name, a in caught.value.conflicts.items()} == {"n": [9], "s": [9]}
    assert (set(ds.space.store.list()), ds.refresh().current_manifest()) == before


def test_of_many_conflicts_a_few_are_named_and_all_counted(ds):
    side = ds.branch("side")
    side.append_many([row(a, 1) for a in range(10, 30)])
    ds.append_many([row(a, 2) for a in range(10, 30)])
    with pytest.raises(MergeError, match=r"^140 values differ .* and 135 more; ") as caught:
        ds.merge("side", "union")
    assert [caught.value.conflicts[name].tolist() for name in NAMES] == [list(range(10, 30))] * 7
    assert str(caught.value).count("field ") == 5


@pytest.mark.parametrize("flushed", ["neither", "ours", "theirs", "both"])
@pytest.mark.parametrize("policy", ["ours", "theirs"])
def test_a_policy_says_whose_value_counts(ds, policy, flushed):  # 0008-R20
    side = ds.branch("side")
    side.append_many([row(a, 1) for a in (9, 10, 11)] + [row(12, 1, s=None, v=None)])
    ds.append_many([row(a, 2) for a in (8, 10, 11)] + [row(12, 2, im=None)])
    last = 2 if policy == "ours" else 1
    rows = [*map(row, range(1, 5)), row(8, 2), row(9, 1), row(10, last), row(11, last)]
    model = vd.Dataset.create("model", schema(), MemoryStore(), cache_dir=None)
    model.append_many([*rows, row(12, last, s="text 12 2", v=[1.0, 14.0], im=b"image 12 1")])
    expected = shown(model)
    for each, name in ((ds, "ours"), (side, "theirs")):
        if flushed in (name, "both"):
            each.flush()
    ds.merge("side", "union", conflicts=policy)
    assert shown(ds) == expected
    assert in_tracks(ds) == expected
    ds.flush()
    ds.compact()
    assert shown(ds) == expected == in_tracks(ds)
    assert ds.search("v", [[0.0, 1.0]], 20).anchors[0].tolist().count(10) == 1


def test_a_value_that_only_one_side_changed_is_no_conflict(ds):
    """A layer that one side makes anew: the other has it as the base had."""
    ds.add_scalar_layer("size", "n", "int", [(1, 10), (2, 20)])
    side = ds.branch("side")
    side.append_many([row(9)])
    ds.compact()
    ds.append_many([row(8)])
    ds.merge("side", "union")
    assert {a: r.get("size") for a, r in shown(ds).items()} == {
        1: 10,
        2: 20,
        3: None,
        4: None,
        8: None,
        9: None,
    }


def test_layers_that_both_made_differ_by_row(ds):
    side = ds.branch("side")
    for each, last in ((ds, 21), (side, 22)):
        each.add_scalar_layer("size", "n", "int", [(1, 10), (2, last)])
    with pytest.raises(MergeError) as caught:
        ds.merge("side", "union")
    assert "field 'size' at anchor 2: 21 here, 22 there" in str(caught.value)


def test_deleted_rows_have_no_conflicts(ds):
    side = ds.branch("side")
    side.append_many([row(9, 1)])
    ds.append_many([row(9, 2)])
    side.delete([9])
    ds.merge("side", "union")
    assert sorted(shown(ds)) == [1, 2, 3, 4]


@pytest.mark.parametrize("compacted", [0, 1, 2])
def test_sides_that_were_compacted_hold_the_same_rows(ds, compacted):
    ds.append_many([row(20)])
    side = ds.branch("side")
    side.append_many([row(9)])
    ds.append_many([row(8)])
    wanted = shown(ds) | shown(side)
    for each in (ds, side)[:compacted]:
        each.compact(tracks=compacted < 2)  # cells may be compacted on one side only
    ds.merge("side", "union")
    assert shown(ds) == wanted


def test_codes_alone_cannot_be_written_again():
    store = MemoryStore()
    coder = vd.publish_rabitq_compressor(store, 8, bytes(32))
    fields = vd.Schema().add_scalar_int("n").add_embedding("v", dim=8, lsh_bits=2, compressor=coder)
    ds = vd.Dataset.create("x", fields, store, flush="commit", cache_dir=None)
    side = ds.branch("side")
    side.append_many([{"_anchor": 1, "n": 1, "v": [1.0] * 8}])
    ds.append_many([{"_anchor": 1, "n": 1, "v": [2.0, *[1.0] * 7]}])
    before = ds.current_manifest()
    with pytest.raises(UnsupportedError, match="field 'v' keeps codes of its vectors only"):
        ds.merge("side", "union", conflicts="ours")
    assert ds.refresh().current_manifest() == before


def test_policies_are_three(ds):
    ds.branch("side")
    with pytest.raises(
        InvalidInputError, match="conflicts must be one of 'error', 'ours', 'theirs', not 'mine'"
    ):
        ds.merge("side", "union", conflicts="mine")


def test_rows_apart_in_time_are_not_read(ds, monkeypatch):
    side = ds.branch("side")
    side.append_many([row(a) for a in range(100, 110)])
    ds.append_many([row(a) for a in range(200, 210)])
    monkeypatch.setattr(found_by, "live_rows", None)
    ds.merge("side", "union")
    assert len(shown(ds)) == 24


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("policy", ["ours", "theirs"])
def test_random_branches(seed, policy, monkeypatch):
    """Overlapping appends, deletions, flushes and compactions on both sides, against dicts."""
    monkeypatch.setattr(found_by, "CHUNK", 3)
    rng = random.Random(seed)
    ds = vd.Dataset.create("x", schema(), MemoryStore(), cache_dir=None)
    ds.append_many([row(a) for a in range(0, 40, 4)])
    sides = [ds, ds.branch("side")]
    for _ in range(8):
        nth = rng.randrange(2)
        at = sides[nth]
        held = set(rows_of_table(at.to_arrow())) | set(at.tombstone_set())
        free = sorted(set(range(60)) - held)
        match rng.randrange(5 - nth):  # cells may be compacted on one side only
            case 0 | 1:
                at.append_many([row(a, rng.randrange(2) * (nth + 1)) for a in sorted(rng.sample(free, 5))])
            case 2:
                at.delete(rng.sample(range(60), 2))
            case 3:
                at.flush()
            case 4:
                at.compact()
    deleted = set(ds.tombstone_set()) | set(sides[1].tombstone_set())
    first, last = (sides[1], sides[0]) if policy == "ours" else (sides[0], sides[1])
    wanted = {a: r for a, r in (shown(first) | shown(last)).items() if a not in deleted}
    ds.merge("side", "union", conflicts=policy)
    assert shown(ds) == wanted
    assert in_tracks(ds) == wanted
