from dataclasses import replace

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import CommitError, RefConflictError, RefNotFoundError, StoreError
from dreamdb_arrow.history import commit as commits
from dreamdb_arrow.history.ancestry import first_parents
from dreamdb_arrow.history.commit import Change, apply_change, commit
from dreamdb_arrow.history.manifests import manifest_path
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing import FaultyStore


@pytest.fixture
def ds():
    return vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), MemoryStore(), cache_dir=None)


def described(text):
    return lambda *_: Change("describe", registry={"dreamdb.description": text})


def test_a_commit_moves_the_ref_and_names_its_parent(ds):  # 0008-R4
    store, before = ds.space.store, ds._version
    address, manifest = commit(store, "x", described("hello"), clock=lambda: 2**62)
    assert store.read_ref("x").address == address
    assert manifest.parents == (before,)
    assert manifest.ts == 2**62
    assert manifest.registry["dreamdb.description"] == "hello"
    assert ";operation=describe;" in manifest.writer
    assert manifest.tracks == ds.manifest.tracks
    assert ds.refresh().description() == "hello"


def test_time_never_goes_back_whatever_the_clock_says(ds):  # 0001-R3, 0008-R6
    times = [commit(ds.space.store, "x", described(str(i)), clock=lambda: 5)[1].ts for i in range(3)]
    assert times == [ds.manifest.ts + 1, ds.manifest.ts + 2, ds.manifest.ts + 3]


def test_a_change_of_nothing_is_no_commit(ds):
    objects = set(ds.space.store.list())
    address, manifest = commit(ds.space.store, "x", lambda *_: Change("nothing"))
    assert (address, manifest) == (ds._version, ds.manifest)
    assert set(ds.space.store.list()) == objects


def test_entries_replace_those_of_their_field_and_stay_in_order(ds):  # 0001-R4, 0006-R3
    entry = next(e for e in ds.manifest.tracks.active if e.field == "n")
    changed = apply_change(ds.manifest, ds._version, Change("x", (replace(entry, coverage=(3, 9)),)), 0)
    assert [e.field for e in changed.tracks.active] == [e.field for e in ds.manifest.tracks.active]
    assert next(e for e in changed.tracks.active if e.field == "n").coverage == (3, 9)
    assert (changed.tracks.lineage, changed.tracks.edges) == ((), ())


def test_a_lost_race_is_built_again_on_the_new_tip(ds):  # 0005-R12, 0006-R8
    tips = []

    def build(parent, tip, _):
        tips.append(tip)
        if len(tips) <= 3:
            commit(ds.space.store, "x", described(f"rival {len(tips)}"))
        return Change("describe", registry={"dreamdb.title": parent.registry.get("dreamdb.description", "")})

    _, manifest = commit(ds.space.store, "x", build)
    assert len(set(tips)) == 4
    assert manifest.registry["dreamdb.title"] == "rival 3"


def test_who_loses_every_race_is_told(ds, monkeypatch):
    monkeypatch.setattr(commits, "ATTEMPTS", 3)

    def build(*_):
        commit(ds.space.store, "x", described(str(ds.space.store.read_ref("x"))))
        return Change("describe", registry={"dreamdb.title": "never"})

    with pytest.raises(CommitError, match="'x' lost the race 3 times"):
        commit(ds.space.store, "x", build)
    assert "dreamdb.title" not in ds.refresh().meta()


def test_a_change_that_was_decided_on_a_tip_is_not_built_on_another(ds):
    before = ds._version
    commit(ds.space.store, "x", described("rival"))
    with pytest.raises(RefConflictError, match=str(before)):
        commit(ds.space.store, "x", described("late"), expect=before)
    tip = ds.refresh()._version
    commit(ds.space.store, "x", described("in time"), expect=tip)
    assert ds.refresh().description() == "in time"


def test_snapshots_and_missing_refs_are_refused(ds):  # 0008-R1
    ds.snapshot("v1")
    with pytest.raises(vd.InvalidInputError, match="'x@v1' is a snapshot and does not move"):
        commit(ds.space.store, "x@v1", described("no"))
    with pytest.raises(RefNotFoundError, match="'y' does not exist"):
        commit(ds.space.store, "y", described("no"))
    with pytest.raises(vd.InvalidInputError, match="not a ref name"):
        commit(ds.space.store, "../y", described("no"))


def test_an_older_form_of_tracks_may_only_be_read(ds):  # 0001-R8
    old = replace(ds.manifest, tracks=replace(ds.manifest.tracks, form="lineage-v4"))
    if not old.tracks.read_only:
        pytest.skip("lineage-v4 is written, too")
    with pytest.raises(vd.UnsupportedError, match="can be read but not written"):
        commits.check_writable(old)


def test_ancestry_ends_where_versions_were_collected(ds):  # 0008-R3
    for i in range(4):
        ds.append({"_anchor": [i], "n": [i]})
    versions = [address for address, _ in first_parents(ds.space.store, ds._version)]
    assert len(versions) == 5
    assert [v["manifest"] for v in ds.history(2)] == [str(a) for a in versions[:2]]
    ds.space.store.delete(manifest_path(versions[2]))
    assert [a for a, _ in first_parents(ds.space.store, ds._version)] == versions[:2]
    with pytest.raises(vd.NotFoundError, match="no such version"):
        list(first_parents(ds.space.store, Address(versions[2])))


class Overtaken(FaultyStore):
    """The first swap takes place, or not; others go on from what is there; and no answer comes."""

    def __init__(self, store, others, lands):
        super().__init__(store)
        self.others, self.lands = others, lands

    def swap_ref(self, name, expect, new):
        if self.others is None:
            return super().swap_ref(name, expect, new)
        others, self.others = self.others, None
        if self.lands:
            super().swap_ref(name, expect, new)
        others()
        raise StoreError("no answer", retryable=True)


@pytest.mark.parametrize("lands", [True, False])
def test_a_commit_that_others_went_on_from_is_not_made_again(ds, lands):  # 0005-R9
    def others():
        for n in (7, 8):
            vd.Dataset.open("x", backend=ds.space.store, cache_dir=None).append({"_anchor": [n], "n": [n]})

    broken = vd.Dataset.open("x", backend=Overtaken(ds.space.store, others, lands), cache_dir=None)
    broken.append({"_anchor": [1], "n": [1]})
    ds.refresh()
    assert sorted(ds.to_arrow()["n"].to_pylist()) == [1, 7, 8]
    assert len(ds.history()) == 4
    assert broken.append({"_anchor": [2], "n": [2]}) == 1
    assert ds.refresh().count() == 4


def test_a_branch_and_a_dataset_that_others_went_on_from_are_made(ds):
    store = ds.space.store

    def grow(name):
        return lambda: vd.Dataset.open(name, backend=store, cache_dir=None).append({"_anchor": [9], "n": [9]})

    vd.Dataset.open("x", backend=Overtaken(store, grow("side"), True), cache_dir=None).branch("side")
    schema = vd.Schema().add_scalar_int("n")
    vd.Dataset.create("y", schema, Overtaken(store, grow("y"), True), cache_dir=None)
    assert [vd.Dataset.open(n, backend=store, cache_dir=None).count() for n in ("x", "side", "y")] == [
        0,
        1,
        1,
    ]
