"""Reverts: a new version equal to an old one, and a history that goes on."""

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import InvalidInputError, NotFoundError, ObjectNotFoundError
from dreamdb_arrow.history.manifests import manifest_path
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.model import rows_of_table


@pytest.fixture(params=["manual", "commit"])
def ds(request):
    made = vd.Dataset.create(
        "x", vd.Schema().add_scalar_int("n"), MemoryStore(), flush=request.param, cache_dir=None
    )
    made.append({"_anchor": [1, 2, 3], "n": [1, 2, 3]})
    made.delete([3])
    return made


def shown(ds):
    return rows_of_table(vd.Dataset.open(ds.ref_name(), backend=ds.space.store, cache_dir=None).to_arrow())


def test_schema_rows_tombstones_and_metadata_are_as_they_were(ds):  # 0008-R19
    old, wanted = ds.manifest, shown(ds)
    ds.snapshot("first")
    ds.append({"_anchor": [4], "n": [4]})
    ds.delete([1])
    ds.set_meta("dreamdb.title", "later")
    ds.add_scalar_string("s")
    ds.append({"_anchor": [5], "n": [5], "s": ["five"]})
    ds.flush()
    tip, count = ds._version, len(ds.history(None))
    assert ds.revert("first") == ds.current_manifest()
    assert ds.manifest.parents == (tip,)
    assert len(ds.history(None)) == count + 1
    assert ds.history(1)[0]["operation"] == "revert"
    assert (ds.manifest.tracks, ds.manifest.registry) == (old.tracks, old.registry)
    assert shown(ds) == wanted
    assert ds.tombstone_set() == [3]


def test_the_history_goes_on_and_a_revert_can_be_reverted(ds):
    first, before = ds.current_manifest(), shown(ds)
    ds.append({"_anchor": [4], "n": [4]})
    second, after = ds.current_manifest(), shown(ds)
    ds.revert(first)
    ds.append({"_anchor": [9], "n": [9]})
    assert set(shown(ds)) == {*before, 9}
    ds.revert(second)
    assert shown(ds) == after


def test_by_time_and_by_a_version_of_another_branch(ds):
    early = ds.manifest.ts
    side = ds.branch("side")
    side.append({"_anchor": [7], "n": [7]})
    ds.append({"_anchor": [4], "n": [4]})
    ds.revert(early)
    assert set(shown(ds)) == {1, 2}
    ds.revert(side.current_manifest())
    assert set(shown(ds)) == {1, 2, 7}


def test_what_is_so_already_is_no_commit(ds):
    before = set(ds.space.store.list())
    assert ds.revert(ds.current_manifest()) == ds.current_manifest()
    assert set(ds.space.store.list()) == before


def test_what_cannot_be_brought_back_is_refused(ds):
    other = vd.Dataset.create("other", vd.Schema().add_scalar_int("n"), ds.space.store, cache_dir=None)
    old = ds.snapshot("old")
    ds.append({"_anchor": [4], "n": [4]})
    before = ds.current_manifest()
    with pytest.raises(InvalidInputError, match="is no version of 'x': it has another timeline"):
        ds.revert(other.current_manifest())
    with pytest.raises(NotFoundError, match="x@never"):
        ds.revert("never")
    ds.space.store.delete(manifest_path(ds.space.resolve("x", "old")))
    fresh = vd.Dataset.open("x", backend=ds.space.store, cache_dir=None)
    with pytest.raises(ObjectNotFoundError):
        fresh.revert(old["manifest"])
    assert ds.refresh().current_manifest() == before


def test_open_at_takes_a_label_an_address_and_a_time(ds):
    version, ts = ds.current_manifest(), ds.manifest.ts
    ds.snapshot("first")
    ds.append({"_anchor": [4], "n": [4]})
    store = ds.space.store
    for name in ("x@first", version, f"x@{ts}"):
        opened = vd.Dataset.open_at(name, store, cache_dir=None)
        assert opened.current_manifest() == version
    with pytest.raises(NotFoundError, match="x@never"):
        vd.Dataset.open_at("x@never", store, cache_dir=None)


def test_a_branch_of_an_older_version(ds):
    version = ds.current_manifest()
    ds.append({"_anchor": [4], "n": [4]})
    side = ds.branch("side", as_of=version)
    assert set(shown(side)) == {1, 2}
    with pytest.raises(NotFoundError, match="never"):
        ds.branch("other", as_of="never")
    assert "other" not in ds.list_refs()
