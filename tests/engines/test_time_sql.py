"""Time as the key: fields on one grid, rows around events, and ASOF joins, each against pandas or plain DuckDB. Spec 0006."""

import itertools
import json

import duckdb
import numpy as np
import pandas as pd
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.engines.plans_time import RANGES_MAX, window_ranges
from dreamdb_arrow.errors import InvalidInputError

T0, SECOND = 1_700_000_000_000_000_000, 1_000_000_000
RNG = np.random.default_rng(7)


def ticks(n, mean_ns):
    return T0 + np.cumsum(RNG.integers(1, 2 * mean_ns, n))


FAST = pd.DataFrame(
    {"_anchor": ticks(4000, SECOND), "x": RNG.normal(size=4000), "k": RNG.integers(0, 9, 4000)}
)
SLOW = pd.DataFrame(
    {"_anchor": ticks(70, 60 * SECOND), "temp": RNG.normal(size=70), "sky": RNG.choice(["a", "b"], 70)}
)
SLOW.loc[::5, "temp"] = np.nan


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    root = tmp_path_factory.mktemp("time")
    schema = vd.Schema().add_scalar_float("x").add_scalar_int("k")
    fast = vd.Dataset.create("fast", schema, root / "s", cache_dir=root / "c")
    for part in np.array_split(np.arange(len(FAST)), 4):
        fast.append(FAST.iloc[part])
    schema = vd.Schema().add_scalar_float("temp", required=False).add_scalar_categorical("sky")
    slow = vd.Dataset.create("slow", schema, root / "s", cache_dir=root / "c")
    slow.append(
        {
            "_anchor": SLOW["_anchor"],
            "temp": [None if np.isnan(t) else t for t in SLOW["temp"]],
            "sky": list(SLOW["sky"]),
        }
    )
    vd.Dataset.create("empty", vd.Schema().add_scalar_int("n"), root / "s", cache_dir=root / "c")
    with vd.connect(root / "s", cache_dir=root / "c") as made:
        yield made


def frame(con, query, *arguments):
    return con.sql(query, params=list(arguments) or None).to_arrow_table().to_pandas()


# --- joins of tracks of different rates ---------------------------------------------------------------------


def test_an_asof_join_is_what_pandas_makes(con):
    found = frame(
        con,
        "SELECT f._anchor, f.x, s.sky FROM fast f ASOF LEFT JOIN slow s ON f._anchor >= s._anchor ORDER BY 1",
    )
    told = pd.merge_asof(FAST[["_anchor", "x"]], SLOW[["_anchor", "sky"]], on="_anchor")
    assert found["x"].tolist() == told["x"].tolist()
    assert found["sky"].fillna("").tolist() == told["sky"].fillna("").tolist()


def test_an_asof_join_of_tracks_leaves_out_what_is_missing(con):
    found = frame(
        con,
        "SELECT f._anchor, s.value FROM fast f ASOF LEFT JOIN dreamdb_track('slow', 'temp') s ON f._anchor >= s._anchor ORDER BY 1",
    )
    told = pd.merge_asof(FAST[["_anchor"]], SLOW[["_anchor", "temp"]].dropna(), on="_anchor")
    np.testing.assert_array_equal(found["value"], told["temp"])


# --- one grid -----------------------------------------------------------------------------------------------

STEP = 30 * SECOND


def grid(low, high, step=STEP):
    return pd.DataFrame({"_anchor": np.arange(-(-low // step) * step, high, step)})


def whole_grid():
    low = min(FAST["_anchor"].min(), SLOW["_anchor"].min())
    return grid(low, max(FAST["_anchor"].max(), SLOW["_anchor"].max()) + 1)


def test_previous_values_on_a_grid(con):
    found = frame(con, "FROM dreamdb_align(['slow', 'fast.k'], INTERVAL 30 SECONDS)")
    assert list(found) == ["_anchor", "_time", "slow.sky", "slow.temp", "fast.k"]
    ticks = whole_grid()
    assert found["_anchor"].tolist() == ticks["_anchor"].tolist()
    assert (found["_time"].astype("int64") == found["_anchor"]).all()
    for column, rows in (
        ("slow.temp", SLOW[["_anchor", "temp"]].dropna()),
        ("fast.k", FAST[["_anchor", "k"]]),
    ):
        told = pd.merge_asof(ticks, rows, on="_anchor").iloc[:, 1]
        np.testing.assert_array_equal(found[column].astype(float), told.astype(float))


def test_values_in_between_on_a_grid(con):
    found = frame(
        con, "FROM dreamdb_align(['slow.temp', 'fast.x', 'fast.k'], INTERVAL 30 SECONDS, fill := 'linear')"
    )
    ticks = whole_grid()["_anchor"]
    for column, rows in (
        ("slow.temp", SLOW[["_anchor", "temp"]].dropna()),
        ("fast.x", FAST[["_anchor", "x"]]),
        ("fast.k", FAST[["_anchor", "k"]]),
    ):
        at, values = rows.iloc[:, 0].to_numpy(), rows.iloc[:, 1].to_numpy()
        told = np.interp(
            (ticks - T0).astype(float), (at - T0).astype(float), values, left=np.nan, right=np.nan
        )
        np.testing.assert_allclose(found[column].astype(float), told, rtol=1e-9, atol=1e-9)


def test_only_young_values_on_a_grid(con):
    found = frame(
        con,
        "FROM dreamdb_align(['slow.temp'], INTERVAL 30 SECONDS, fill := 'null', t0 := 1700000000000000000)",
    )
    rows = SLOW[["_anchor", "temp"]].dropna()
    told = pd.merge_asof(grid(T0, SLOW["_anchor"].max() + 1), rows, on="_anchor", tolerance=STEP - 1)
    np.testing.assert_array_equal(found["slow.temp"], told["temp"])
    assert 0 < found["slow.temp"].isna().sum() < len(found)


def test_a_grid_within_a_range_uses_rows_of_the_range(con):
    low, high = T0 + 600 * SECOND, T0 + 1200 * SECOND
    found = frame(con, "FROM dreamdb_align(['fast.x'], INTERVAL 1 MINUTE, t0 := ?, t1 := ?)", low, high)
    rows = FAST[(FAST["_anchor"] >= low) & (FAST["_anchor"] < high)][["_anchor", "x"]]
    told = pd.merge_asof(grid(low, high, 60 * SECOND), rows, on="_anchor")
    np.testing.assert_array_equal(found["fast.x"], told["x"])


def test_linear_takes_numbers_of_a_ref_only(con):
    assert list(frame(con, "FROM dreamdb_align(['slow'], INTERVAL 1 MINUTE, fill := 'linear')"))[2:] == [
        "slow.temp"
    ]


def test_a_ref_without_rows_has_an_empty_grid(con):
    assert len(frame(con, "FROM dreamdb_align(['empty'], INTERVAL 1 MINUTE)")) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("['none'], INTERVAL 1 DAY", "none"),
        ("['slow.none'], INTERVAL 1 DAY", "'slow' has no scalar field 'none'; it has sky, temp"),
        ("['slow.sky'], INTERVAL 1 DAY, fill := 'linear'", "slow.sky is no number"),
        (
            "['slow'], INTERVAL 1 DAY, fill := 'next'",
            "fill must be one of previous, linear, null, not 'next'",
        ),
        ("['slow'], INTERVAL 0 DAYS", "every must be an INTERVAL above 0"),
        ("['slow'], NULL", "every must be an INTERVAL above 0"),
        ("[], INTERVAL 1 DAY", "refs must be a list of names"),
        ("'slow', INTERVAL 1 DAY", "refs must be a list of names"),
        ("['slow'' OR 1=1'], INTERVAL 1 DAY", "not a ref name"),
    ],
)
def test_what_cannot_be_aligned_is_refused(con, arguments, told):
    with pytest.raises(duckdb.Error, match=told):
        con.execute(f"FROM dreamdb_align({arguments})").fetchall()


# --- rows around events -------------------------------------------------------------------------------------


def around(events, before, after):
    rows = [(e, a) for e in events for a in FAST["_anchor"] if e - before <= a <= e + after]
    return sorted(rows)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 0), (0, 3), (90, 45)])
def test_rows_around_events(con, before, after):
    events = [int(a) for a in FAST["_anchor"].sample(5, random_state=1)] + [1, T0 + 10**15]
    found = frame(
        con,
        f"FROM dreamdb_window('fast', ?, before := INTERVAL {before} SECONDS, after := INTERVAL {after} SECONDS) ORDER BY 1, 2",
        events,
    )
    told = around(events, before * SECOND, after * SECOND)
    assert list(zip(found["_event"], found["_anchor"], strict=True)) == told
    assert list(found)[2:] == ["_time", "k", "x"]


def test_events_out_of_a_variable(con):
    con.execute("SET VARIABLE events = (SELECT list(_anchor) FROM slow WHERE sky = 'a')")
    found = frame(
        con,
        "SELECT count(*) AS n FROM dreamdb_window('fast', getvariable('events'), after := INTERVAL 1 SECOND)",
    )
    assert found["n"].tolist() == [len(around(SLOW[SLOW["sky"] == "a"]["_anchor"], 0, SECOND))]


def test_no_event_has_no_row(con):
    assert con.execute("FROM dreamdb_window('fast', [])").fetchall() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("'fast', NULL", "anchors must be a list"),
        ("'fast', [1], before := INTERVAL (-1) DAYS", "before must be an INTERVAL of 0 or more"),
        ("'fast', [1], after := NULL", "after must be an INTERVAL of 0 or more"),
        ("'none', [1]", "none"),
        ("'fast', ['a']", "a"),
    ],
)
def test_what_is_no_window_is_refused(con, arguments, told):
    with pytest.raises(duckdb.Error, match=told):
        con.execute(f"FROM dreamdb_window({arguments})").fetchall()


def test_stripes_far_from_events_are_not_read(con, tmp_path):
    schema = vd.Schema().add_scalar_int("n")
    ds = vd.Dataset.create("far", schema, tmp_path / "s", cache_dir=tmp_path / "c")
    for hour in range(2):
        ds.append({"_anchor": T0 + hour * 3600 * SECOND + np.arange(3000) * SECOND, "n": np.arange(3000)})
    session = vd.attach(duckdb.connect(), tmp_path / "s", "d", cache_dir=tmp_path / "c")
    asked = json.dumps({"anchors": [T0 + 3600 * SECOND, T0 + 3700 * SECOND], "before": 5, "after": 10})
    text = session.text("window", "far", asked, None, None, None)
    whole = session.text("scan", "far", None, None, None, None)
    assert (text.count(str(tmp_path)), whole.count(str(tmp_path))) == (1, 2)
    assert f"BETWEEN {T0 + 3600 * SECOND - 5} AND {T0 + 3600 * SECOND + 10} OR" in text


def test_ranges_cover_each_window_and_are_few():
    events = RNG.integers(0, 10**9, 500).tolist()
    ranges = window_ranges(events, 3, 4)
    assert len(ranges) == RANGES_MAX
    assert all(any(low <= max(e - 3, 0) and e + 4 <= high for low, high in ranges) for e in events)
    assert all(high < low for (_, high), (low, _) in itertools.pairwise(ranges))
    assert window_ranges([100, 104], 3, 4) == [(97, 108)]
    assert window_ranges([0, 100], 3, 4) == [(0, 4), (97, 104)]
    with pytest.raises(InvalidInputError):
        window_ranges("1", 0, 0)
