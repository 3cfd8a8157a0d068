"""Vectors out of cells as local stripes: by anchor, in bounded parts, made of what is new only."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.columnar import cell_vectors as module
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.cell_vectors import cell_vectors
from dreamdb_arrow.columnar.rowset import LateStripes, Stripe
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.unions import keep_both

DIM = 3


@pytest.fixture
def ds():
    schema = vd.Schema().add_scalar_int("n").add_embedding("v", dim=DIM, lsh_bits=3)
    return vd.Dataset.create("main", schema, MemoryStore(), flush="commit", cache_dir=None)


def table(anchors, factor=1.0):
    anchors = np.asarray(anchors, np.int64)
    vectors = np.stack([np.cos(anchors), np.sin(anchors), anchors % 5 - 2.0], axis=1) * factor
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype("f4").reshape(-1)), DIM)
    return pa.table({"_anchor": anchors, "n": anchors, "v": values})


def held(ds, cache):
    """The local stripes of the field, and all that is in them."""
    stripes = cell_vectors(ds.space.store, cache, ds.manifest, ds._rows.fields[1])
    opened = [cache.vectors(ds.space.store, s.path, s.address, DIM) for s in stripes]
    rows = {a: v.tobytes() for o in opened for a, v in zip(o.anchors.tolist(), o.vectors, strict=True)}
    assert sum(len(o.anchors) for o in opened) == len(rows)
    assert [(s.t0, s.t1) for s in stripes] == [(o.anchors[0], o.anchors[-1] + 1) for o in opened]
    return stripes, rows


def wanted(ds):
    got = ds.to_arrow()
    return {
        a.as_py(): np.array(v.as_py(), "f4").tobytes() for a, v in zip(got["_anchor"], got["v"], strict=True)
    }


def test_rows_come_by_anchor_in_parts(ds, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 4 * DIM * 16)
    ds.append(table(range(100, 150)))
    ds.append(table(range(50)))
    stripes, rows = held(ds, LocalCache(None))
    assert rows == wanted(ds)
    assert len(stripes) == 7
    assert all(a.t1 <= b.t0 for a, b in itertools.pairwise(stripes))


def test_what_is_new_is_made_and_small_segments_are_taken_in(ds):
    cache = LocalCache(None)
    assert held(ds, cache) == ((), {})
    ds.append(table(range(900)))
    large = held(ds, cache)[0]
    for nth in range(6):
        ds.append(table(range(1000 + 10 * nth, 1010 + 10 * nth)))
        stripes, rows = held(ds, cache)
        assert rows == wanted(ds)
        assert set(large) < set(stripes)
    assert len(stripes) < 5
    assert held(ds, cache)[0] == stripes
    ds.compact(stripes=False)  # other buckets: nothing of the old ones is of use
    assert held(ds, cache)[1] == wanted(ds)


def test_segments_that_overlap_stay_and_those_that_share_anchors_become_one(ds):
    cache = LocalCache(None)
    ds.append(table(range(0, 400, 2)))
    held(ds, cache)
    ds.append(table([1, 201, 399]))
    stripes, rows = held(ds, cache)
    assert (len(stripes), rows) == (2, wanted(ds))
    ours, theirs = ds.branch("ours"), ds.branch("theirs")
    ours.append(table(range(1000, 1400)))
    theirs.append(table([1001], factor=2.0))
    held(ours, cache)
    keep_both(ours, "theirs")
    stripes, rows = held(ours, cache)
    assert len(stripes) == 1
    assert rows.keys() == wanted(ours).keys()


@pytest.mark.parametrize("what", ["objects", "notes"])
def test_a_cache_that_was_emptied_is_filled_again(ds, tmp_path, what):
    cache = LocalCache(tmp_path / "cache")
    ds.append(table(range(20)))
    before = held(ds, cache)
    for path in (tmp_path / "cache" / what).rglob("*"):
        if path.is_file():
            path.unlink()
    assert held(ds, LocalCache(tmp_path / "cache")) == before


def test_late_stripes_are_asked_for_once():
    stripe, asked = Stripe(address_of(b"one"), 0, 1), []

    def later():
        asked.append(1)
        return (stripe,)

    late = LateStripes({"v": (), "w": (stripe, stripe)}, {"v": later})
    assert (list(late), len(late), late["w"], late.get("x"), late.found()) == (
        ["v", "w"],
        2,
        (stripe, stripe),
        None,
        {},
    )
    assert [late.is_waiting(name) for name in "vw"] == [True, False]
    assert late["v"] == late["v"] == (stripe,)
    assert (asked, late.found(), late.is_waiting("v")) == ([1], {"v": (stripe,)}, False)
