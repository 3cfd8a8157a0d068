import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dreamdb_arrow as vd
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.model import Version, spread

LAST = 2**63 - 2


def dataset(now=1000, **options):
    schema = vd.Schema().add_scalar_int("n")
    return vd.Dataset.create("x", schema, MemoryStore(), cache_dir=None, clock=lambda: now, **options)


def anchors(ds):
    return ds.to_arrow(["_anchor"])["_anchor"].to_pylist()


def ticks(ds, *given):
    return ds.append({"tick": list(given), "n": list(range(len(given)))}, time="tick")


def test_assigned_anchors_are_a_microsecond_apart_from_now_on():
    ds = dataset(now=5000)
    assert ds.append({"n": [7, 8, 9]}) == 3
    assert anchors(ds) == [5000 + 1000 * i + anchors(ds)[0] - 5000 for i in range(3)]
    assert 5000 <= anchors(ds)[0] <= 5001


def test_assigned_anchors_go_after_what_is_there_already():
    ds = dataset(now=1000)
    for _ in range(3):
        ds.append({"n": [1, 2]})
    found = anchors(ds)
    assert len(set(found)) == 6
    assert np.diff(found).min() >= 1


def test_assigned_anchors_leave_out_deleted_ones():
    ds = dataset(now=1000)
    ds.delete([1000, 1001, 2001, 3001])
    ds.append({"n": [1, 2, 3]})
    assert ds.count() == 3
    assert not set(anchors(ds)) & set(ds.tombstone_set())


def test_assigned_anchors_find_the_gap_before_what_comes_later():
    ds = dataset(now=1000)
    ds.append({"_anchor": [10**9], "n": [1]})
    ds.append({"n": [1, 2]})
    assert anchors(ds)[:2] == [1001, 2001]


def test_a_row_in_the_far_future_does_not_pull_others_there():
    ds = dataset(now=1000)
    ds.append({"_anchor": [0, LAST], "n": [1, 2]})
    ds.append({"n": [1, 2]})
    assert anchors(ds)[1:3] == [1001, 2001]


def test_no_anchor_is_left_after_the_end_of_time():
    ds = dataset(now=LAST)
    with pytest.raises(vd.InvalidInputError, match="no anchors are left to assign"):
        ds.append({"n": [1]})
    assert ds.count() == 0


def test_first_and_last_anchor():
    ds = dataset()
    ds.append({"_anchor": [0, LAST], "n": [1, 2]})
    ds.flush()
    assert anchors(ds) == [0, LAST]
    assert ds.count() == ds.count(0, 2**63 - 1) == 2
    assert ds.count(LAST) == 1
    with pytest.raises(vd.AnchorConflict):
        ds.append({"_anchor": [LAST], "n": [1]})


def test_times_are_anchors_in_any_unit():
    ds = dataset()
    ds.append({"_time": np.array(["2023-11-14T22:13:20"], "M8[s]"), "n": [1]})
    ds.append({"_time": pa.array([1_700_000_000_001], pa.timestamp("ms", "UTC")), "n": [2]})
    assert anchors(ds) == [1_700_000_000_000_000_000, 1_700_000_000_001_000_000]
    again = dataset()
    again.append(ds.to_arrow())  # has both columns, and they agree
    assert anchors(again) == anchors(ds)


def test_an_anchor_is_compared_with_rows_and_not_with_ranges():
    ds = dataset()
    ds.append({"_anchor": [10, 20, 30], "n": [1, 2, 3]})
    ds.append({"_anchor": [15, 5, 35, 25], "n": [1, 2, 3, 4]})
    assert anchors(ds) == [5, 10, 15, 20, 25, 30, 35]
    for taken in (5, 10, 25, 35):
        with pytest.raises(vd.AnchorConflict, match=f"anchor {taken} of row 1"):
            ds.append({"_anchor": [6, taken], "n": [1, 2]})


def test_conflicts_are_those_of_the_branch():
    ds = dataset()
    other = ds.branch("other")
    ds.append({"_anchor": [1], "n": [1]})
    other.append({"_anchor": [1], "n": [2]})
    with pytest.raises(vd.AnchorConflict):
        other.append({"_anchor": [1], "n": [3]})


def test_a_handle_that_lags_behind_is_told_of_a_conflict_too():
    ds = dataset()
    late = vd.Dataset(ds.space, "x", ds._version)
    ds.append({"_anchor": [1], "n": [1]})
    with pytest.raises(vd.AnchorConflict):
        late.append({"_anchor": [1], "n": [2]})
    assert late.append({"_anchor": [2], "n": [2]}) == 1
    assert late.count() == 2


# ---------------------------------------------------------------- ticks that coincide


def test_rows_of_one_tick_are_a_nanosecond_apart_in_their_order():
    ds = dataset()
    ticks(ds, 20, 10, 20, 20, 10)
    found = ds.to_arrow(["_anchor", "n"])
    assert found["_anchor"].to_pylist() == [10, 11, 20, 21, 22]
    assert found["n"].to_pylist() == [1, 4, 0, 2, 3]


def test_a_tick_goes_on_where_earlier_appends_ended():
    ds = dataset()
    for n in (10, 10, 1, 3):  # the third meets a run that leads through two stripes
        ticks(ds, *[100] * n)
    assert anchors(ds) == list(range(100, 124))
    ds.delete([124, 125])
    ticks(ds, 100)
    assert anchors(ds)[-1] == 126


def test_a_column_of_ticks_may_be_a_field_too():
    schema = vd.Schema().add_scalar_timestamp("at")
    ds = vd.Dataset.create("x", schema, MemoryStore(), cache_dir=None)
    at = np.array([7, 7, 9], "M8[us]")
    ds.append({"at": at}, time="at")
    found = ds.to_arrow(["_anchor", "at"])
    assert found["_anchor"].to_pylist() == [7000, 7001, 9000]
    assert found["at"].cast(pa.int64()).to_pylist() == [7000, 7000, 9000]


def test_ticks_that_run_into_one_another_are_refused():
    ds = dataset()
    with pytest.raises(vd.AnchorConflict, match="run into one another at 11"):
        ticks(ds, 10, 10, 11)
    ds.append({"_anchor": [52], "n": [1]})
    with pytest.raises(vd.AnchorConflict, match="anchor 52 of row 2 is taken"):
        ticks(ds, 50, 50, 50)
    assert anchors(ds) == [52]


def test_the_last_ticks_there_are():
    ds = dataset()
    ticks(ds, LAST)
    with pytest.raises(vd.InvalidInputError, match="is above"):
        ticks(ds, LAST)


@given(st.lists(st.lists(st.integers(0, 12).map(lambda i: i * 3), min_size=1, max_size=6), max_size=4))
def test_spreading_is_that_of_the_model(appends):
    ds, version = dataset(), Version()
    for given_ticks in appends:
        try:
            wanted = spread(version, given_ticks)
        except vd.AnchorConflict:
            with pytest.raises(vd.AnchorConflict):
                ticks(ds, *given_ticks)
            continue
        ticks(ds, *given_ticks)
        version = version.append(wanted, [{}] * len(wanted))
    assert anchors(ds) == sorted(version.rows)
