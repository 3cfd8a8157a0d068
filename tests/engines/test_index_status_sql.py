"""`dreamdb_index_status`: one row a field, and the same figures as in Python."""

import numpy as np
import pytest

import dreamdb_arrow as vd

N = 800
VECTORS = np.random.default_rng(4).standard_normal((2 * N, 8)).astype("f4")


@pytest.fixture(scope="module")
def ds(tmp_path_factory):
    root = tmp_path_factory.mktemp("status")
    schema = vd.Schema().add_embedding("v", dim=8, algorithm="dreamdb.ivf-cosine").add_scalar_int("n")
    schema = schema.add_embedding("w", dim=2, algorithm="dreamdb.lsh-l2", required=False)
    made = vd.Dataset.create("x", schema, str(root / "space"), cache_dir=root / "cache")
    pairs = VECTORS[:N, :2].tolist()
    made.append({"_anchor": np.arange(N), "v": VECTORS[:N], "w": pairs, "n": np.arange(N)})
    made.snapshot("begun")
    made.flush()
    made.append({"_anchor": np.arange(N, 2 * N), "v": VECTORS[N:], "n": np.arange(N, 2 * N)})
    return made


@pytest.fixture
def con(ds):
    made = vd.connect(ds.space.store.url, cache_dir=ds.space.cache.root)
    yield made
    made.close()


@pytest.mark.parametrize("field", ["v", "w"])
def test_figures_are_those_of_python(ds, con, field):
    relation = con.sql(f"FROM dreamdb_index_status('x', '{field}')")
    want = ds.index_status(field)
    assert relation.columns == list(want)
    assert relation.fetchall() == [tuple(want.values())]


def test_every_embedding_has_a_row(con):
    sql = "SELECT field, rows, unflushed, cells = filled, recall IS NOT NULL FROM dreamdb_index_status('x', NULL)"
    assert con.sql(f"{sql} ORDER BY field").fetchall() == [("v", N, N, True, True), ("w", N, 0, True, True)]


def test_an_older_version_had_no_rows_in_cells(con):
    sql = "SELECT rows, unflushed FROM dreamdb_index_status('x', 'v', as_of := 'begun')"
    assert con.sql(sql).fetchall() == [(0, N)]


@pytest.mark.parametrize(
    ("field", "words"), [("nope", "no field 'nope'"), ("n", "'n' is of kind scalar, wanted embedding")]
)
def test_what_is_no_embedding_is_one_line(con, field, words):
    with pytest.raises(Exception, match=words):
        con.sql(f"FROM dreamdb_index_status('x', '{field}')").fetchall()
