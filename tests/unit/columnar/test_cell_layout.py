"""columnar.cell_layout: cells laid out once, and grown; what is in the Track is what is laid out."""

import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar import cell_layout
from dreamdb_arrow.columnar.projection import bucket_origin, row_entry
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.spatial.scan import cell_runs
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.vectors import read_vectors

DIM = 6


def vectors(n, seed):
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype("f4")


@pytest.fixture
def ds():
    schema = vd.Schema().add_embedding("v", dim=DIM, algorithm="dreamdb.lsh-cosine", lsh_bits=4)
    return vd.Dataset.create("x", schema, MemoryStore(), cache_dir=None)


def grow(ds, n, seed):
    ds.append({"_anchor": np.arange(n) * 7 + seed, "v": vectors(n, seed)})
    ds.flush()


def layout_of(ds):
    rows = ds._rows
    entry = row_entry(ds.manifest, "v")
    origin, track = bucket_origin(ds.manifest, entry.modality), read_track(rows.store, entry)
    layout = cell_layout.open_layout(rows.store, rows.cache, track, entry.address, DIM, origin)
    return layout, read_vectors(rows.store, track, DIM, origin=origin)


def rows_of(layout):
    parts = []
    for segment, dead in zip(layout.segments, layout.dead, strict=True):
        live = np.setdiff1d(np.arange(len(segment)), dead)
        parts.append((segment.anchors[live], segment.vectors[live]))
    anchors, held = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(anchors)
    return anchors[order], held[order]


def check(ds):
    layout, true = layout_of(ds)
    anchors, held = rows_of(layout)
    np.testing.assert_array_equal(anchors, true.anchors)
    np.testing.assert_array_equal(held, true.vectors)
    for segment in layout.segments:
        assert (segment.keys[1:] > segment.keys[:-1]).all()
        np.testing.assert_array_equal(segment.ordered, np.sort(segment.anchors))
        np.testing.assert_array_equal(segment.anchors[segment.order], segment.ordered)
        if segment.inverse is not None:
            np.testing.assert_allclose(segment.inverse * np.linalg.norm(segment.vectors, axis=1), 1, 1e-5)
    assert cell_runs(layout.segments).sizes.sum() == sum(map(len, layout.segments)) == layout.rows
    return layout


def test_commits_add_segments_and_small_ones_are_taken_in(ds):
    counts = []
    for nth in range(7):
        grow(ds, 200, nth)
        counts.append(len(check(ds).segments))
    assert max(counts) <= 4
    assert counts[-1] >= 1


def test_a_small_commit_leaves_a_large_segment_alone(ds):
    grow(ds, 2000, 0)
    first = check(ds).segments[0]
    grow(ds, 20, 1)
    layout = check(ds)
    assert sorted(map(len, layout.segments)) == [20, 2000]
    np.testing.assert_array_equal(layout.segments[0].anchors, first.anchors)


def test_a_layout_is_made_once_and_again_when_the_cache_has_lost_it(ds, monkeypatch):
    grow(ds, 300, 0)
    made, real = [], cell_layout._lay_out
    monkeypatch.setattr(cell_layout, "_lay_out", lambda *a: made.append(1) or real(*a))
    check(ds)
    check(ds)
    assert len(made) == 1
    for file in (ds._rows.cache.root / "objects").rglob("d*"):
        if file.is_file() and file.stat().st_size > 300 * DIM * 4:
            file.write_bytes(b"bad")
    check(ds)
    assert len(made) == 2


def test_compaction_of_the_track_lays_out_anew(ds):
    for nth in range(3):
        grow(ds, 100, nth)
    check(ds)
    ds.compact()
    check(ds)


def test_an_empty_track_has_an_empty_layout(ds):
    layout, _ = layout_of(ds)
    assert (layout.rows, layout.segments, cell_runs(layout.segments).sizes[:-1].tolist()) == (0, (), [])


def test_rows_that_do_not_count_are_masked(ds):
    grow(ds, 50, 0)
    segment = layout_of(ds)[0].segments[0]
    assert cell_layout.live_mask(segment, np.empty(0, np.int64), ()) is None
    mask = cell_layout.live_mask(segment, np.array([3]), (np.array([0, 7, 5000]),))
    assert mask.sum() == 50 - len({3, *segment.rows_of(np.array([0, 7])).tolist()})
