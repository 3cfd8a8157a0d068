"""Compacting the columnar layer: what is written, what stays, and what happens beside it."""

import contextlib
import itertools

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import NOTES_MAX, newest_note, read_notes
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.stripe import decode_stripe, open_stripe
from dreamdb_arrow.columnar.vendor import (
    COVER,
    MARK_ADDRESS,
    STRIPE,
    VECTORS,
    flush_mode,
    read_fragments,
    read_track,
)
from dreamdb_arrow.dataset import compact_plan, compact_stripes, flush
from dreamdb_arrow.dataset.pending import leave_out_held, pending_stripes
from dreamdb_arrow.errors import StoreError
from dreamdb_arrow.objects.index_entries import lists_of_entries
from dreamdb_arrow.store.interface import Absent
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.store.urls import open_store
from dreamdb_arrow.testing import FaultyStore
from dreamdb_arrow.tracks.cell_rows import fetch_rows
from dreamdb_arrow.tracks.pages import read_index

T0 = 1_700_000_000_000_000_000
DIM = 4


def schema() -> vd.Schema:
    return (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_string("s", required=False)
        .add_image("im", mime="png", required=False)
        .add_embedding("v", dim=DIM, lsh_bits=2, required=False)
    )


def rows(start: int, n: int, step: int = 1) -> pa.Table:
    ids = np.arange(start, start + n * step, step)
    vectors = np.stack([ids, ids % 7, -ids, ids * 0 + 1], axis=1).astype("f4")
    return pa.table(
        {
            "_anchor": T0 + ids,
            "n": ids,
            "s": pa.array([f"text {i}" if i % 3 else None for i in ids.tolist()]),
            "im": pa.array([b"image %d" % (i % 5) if i % 2 else None for i in ids.tolist()], pa.binary()),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
        }
    )


@pytest.fixture(params=["manual", "commit"])
def ds(request):
    return vd.Dataset.create("main", schema(), MemoryStore(), flush=request.param, cache_dir=None)


def opened(store, ref="main") -> vd.Dataset:
    return vd.Dataset.open(ref, backend=store, cache_dir=None)


def stripes_of(ds, modality=STRIPE, field=""):
    return read_fragments(ds.space.store, ds.manifest, modality, field)


def columns_of(ds) -> list[set[str]]:
    """The columns of each stripe but those that all have."""
    files = ds._rows.stripe_files(0, 2**63 - 1)
    return [set(open_stripe(path).schema_arrow.names) - {"_anchor", "_time"} for path in files]


def held_anchors(ds) -> list[int]:
    found = [
        decode_stripe(p, ["_anchor"])["_anchor"].to_pylist() for p in ds._rows.stripe_files(0, 2**63 - 1)
    ]
    return [anchor - T0 for part in found for anchor in part]


def test_many_stripes_become_one(ds):
    for i in range(12):
        ds.append(rows(i * 10, 10))
    before, version = ds.to_arrow(), ds.current_manifest()
    report = ds.compact()
    assert report["manifest"] == ds.current_manifest() != version
    in_cells = flush_mode(ds.manifest) == "commit"  # then the mark is all that is left of vector stripes
    assert (report["stripes_after"], report["rows_dropped"]) == (1 if in_cells else 2, 0)
    assert report["stripes_before"] > 2
    assert report["bytes_written"] == sum(
        f.size for m, f in ((STRIPE, ""), (VECTORS, "v")) for f in stripes_of(ds, m, f)
    )
    assert len(stripes_of(ds)) == len(stripes_of(ds, VECTORS, "v")) == 1
    assert (stripes_of(ds, VECTORS, "v")[0].address == MARK_ADDRESS) == in_cells
    assert columns_of(ds) == [{"n", "s", "im"}]
    assert opened(ds.space.store).to_arrow().equals(before)
    assert vd.Dataset.open_at(version, ds.space.store, cache_dir=None).to_arrow().equals(before)
    objects = sorted(ds.space.store.list())
    assert ds.compact()["manifest"] is None
    assert sorted(ds.space.store.list()) == objects
    vd.gc(ds.space.store, keep_manifests=0, dry_run=False, writers_paused=True)
    assert opened(ds.space.store).to_arrow().equals(before)


def test_deleted_rows_go_and_their_anchors_stay_taken(ds):  # 0021-R4, 0006-R9
    ds.append(rows(0, 20))
    ds.delete([T0 + 3, T0 + 19, T0 + 99])
    before = ds.to_arrow()
    assert ds.compact()["rows_dropped"] == 2
    assert held_anchors(ds) == [i for i in range(20) if i not in (3, 19)]
    assert ds.to_arrow().equals(before)
    assert ds.tombstone_set() == [T0 + 3, T0 + 19, T0 + 99]
    with pytest.raises(vd.AnchorConflict, match="was deleted"):
        ds.append(rows(3, 1))
    assert ds.compact()["manifest"] is None
    ds.delete([T0 + i for i in range(20)])
    ds.compact()
    vectors = [f for f in stripes_of(ds, VECTORS, "v") if f.address != MARK_ADDRESS]
    assert (stripes_of(ds), vectors, ds.count()) == ([], [], 0)


def test_late_rows_and_several_stripes(ds, monkeypatch):
    """Stripes that overlap come together, and are cut where they are large enough."""
    monkeypatch.setattr(compact_plan, "STRIPE_ROWS", 40)
    for start in (0, 1, 200, 400, 2):
        ds.append(rows(start, 30, step=3))
    before = ds.to_arrow()
    ds.compact()
    held = stripes_of(ds)
    assert all(a.t1 <= b.t0 for a, b in itertools.pairwise(held))
    assert len(held) > 2
    assert ds.to_arrow().equals(before)
    assert ds.compact()["manifest"] is None
    count = len(held)
    ds.append(rows(1000, 1))  # a small one beside a large one is a stripe of its own
    ds.compact()
    assert stripes_of(ds)[:count] == held


def test_flushed_rows_and_others_stay_apart():  # 0021-R9
    ds = vd.Dataset.create("main", schema(), MemoryStore(), cache_dir=None)
    for start in (0, 10):
        ds.append(rows(start, 10))
        ds.append(rows(start + 100, 10))
        if start == 0:
            ds.flush()
    ds.compact()
    note = newest_note(ds.space.store, ds.manifest)
    assert [s.address in note.stripes for s in pending_stripes(ds.space.store, ds.manifest)] == [False]
    assert len(stripes_of(ds)) == 2
    before = ds.to_arrow()
    assert ds.flush() == 1
    assert not pending_stripes(ds.space.store, ds.manifest)
    ds.compact()
    assert len(stripes_of(ds)) == 1
    assert ds.to_arrow().equals(before)


def test_layers_and_fields_added_later_are_put_in(ds):
    ds.append(rows(0, 10))
    ds.append(rows(10, 10))
    ds.add_scalar_float("later")
    ds.append(rows(20, 10).append_column("later", pa.array([float(i) for i in range(10)])))
    ds.add_scalar_layer("double", "n", "int", [(T0 + i, 2 * i) for i in range(0, 30, 2)])
    ds.add_image_layer("thumb", "im", [(T0 + 1, b"tiny"), (T0 + 25, b"small")])
    ds.add_embedding_layer("e", "im", 2, samples=[(T0 + i, [1.0, i]) for i in range(5)], lsh_bits=2)
    before = ds.to_arrow()
    ds.compact(tracks=False)
    assert columns_of(ds) == [{"n", "s", "im", "later", "double", "thumb"}]
    assert [s.address for s in ds._rows.stripes] == [
        f.address for f in stripes_of(ds)
    ]  # nothing is projected
    assert ds._rows.stored_vectors("e") == []  # they lie in their cells, and stay there
    assert [f.address for f in stripes_of(ds, VECTORS, "e")] == [MARK_ADDRESS]
    assert opened(ds.space.store).to_arrow().equals(before)
    ds.decommission_modality("double")
    ds.flush()
    ds.compact(tracks=False)
    assert columns_of(ds) == [{"n", "s", "im", "later", "thumb"}]
    assert opened(ds.space.store).to_arrow().equals(before.drop_columns(["double"]))


def test_a_name_that_comes_back_does_not_bring_old_values(ds):  # 0021-R12
    ds.append(rows(0, 10))
    side = ds.branch("side")
    for each in (ds, side):
        each.decommission_modality("s")
        each.add_scalar_string("s")
    ds.compact()
    side.append(rows(50, 5).drop_columns(["s"]))
    ds.append(rows(80, 5).drop_columns(["s"]))
    ds.merge("side", "union-tracks")
    assert set(ds.to_arrow()["s"].to_pylist()) == {None}
    ds.compact()
    assert set(opened(ds.space.store).to_arrow()["s"].to_pylist()) == {None}


def test_a_branch_that_was_not_compacted_brings_no_row_twice(ds):
    for start in (0, 10, 20):
        ds.append(rows(start, 10))
    side = ds.branch("side")
    ds.delete([T0 + 4])
    ds.compact(tracks=False)
    ds.flush()
    side.append(rows(50, 5))
    side.compact(tracks=False)
    side.flush()
    ds.merge("side", "union-tracks")
    wanted = [i for i in (*range(30), *range(50, 55)) if i != 4]
    assert [a - T0 for a in ds.to_arrow()["_anchor"].to_pylist()] == wanted
    ds.flush()
    ds.compact()
    assert held_anchors(ds) == wanted
    assert [a - T0 for a in opened(ds.space.store).to_arrow()["_anchor"].to_pylist()] == wanted


def test_rows_of_another_writer_are_published(reference_space, tmp_path):
    """Values that only the Tracks of a layer hold, of rows that have no stripe: they are a stripe afterwards."""
    ds = vd.Dataset.create("main", schema(), tmp_path / "space", cache_dir=None)
    ds.append(rows(0, 5))
    ds.add_scalar_layer("late", "n", "string", [(T0 + i, f"{i}") for i in (2, 40, 41)])
    before = ds.to_arrow()
    assert len(before) == 7
    ds.compact()
    assert sorted(held_anchors(ds)) == [0, 1, 2, 3, 4, 40, 41]
    assert opened(ds.space.store).to_arrow().equals(before)
    assert ds.compact()["manifest"] is None
    foreign = opened(copy_of(open_store(reference_space("append-delete"))))
    assert foreign.compact(tracks=False)["stripes_after"] == 0  # it has no stripes, and gets none


def test_what_is_compacted_can_be_chosen(ds):
    ds.append(rows(0, 5))
    ds.append(rows(5, 5))
    assert ds.compact("scalar.i64.field=n")["stripes_before"] == 0
    assert ds.compact(stripes=False)["stripes_before"] == 0
    told = []
    assert ds.compact(tracks=False, progress=lambda *seen: told.append(seen))["cells_examined"] == 0
    assert told[-1] == (4, 4)


def test_notes_do_not_grow_with_what_is_gone():
    ds = vd.Dataset.create("main", schema(), MemoryStore(), flush="commit", cache_dir=None)
    for i in range(NOTES_MAX):
        ds.append(rows(i * 10, 3))
    ds.compact()
    note = newest_note(ds.space.store, ds.manifest)
    assert len(read_fragments(ds.space.store, ds.manifest, COVER)) == 1
    assert note.stripes == {f.address for f in stripes_of(ds)}
    for i in range(NOTES_MAX + 2):
        ds.append(rows(1000 + i * 10, 3))
    assert len(read_fragments(ds.space.store, ds.manifest, COVER)) <= NOTES_MAX
    there = {f.address for f in [*stripes_of(ds), *stripes_of(ds, VECTORS, "v")]} - {MARK_ADDRESS}
    named = frozenset().union(*(n.stripes for n in read_notes(ds.space.store, ds.manifest)))
    assert there <= named
    assert not pending_stripes(ds.space.store, ds.manifest)


class Beside:
    """A store before whose first swap of a ref something else happens."""

    def __init__(self, store, happens):
        self._store, self._happens = store, happens

    def __getattr__(self, name):
        return getattr(self._store, name)

    def swap_ref(self, name, expect, new):
        happens, self._happens = self._happens, None
        if happens is not None:
            happens(opened(self._store))
        return self._store.swap_ref(name, expect, new)


BESIDE = {
    "append": lambda ds: ds.append(rows(500, 5)),
    "late append": lambda ds: ds.append(rows(5, 1)),
    "delete": lambda ds: ds.delete([T0 + 1]),
    "layer": lambda ds: ds.add_scalar_layer("l", "n", "int", [(T0 + 1, 1)]),
    "flush": lambda ds: ds.flush(),
    "field goes": lambda ds: ds.decommission_modality("s"),
    "field comes back": lambda ds: ds.decommission_modality("s") or ds.add_scalar_string("s"),
    "small appends": lambda ds: [
        ds.append(rows(700 + 10 * i, 2)) for i in range(9)
    ],  # tiers take stripes away
    "compaction": lambda ds: ds.compact(tracks=False),
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_happens_meanwhile_is_not_lost(ds, what):  # 0006-R8
    for start in (0, 10, 20):
        ds.append(rows(start, 5))
    ds.add_scalar_layer("before", "n", "int", [(T0 + i, i) for i in range(0, 25, 3)])
    plain, store = ds.branch("plain"), ds.space.store
    BESIDE[what](plain)
    opened(Beside(store, BESIDE[what])).compact(tracks=False)
    found = opened(store)
    assert found.to_arrow().equals(plain.to_arrow())
    assert repr(found.schema) == repr(plain.schema)
    assert len(stripes_of(found)) <= 2
    assert found.compact(tracks=False)["manifest"] is None


@pytest.mark.parametrize("mode", ["once", "forever", "after", "halfway"])
def test_an_interruption_loses_nothing_and_the_next_goes_on(monkeypatch, mode):
    """With a commit after each unit, whatever call fails: the rows are the same, and what was committed stays."""
    monkeypatch.setattr(compact_plan, "STRIPE_ROWS", 8)
    monkeypatch.setattr(compact_stripes, "COMMIT_BYTES", 1)
    origin = MemoryStore()
    ds = vd.Dataset.create("main", schema(), origin, flush="commit", cache_dir=None)
    for start in range(0, 18, 3):
        ds.append(rows(start, 3))
    before = ds.to_arrow()
    seen = set()
    for n in range(1, 10_000, 7 if mode == "once" else 13):
        store = copy_of(origin)
        faulty = FaultyStore(store, n, mode)
        with contextlib.suppress(StoreError):
            opened(faulty).compact(tracks=False)
        if not faulty.failed:
            break
        found = opened(store)
        assert found.to_arrow().equals(before)
        seen.add(len(stripes_of(found)))
        found.compact(tracks=False)
        assert found.to_arrow().equals(before)
        assert len(stripes_of(found)) <= 3
    assert len(seen) > 1


def copy_of(store: MemoryStore) -> MemoryStore:
    made = MemoryStore()
    for path in store.list():
        made.put(path, store.get(path))
    for name in store.list_refs():
        made.swap_ref(name, Absent(), store.read_ref(name).address)
    return made


# ---------------------------------------------------------------- what a flush leaves out


def items_of(ds, name):
    """The anchors of all items or vectors in a Track, as often as they are there."""
    store, entry = ds.space.store, row_entry(ds.manifest, name)
    index = read_index(store, track := read_track(store, entry))
    if name == "v":
        held = fetch_rows(store, track, index, range(len(index)))
        return sorted(int(anchor) - T0 for bucket in held for anchor in bucket.anchors)
    return sorted(item[0] - T0 for item in lists_of_entries(index))


def test_a_flush_writes_nothing_twice():
    """Layers over rows that are not flushed, and rows that a union brought back: the Tracks have each value once."""
    ds = vd.Dataset.create("main", schema(), MemoryStore(), cache_dir=None)
    ds.append(rows(0, 5))
    ds.append(rows(5, 5))
    ds.add_image_layer("thumb", "im", [(T0 + i, b"tiny %d" % i) for i in range(4)])
    side = ds.branch("side")
    ds.compact(tracks=False)
    ds.flush()
    side.append(rows(50, 5))
    ds.merge("side", "union-tracks")
    before = ds.to_arrow()
    ds.flush()
    assert items_of(ds, "thumb") == [0, 1, 2, 3]
    assert items_of(ds, "im") == [i for i in (*range(10), *range(50, 55)) if i % 2]
    assert items_of(ds, "v") == [*range(10), *range(50, 55)]
    assert ds.to_arrow().equals(before)


def test_vectors_of_rows_that_are_flushed_later(monkeypatch):
    """Stripes of vectors end elsewhere than those of rows, and a flush may take the rows one stripe at a time."""
    monkeypatch.setattr(compact_plan, "STRIPE_ROWS", 8)
    monkeypatch.setattr(flush, "FLUSH_ROWS_MAX", 8)
    ds = vd.Dataset.create("main", schema(), MemoryStore(), cache_dir=None)
    for start in range(0, 24, 6):
        ds.append(rows(start, 6))
    ds.compact(tracks=False)
    assert len(stripes_of(ds)) > len(stripes_of(ds, VECTORS, "v")) == 1
    assert ds.flush() == len(stripes_of(ds))
    assert items_of(ds, "v") == list(range(24))
    note = merge_notes(read_notes(ds.space.store, ds.manifest))
    assert {f.address for f in (*stripes_of(ds), *stripes_of(ds, VECTORS, "v"))} == note.stripes


def test_values_that_are_held_are_left_out():
    """Of scalars, those that are the same; of media and lists, all that there is one of."""
    media = pa.struct([("address", pa.binary()), ("size", pa.int64())])
    item = {"address": b"a", "size": 1}
    table = pa.table(
        {
            "_anchor": [1, 2, 3, 4],
            "_time": [1, 2, 3, 4],
            "n": [5, 6, None, 8],
            "im": pa.array([item, item, None, item], media),
            "l": [[1], [2], [3], None],
            "other": ["a", "b", "c", "d"],
        }
    )
    held = pa.table(
        {
            "_anchor": [2, 3, 4, 9],
            "_time": [2, 3, 4, 9],
            "n": [6, 7, 9, 5],
            "im": pa.array([{"address": b"b", "size": 2}, item, None, item], media),
            "l": [[9], None, [1], [1]],
        }
    )
    left = leave_out_held(table, held).to_pydict()
    assert left["n"] == [5, None, None, 8]
    assert left["im"] == [item, None, None, item]
    assert left["l"] == [[1], None, [3], None]
    assert left["other"] == ["a", "b", "c", "d"]
    assert leave_out_held(table, held.slice(0, 0)) is table
