"""Diffs: added, deleted and changed rows as comparing whole versions tells them, and what is not read for it."""

import random

import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset import compare, diff
from dreamdb_arrow.dataset.diff import DIFF
from dreamdb_arrow.errors import InvalidInputError, RefNotFoundError
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.model import rows_of_table


def schema():
    return (
        vd.Schema()
        .add_scalar_int("n")
        .add_scalar_float("f", required=False)
        .add_scalar_string("s", required=False)
        .add_image("im", required=False, pack_items=3)
        .add_array("a", "f32", (2,), required=False)
        .add_embedding("v", dim=2, lsh_bits=2, required=False)
    )


def row(a, nth=0):
    return {
        "_anchor": a,
        "n": a + nth,
        "f": -0.0 if nth else 0.0,
        "s": None if a % 3 == 0 else f"text {a}",
        "im": b"image %d" % (a % 4),
        "a": [float(a), float(nth)],
        "v": None if a % 5 == 0 else [1.0, float(a)],
    }


@pytest.fixture
def ds():
    made = vd.Dataset.create("x", schema(), MemoryStore(), cache_dir=None)
    made.append_many([row(a) for a in range(1, 30)])
    return made


def told(reader):
    table = reader.read_all()
    assert table.schema == DIFF
    return [(r["_anchor"], r["change"], r["fields"]) for r in table.to_pylist()]


def naive(old, new):
    """Every row of both, compared in Python."""
    before, after = (rows_of_table(ds.to_arrow()) for ds in (old, new))
    found = []
    for a in sorted(before.keys() | after.keys()):
        if a not in before or a not in after:
            found.append((a, "added" if a in after else "deleted", []))
        elif fields := [
            n for n in old.arrow_schema.names[2:] if repr(before[a].get(n)) != repr(after[a].get(n))
        ]:
            found.append((a, "changed", fields))
    return found


def test_rows_of_one_side_and_rows_of_both(ds):
    side = ds.branch("side")
    side.append_many([row(40), row(41), row(50)])
    side.delete([3, 4])
    ds.append_many([row(40, 1), row(41), row(60)])
    ds.delete([4, 5])
    assert told(ds.diff("side")) == [
        (3, "deleted", []),
        (5, "added", []),
        (40, "changed", ["a", "f", "n"]),
        (50, "added", []),
        (60, "deleted", []),
    ]
    assert told(ds.diff(side)) == naive(ds, side)
    assert told(side.diff(ds)) == naive(side, ds)


def test_versions_are_named_as_elsewhere(ds):
    ds.snapshot("first")
    first, ts = ds.current_manifest(), ds.manifest.ts
    ds.append_many([row(40)])
    for other in ("x@first", first, f"x@{ts}", vd.Dataset.open_at("x@first", ds.space.store, cache_dir=None)):
        assert told(ds.diff(other)) == [(40, "deleted", [])]
    with pytest.raises(RefNotFoundError, match="nope"):
        ds.diff("nope")
    vd.Dataset.create("other", schema(), ds.space.store, cache_dir=None)
    with pytest.raises(InvalidInputError, match="of different datasets"):
        ds.diff("other")


def test_flushing_compacting_and_packing_anew_change_nothing(ds):
    ds.delete([7])
    before = ds.branch("before")
    ds.flush()
    ds.append_many([row(a) for a in range(40, 44)])
    before.append_many([row(a) for a in (40, 42)])  # the same images, packed with other neighbours
    before.append_many([row(a) for a in (41, 43)])
    assert told(ds.diff(before)) == []
    ds.flush()
    ds.compact()
    assert told(ds.diff(before)) == told(before.diff(ds)) == []


def test_images_are_compared_by_their_bytes(ds):
    side = ds.branch("side")
    ds.append_many([row(40) | {"im": b"one"}, row(41) | {"im": b"same"}])
    side.append_many([row(40) | {"im": b"two"}, row(41) | {"im": b"same"}])
    assert told(ds.diff(side)) == [(40, "changed", ["im"])]


def test_fields_come_first_and_are_not_compared(ds):
    side = ds.branch("side")
    side.add_scalar_layer("size", "n", "int", [(a, a) for a in range(1, 5)])
    side.decommission_modality("f")
    side.add_constant("title", "title.text", "Side")
    side.append_many([{"_anchor": 70, "n": 1, "size": 1}])
    assert told(ds.diff(side)) == [
        (None, "field dropped", ["f"]),
        (None, "field added", ["size"]),
        (None, "field added", ["title"]),
        (70, "added", []),
    ]
    side.decommission_modality("s")
    side.add_scalar_int("s", required=False)
    assert (None, "field changed", ["s"]) in told(ds.diff(side))


def test_values_of_a_layer_that_both_have_are_compared(ds):
    ds.add_scalar_layer("size", "n", "int", [(1, 10), (2, 20)])
    ds.add_embedding_layer("w", "n", dim=2, lsh_bits=2, samples=[(1, [1.0, 2.0]), (2, [1.0, 3.0])])
    side = ds.branch("side")
    side.decommission_modality("size")
    side.decommission_modality("w")
    side.add_scalar_layer("size", "n", "int", [(1, 10), (2, 21)])
    side.add_embedding_layer("w", "n", dim=2, lsh_bits=2, samples=[(1, [1.0, 2.5]), (3, [1.0, 3.0])])
    found = {t[0]: t for t in told(ds.diff(side)) if t[0] is not None}
    assert found[2][2] == ["size", "w"]
    assert {a: sorted(t[2]) for a, t in found.items()} == {1: ["w"], 2: ["size", "w"], 3: ["w"]}


def test_what_both_have_is_not_read(ds, monkeypatch):
    side = ds.branch("side")
    side.delete([2])
    side.append_many([row(100)])
    ds.flush()
    read = []
    monkeypatch.setattr(
        compare, "runs_of", lambda rows, stripes, *a: read.extend(stripes) or _runs_of(rows, stripes, *a)
    )
    assert told(ds.diff(side)) == [(2, "deleted", []), (100, "added", [])]
    assert [(s.t0, s.t1) for s in read] == [(100, 101)]


_runs_of = compare.runs_of


@pytest.mark.parametrize("seed", range(6))
def test_against_whole_versions(seed, monkeypatch):
    """Random histories of two branches, read in windows of a few rows."""
    monkeypatch.setattr(compare, "GROUPS", 1)
    monkeypatch.setattr(diff, "STEP", 3)
    rng = random.Random(seed)
    ds = vd.Dataset.create("x", schema(), MemoryStore(), cache_dir=None)
    ds.append_many([row(a) for a in range(0, 40, 2)])
    sides = [ds, ds.branch("side")]
    for step in range(12):
        at = rng.choice(sides)
        match rng.randrange(5):
            case 0 | 1:
                held = set(rows_of_table(at.to_arrow())) | set(at.tombstone_set())
                free = [a for a in range(60) if a not in held]
                if chosen := rng.sample(free, min(4, len(free))):
                    at.append_many([row(a, rng.randrange(2)) for a in sorted(chosen)])
            case 2:
                at.delete(rng.sample(range(60), 3))
            case 3:
                at.flush()
            case 4:
                at.compact()
        if step % 4 == 3:
            assert told(sides[0].diff(sides[1])) == naive(*sides)
            assert told(sides[1].diff(sides[0])) == naive(sides[1], sides[0])


def test_batches_come_a_window_at_a_time(ds, monkeypatch):
    monkeypatch.setattr(compare, "GROUPS", 1)
    side = ds.branch("side")
    for a in range(100, 400, 100):
        side.append_many([row(a + i) for i in range(3)])
    reader = ds.diff(side)
    assert isinstance(reader, pa.RecordBatchReader)
    assert sum(batch.num_rows for batch in reader) == 9
