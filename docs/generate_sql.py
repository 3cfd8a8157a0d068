"""docs/sql.md from the comments of sql/: `--write` writes it, without it a stale page is an error."""
# ruff: noqa: INP001 - a script beside the pages

import sys
from pathlib import Path
from typing import Final

from dreamdb_arrow.engines.help import Help, all_help

PAGE: Final = Path(__file__).with_name("sql.md")
GROUPS: Final = {
    "Rows": ("scan", "take", "track", "items", "diff"),
    "Search": ("knn", "search", "explain_search", "index_status"),
    "Time": ("align", "window"),
    "The Space": (
        *("refs", "history", "schema", "tracks", "objects", "tombstones", "constants", "stats", "help"),
    ),
    "Changes": (*("create", "branch", "snapshot", "merge", "revert", "delete", "flush", "compact", "index"),),
}


HEAD: Final = """\
# SQL

Made by `docs/generate_sql.py` from the comments in `sql/`, which `FROM dreamdb_help('knn')` shows, too. The examples run, from top to
bottom, on the Space that this block makes:

```python
import numpy as np

import dreamdb_arrow as vd

T0, SECOND = 1_700_000_000_000_000_000, 1_000_000_000
n = np.arange(300)
rows = {"_anchor": [T0, T0 + 1, *(T0 + n[2:] * SECOND)], "n": n, "embedding": np.stack([n + 1.0, 300.0 - n], axis=1)}

schema = vd.Schema().add_scalar_int("n").add_embedding("embedding", dim=2, algorithm="dreamdb.ivf-cosine")
papers = vd.Dataset.create("papers", schema, "space")
papers.append(rows)
papers.flush()

hello = vd.Dataset.create("hello", vd.Schema(list(schema.fields)).add_scalar_categorical("label"), "space")
hello.append({**rows, "label": np.where(n % 3, "dog", "cat")})
hello.flush()
hello.snapshot("first")

drive = vd.Dataset.create("drive", vd.Schema().add_image("camera"), "space")
drive.append_many([{"_anchor": T0 + i, "camera": bytes([i])} for i in range(3)])

con = vd.connect("space")
con.execute("CREATE TABLE queries AS SELECT 7 AS id, [0.1, 0.7] AS vec")
```

Each Ref is a view: `FROM hello`, `FROM "hello@first"`. A statement sees one version of each Ref; a transaction sees the same
from its first statement on.

## As a catalog

`vd.attach(con, "space", "d")` puts a Space into a schema of a connection of yours. By SQL alone, a Space becomes a catalog of its own:

```python
import duckdb

own = duckdb.connect()
vd.enable_attach(own)
own.execute("ATTACH TO NEW TEMPORARY EXTERNAL RESOURCE 'dreamdb' (store 'space') AS d")
own.execute("SELECT count(*) FROM d.hello").fetchall()
own.execute("SELECT view_name, comment FROM duckdb_views() WHERE database_name = 'd'").fetchall()
own.execute("DETACH d")
```

`SHOW TABLES FROM d`, `DESCRIBE d.hello` and `SUMMARIZE d.hello` work; the comment of a view names the fields, with dimensions and media
types. Refs that came later appear after `refresh()` of what `vd.attach` returned, or after `DETACH` and `ATTACH`; those that `COPY` makes, at once.

## Time as the key

Tracks of different rates meet by `_anchor`: each row with the last one of another Ref before it. `dreamdb_align` brings several onto one
grid, `dreamdb_window` finds the rows around events.

```sql
SELECT h._time, h.n, p.n AS before FROM hello h ASOF JOIN papers p ON h._anchor >= p._anchor ORDER BY h._anchor LIMIT 3;
```

## Writing

`COPY` appends the rows of a query, or of a table, as one commit. A Ref that is not there is made, with fields of the types of the
columns, none of them required; with other fields (embeddings, media, required ones), make it first by `dreamdb_create`.

```sql
COPY (SELECT range AS n, 'row ' || range AS label FROM range(1000)) TO 'dreamdb://rows' (FORMAT parquet);
```

```sql
SELECT count(*), max(label) FROM rows;
```

Anchors come from a column `_anchor` (BIGINT) or `_time`; without one they are assigned, from now on. A query that fails, and rows
that cannot be stored, leave no version. The commit happens when the statement ends: a `ROLLBACK` does not take it back. Of a Space that was
attached as `d`, the place is `dreamdb+d://rows`.

`INSERT INTO`, `UPDATE`, `DELETE FROM` and `CREATE TABLE` cannot be had: a Ref is a view, and DuckDB takes these only for tables of its own
or of an extension in C++. Use `COPY`, `dreamdb_delete` and `dreamdb_create`.

| column of SQL | field that `COPY` makes | read again as |
| --- | --- | --- |
| `BOOLEAN` | `bool` | `BOOLEAN` |
| `TINYINT` to `BIGINT`, `UTINYINT` to `UBIGINT` | `int` (a value above 2^63 - 1 is refused) | `BIGINT` |
| `FLOAT`, `DOUBLE`; `HUGEINT` and what `sum` makes of integers, which DuckDB writes as `DOUBLE` | `float` (NaN and infinities are refused) | `DOUBLE` |
| `VARCHAR`, `JSON`, `ENUM`, `BIT`, `BIGNUM` | `string`, up to 8192 bytes; declared: `categorical` | `VARCHAR` |
| `TIMESTAMP` and its units, `DATE` (midnight), `TIMESTAMPTZ` (in UTC) | `timestamp` | `TIMESTAMP_NS` |
| `FLOAT[][]` and other lists of lists of numbers | `f32[*, *]` | `FLOAT[][]` |
| `FLOAT[]`, `FLOAT[n]` and other lists of numbers | refused: declare `embedding[n]` or `f32[n]` first | `FLOAT[n]`, `FLOAT[]` |
| `BLOB` | refused: declare `image/jpeg`, `audio/wav` or `video/mp4` first | `BLOB` |
| `DECIMAL` | refused: cast to `DOUBLE`, or to `VARCHAR` for each digit | |
| `UUID`, `TIME`, `INTERVAL` | refused: cast to `VARCHAR` | |
| `STRUCT`, `UNION` | refused: a column a member, or `to_json(...)::VARCHAR` | |
| `MAP`, other lists | refused: `to_json(...)::VARCHAR` | |
| `NULL` without a type | refused: cast it to the type it should have | |
"""

FEDERATION: Final = """\
## Federations

Several Spaces read as one; the examples run on this:

```python
members = {"one": {"url": "file://space", "ref": "papers"}, "two": {"url": "file://space", "ref": "hello"}}
con = vd.Federation.create("both.json", members).connect()
```
"""


def page() -> str:
    """Return the page."""
    told = {h.function.removeprefix("dreamdb_"): h for h in all_help()}
    grouped = [(title, [told.pop(name) for name in names if name in told]) for title, names in GROUPS.items()]
    grouped.append(("Others", list(told.values())))
    functions = [group_section(title, helps) for title, helps in grouped if helps]
    return "\n".join([HEAD, *functions, FEDERATION, *map(section, all_help("federation"))])


def group_section(title: str, helps: list[Help]) -> str:
    """Return the sections of functions that belong together."""
    return "\n".join([f"## {title}\n", *map(section, helps)])


def section(told: Help) -> str:
    """Return what the page says of one function: how to call it, its comment, its examples."""
    examples = "\n".join(f"```sql\n{example}\n```\n" for example in told.examples)
    return f"### {told.function}\n\n```text\n{told.signature}\n\n{told.about}\n```\n\n{examples}"


def main() -> int:
    """Write the page, or say whether it is current."""
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), "utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text("utf-8") == page():
        return 0
    sys.stderr.write(f"{PAGE} is not current; run: {sys.argv[0]} --write\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
