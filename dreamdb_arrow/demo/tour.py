"""The tour: what SQL over a Space can do, in steps that each take a moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from rich.console import Console

from dreamdb_arrow.demo.embed import Model
from dreamdb_arrow.demo.images import decode_png, draw
from dreamdb_arrow.demo.show import Stage
from dreamdb_arrow.engines.duckdb import connect
from dreamdb_arrow.engines.frames import Dataset
from dreamdb_arrow.engines.plans import literal
from dreamdb_arrow.errors import UnsupportedError

NOON: Final = 1_372_939_200_000_000_000
DEFAULT_QUERY: Final = "the joy in the misfortune of others"

WHAT_IS_HERE: Final = """\
SELECT ref, left(manifest, 16) AS version, is_snapshot FROM dreamdb_refs()"""

TIME_RANGE: Final = """\
SELECT time_bucket(INTERVAL 3 HOURS, _time::TIMESTAMP) AS from_time,
       count(*) AS flights, round(avg(dep_delay), 1) AS mean_delay_min
FROM dreamdb_scan('flights', t0 := TIMESTAMP '2013-07-04',
                             t1 := TIMESTAMP '2013-07-05')
GROUP BY 1 ORDER BY 1"""

GROUP_BY: Final = """\
SELECT carrier, count(*) AS flights, round(avg(arr_delay), 1) AS mean_delay_min,
       round(100 * avg((departed IS NULL)::INT), 1) AS cancelled_percent
FROM flights GROUP BY carrier ORDER BY flights DESC LIMIT 5"""

WINDOW: Final = """\
SELECT month(_time) AS month, carrier, flight, dest, dep_delay AS delay_min
FROM flights WHERE _time < '2013-07-01'
QUALIFY row_number() OVER (PARTITION BY month(_time)
                           ORDER BY dep_delay DESC NULLS LAST) = 1
ORDER BY month"""

AS_OF_JOIN: Final = """\
SELECT w.rain_mm > 0 AS rain, w.visibility_km < 2 AS fog,
       count(*) AS flights, round(avg(f.dep_delay), 1) AS mean_delay_min
FROM flights f ASOF JOIN weather w
  ON f.origin = w.origin AND f._time >= w.observed
GROUP BY ALL ORDER BY mean_delay_min"""

SEMANTIC: Final = """\
SELECT word, part_of_speech AS part, round(_distance, 3) AS distance, gloss
FROM dreamdb_search('words', 'embedding', k := 6,
  query := embed({query}))"""

FILTERED: Final = """\
SELECT word, round(_distance, 3) AS distance, gloss
FROM dreamdb_search('words', 'embedding', k := 6,
  query := embed({query}),
  filter := $$topic = 'person'$$)"""

LATERAL: Final = """\
SELECT q.word, string_agg(w.word, ', ' ORDER BY n._distance) AS near_to_it
FROM words q, dreamdb_knn('words', 'embedding', q.embedding, k := 6) n
JOIN words w USING (_anchor)
WHERE q.word IN ('violin', 'thunderstorm', 'espresso', 'glacier')
  AND w.word <> q.word
GROUP BY q.word ORDER BY q.word"""

IMAGES: Final = """\
SELECT label, round(_distance, 4) AS distance, image
FROM dreamdb_search('fashion', 'pixels', k := 5,
  query := (SELECT pixels FROM fashion
            WHERE label = 'ankle boot' ORDER BY _anchor LIMIT 1))"""

TIME_TRAVEL: Final = """\
SELECT '2013-h1' AS version, count(*) AS flights, max(_time) AS last
FROM dreamdb_scan('flights', as_of := '2013-h1')
UNION ALL
SELECT 'now', count(*), max(_time) FROM flights"""

CHOSEN: Final = """\
SELECT _anchor FROM flights WHERE departed IS NULL AND _time::DATE =
  (SELECT min(_time)::DATE FROM flights WHERE departed IS NULL)"""

AFTER_DELETE: Final = """\
SELECT (SELECT count(*) FROM flights) AS now,
       (SELECT count(*) FROM "flights@2013") AS at_the_snapshot,
       (SELECT count(*) FROM dreamdb_tombstones('flights')) AS deleted"""

HISTORY: Final = """\
SELECT date_trunc('second', time) AS time, operation,
       left(manifest, 16) AS version
FROM dreamdb_history('flights') LIMIT 5"""


@dataclass(frozen=True, slots=True)
class Guide:
    """What the steps share: the connection, the Space's path as the user wrote it, and the stage."""

    con: Any
    space: Path
    stage: Stage

    def sql(self, says: str, text: str) -> pa.Table:
        """Explain a statement, show it, run it, and return its result."""
        self.stage.begin(says)
        self.stage.code(text)
        return self.stage.table(lambda: self.con.sql(text).to_arrow_table())


def give_tour(
    space: Path, datasets: frozenset[str], model: Callable[[], Model], query: str, console: Console
) -> int:
    """Walk through the Space in SQL; return how many steps that were."""
    con = connect(space)
    try:
        with console.status("loading the model"):
            add_embed(con, model())
        guide = Guide(con, space, Stage(console))
        _tables(guide)
        _vectors(guide, query)
        _images(guide, "fashion" in datasets)
        _versions(guide)
        _other_engines(guide)
        return guide.stage.steps
    finally:
        con.close()


def add_embed(con: Any, model: Model) -> None:
    """Give a connection the function `embed(text)`: a text as the vector that the words were given."""

    def embed(texts: pa.ChunkedArray) -> pa.Array:
        vectors = model.embed(["" if t is None else t for t in texts.to_pylist()])
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), model.dim)

    con.create_function("embed", embed, ["VARCHAR"], f"FLOAT[{model.dim}]", type="arrow")


def _tables(guide: Guide) -> None:
    guide.sql("The Space: a ref for each dataset, and snapshots, which never move", WHAT_IS_HERE)
    guide.sql("A time range: flights out of New York on 4 July (UTC)", TIME_RANGE)
    guide.sql("GROUP BY: every ref is a view, read by DuckDB's own Parquet reader", GROUP_BY)
    guide.sql("A window function: the longest wait of each month", WINDOW)
    guide.sql("An as-of join: each flight with the last weather report of its airport", AS_OF_JOIN)


def _vectors(guide: Guide, query: str) -> None:
    sentence = literal(query)
    guide.sql(
        "Semantic search: which of WordNet's definitions say this? (embed() is Python)",
        SEMANTIC.format(query=sentence),
    )
    guide.sql(
        "Filtered search: which person is it? The condition is applied first", FILTERED.format(query=sentence)
    )
    guide.sql("A lateral kNN join: the neighbours of several words in one statement", LATERAL)


def _images(guide: Guide, there: bool) -> None:
    if not there:
        guide.stage.begin("Images are left out: Fashion-MNIST could not be fetched (see above)")
        return
    found = guide.sql("Images most like the first ankle boot; only theirs are read", IMAGES)
    per_line = max(1, (guide.stage.console.width + 2) // 30)
    drawn = [draw(decode_png(data)) for data in found["image"].to_pylist()[:per_line]]
    guide.stage.lines(["  ".join(parts) for parts in zip(*drawn, strict=True)])


def _versions(guide: Guide) -> None:
    guide.sql("Time travel: the snapshot taken after June beside the present", TIME_TRAVEL)
    guide.stage.begin("Delete: the cancelled flights of the first day that still has any")
    guide.stage.code(CHOSEN)
    guide.stage.code(
        f'flights = dreamdb_arrow.Dataset.open("flights", backend="{guide.space}")\n'
        'flights.delete(con.sql(...).fetchnumpy()["_anchor"], reason="demo")',
        "python",
    )
    anchors = np.asarray(guide.con.sql(CHOSEN).fetchnumpy()["_anchor"], dtype=np.int64)
    if len(anchors):
        Dataset.open("flights", backend=guide.space).delete(anchors, reason="demo")
    guide.stage.note(f"{len(anchors)} rows deleted")
    guide.sql("Its effect: gone from the present, still in the snapshot", AFTER_DELETE)
    guide.sql("The history: every commit is a version that can be read", HISTORY)


def _other_engines(guide: Guide) -> None:
    guide.stage.begin("The same rows in Polars, lazily, and as a pyarrow Dataset")
    guide.stage.code(
        f'flights = dreamdb_arrow.Dataset.open("flights", backend="{guide.space}")\n'
        'jfk = flights.to_polars().filter(origin="JFK").group_by("carrier").len()\n'
        'jfk.top_k(3, by="len").collect()',
        "python",
    )
    flights = Dataset.open("flights", backend=guide.space)
    try:
        jfk = flights.to_polars().filter(origin="JFK").group_by("carrier").len()
        guide.stage.table(lambda: jfk.top_k(3, by="len").collect().to_arrow())
    except UnsupportedError as error:
        guide.stage.note(str(error))
    guide.stage.code(
        f"noon = {NOON:_}  # 4 July 2013, UTC, in nanoseconds since 1970\n"
        "flights.to_dataset(noon, noon + 60_000_000_000).to_table(columns=['carrier', 'dest'])",
        "python",
    )
    minute = flights.to_dataset(NOON, NOON + 60_000_000_000)
    guide.stage.table(lambda: minute.to_table(columns=["carrier", "dest"]))
