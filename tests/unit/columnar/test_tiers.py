"""Small stripes become one as they come: which ones, and that no row changes by it."""

import random

import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar import tiers
from dreamdb_arrow.columnar.tiers import FANOUT, TIERS, choose
from dreamdb_arrow.columnar.vendor import STRIPE, VECTORS, read_fragments
from dreamdb_arrow.store.memory import MemoryStore

SMALL, LARGER, LARGE = 10, 100, 1000
BOUNDS = (50, 500)


@pytest.mark.parametrize(
    ("sizes", "at", "size", "taken"),
    [
        ([], 0, SMALL, []),
        ([SMALL] * 6, 6, SMALL, []),
        ([SMALL] * 7, 7, SMALL, [*range(7)]),
        ([LARGE] + [SMALL] * 7, 8, SMALL, [*range(1, 8)]),
        ([LARGER] * 6 + [SMALL] * 7, 13, SMALL, [*range(6, 13)]),
        ([LARGER] * 7 + [SMALL] * 7, 14, SMALL, [*range(14)]),
        ([LARGER] * 7 + [SMALL] * 6, 13, SMALL, []),
        ([LARGER] * 7, 7, LARGER, [*range(7)]),
        ([SMALL] * 7, 7, LARGE, []),
        ([SMALL] * 3 + [LARGE] + [SMALL] * 4, 8, SMALL, []),
        ([SMALL] * 4 + [LARGE] + [SMALL] * 7, 8, SMALL, [*range(5, 12)]),  # late data go between
    ],
)
def test_which_neighbours_are_taken_in(sizes, at, size, taken):
    assert [*range(*choose(sizes, at, size, BOUNDS))] == taken


def make(flush="manual"):
    schema = vd.Schema().add_scalar_int("n").add_scalar_string("s", required=False).add_embedding("v", dim=2)
    return vd.Dataset.create("x", schema, MemoryStore(), flush=flush, cache_dir=None)


def rows_of(anchors):
    return {
        "_anchor": anchors,
        "n": [a % 7 for a in anchors],
        "s": [None if a % 3 == 0 else f"s{a}" for a in anchors],
        "v": [[float(a), 1.0] for a in anchors],
    }


def shown(ds):
    table = ds.to_arrow(["_anchor", "n", "s", "v"])
    return table.to_pydict()


def stripes_of(ds, modality=STRIPE, field=""):
    return read_fragments(ds.space.store, ds.manifest, modality, field)


@pytest.mark.parametrize("flush", ["manual", "commit"])
def test_many_small_commits_leave_few_stripes(flush):
    ds = make(flush)
    count = 70 if flush == "commit" else 300
    for k in range(count):
        ds.append(rows_of([*range(1000 * k, 1000 * k + 3)]))
        assert len(stripes_of(ds)) <= 2 * FANOUT
    assert len(stripes_of(ds, VECTORS, "v")) <= 2 * FANOUT
    expected = rows_of([a for k in range(count) for a in range(1000 * k, 1000 * k + 3)])
    assert shown(ds) == expected
    assert ds.count() == 3 * count


def test_old_versions_keep_their_stripes():
    ds = make()
    versions = []
    for k in range(20):
        ds.append(rows_of([k]))
        versions.append(ds.current_manifest())
    for k, version in enumerate(versions):
        old = vd.Dataset.open_by_manifest(version, ds.space.store, cache_dir=None)
        assert shown(old) == rows_of([*range(k + 1)])


def test_flushed_and_other_rows_stay_apart():  # 0021-R9, 0021-R14
    """A stripe with rows that the Tracks do not have is not taken for flushed, nor the other way round."""
    ds = make()
    for k in range(6):
        ds.append(rows_of([k]))
    assert ds.flush() == 6
    for k in range(6, 12):
        ds.append(rows_of([k]))
    assert len(stripes_of(ds)) == 12
    for k in range(12, 14):
        ds.append(rows_of([k]))
    assert len(stripes_of(ds)) == 7
    assert ds.flush() == 1
    assert shown(ds) == rows_of([*range(14)])


def test_dropped_columns_are_not_brought_back():  # 0021-R12, 0021-R14
    ds = make()
    for k in range(7):
        ds.append(rows_of([k]))
    ds.decommission_modality("s")
    ds.add_scalar_string("s")
    for k in range(7, 20):
        ds.append({"_anchor": [k], "n": [k % 7], "v": [[float(k), 1.0]]})
    assert ds.to_arrow(["s"])["s"].null_count == 20


@pytest.mark.parametrize("seed", range(8))
def test_random_appends_show_as_in_a_model(monkeypatch, seed):
    """Late rows, rows between, deletes, flushes and a new field, with tiers of three."""
    monkeypatch.setattr(tiers, "FANOUT", 3)
    rng, ds, model = random.Random(seed), make(rng_flush(seed)), {}
    for _ in range(60):
        step = rng.random()
        if step < 0.75:
            start = rng.choice([max(model, default=0) + 1, rng.randrange(3000)])
            new = [a for a in range(start, start + 5 * rng.randint(1, 9), 5) if a not in model]
            if new:
                ds.append(rows_of(new))
                model |= dict.fromkeys(new, True)
        elif step < 0.9 and model:
            gone = rng.sample(sorted(model), min(3, len(model)))
            ds.delete(gone)
            model |= dict.fromkeys(gone, False)
        else:
            ds.flush()
        assert shown(ds) == rows_of(sorted(a for a, alive in model.items() if alive))
    ds.flush()
    again = vd.Dataset.open("x", backend=ds.space.store, cache_dir=None)
    assert shown(again) == rows_of(sorted(a for a, alive in model.items() if alive))


def rng_flush(seed):
    return "commit" if seed % 4 == 3 else "manual"


def test_the_tiers_rise():
    for bounds in TIERS.values():
        assert list(bounds) == sorted(bounds)


@pytest.mark.parametrize("flush", ["manual", "commit"])
def test_rows_that_two_stripes_have_are_taken_in_once(flush):
    """Both branches take in what they had in common; after their union the next commits take in both of these."""
    ds = make(flush)
    for at in range(4):
        ds.append(rows_of([1000 * at]))
    side = ds.branch("side")
    for branch, first in ((ds, 1), (side, 2)):
        for at in range(FANOUT):
            branch.append(rows_of([1000 * at + first]))
    ds.merge("side", "union-tracks")
    for at in range(2 * FANOUT):
        ds.append(rows_of([1000 * at + 3, 1000 * at + 4]))
    wanted = sorted(
        [1000 * at for at in range(4)]
        + [1000 * at + first for first in (1, 2) for at in range(FANOUT)]
        + [1000 * at + first for first in (3, 4) for at in range(2 * FANOUT)]
    )
    assert shown(ds) == {**rows_of(wanted), "_anchor": wanted}
    assert vd.fsck(ds.space.store, cache_dir=None).findings == []
    ds.compact()
    ds.flush()
    assert shown(ds)["_anchor"] == wanted
    assert vd.fsck(ds.space.store, cache_dir=None).findings == []
