"""Frames in, frames out: Arrow, Polars, pandas and DuckDB relations.

Anything with an Arrow stream can be appended; a version goes out as a table, a stream, a pyarrow Dataset or a lazy
frame. What is lazy reads the columns that the query needs: no image is fetched here but those that are shown.
"""

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

import dreamdb_arrow as vd

schema = (
    vd.Schema().add_scalar_string("came_as").add_scalar_int("n").add_image("img", mime="png", required=False)
)
ds = vd.Dataset.create("frames", schema, backend="memory://frames", cache_dir=None)

ds.append(pa.table({"came_as": ["arrow"] * 3, "n": [1, 2, 3], "img": [b"one", b"two", None]}))
ds.append(pl.DataFrame({"came_as": ["polars"] * 2, "n": [4, 5]}))
ds.append(pd.DataFrame({"came_as": ["pandas"] * 2, "n": [6, 7]}))
ds.append(duckdb.sql("SELECT 'duckdb' AS came_as, range AS n FROM range(8, 11)"))
ds.append_many([{"came_as": "dicts", "n": 11}])

lazy = ds.to_polars().group_by("came_as").agg(pl.col("n").sum()).sort("came_as")
print(lazy.collect())

print(ds.to_pandas(fields=["came_as", "n"]).tail(3))

dataset = ds.to_dataset()  # a pyarrow Dataset, for Arrow's own engine
print(dataset.to_table(columns=["n", "img"], filter=pc.field("n") < 3).to_pylist())

readers = duckdb.connect().register("frames", dataset)  # DuckDB takes it, too, without any of our functions
print(
    readers.sql("SELECT came_as, max(n) FROM frames WHERE n > 5 GROUP BY came_as ORDER BY came_as").fetchall()
)

print(pl.DataFrame(ds).height, "rows by the Arrow C stream,", len(ds), "by count")
