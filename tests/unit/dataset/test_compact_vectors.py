"""Vectors that `compact` leaves to their cells: every reader shows the same, and what comes afterwards stays right."""

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.vendor import MARK_ADDRESS, STRIPE, VECTORS, read_fragments
from dreamdb_arrow.dataset import compact_vectors
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.unions import keep_both
from tests.unit.dataset.test_compact_stripes import Beside, copy_of, items_of

T0 = 1_700_000_000_000_000_000
DIM = 8
FORMS = ("raw", "raw, with sidecars", "codes, with sidecars", "codes alone")
EXACT = FORMS[:3]


def schema(form: str, store) -> vd.Schema:
    coder = vd.publish_rabitq_compressor(store, DIM, bits_per_dim=4) if "codes" in form else None
    options = {"rerank": "sidecars" in form, "compressor": coder, "lsh_bits": 3, "required": False}
    return vd.Schema().add_scalar_int("n").add_embedding("v", DIM, **options)


def created(form="raw", flush="manual") -> vd.Dataset:
    store = MemoryStore()
    return vd.Dataset.create("main", schema(form, store), store, flush=flush, cache_dir=None)


def rows(ids, seed=0) -> pa.Table:
    """Rows of which every seventh has no vector."""
    ids = np.asarray(ids, np.int64)
    vectors = np.random.default_rng([seed, *ids.tolist()]).standard_normal((len(ids), DIM)).astype("f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    values = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.reshape(-1)), DIM, mask=pa.array(ids % 7 == 3)
    )
    return pa.table({"_anchor": T0 + ids, "n": ids, "v": values})


def opened(ds) -> vd.Dataset:
    return vd.Dataset.open("main", backend=ds.space.store, cache_dir=None)


def listed(ds) -> list:
    """The vector stripes that a version names, but for the mark."""
    held = read_fragments(ds.space.store, ds.manifest, VECTORS, "v")
    return [f for f in held if f.address != MARK_ADDRESS]


def is_marked(ds) -> bool:
    return len(listed(ds)) < len(read_fragments(ds.space.store, ds.manifest, VECTORS, "v"))


def shown(ds) -> tuple:
    """What readers show: a scan, rows by anchor, an exact search, one within a time."""
    table = ds.to_arrow()
    wanted = table["_anchor"].to_pylist()[::-3]
    query = [float(i + 1) for i in range(DIM)]
    exact = ds.search("v", query, 5).to_arrow()
    within = ds.search("v", query, 5, start_ns=T0 + 5, end_ns=T0 + 15).to_arrow()
    return table, ds.take(wanted), exact, within


def same(a: tuple, b: tuple) -> bool:
    return all(x.equals(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("flush", ["manual", "commit"])
def test_readers_show_the_same(form, flush):  # 0021-R16
    ds = created(form, flush)
    for start in (0, 20, 40):
        ds.append(rows(range(start, start + 20)))
    ds.append(rows(range(100, 140, 2)))
    ds.append(rows(range(101, 141, 2)))  # between the others
    ds.delete([T0 + 4, T0 + 102])
    ds.flush()
    before, version = shown(ds), ds.current_manifest()
    report = ds.compact()
    assert (listed(ds) == [], is_marked(ds)) == (form in EXACT,) * 2
    assert report["stripes_after"] == (1 if form in EXACT else 2)
    assert same(shown(opened(ds)), before)
    assert same(shown(vd.Dataset.open_at(version, ds.space.store, cache_dir=None)), before)
    assert ds.compact()["manifest"] is None
    vd.gc(ds.space.store, keep_manifests=0, dry_run=False, writers_paused=True)
    assert same(shown(opened(ds)), before)
    if form in EXACT:  # a scan of other fields, and the search of cells, need no local stripe
        assert not [
            path
            for path in ds.space.store.list()
            if VECTORS in path and str(MARK_ADDRESS) not in path and "/track/" not in path
        ]


def test_other_columns_do_not_wait_for_vectors():
    ds = created()
    ds.append(rows(range(30)))
    ds.flush()
    ds.compact()
    found = opened(ds)
    assert found.count() == 30
    assert sum(len(batch) for batch in found.iter_arrow_batches(fields=["n"])) == 30
    assert found.take([T0 + 2], ["n"])["n"].to_pylist() == [2]
    assert (found._rows.vectors.found(), found._rows.stored_vectors("v")) == ({}, [])
    ds.append(rows([40, 41]))
    assert found.refresh().take([T0 + 41], ["v"])["v"].null_count == 0  # a stripe has it
    assert found._rows.vectors.found() == {}
    assert len(found.to_arrow()) == 32
    assert list(found._rows.vectors.found()) == ["v"]


def test_what_comes_afterwards_has_stripes_until_the_next_compaction():
    ds, plain = created(), created()
    for step in (range(30), range(50, 60), range(31, 50, 2), [48], range(60, 61)):
        for each in (ds, plain):
            each.append(rows(step))
        assert same(shown(opened(ds)), shown(plain))
        assert listed(ds)
        ds.flush()
        assert same(shown(opened(ds)), shown(plain))
        ds.compact(tracks=len(step) > 5)
        assert same(shown(opened(ds)), shown(plain))
        assert (listed(ds), is_marked(ds)) == ([], True)
    assert len(read_fragments(ds.space.store, ds.manifest, VECTORS, "v")) == 1
    ds.compact()
    assert same(shown(opened(ds)), shown(plain))


def test_codes_alone_are_not_compared(monkeypatch):
    ds = created("codes alone", "commit")
    ds.append(rows(range(30)))
    before = shown(ds)
    monkeypatch.setattr(compact_vectors, "cell_vectors", None)
    ds.compact()
    assert (len(listed(ds)), is_marked(ds)) == (1, False)
    assert same(shown(opened(ds)), before)


def test_rows_that_are_not_flushed_keep_their_stripes():
    ds = created()
    ds.append(rows(range(0, 40, 2)))
    ds.flush()
    ds.append(rows(range(1, 41, 2)))
    before = shown(ds)
    ds.compact()
    assert (len(listed(ds)), is_marked(ds)) == (1, True)
    assert same(shown(opened(ds)), before)
    ds.append(rows(range(80, 90)))
    before = shown(ds)
    ds.compact()
    assert same(shown(opened(ds)), before)
    ds.flush()
    assert items_of(ds, "v") == [i for i in (*range(40), *range(80, 90)) if i % 7 != 3]
    ds.compact()
    assert listed(ds) == []
    assert same(shown(opened(ds)), before)


def test_vectors_that_cells_show_otherwise_keep_their_stripes():  # 0021-R16
    """Both branches gave a vector at one anchor: the cells have both, and a scan shows one of them."""
    for wide in (False, True):  # which stripe is the wider one decides
        ds = created(flush="commit")
        ds.append(rows(range(10)))
        side = ds.branch("side")
        ds.append(rows([20, 21], seed=1))
        side.append(rows([20, 40] if wide else [20], seed=2))
        keep_both(ds, "side")
        before = shown(ds)
        ds.compact(tracks=False)
        assert same(shown(opened(ds)), before)
        ds.append(rows([50]))
        before = shown(ds)
        ds.compact(tracks=False)
        assert ds.compact(tracks=False)["manifest"] is None
        assert same(shown(opened(ds)), before)


def test_a_dropped_stripe_that_a_branch_brings_back():
    ds = created()
    ds.append(rows(range(10)))
    ds.append(rows(range(10, 20)))
    side = ds.branch("side")
    ds.flush()
    ds.compact()
    side.append(rows(range(30, 35)))
    side.delete([T0 + 5])
    ds.merge("side", "union-tracks")
    assert (len(listed(ds)) > 0, is_marked(ds)) == (True, True)
    wanted = [i for i in (*range(20), *range(30, 35)) if i != 5]
    before = shown(ds)
    assert before[0]["n"].to_pylist() == wanted
    ds.flush()
    assert items_of(ds, "v") == [i for i in (*range(20), *range(30, 35)) if i % 7 != 3]  # each once
    assert same(shown(opened(ds)), before)
    ds.compact()
    assert listed(ds) == []
    assert same(shown(opened(ds)), before)


@pytest.mark.parametrize("first", ["main", "side"])
def test_one_branch_leaves_them_to_cells_that_the_other_writes_anew(first):
    """The united version has no stripe of them, and other cells than those that were looked at."""
    ds = created()
    for start in range(0, 40, 10):
        ds.append(rows(range(start, start + 10)))
        ds.flush()
    before, side = shown(ds), ds.branch("side")
    for name, act in (("main", {"tracks": False}), ("side", {"stripes": False}))[
        :: 1 if first == "main" else -1
    ]:
        (ds if name == "main" else side).compact(**act)
    ds.merge("side", "union-tracks")
    assert is_marked(ds)
    assert same(shown(opened(ds)), before)
    ds.compact()
    assert same(shown(opened(ds)), before)


def test_a_field_that_comes_back_has_no_mark():
    ds = created(flush="commit")
    ds.append(rows(range(10)))
    ds.compact()
    assert is_marked(ds)
    ds.decommission_modality("v")
    ds.add_embedding("v", DIM, required=False, lsh_bits=3)
    assert not is_marked(ds)
    assert ds.to_arrow()["v"].null_count == 10
    ds.append(rows([20]))
    ds.compact()
    assert ds.to_arrow()["v"].null_count == 10
    assert opened(ds).to_arrow().equals(ds.to_arrow())


def side_of(ds, ids, seed=0, *, flushed=False, compacted=False) -> None:
    """Merge a branch that has rows of its own."""
    side = vd.Dataset.open("side", backend=ds.space.store, cache_dir=None)
    side.append(rows(ids, seed))
    if flushed:
        side.flush()
    if compacted:
        side.compact()
    keep_both(ds, "side")


MEANWHILE = {
    "append": lambda ds: ds.append(rows([300])),
    "late append": lambda ds: ds.append(rows([5])),
    "flush": lambda ds: ds.append(rows([301])) and ds.flush(),
    "compact Tracks": lambda ds: ds.compact(stripes=False),
    "compact": lambda ds: ds.compact(),
    "delete": lambda ds: ds.delete([T0 + 1, T0 + 22]),
    "merge": lambda ds: side_of(ds, [7, 400]),
    "merge, flushed": lambda ds: side_of(ds, [7, 400], flushed=True),
    "merge of other vectors": lambda ds: side_of(ds, [1, 2], 9),
    "merge of other vectors, flushed": lambda ds: side_of(ds, [1, 2, 14], 9, flushed=True),
    "merge of other vectors in cells": lambda ds: side_of(ds, [1, 2, 14], 9, flushed=True, compacted=True),
    "field comes back": lambda ds: (
        ds.decommission_modality("v"),
        ds.add_embedding("v", DIM, required=False, lsh_bits=3),
    ),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_happens_between_plan_and_commit(what):
    ds = created()
    ds.branch("side")
    for start in (0, 10, 20):
        ds.append(rows([i for i in range(start, start + 10) if i not in (5, 7)]))
        ds.flush()
    plain = vd.Dataset.open("main", backend=copy_of(ds.space.store), cache_dir=None)
    MEANWHILE[what](plain)
    wanted = shown(plain)
    vd.Dataset.open("main", backend=Beside(ds.space.store, MEANWHILE[what]), cache_dir=None).compact(
        tracks=False
    )
    assert same(shown(opened(ds)), wanted)
    ds = opened(ds)
    ds.flush()
    ds.compact(tracks=False)
    assert same(shown(opened(ds)), wanted)


@pytest.mark.parametrize("form", ["raw", "codes, with sidecars"])
def test_a_rebuild_of_the_cells(form):
    store = MemoryStore()
    sample = np.array(rows(range(100))["v"].combine_chunks().flatten()).reshape(-1, DIM)
    index = vd.train_and_publish_ivf_centroids(store, sample, DIM, 4)
    coder = vd.publish_rabitq_compressor(store, DIM) if "codes" in form else None
    fields = (
        vd.Schema()
        .add_scalar_int("n")
        .add_embedding(
            "v",
            DIM,
            algorithm="dreamdb.ivf-cosine",
            spatial_index=index,
            compressor=coder,
            rerank=coder is not None,
            required=False,
        )
    )
    ds = vd.Dataset.create("main", fields, store, cache_dir=None)
    for start in range(0, 200, 50):
        ds.append(rows(range(start, start + 50)))
    ds.flush()
    before = shown(ds)
    ds.compact()
    assert is_marked(ds)
    ds.rebuild_ivf("v", k=6)
    assert same(shown(opened(ds)), before)
    assert same(shown(ds), before)
    ds.compact()
    assert same(shown(opened(ds)), before)


def test_the_stripes_of_rows_stay_when_only_vectors_are_written_anew():
    ds = created()
    ds.append(rows(range(10)))
    ds.flush()
    stripes = read_fragments(ds.space.store, ds.manifest, STRIPE)
    assert ds.compact()["bytes_written"] == 5
    assert read_fragments(ds.space.store, ds.manifest, STRIPE) == stripes
