"""Search in SQL: recall, anchors, payload by row, and what a search tells of itself."""

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd

N, DIM = 3000, 8
RNG = np.random.default_rng(2)
CENTRES = RNG.standard_normal((40, DIM)) * 2
VECTORS = (CENTRES[RNG.integers(0, 40, N)] + RNG.standard_normal((N, DIM))).astype("f4")
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERIES = (CENTRES[RNG.integers(0, 40, 30)] + RNG.standard_normal((30, DIM))).astype("f4")


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    root = tmp_path_factory.mktemp("search")
    schema = vd.Schema().add_embedding("v", dim=DIM, algorithm="dreamdb.ivf-cosine")
    schema = schema.add_scalar_int("n").add_scalar_categorical("kind").add_image("picture")
    ds = vd.Dataset.create("x", schema, str(root / "space"), cache_dir=root / "cache")
    pictures = [b"picture %d" % n for n in range(N)]
    kinds = [f"k{n % 100}" for n in range(N)]
    ds.append({"_anchor": np.arange(N), "v": VECTORS, "n": np.arange(N), "kind": kinds, "picture": pictures})
    ds.flush()
    con = vd.connect(str(root / "space"), cache_dir=root / "cache")
    rows = [{"id": i, "v": q.tolist()} for i, q in enumerate(QUERIES)]
    con.register(
        "queries", pa.Table.from_pylist(rows, pa.schema([("id", pa.int64()), ("v", pa.list_(pa.float32()))]))
    )
    return con


def true(query, k, keep=None):
    rows = np.arange(N) if keep is None else keep
    return rows[np.argsort(-(UNIT[rows] @ query), kind="stable")[:k]].tolist()


def test_recall_picks_the_cells_for_one_query_and_for_a_lateral_join(con):
    found = con.sql(
        "SELECT q.id, list(h._anchor ORDER BY h._distance) FROM queries q, "
        "dreamdb_knn('x', 'v', q.v, k := 10, recall := 0.95) h GROUP BY q.id ORDER BY q.id"
    ).fetchall()
    assert len(found) == len(QUERIES)
    shares = [len(set(hits) & set(true(QUERIES[i], 10))) / 10 for i, hits in found]
    assert np.mean(shares) >= 0.9
    one = con.execute("SELECT _anchor FROM dreamdb_knn('x', 'v', ?, recall := 0.95)", [QUERIES[4]]).fetchall()
    assert [a for (a,) in one] == found[4][1]


@pytest.mark.parametrize("options", ["", ", nprobe := 1", ", recall := 0.9"])
def test_anchors_of_a_list_and_of_a_subquery(con, options):
    sql = f"SELECT _anchor FROM dreamdb_knn('x', 'v', ?, k := 4, anchors := {{}}{options})"
    listed = con.execute(sql.format("[5, 17, 17, 99, 2999]"), [QUERIES[0]]).fetchall()
    assert [a for (a,) in listed] == true(QUERIES[0], 4, np.array([5, 17, 99, 2999]))
    chosen = sql.format("(SELECT list(_anchor) FROM dreamdb_scan('x') WHERE kind = 'k7')")
    assert [a for (a,) in con.execute(chosen, [QUERIES[0]]).fetchall()] == true(
        QUERIES[0], 4, np.arange(7, N, 100)
    )


def test_a_search_gives_the_columns_of_the_hits(con):
    sql = "FROM dreamdb_search('x', 'v', (SELECT v FROM queries WHERE id = 3), k := 5, nprobe := 1000)"
    relation = con.sql(sql)
    assert relation.columns == [
        "_anchor",
        "_time",
        *con.sql("FROM dreamdb_scan('x')").columns[2:],
        "_distance",
    ]
    rows = con.sql(f"SELECT _anchor, n, kind, picture, v, _distance {sql}").fetchall()
    assert [r[0] for r in rows] == true(QUERIES[3], 5)
    for anchor, n, kind, picture, v, _ in rows:
        assert (n, kind, picture) == (anchor, f"k{anchor % 100}", b"picture %d" % anchor)
        np.testing.assert_array_equal(np.array(v, "f4"), VECTORS[anchor])
    assert [r[5] for r in rows] == sorted(r[5] for r in rows)


@pytest.mark.parametrize(
    ("options", "strategy", "most"),
    [
        ("", "exact", N),
        (", nprobe := 2", "cells", N // 4),
        (", nprobe := 2, filter := 'n < 50'", "exact over the rows that the condition leaves", 50),
    ],
)
def test_a_search_tells_what_it_did(con, options, strategy, most):
    row = con.execute(f"FROM dreamdb_explain_search('x', 'v', ?{options})", [QUERIES[0]]).fetchone()
    assert row[0] == strategy
    assert 0 < row[4] <= most
    assert row[5] > 0


def test_what_is_no_recall_is_one_line(con):
    with pytest.raises(Exception, match="recall must be above 0"):
        con.execute("FROM dreamdb_knn('x', 'v', ?, recall := 2)", [QUERIES[0]]).fetchall()
