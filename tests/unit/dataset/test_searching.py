"""Dataset.search: one query and many, conditions, what comes back."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.store.memory import MemoryStore

N, DIM = 400, 6
VECTORS = np.random.default_rng(0).standard_normal((N, DIM)).astype("f4")
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
KINDS = np.array(["a", "b", "c", "d"])[np.arange(N) % 4]


@pytest.fixture(scope="module")
def ds():
    schema = (
        vd.Schema()
        .add_embedding("v", dim=DIM, algorithm="dreamdb.ivf-cosine")
        .add_scalar_categorical("kind")
        .add_scalar_int("n")
    )
    ds = vd.Dataset.create("x", schema, MemoryStore(), cache_dir=None)
    ds.append({"_anchor": np.arange(N), "v": VECTORS, "kind": KINDS.tolist(), "n": np.arange(N)})
    ds.flush()
    return ds


def true(queries, keep, k):
    scores = np.atleast_2d(queries) @ UNIT[keep].T
    return np.flatnonzero(keep)[np.argsort(-scores, axis=1)[:, :k]]


def test_one_query_gives_rows_and_many_give_a_table(ds):
    one, many = ds.search("v", VECTORS[3], 5), ds.search("v", VECTORS[:7], 5)
    assert one.anchors.tolist() == true(VECTORS[3], np.ones(N, bool), 5)[0].tolist()
    assert (len(one), one.distances.shape, many.anchors.shape, len(many)) == (5, (5,), (7, 5), 7)
    assert many.anchors[3].tolist() == one.anchors.tolist()
    assert one.report.seconds > 0
    assert "exact" in repr(one.report)


@pytest.mark.parametrize(
    "query",
    [
        VECTORS[:2].tolist(),
        pa.FixedSizeListArray.from_arrays(pa.array(VECTORS[:2].ravel()), DIM),
        pa.chunked_array([pa.array(VECTORS[:1].tolist()), pa.array(VECTORS[1:2].tolist())]),
    ],
)
def test_queries_come_in_any_form(ds, query):
    assert ds.search("v", query, 3).anchors.tolist() == ds.search("v", VECTORS[:2], 3).anchors.tolist()


def test_hits_go_to_arrow_and_polars(ds):
    hits = ds.search("v", VECTORS[:2], 3)
    table = hits.to_arrow()
    assert table.column_names == ["query", "_anchor", "_distance"]
    assert table["query"].to_pylist() == [0, 0, 0, 1, 1, 1]
    assert pl.DataFrame(hits)["_anchor"].to_list() == hits.anchors.ravel().tolist()
    assert pa.table(ds.search("v", VECTORS[0], 2)).num_rows == 2


@pytest.mark.parametrize("options", [{}, {"nprobe": 2}, {"recall": 0.9}])
def test_conditions_come_first(ds, options):
    for conditions, keep in [
        ({"where_eq": {"kind": "b"}}, KINDS == "b"),
        ({"where": [("n", ">", 390)]}, np.arange(N) > 390),
        ({"anchors": [5, 1, 9, 5, 10**6]}, np.isin(np.arange(N), [1, 5, 9])),
        ({"start_ns": 10, "end_ns": 14}, (np.arange(N) >= 10) & (np.arange(N) < 14)),
        ({"where_eq": {"kind": "c"}, "anchors": [2, 3, 6], "end_ns": 6}, np.arange(N) == 2),
    ]:
        found = ds.search("v", VECTORS[0], 5, **conditions, **options).anchors
        assert found.tolist() == true(VECTORS[0], keep, 5)[0].tolist()


def test_a_condition_is_looked_up_once_a_version(ds):
    first = ds.search("v", VECTORS[0], 2, where_eq={"kind": "a"})
    again = ds.search("v", VECTORS[1], 2, where_eq={"kind": "a"})
    assert first.anchors.tolist() != again.anchors.tolist()
    assert len(ds._rows.once("where", dict)) >= 1


@pytest.mark.parametrize(
    ("query", "told"), [("red", "no vector"), ([[[1.0]]], "shape"), ([], "shape"), ([1.0], "6 dimensions")]
)
def test_what_is_no_query(ds, query, told):
    with pytest.raises(InvalidInputError, match=told):
        ds.search("v", query)
