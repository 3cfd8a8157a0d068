"""Read Spaces that the reference SDK wrote.

`conformance/spaces` holds Spaces as dreamdb 0.0.16 left them. Their Tracks are projected once, into the local cache, and
then read like any other. Here two are attached to one DuckDB connection, each in a schema of its own.
"""

import tarfile
from pathlib import Path

import duckdb

import dreamdb_arrow as vd

STORED = Path(__file__).parents[1] / "conformance" / "spaces" / "reference-0.0.16"
con = duckdb.connect()
for name, space, schema in (("append-delete", "rows/store", "rows"), ("vec-ivf", "vectors", "vectors")):
    with tarfile.open(STORED / f"{name}.tar.gz") as archive:
        archive.extractall(schema, filter="data")
    vd.attach(con, space, as_=schema)

print(con.sql("SELECT ref, is_snapshot FROM rows.dreamdb_refs()"))
print(con.sql("SELECT operation, count(*) AS n FROM rows.dreamdb_history('main') GROUP BY ALL ORDER BY ALL"))
print(con.sql("SELECT n, s, img[:2] AS jpeg FROM rows.main WHERE img IS NOT NULL ORDER BY _anchor"))

# What a snapshot still holds, and why the tip does not.
gone = "rows.dreamdb_scan('main', as_of := 'b') ANTI JOIN rows.main USING (_anchor)"
why = f"({gone}) JOIN rows.dreamdb_tombstones('main') USING (_anchor)"
print(con.sql(f"SELECT reason, count(*) AS n FROM {why} GROUP BY ALL ORDER BY ALL"))

# The cells are the SDK's own; the more of them are read, the nearer the rows that are found.
query = "(SELECT v FROM vectors.fx ORDER BY _anchor LIMIT 1)"
for nprobe in ("1", "4", "NULL"):
    nearest = f"vectors.dreamdb_knn('fx', 'v', {query}, k := 10, nprobe := {nprobe})"
    ((n, mean),) = con.sql(f"SELECT count(*), avg(_distance) FROM {nearest}").fetchall()
    print(f"{nprobe} cells: {n} rows, mean distance {mean:.3f}")
