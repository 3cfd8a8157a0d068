"""Travel in time: snapshots, branches, deletes, and the history that keeps them all.

Nothing is overwritten, so each version stays as it was: by its label, by its address, or by when it was current.
"""

import dreamdb_arrow as vd

schema = vd.Schema().add_scalar_string("word").add_scalar_int("length")
ds = vd.Dataset.create("words", schema, backend="memory://travel", cache_dir=None)
ds.append_many([{"word": word, "length": len(word)} for word in ("stripe", "anchor", "cell")])
first = ds.snapshot("first")

# A branch is a Ref of its own: what happens there leaves `words` alone.
trial = ds.branch("trial")
trial.append_many([{"word": "experiment", "length": 10}])
print(f"{trial.ref_name()} has {trial.count()} rows, {ds.ref_name()} has {ds.count()}")

# A delete hides rows from now on; the snapshot still shows them.
con = vd.connect(ds.space.store, cache_dir=None)
short = con.sql("SELECT _anchor FROM words WHERE length < 5").fetchnumpy()["_anchor"]
ds.delete(short, reason="too short")

for as_of in ("first", first["manifest"], first["label"], str(ds.manifest.ts), None):
    found = con.execute("SELECT word FROM dreamdb_scan('words', as_of := ?) ORDER BY word", [as_of])
    print(f"as of {as_of!s:.20}:", *(word for (word,) in found.fetchall()))

print(con.sql("SELECT operation, manifest[:12] AS version FROM dreamdb_history('words')"))
print(con.sql("SELECT reason FROM dreamdb_tombstones('words')"))

# In Python, a version is what `snapshot` returned.
then = vd.Dataset.open_at(first, backend=ds.space.store, cache_dir=None)
print(f"{then.count()} rows then, {ds.count()} now")
