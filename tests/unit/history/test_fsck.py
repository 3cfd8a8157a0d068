"""fsck: what is whole has no finding; what is missing, wrong or disagrees is named; what can be restored is."""

import shutil
from dataclasses import replace

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.notes import held_stripes, write_note
from dreamdb_arrow.columnar.vendor import STRIPE, add_track, read_fragments, read_track, write_fragments
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.history.object_kinds import kind_of
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.store.interface import Absent
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.model import rows_of_table


def row(a):
    return {
        "_anchor": a,
        "n": a % 7,
        "c": "ab"[a % 2],
        "img": b"image %d" % a,
        "part": b"part number %d" % a,
        "v": [1.0, a],
    }


def filled(store):
    schema = (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_categorical("c")
        .add_image("img", mime="png")
        .add_image("part", mime="jpeg", chunk_size=4)
        .add_embedding("v", dim=2, lsh_bits=2, rerank=True)
    )
    ds = vd.Dataset.create("main", schema, store, cache_dir=None)
    for start in (0, 10, 20):
        ds.append_many([row(start + k) for k in range(4)])
        ds.flush()
    ds.append_many([row(30)])
    ds.delete([1, 11], reason="gone")
    return ds


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def ds(store):
    return filled(store)


def wrong_with(store, **options):
    return [(f["kind"], f["wrong"]) for f in vd.fsck(store, **options)["findings"]]


def test_the_whole_is_counted(store, ds):
    report = vd.fsck(store)
    assert report["findings"] == []
    assert (report["refs"], report["versions"]) == (1, len(ds.history(None)))
    objects = [path for path in store.list() if not path.startswith("bao-outboard/")]
    assert report["objects"] == len(objects)
    assert report["size_bytes"] == sum(store.size(path) for path in objects)
    assert vd.verify(store, "main")["versions"] == 1
    assert vd.verify(store, "main", ds.history(None)[2]["manifest"])["findings"] == []


def test_it_goes_on_clean_after_all_that_changes_a_space(store, ds):
    side = ds.branch("side")
    side.append_many([row(500)])
    side.delete([10])
    ds.append_many([row(600)])
    ds.merge("side", "union-tracks")
    ds.flush()
    ds.compact()
    ds.decommission_modality("c")
    ds.add_scalar_string("s", required=False)
    added = {**row(700), "s": "x"}
    del added["c"]
    ds.append_many([added])
    ds.flush()
    assert vd.fsck(store)["findings"] == []
    vd.gc(store, 0, dry_run=False, writers_paused=True)
    assert vd.fsck(store)["findings"] == []


def test_each_missing_object_is_named(store, ds):
    """Of the tip by its path; of what only older versions lead to, the address at least."""
    held = {path: store.get(path) for path in store.list()}
    live = {
        path
        for path in held
        if not path.startswith("bundle/") and vd.gc(store, 0, writers_paused=True)["paths"].count(path) == 0
    }
    for path in sorted(live):
        store.delete(path)
        found = vd.verify(store, "main")["findings"]
        outboard_of_media = path.startswith("bao-outboard/") and not found
        told = {f["path"] or f["address"] for f in found}
        assert outboard_of_media or path in told or path.rpartition("/")[2] in told, path
        store.put(path, held[path])
    assert vd.fsck(store)["findings"] == []


def test_what_a_collector_took_is_not_missing(store, ds):
    vd.gc(store, 2, dry_run=False, writers_paused=True)
    assert vd.fsck(store)["findings"] == []
    assert vd.fsck(store)["versions"] == 3


def test_refs_that_name_nothing(store, ds):
    nowhere = address_of(b"nowhere")
    store.swap_ref("lost", Absent(), nowhere)
    assert wrong_with(store) == [
        ("manifest", "it is not there"),
        ("ref", f"it names no version: {nowhere}"),
    ]
    assert wrong_with(store, refs=["main"]) == []
    assert wrong_with(store, refs=["none"]) == [("ref", "there is no such ref")]


def test_garbage_is_looked_at_when_asked(store, ds):
    address = address_of(b"whole")
    store.put(f"anywhere/{address}", b"rotten")
    assert wrong_with(store) == []
    assert vd.fsck(store)["unreachable"] == 1
    assert wrong_with(store, unreachable=True) == [("object", "its bytes do not belong to its address")]


# ---------------------------------------------------------------- what hashes cannot tell


def change_entry(store, ds, field, **changed):
    """Commit a Track of a field in which something is not as it should be."""
    entry = find_entry(ds.manifest.tracks, field)
    track = replace(read_track(store, entry), **changed)
    commit(
        store, "main", lambda _, __, batch: Change("x", (replace(entry, address=add_track(batch, track)),))
    )


def test_a_note_that_calls_stripes_flushed_which_are_not(store, ds):
    def build(parent, _, batch):
        note = CoverNote({}, {}, held_stripes(store, parent))
        kept = read_fragments(store, parent, "org.dreamdb.arrow.cover.v1")
        return Change("x", (write_note(batch, parent.timeline, note, kept, parent.ts),))

    commit(store, "main", build)
    found = wrong_with(store)
    assert len(found) == 5  # each field lacks the row that was never flushed
    assert all(kind == "track" and "at 1 anchors, the first 30" in wrong for kind, wrong in found)


def test_a_note_that_covers_a_track_with_more_rows_than_stripes(store, ds):
    def build(parent, _, batch):
        held = read_fragments(store, parent, STRIPE)
        return Change("x", (write_fragments(batch, parent.timeline, STRIPE, held[1:]),))

    commit(store, "main", build)
    assert any("are in none" in wrong for _, wrong in wrong_with(store))


def test_a_stripe_with_rows_outside_of_its_range(store, ds):
    def build(parent, _, batch):
        held = read_fragments(store, parent, STRIPE)
        moved = [replace(held[0], t0=held[0].t0 + 1), *held[1:]]
        return Change("x", (write_fragments(batch, parent.timeline, STRIPE, moved),))

    commit(store, "main", build)
    assert any("some outside of" in wrong for _, wrong in wrong_with(store))


def test_a_stripe_of_another_size(store, ds):
    def build(parent, _, batch):
        held = read_fragments(store, parent, STRIPE)
        return Change(
            "x", (write_fragments(batch, parent.timeline, STRIPE, [replace(held[0], size=1), *held[1:]]),)
        )

    commit(store, "main", build)
    assert any("its entry says 1" in wrong for _, wrong in wrong_with(store))


def test_an_index_with_other_counts(store, ds):
    index = read_track(store, find_entry(ds.manifest.tracks, "n")).object_index
    change_entry(store, ds, "n", object_index={**index, "total_entries": index["total_entries"] + 1})
    assert any("an index of" in wrong for _, wrong in wrong_with(store))


@pytest.mark.parametrize(
    ("field", "at", "more", "match"),
    [("c", 1, 1, "other first or last"), ("img", 2, 1000, "an item of it ends at")],
)
def test_an_entry_that_says_something_else(store, ds, field, at, more, match):
    index = read_track(store, find_entry(ds.manifest.tracks, field)).object_index
    first = list(index[0])
    first[at] += more
    change_entry(store, ds, field, object_index=[first, *index[1:]])
    assert any(match in wrong for _, wrong in wrong_with(store))


def test_a_cell_with_another_range(store, ds):
    index = read_track(store, find_entry(ds.manifest.tracks, "v")).object_index
    first = list(index[0])
    first[2] += 1
    change_entry(store, ds, "v", object_index=[first, *index[1:]])
    assert any("other first or last anchors" in wrong for _, wrong in wrong_with(store))


def test_an_outboard_of_another_payload(store, ds):
    paths = [path for path in store.list() if path.startswith("bao-outboard/")]
    data = store.get(paths[1])
    store.delete(paths[0])
    store.put(paths[0], data + b"more")
    assert wrong_with(store) == [("outboard", "its bytes do not belong to its address")]


# ---------------------------------------------------------------- repair


@pytest.fixture
def damaged(tmp_path):
    """A Space in which every third object is damaged or gone, a whole copy of it, and its rows."""
    root, copy = tmp_path / "space", tmp_path / "copy"
    rows = rows_of_table(filled(str(root)).to_arrow())
    shutil.copytree(root, copy)
    for nth, path in enumerate(sorted(LocalStore(root).list())[::3]):
        if nth % 2:
            (root / path).unlink()
        else:
            data = bytearray((root / path).read_bytes())
            data[-1] ^= 1
            (root / path).write_bytes(data)
    return root, copy, rows


def test_what_is_elsewhere_is_put_back(damaged):
    root, copy, rows = damaged
    before = vd.fsck(root)["findings"]
    assert len(before) > 10
    report = vd.fsck(root, repair_from=[copy])
    assert report["findings"] == []
    assert len(report["restored"]) > 10
    assert rows_of_table(vd.Dataset.open("main", backend=root, cache_dir=None).to_arrow()) == rows
    for path in report["restored"]:
        assert (root / path).read_bytes() == (copy / path).read_bytes()


def test_any_folder_with_names_will_do(damaged, tmp_path):
    root, copy, _ = damaged
    heap = tmp_path / "heap"
    heap.mkdir()
    for path in LocalStore(copy).list():
        if not path.startswith("bao-outboard/"):
            shutil.copy(copy / path, heap / f"{path.rpartition('/')[2]}.bin")
    found = [f for f in vd.fsck(root, repair_from=[heap])["findings"] if f["path"]]
    assert found == []


def test_bytes_of_others_are_not_believed(damaged):
    root, copy, _ = damaged
    before = vd.fsck(root)["findings"]
    for path in LocalStore(copy).list():
        (copy / path).write_bytes(b"something else")
    report = vd.fsck(root, repair_from=[copy])
    left = {f["path"] for f in report["findings"]}
    assert {f["path"] for f in before if f["kind"] != "outboard"} <= left
    assert all(kind_of(path) == "outboard" for path in report["restored"])


def test_without_a_source_nothing_is_written(damaged):
    root, _, _ = damaged
    before = {path: (root / path).read_bytes() for path in LocalStore(root).list()}
    vd.fsck(root)
    vd.fsck(root, unreachable=True)
    assert {path: (root / path).read_bytes() for path in LocalStore(root).list()} == before
