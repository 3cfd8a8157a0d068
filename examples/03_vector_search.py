"""Search vectors: the nearest rows, the nearest among some, and for each of many queries its own.

Without `nprobe` every vector is compared and the answer is exact. After a flush the vectors lie in cells, and
`nprobe` says how many of them to read.
"""

import numpy as np

import dreamdb_arrow as vd

rng = np.random.default_rng(3)
centers = rng.standard_normal((8, 64)).astype(np.float32)
topic = rng.integers(0, 8, 20_000)
vectors = centers[topic] + rng.standard_normal((20_000, 64)).astype(np.float32) * 0.7

schema = vd.Schema().add_embedding("v", dim=64, algorithm="dreamdb.ivf-cosine").add_scalar_int("topic")
ds = vd.Dataset.create("notes", schema, backend="file://space")
ds.append({"v": vectors, "topic": topic})

con = vd.connect("file://space")
query = {"q": centers[5].tolist()}
print(con.sql("SELECT topic, _distance FROM dreamdb_search('notes', 'v', $q, k := 3)", params=query))

# The filter comes before the search: k rows come back whenever k rows satisfy it.
filtered = "dreamdb_search('notes', 'v', $q, k := 3, filter := 'topic <> 5')"
print(con.sql(f"SELECT topic, _distance FROM {filtered}", params=query))

ds.flush()  # trains the cells on the rows, and fills them; other SDKs can search now, too
knn = "SELECT _anchor FROM dreamdb_knn('notes', 'v', $q, k := 100, nprobe := {})"
exact, probed = (set(con.sql(knn.format(n), params=query).fetchall()) for n in ("NULL", 24))
print(f"24 cells of {round(len(ds) ** 0.5)}: recall {len(exact & probed)} %")

# A lateral join: for each of four rows, its nearest other row.
lateral = (
    "(FROM notes LIMIT 4) a, dreamdb_knn('notes', 'v', a.v, k := 2) n JOIN notes b ON b._anchor = n._anchor"
)
print(con.sql(f"SELECT a.topic, b.topic AS nearest, n._distance FROM {lateral} WHERE a._anchor <> b._anchor"))
