"""Flights with the weather of their hour, against pandas; slow, and only where `make demo` has fetched the data."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.demo.data import NYCFLIGHTS, is_complete
from dreamdb_arrow.demo.parse import read_flights, read_weather

FOLDER = Path(__file__).parents[2] / "demo-data" / "downloads" / NYCFLIGHTS.package
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not is_complete(FOLDER, NYCFLIGHTS), reason=f"no data under {FOLDER}: run `make demo`"
    ),
]


@pytest.fixture(scope="module")
def tables():
    flights = read_flights(FOLDER).select(["scheduled", "origin", "carrier", "flight", "dep_delay"])
    return flights, read_weather(FOLDER).select(["observed", "origin", "celsius", "wind_kmh"])


@pytest.fixture(scope="module")
def con(tables, tmp_path_factory):
    root = tmp_path_factory.mktemp("flights")
    with vd.connect(root / "s", create=True, cache_dir=root / "c") as made:
        for name, table, time in (("flights", tables[0], "scheduled"), ("weather", tables[1], "observed")):
            made.register("given", table)
            # Rows that share a time are spread by one nanosecond each, as `append` does.
            made.execute(
                f"""COPY (SELECT epoch_ns({time}) + row_number() OVER (PARTITION BY {time}) - 1 AS _anchor, * EXCLUDE ({time})
                    FROM given ORDER BY _anchor) TO 'dreamdb://{name}' (FORMAT parquet)"""
            )
        yield made


def told_by_pandas(tables):
    flights, weather = (t.to_pandas() for t in tables)
    weather = weather.sort_values("observed", kind="stable")
    return pd.merge_asof(
        flights.sort_values("scheduled", kind="stable"),
        weather,
        left_on="scheduled",
        right_on="observed",
        by="origin",
    )


def test_each_flight_has_the_weather_before_it(con, tables):
    found = (
        con.sql(
            """SELECT f.carrier, f.flight, f.origin, w.celsius, w.wind_kmh, (f._anchor // 1000000000)::BIGINT AS at
               FROM flights f ASOF LEFT JOIN weather w ON f.origin = w.origin AND f._anchor >= (w._anchor // 1000000000) * 1000000000
               ORDER BY ALL"""
        )
        .to_arrow_table()
        .to_pandas()
    )
    told = told_by_pandas(tables)
    told["at"] = told["scheduled"].astype("int64")
    told = told[["carrier", "flight", "origin", "celsius", "wind_kmh", "at"]]
    told = con.sql("FROM told ORDER BY ALL").to_arrow_table().to_pandas()
    assert len(found) == 336_776
    pd.testing.assert_frame_equal(found, told, check_dtype=False)


def test_the_weather_on_a_grid_is_that_of_pandas(con, tables):
    kept = tables[1].filter(pc.equal(tables[1]["origin"], "JFK"))
    con.register("jfk", kept)
    con.execute(
        "COPY (SELECT epoch_ns(observed) AS _anchor, celsius FROM jfk ORDER BY 1) TO 'dreamdb://jfk' (FORMAT parquet)"
    )
    found = con.sql("FROM dreamdb_align(['jfk.celsius'], INTERVAL 15 MINUTES)").to_arrow_table().to_pandas()
    rows = kept.select(["observed", "celsius"]).to_pandas().dropna().astype({"observed": "datetime64[ns]"})
    told = pd.merge_asof(
        found[["_time"]].astype("datetime64[ns]"), rows, left_on="_time", right_on="observed"
    )
    pd.testing.assert_series_equal(found["jfk.celsius"], told["celsius"], check_names=False)


def test_the_flights_around_an_hour_of_storm(con, tables):
    worst = pc.max(tables[1]["wind_kmh"]).as_py()
    hours = con.execute("SELECT list(_anchor) FROM weather WHERE wind_kmh = ?", [worst]).fetchall()[0][0]
    counted = con.execute(
        "SELECT count(*) FROM dreamdb_window('flights', ?, before := INTERVAL 1 HOUR, after := INTERVAL 1 HOUR)",
        [hours],
    ).fetchall()[0][0]
    at = tables[0]["scheduled"].cast(pa.timestamp("ns")).cast(pa.int64()).to_pandas()
    told = sum(int(((at >= h - 3600 * 10**9) & (at <= h + 3600 * 10**9)).sum()) for h in hours)
    assert abs(counted - told) <= len(hours)  # a minute's flights are a few nanoseconds apart
