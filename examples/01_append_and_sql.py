"""Append rows, then ask for them in SQL.

A day of readings from three sensors becomes a Space in the folder `space`. DuckDB groups them, and joins them with a
table of its own; EXPLAIN shows that it reads Parquet, with the filter pushed down.
"""

import numpy as np

import dreamdb_arrow as vd

schema = vd.Schema().add_scalar_categorical("sensor").add_scalar_float("celsius")
ds = vd.Dataset.create("readings", schema, backend="file://space")

MIDNIGHT, MINUTE = np.datetime64("2026-01-01", "ns"), np.timedelta64(60, "s")

# One append is one commit. The three readings of a minute share its time, and are spread by a nanosecond each.
for hour in range(24):
    minutes = np.repeat(np.arange(60), 3) + hour * 60
    celsius = 15 - 5 * np.cos(minutes / 720 * np.pi) + np.tile([4, -6, 0], 60)
    sensors = np.tile(["attic", "cellar", "garden"], 60)
    ds.append({"taken": MIDNIGHT + minutes * MINUTE, "sensor": sensors, "celsius": celsius}, time="taken")

con = vd.connect("file://space")
means = "SELECT sensor, count(*) AS n, round(avg(celsius), 1) AS mean FROM readings GROUP BY sensor"
print(con.sql(f"{means} ORDER BY sensor"))

con.sql("CREATE TABLE places AS FROM (VALUES ('attic', 'Ada'), ('garden', 'Grace')) t(sensor, owner)")
noon = "_time >= '2026-01-01 12:00' AND _time < '2026-01-01 12:10'"
owners = f"SELECT owner, count(*) AS n FROM readings JOIN places USING (sensor) WHERE {noon} GROUP BY owner"
print(con.sql(f"{owners} ORDER BY owner"))

late = "SELECT avg(celsius) FROM readings WHERE _time >= '2026-01-01 23:00'"
print(con.sql(f"EXPLAIN {late}").fetchall()[0][1])
