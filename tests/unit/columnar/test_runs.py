"""Runs of stripes, beside a plain table of the same rows."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dreamdb_arrow as vd
from dreamdb_arrow.columnar import runs
from dreamdb_arrow.columnar.rowset import RowSet, Stripe, keep_local
from dreamdb_arrow.columnar.runs import live_parts, runs_of
from dreamdb_arrow.columnar.stripe import anchors_of, encode_stripe
from dreamdb_arrow.store.memory import MemoryStore

MAX = 2**63 - 1


def version(*stripes):
    """Return a version that has these stripes, each given as anchors or as a table, whatever a writer would do."""
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), MemoryStore(), cache_dir=None)
    rows = ds._rows
    tables = [s if isinstance(s, pa.Table) else table_of(s) for s in stripes]
    kept = [keep_local(rows.cache, encode_stripe(t), anchors_of(t)) for t in tables]
    return replaced(rows, stripes=tuple(sorted(kept, key=lambda s: s.t0)))


def replaced(rows, **changes):
    names = ("store", "cache", "manifest", "address", "fields", "stripes", "vectors", "hidden", "unavailable")
    return RowSet(**{**{n: getattr(rows, n) for n in names}, **changes})


def table_of(anchors):
    ids = pa.array(sorted(anchors), pa.int64())
    return pa.table({"_anchor": ids, "_time": ids.cast(pa.timestamp("ns")), "n": pc.multiply(ids, 2)})


SCHEMA = table_of([]).schema


def read(rows, columns=("_anchor", "n"), where=None, t0=0, t1=MAX, most=0, batch_size=65_536):
    found = list(runs_of(rows, rows.stripes, SCHEMA, t0, t1, most))
    batches = [b for run in found for b in run.batches(columns, where, batch_size)]
    return pa.Table.from_batches(batches, pa.schema([SCHEMA.field(n) for n in columns]))


def test_stripes_that_follow_one_another_are_one_run():
    rows = version(range(10), range(10, 30), range(50, 60))
    found = list(runs_of(rows, rows.stripes, SCHEMA, 0, MAX))
    assert [(run.mixed, run.alive) for run in found] == [(False, None)]
    assert read(rows)["n"].to_pylist() == [2 * i for i in [*range(30), *range(50, 60)]]


def test_stripes_that_overlap_are_sorted_and_alone():
    rows = version(range(10), range(20, 40, 2), range(21, 40, 2), range(50, 60), range(60, 62))
    found = list(runs_of(rows, rows.stripes, SCHEMA, 0, MAX))
    assert [run.mixed for run in found] == [False, True, False]
    assert read(rows)["_anchor"].to_pylist() == [*range(10), *range(20, 40), *range(50, 62)]
    assert read(rows, ["n"])["n"].to_pylist() == [2 * i for i in [*range(10), *range(20, 40), *range(50, 62)]]


def test_a_window_at_a_time_is_sorted(monkeypatch):
    monkeypatch.setattr(runs, "WINDOW_GROUPS", 1)
    monkeypatch.setattr("dreamdb_arrow.columnar.stripe.ROW_GROUP_ROWS", 10)
    rows = version(range(0, 200, 2), range(51, 90, 2), [13])
    (run,) = runs_of(rows, rows.stripes, SCHEMA, 0, MAX)
    wanted = sorted([*range(0, 200, 2), *range(51, 90, 2), 13])
    assert len(runs._windows(run.files)) > 5
    assert [b["_anchor"].to_pylist() for b in run.batches(["_anchor"], None, 10_000)] != [wanted]
    assert read(rows)["_anchor"].to_pylist() == wanted
    assert read(rows, t0=52, t1=60)["_anchor"].to_pylist() == list(range(52, 60))


def test_a_stripe_of_another_type_is_read_as_null():
    ids = pa.array([20, 21], pa.int64())
    odd = pa.table({"_anchor": ids, "_time": ids.cast(pa.timestamp("ns")), "n": ["a", "b"]})
    rows = version(range(3), odd, [30])
    found = list(runs_of(rows, rows.stripes, SCHEMA, 0, MAX))
    assert len(found) == 3
    assert read(rows)["n"].to_pylist() == [0, 2, 4, None, None, 60]


def test_only_the_files_of_the_first_run_are_looked_at(monkeypatch):
    rows = version(*([i] for i in range(20)))
    seen = []
    local = Stripe.local
    monkeypatch.setattr(Stripe, "local", lambda s, *args: (seen.append(s), local(s, *args))[1])
    first = next(runs_of(rows, rows.stripes, SCHEMA, 0, MAX, most=1))
    assert first.files.count_rows() == 1
    assert {s.t0 for s in seen} == {0}
    held = [run.files.count_rows() for run in runs_of(rows, rows.stripes, SCHEMA, 0, MAX, most=1)]
    assert held == [1, 2, 4, 8, 5]


@given(
    st.sets(st.integers(0, 99), max_size=60),
    st.lists(st.integers(0, 3), min_size=100, max_size=100),
    st.sets(st.integers(0, 99), max_size=30),
    st.integers(0, 100),
    st.integers(0, 100),
    st.integers(0, 60),
)
def test_rows_are_those_of_a_plain_table(held, places, hidden, t0, t1, least):
    """Rows spread over stripes in any way, some deleted, some outside the range, some filtered away."""
    stripes = [[a for a in held if places[a] == i] for i in range(4)]
    rows = version(*(s for s in stripes if s))
    rows = replaced(rows, hidden=np.array(sorted(hidden), dtype=np.int64))
    rows.cache.live.clear()
    t0, t1 = min(t0, t1), max(t0, t1)
    wanted = [a for a in sorted(held - hidden) if t0 <= a < t1]
    met = replaced(rows, stripes=tuple(s for s in rows.stripes if s.meets(t0, t1)))
    assert read(met, t0=t0, t1=t1)["_anchor"].to_pylist() == wanted
    some = read(met, ["n"], pc.field("n") >= least, t0, t1, most=1, batch_size=3)
    assert some["n"].to_pylist() == [2 * a for a in wanted if 2 * a >= least]


def test_what_is_read_in_place_of_a_stripe_is_remembered(monkeypatch):
    rows = replaced(version(range(3000), range(4000, 5000)), hidden=np.arange(0, 3000, 10))
    first = live_parts(rows, rows.stripes, 0, MAX)
    monkeypatch.setattr(runs, "live_stripes", None)
    assert live_parts(rows, rows.stripes, 0, MAX) == first
    assert live_parts(rows, rows.stripes[:1], 0, MAX) == first[:1]
    assert [len(hidden) for _, hidden in first] == [0, 0]
    assert first[0][0].address != rows.stripes[0].address
    monkeypatch.undo()
    rows.cache.remove(first[0][0].address)
    assert read(rows)["_anchor"].to_pylist() == [
        i for i in [*range(3000), *range(4000, 5000)] if i > 3000 or i % 10
    ]


@pytest.mark.parametrize("columns", [[], ["n"], ["n", "_anchor"]])
def test_columns_are_given_as_asked(columns):
    rows = version(range(4), range(2, 12, 3))
    (run,) = runs_of(rows, rows.stripes, SCHEMA, 0, MAX)
    batches = list(run.batches(columns, None, 3))
    assert sum(b.num_rows for b in batches) == 8
    assert all(b.schema.names == columns and b.num_rows <= 3 for b in batches)
