"""Fields that come later: a new column, a layer computed from another field, a constant; and one that goes."""

import dreamdb_arrow as vd

backend = "file://evolving"
schema = vd.Schema().add_scalar_categorical("label").add_scalar_string("text")
ds = vd.Dataset.create("notes", schema, backend)
ds.append_many(
    [
        {"_anchor": 10, "label": "todo", "text": "water the plants"},
        {"_anchor": 20, "label": "done", "text": "read the spec"},
        {"_anchor": 30, "label": "todo", "text": "write a third implementation"},
    ]
)
before = ds.snapshot("before")

# a field that rows may have from now on
ds.add_scalar_float("hours")
ds.append_many([{"_anchor": 40, "label": "done", "text": "fix the build", "hours": 1.5}])

# a layer: values for rows that are there, computed from another field
table = ds.take([10, 20, 30, 40], ["text"])
lengths = [
    (anchor, len(text))
    for anchor, text in zip(*table.select(["_anchor", "text"]).to_pydict().values(), strict=True)
]
ds.add_scalar_layer("length", "text", "int", lengths)

# one value for the whole timeline, and words about it
ds.add_constant("title", "title.text", "What is to be done")
ds.set_description("Notes with a length each.")

con = vd.connect(backend)
print(con.sql("SELECT _anchor, label, length, hours FROM notes ORDER BY _anchor"))
print(con.sql("SELECT label, avg(length) AS mean FROM notes GROUP BY label ORDER BY label"))

ds.decommission_modality("hours")
print(ds.schema.names, "now;", vd.Dataset.open_at(before, backend).schema.names, "before")
assert ds.get_constant("title") == "What is to be done"
