"""Index maintenance: cells trained anew or balanced, rows filed again, published as one commit, in stages that can wait."""

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.projection import bucket_origin, row_entry
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.dataset import reindex_refile
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.errors import ConflictError, InvalidInputError
from dreamdb_arrow.objects.manifest import find_entry
from dreamdb_arrow.spatial.partitioners import assign_cells, probe_cells
from dreamdb_arrow.spatial.training import book_size_for, cells_for
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.faulty import FaultyStore
from dreamdb_arrow.testing.unions import keep_both
from dreamdb_arrow.tracks.vectors import iterate_vectors, read_cells, read_vectors

DIM = 8
STAGES = ("measure", "plan", "refile", "publish")
IVF = "dreamdb.ivf-cosine"


def vectors(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype("f4")


def hot(n, seed=1):
    return (np.ones(DIM) + 0.3 * vectors(n, seed)).astype("f4")


def append(ds, rows, first, *, flush=True):
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), DIM)
    ds.append({"_anchor": np.arange(first, first + len(rows)), "v": flat})
    if flush:
        ds.flush()


def skewed(store=None, *, cache_dir=None, cold=300, **options):
    """Return a dataset of which nine rows of ten came after the cells had been trained, into one region."""
    schema = vd.Schema().add_embedding("v", DIM, **{"algorithm": IVF, **options})
    ds = vd.Dataset.create("x", schema, store or MemoryStore(), cache_dir=cache_dir)
    append(ds, vectors(cold), 0)
    append(ds, hot(9 * cold), 10_000)
    return ds


def parts_of(ds):
    entry = row_entry(ds.manifest, "v")
    origin = bucket_origin(ds.manifest, entry.modality)
    return read_track(ds.space.store, entry), origin, load_spatial_index(ds.space.store, origin.index)


def cells_of(ds):
    """Return what says where rows lie: the Track and the index."""
    return find_entry(ds.manifest.tracks, "v").address, parts_of(ds)[1]


def check_filed(ds):
    """Each row lies once, in the cell of the index of the registry, in buckets that name it."""
    track, origin, index = parts_of(ds)
    held = np.concatenate([b.anchors for b in iterate_vectors(ds.space.store, track, DIM, origin=origin)])
    assert len(held) == len(set(held.tolist()))
    found = read_vectors(ds.space.store, track, DIM, origin=origin)  # 0007-R9
    cells = assign_cells(index, found.vectors)
    for at, key in enumerate(cells.keys):
        wanted = found.anchors[cells.codes == at]
        assert (
            read_cells(ds.space.store, track, DIM, [key], origin=origin).anchors.tolist() == wanted.tolist()
        )
    return found


def work_and_recall(ds, queries, nprobe):
    """Return how many rows are scored for a query, and how many of the ten nearest are among them."""
    track, origin, index = parts_of(ds)
    every = read_vectors(ds.space.store, track, DIM, origin=origin)
    unit = every.vectors / np.linalg.norm(every.vectors, axis=1, keepdims=True)
    scored = found = 0
    for query in queries:
        near = set(every.anchors[np.argsort(-(unit @ query))[:10]].tolist())
        read = read_cells(ds.space.store, track, DIM, probe_cells(index, query, nprobe), origin=origin)
        scored, found = scored + len(read), found + len(near & set(read.anchors.tolist()))
    return scored / len(queries), found / (10 * len(queries))


# --- what comes out -----------------------------------------------------------------------------------------


def test_a_step_evens_the_cells_out():  # 0004-R10
    ds = skewed()
    rows, before = ds.to_arrow(), ds.index_status("v", sample=0)
    report = ds.ada_ivf_step("v")
    after = ds.index_status("v", sample=0)
    assert before["skew"] > 4 >= after["skew"]
    assert (report["skew"], report["skew_after"]) == (before["skew"], after["skew"])
    assert (report["cells_after"], report["largest_after"]) == (after["cells"], after["largest"])
    assert report["manifest"] == ds.current_manifest()
    assert ds.history()[0]["operation"] == "ada-ivf-step"
    assert ds.to_arrow().equals(rows)
    assert len(check_filed(ds)) == 3000


def test_recall_is_better_for_the_same_work():
    ds = skewed(cold=500)
    queries = np.concatenate([hot(27, 9), vectors(3, 9)])
    before = [work_and_recall(ds, queries, nprobe) for nprobe in (1, 2)]
    ds.ada_ivf_step("v")
    after = [work_and_recall(ds, queries, nprobe) for nprobe in (1, 2, 4, 8, 16, 24, 32, 48)]
    for work, recall in before:
        assert max(found for scored, found in after if scored <= work) >= recall
    assert min(work for work, recall in after if recall >= 0.95) < min(w for w, r in before if r >= 0.95) / 2


def test_even_cells_are_left_alone():
    ds = skewed()
    ds.ada_ivf_step("v")
    version = ds.current_manifest()
    assert ds.ada_ivf_step("v")["manifest"] is None
    assert ds.current_manifest() == version


@pytest.mark.parametrize("algorithm", [IVF, "dreamdb.imi-cosine"])
def test_a_rebuild_trains_for_the_rows_that_are_there(algorithm):
    ds = skewed(algorithm=algorithm)
    rows = ds.to_arrow()
    report = ds.rebuild_ivf("v", seed=3)
    assert report["cells_after"] == (cells_for(3000) if algorithm == IVF else book_size_for(3000) ** 2)
    assert ds.to_arrow().equals(rows)
    assert len(check_filed(ds)) == 3000
    assert ds.history()[0]["operation"] == "rebuild-ivf"


def test_a_second_rebuild_finds_nothing_to_do():
    ds = skewed()
    assert ds.rebuild_ivf("v", k=20, seed=1)["manifest"] is not None
    assert ds.rebuild_ivf("v", k=20, seed=1)["manifest"] is None
    assert ds.rebuild_ivf("v", k=21, seed=1)["manifest"] is not None
    assert ds.rebuild_ivf("v", k=20, seed=1)["index"] is not None
    assert ds.rebuild_ivf("v", k=20, seed=1)["manifest"] is None  # the sample goes by anchor, not by cell


def test_an_older_version_keeps_its_cells():
    ds = skewed()
    ds.snapshot("before")
    old = cells_of(ds)
    ds.ada_ivf_step("v")
    assert cells_of(ds) != old
    before = vd.Dataset.open_ref("x@before", ds.space.store, cache_dir=None)
    assert cells_of(before) == old
    assert len(check_filed(before)) == 3000


def test_a_search_by_cells_follows():
    ds = skewed()
    query = hot(1, 5)[0]
    exact = ds.iter_vector("v", query, 10)[0]["_time_anchors"]
    ds.ada_ivf_step("v")
    cells = ds.index_status("v", sample=0)["cells"]
    assert ds.iter_vector("v", query, 10, nprobe=cells)[0]["_time_anchors"] == exact


def test_the_schema_names_the_new_index_where_it_named_the_old_one():
    first = skewed()
    given = bytes(parts_of(first)[1].index)
    schema = vd.Schema().add_scalar_int("n").add_embedding("v", DIM, algorithm=IVF, spatial_index=given)
    ds = vd.Dataset.create("y", schema, first.space.store, cache_dir=None)
    ds.append({"n": [1, 2, 3, 4], "v": vectors(4)})
    ds.flush()
    ds.rebuild_ivf("v", k=2)
    now = bytes(parts_of(ds)[1].index)
    assert now != given
    assert {f.name: f.options.get("spatial_index") for f in ds.schema.fields} == {"n": None, "v": now}


def test_buckets_are_no_larger_than_the_field_says():  # 0007-R10
    ds = skewed(bucket_max_bytes=1 << 20)
    append(ds, np.repeat(hot(1), 30_000, axis=0), 50_000)
    ds.ada_ivf_step("v")
    status = ds.index_status("v", sample=0)
    assert status["largest"] >= 30_000  # equal rows cannot be told apart
    assert status["buckets"] > status["filled"]
    assert len(check_filed(ds)) == 33_000


def test_of_a_row_in_two_buckets_the_one_that_shows_is_left():  # 0007-R8
    ds = skewed()
    other = ds.branch("other")
    append(ds, vectors(5, 7), 900)
    append(other, vectors(5, 8), 900)
    keep_both(ds, "other")
    shown = read_vectors(ds.space.store, parts_of(ds)[0], DIM)
    ds.rebuild_ivf("v")
    found = check_filed(ds)
    np.testing.assert_array_equal(found.anchors, shown.anchors)
    np.testing.assert_array_equal(found.vectors, shown.vectors)


def test_deleted_and_later_rows_are_as_before():
    ds = skewed()
    ds.delete([0, 10_000])
    append(ds, vectors(5, 6), 800, flush=False)
    rows = ds.to_arrow()
    ds.rebuild_ivf("v")
    assert ds.to_arrow().equals(rows)
    assert ds.index_status("v", sample=0)["unflushed"] == 5
    assert ds.flush() == 1
    assert ds.to_arrow().equals(rows)
    assert len(check_filed(ds)) == 3005


# --- stages -------------------------------------------------------------------------------------------------


def test_stages_wait_for_one_another(tmp_path):
    ds = skewed(cache_dir=tmp_path)
    whole = skewed()
    whole.ada_ivf_step("v")
    for stage, before in zip(STAGES[1:], STAGES, strict=False):
        with pytest.raises(InvalidInputError, match=f"run the stage {before} before {stage}"):
            ds.ada_ivf_step("v", stage=stage)
        version = ds.current_manifest()
        assert ds.ada_ivf_step("v", stage=before)["manifest"] is None
        assert ds.current_manifest() == version
    published = ds.ada_ivf_step("v", stage="publish")["manifest"]
    assert parts_of(ds)[1] == parts_of(whole)[1]
    assert ds.ada_ivf_step("v", stage="publish")["manifest"] == published  # as after a kill between both


def test_a_stage_may_be_run_twice(tmp_path):
    ds = skewed(cache_dir=tmp_path)
    for stage in STAGES[:3]:
        assert ds.ada_ivf_step("v", stage=stage) == ds.ada_ivf_step("v", stage=stage)
    assert ds.ada_ivf_step("v")["manifest"] == ds.current_manifest()  # all that are left


def test_rows_that_come_meanwhile_are_filed_too(tmp_path):
    ds = skewed(cache_dir=tmp_path)
    for nth, stage in enumerate(STAGES):
        ds.ada_ivf_step("v", stage=stage)
        append(ds, hot(50, 20 + nth), 30_000 + 100 * nth)
    assert len(check_filed(ds)) == 3200
    assert ds.count() == 3200


def test_a_compaction_meanwhile_is_told(tmp_path):
    ds = skewed(cache_dir=tmp_path)
    ds.ada_ivf_step("v", stage="measure")
    ds.ada_ivf_step("v", stage="plan")
    ds.ada_ivf_step("v", stage="refile")
    ds.compact(stripes=False)
    with pytest.raises(ConflictError, match="compacted meanwhile; begin it again"):
        ds.ada_ivf_step("v", stage="publish")
    assert ds.ada_ivf_step("v")["skew_after"] <= 4


def test_another_rebuild_meanwhile_is_told(tmp_path):
    ds = skewed(cache_dir=tmp_path)
    for stage in STAGES[:3]:
        ds.ada_ivf_step("v", stage=stage)
    ds.rebuild_ivf("v")
    with pytest.raises(ConflictError, match="made anew by somebody else"):
        ds.ada_ivf_step("v", stage="publish")
    assert ds.ada_ivf_step("v")["manifest"] is None  # begun again: the new cells are even


def test_what_was_collected_meanwhile_is_written_again(tmp_path):
    ds = skewed(tmp_path / "space", cache_dir=tmp_path / "cache")
    for stage in STAGES[:3]:
        ds.ada_ivf_step("v", stage=stage)
    vd.gc(tmp_path / "space", 10, dry_run=False, writers_paused=True)
    with pytest.raises(ConflictError, match="begin it again"):
        ds.ada_ivf_step("v", stage="publish")
    assert ds.ada_ivf_step("v")["manifest"] == ds.current_manifest()
    assert len(check_filed(ds)) == 3000


def test_other_options_begin_another_job(tmp_path):
    ds = skewed(cache_dir=tmp_path)
    ds.ada_ivf_step("v", stage="measure")
    ds.ada_ivf_step("v", stage="plan")
    assert ds.ada_ivf_step("v", target=2)["skew_after"] <= 2


def test_rows_go_through_small_groups(monkeypatch):
    whole, ds = skewed(), skewed()
    whole.ada_ivf_step("v")
    monkeypatch.setattr(reindex_refile, "_GROUP_BYTES", 4000)
    told = []
    ds.ada_ivf_step("v", progress=lambda *step: told.append(step))
    assert len(told) > 10
    assert told[-1] == (6000, 6000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    np.testing.assert_array_equal(check_filed(ds).vectors, check_filed(whole).vectors)
    assert parts_of(ds)[0].object_index == parts_of(whole)[0].object_index


@pytest.mark.parametrize("mode", ["once", "after", "halfway"])
def test_any_call_of_the_store_may_fail(tmp_path, mode):
    for at in range(1, 400, 11):
        store = MemoryStore()
        skewed(store)
        calls, cache = FaultyStore(store, at, mode), tmp_path / f"{mode}-{at}"
        try:
            vd.Dataset.open("x", backend=calls, cache_dir=cache).ada_ivf_step("v")
        except vd.DreamDBError:
            assert calls.failed
        ds = vd.Dataset.open("x", backend=store, cache_dir=cache)
        assert ds.count() == 3000
        ds.ada_ivf_step("v")
        assert ds.index_status("v", sample=0)["skew"] <= 4
        assert len(check_filed(ds)) == 3000
        if not calls.failed:
            return
    pytest.fail("the job has more calls than were tried")


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: ds.rebuild_ivf("w"), "no embedding field 'w'; embedding fields: v"),
        (lambda ds: ds.rebuild_ivf("v", k=0), "k must be a whole number of at least 1"),
        (lambda ds: ds.rebuild_ivf("v", k=10**6), "1000000 centroids need"),
        (lambda ds: ds.rebuild_ivf("v", sample=0), "sample must be"),
        (lambda ds: ds.rebuild_ivf("v", seed=-1), "seed must be a whole number of 0"),
        (lambda ds: ds.ada_ivf_step("v", target=1), "target must be a number above 1"),
        (lambda ds: ds.ada_ivf_step("v", stage="split"), "no stage 'split'; stages: measure, plan"),
        (lambda ds: ds.index_status("w"), "no field 'w'"),
        (lambda ds: ds.index_status("v", nprobe=0), "nprobe must be"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_is_written(call, message):
    ds = skewed()
    version = ds.current_manifest()
    with pytest.raises(InvalidInputError, match=message):
        call(ds)
    assert ds.refresh().current_manifest() == version


@pytest.mark.parametrize("algorithm", ["dreamdb.lsh-cosine", "dreamdb.lsh-l2"])
def test_hashes_are_not_trained(algorithm):
    ds = skewed(algorithm=algorithm)
    with pytest.raises(
        InvalidInputError, match=f"cells of {algorithm}; rebuild-ivf is for dreamdb.ivf-cosine"
    ):
        ds.rebuild_ivf("v")


def test_two_codebooks_cannot_be_cut_cell_by_cell():
    with pytest.raises(InvalidInputError, match=r"ada-ivf-step is for dreamdb\.ivf-cosine"):
        skewed(algorithm="dreamdb.imi-cosine").ada_ivf_step("v")


def test_a_snapshot_does_not_move():
    ds = skewed()
    ds.snapshot("s")
    with pytest.raises(InvalidInputError, match="does not move"):
        vd.Dataset.open_ref("x@s", ds.space.store, cache_dir=None).rebuild_ivf("v")


def test_rows_must_be_in_cells():
    ds = vd.Dataset.create(
        "x", vd.Schema().add_embedding("v", DIM, algorithm=IVF), MemoryStore(), cache_dir=None
    )
    append(ds, vectors(9), 0, flush=False)
    with pytest.raises(InvalidInputError, match="'v' has no rows in cells; flush first"):
        ds.rebuild_ivf("v")


# --- status -------------------------------------------------------------------------------------------------


def test_status_of_cells():
    ds = skewed()
    append(ds, vectors(7, 3), 500, flush=False)
    status = ds.index_status("v", nprobe=3)
    track, origin, index = parts_of(ds)
    held = read_vectors(ds.space.store, track, DIM, origin=origin)
    counts = np.bincount(assign_cells(index, held.vectors).codes)
    assert (status["rows"], status["unflushed"], status["largest"]) == (3000, 7, counts.max())
    assert (status["cells"], status["filled"]) == (index.params.k, len(counts))
    assert status["mean"] == pytest.approx(3000 / index.params.k)
    assert status["skew"] == pytest.approx(counts.max() / status["mean"])
    assert status["bytes"] == 3000 * (8 + 4 * DIM) + 160 * status["buckets"]
    assert (status["code_bytes"], status["sampled"]) == (0, 64)
    assert 0.5 < status["recall"] <= 1.0
    assert ds.index_status("v", nprobe=index.params.k)["recall"] == 1.0


def test_status_of_hashes_and_of_nothing():
    status = skewed(algorithm="dreamdb.lsh-cosine").index_status("v", sample=0)
    assert (status["rows"], status["cells"], status["recall"]) == (3000, status["filled"], None)
    empty = vd.Dataset.create("e", vd.Schema().add_embedding("v", DIM), MemoryStore(), cache_dir=None)
    status = empty.index_status("v")
    assert (status["rows"], status["skew"], status["recall"]) == (0, 0.0, None)
