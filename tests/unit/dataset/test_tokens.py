"""Multi-vector fields: what is added is found, by MaxSim over every token, among the rows that count."""

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.spatial import token_scores

DIM, ROWS, MOST = 8, 60, 5
T0 = 1_700_000_000_000_000_000
RNG = np.random.default_rng(21)
DOCS = [
    (T0 + i, (RNG.standard_normal((RNG.integers(1, MOST + 1), DIM)) * RNG.uniform(0.2, 5)).astype("f4"))
    for i in range(ROWS)
]
QUERY = RNG.standard_normal((3, DIM)).astype("f4")
PLAIN = np.concatenate([tokens for _, tokens in DOCS])


def published(backend):
    index = vd.train_and_publish_ivf_centroids(backend, PLAIN, DIM, 6)
    return index, vd.publish_rabitq_compressor(backend, DIM)


def created(backend, cache_dir=None):
    ds = vd.Dataset.create("x", vd.Schema().add_scalar_int("n"), backend, cache_dir=cache_dir)
    ds.append({"_anchor": T0 + np.arange(ROWS), "n": np.arange(ROWS)})
    return ds


@pytest.fixture
def backend(tmp_path):
    return f"file://{tmp_path}/space"


@pytest.fixture
def ds(backend):
    made = created(backend)
    made.add_multi_vector_index("mv", "n", DIM, MOST, DOCS, *published(backend))
    return made


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def best(k, keep=lambda _: True, docs=DOCS, query=QUERY):
    scores = {a: float((unit(query) @ unit(t).T).max(axis=1).sum()) for a, t in docs if keep(a)}
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k]


def same(found, wanted):
    assert [a for a, _ in found] == [a for a, _ in wanted]
    assert [s for _, s in found] == pytest.approx([s for _, s in wanted], abs=1e-12)


@pytest.mark.parametrize("k", [1, 10, ROWS, 1000])
def test_every_token_is_compared(ds, k):  # 0015-R3, 0015-R4
    same(ds.query_multi_vector("mv", QUERY, k), best(k))
    same(ds.query_multi_vector("mv", QUERY.tolist(), k, k_tok=1), best(k))


def test_a_few_tokens_at_a_time(ds, monkeypatch):
    monkeypatch.setattr(token_scores, "_BLOCK", 7)
    same(ds.query_multi_vector("mv", QUERY, ROWS), best(ROWS))


def test_conditions_come_first(ds):
    same(ds.query_multi_vector("mv", QUERY, 4, where=[("n", ">=", 50)]), best(4, lambda a: a >= T0 + 50))
    same(ds.query_multi_vector("mv", QUERY, 4, where_eq={"n": 7}), best(4, lambda a: a == T0 + 7))
    assert ds.query_multi_vector("mv", QUERY, 4, where_eq={"n": -1}) == []


def test_deleted_rows_never_come_back(ds):  # 0020-R8
    gone = [a for a, _ in best(3)]
    before = ds.snapshot("before")
    ds.delete(gone)
    same(ds.query_multi_vector("mv", QUERY, ROWS), best(ROWS, lambda a: a not in gone))
    older = vd.Dataset.open_at(before, ds.space.store, cache_dir=None)
    same(older.query_multi_vector("mv", QUERY, 3), best(3))


def test_vectors_come_back_as_they_were_given(ds):
    wanted = [T0 + 5, T0 + 59, T0 + 5, T0 + 1000, T0 + 6]
    ds.delete([T0 + 6])
    table = ds.token_vectors("mv", wanted)
    assert table["_anchor"].to_pylist() == [T0 + 5, T0 + 59, T0 + 5]
    assert table["mv"].type == pa.list_(pa.list_(pa.float32(), DIM))
    for anchor, vectors in zip(*(column.to_pylist() for column in table.columns), strict=True):
        np.testing.assert_array_equal(np.array(vectors, "f4"), DOCS[anchor - T0][1])
    assert ds.token_vectors("mv", []).num_rows == 0
    assert ds.token_vectors("mv", [T0 + 1000])["mv"].to_pylist() == []


def test_it_stays_when_the_rows_go_on(ds, backend):
    """Its tokens are no rows; what else is done to the Space leaves them alone."""
    for start in range(ROWS, ROWS + 30, 10):
        ds.append({"_anchor": T0 + np.arange(start, start + 10), "n": np.arange(start, start + 10)})
    assert ds.flush() > 0
    ds.compact()
    ds.add_scalar_int("later")
    side = ds.branch("side")
    side.append({"_anchor": [T0 + 500], "n": [1]})
    side.flush()
    vd.gc(backend, keep_manifests=0, dry_run=False, writers_paused=True)
    for name in ("x", "side"):
        opened = vd.Dataset.open(name, backend=backend, cache_dir=None)
        same(opened.query_multi_vector("mv", QUERY, 10), best(10))
    assert len(vd.Dataset.open("x", backend=backend, cache_dir=None)) == ROWS + 30


def test_two_fields_of_one_form(ds, backend):
    other = [(a, -tokens[::-1]) for a, tokens in DOCS[:20]]
    ds.add_multi_vector_index("more", "n", DIM, MOST, iter(other), *published(backend))
    modalities = [e.modality for e in ds.manifest.tracks.active if e.field in ("mv", "more")]
    assert sorted(modalities) == [
        f"embedding.f32.dim={DIM}.bucketed.multivec.maxtokens={MOST}{end}" for end in ("", ".version=2")
    ]
    same(ds.query_multi_vector("more", QUERY, 5), best(5, docs=other))
    same(ds.query_multi_vector("mv", QUERY, 5), best(5))


def test_tokens_are_laid_out_once(backend, tmp_path):
    ds = created(backend, tmp_path / "c")
    ds.add_multi_vector_index("mv", "n", DIM, MOST, DOCS, *published(backend))
    same(ds.query_multi_vector("mv", QUERY, 5), best(5))
    for path in (tmp_path / "space").glob("d*/*multivec*/vectors/*"):
        path.unlink()  # the exact vectors are in the cache now
    again = vd.Dataset.open("x", backend=backend, cache_dir=tmp_path / "c")
    same(again.query_multi_vector("mv", QUERY, 5), best(5))
    with pytest.raises(vd.NotFoundError):
        vd.Dataset.open("x", backend=backend, cache_dir=None).query_multi_vector("mv", QUERY)


def test_a_damaged_layout_is_made_anew(backend, tmp_path):
    ds = created(backend, tmp_path / "c")
    ds.add_multi_vector_index("mv", "n", DIM, MOST, DOCS, *published(backend))
    ds.query_multi_vector("mv", QUERY, 5)
    size = 8 * (2 * ROWS + 1) + 4 * PLAIN.size
    (laid_out,) = [p for p in (tmp_path / "c").rglob("*") if p.is_file() and p.stat().st_size == size]
    laid_out.chmod(0o600)
    laid_out.write_bytes(bytes(size))
    same(
        vd.Dataset.open("x", backend=backend, cache_dir=tmp_path / "c").query_multi_vector("mv", QUERY, 5),
        best(5),
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"field": "n"}, "no field 'n' with a vector a token; there is: mv"),
        ({"field": "nope"}, "there is: mv"),
        ({"query_tokens": QUERY[:, :4]}, r"takes the vectors of a query's tokens, \(q, 8\)"),
        ({"query_tokens": np.empty((0, DIM))}, "q at least 1"),
        ({"query_tokens": QUERY[0]}, "the query is a list of vectors; found shape"),
        ({"query_tokens": "abc"}, "the query is no list of vectors"),
        ({"query_tokens": [[1.0], [1.0, 2.0]]}, "the query is no list of vectors"),
        ({"query_tokens": np.zeros((1, DIM))}, "is zero"),
        ({"query_tokens": np.full((1, DIM), np.nan)}, "NaN"),
        ({"top_k": 0}, "top_k must be"),
        ({"top_k": 1.5}, "top_k must be"),
        ({"spec_id": b"\x1e" + bytes(32)}, "no embedding spec"),
        ({"where": [("n", "~", 1)]}, "unknown operator"),
    ],
)
def test_questions_that_make_no_sense(ds, given, words):
    with pytest.raises(vd.InvalidInputError, match=words):
        ds.query_multi_vector(**{"field": "mv", "query_tokens": QUERY} | given)


ONE = [(T0, np.ones((2, DIM), "f4"))]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parent": "nope"}, "no field 'nope'; fields:"),
        ({"field": "n"}, "n"),
        ({"field": "mv"}, "mv"),
        ({"docs": []}, "at least one row"),
        ({"docs": [(T0, np.ones((MOST + 1, DIM)))]}, "needs 1 to 5 vectors of 8 numbers"),
        ({"docs": [(T0, np.ones((0, DIM)))]}, "needs 1 to 5 vectors"),
        ({"docs": [(T0, np.ones((2, DIM - 1)))]}, "of 8 numbers; found shape"),
        ({"docs": [(T0, np.zeros((2, DIM)))]}, "is zero"),
        ({"docs": [(T0, np.full((2, DIM), np.inf))]}, "infinity"),
        ({"docs": [(T0, "abc")]}, "is no list of vectors"),
        ({"docs": [5]}, "row 0 is no pair"),
        ({"docs": [*ONE, *ONE]}, "an anchor is there twice"),
        ({"docs": [("a", ONE[0][1])]}, "is no integer"),
        ({"docs": [(-1, ONE[0][1])]}, "-1"),
        ({"max_tokens": 0}, "max_tokens must be"),
        ({"max_tokens": 6}, "too large; max_tokens may be 5 at most"),
        ({"dim": DIM + 1}, "8"),
        ({"spatial_index": b"x"}, "addresses of 33 bytes"),
        ({"compressor": None}, "addresses of 33 bytes"),
    ],
)
def test_fields_that_cannot_be_added(ds, backend, given, words):
    index, coder = published(backend)
    before = ds.current_manifest()
    arguments = {"field": "w", "parent": "n", "dim": DIM, "max_tokens": MOST, "docs": ONE}
    with pytest.raises(vd.InvalidInputError, match=words):
        ds.add_multi_vector_index(**arguments | {"spatial_index": index, "compressor": coder} | given)
    assert ds.refresh().current_manifest() == before


def test_cells_of_distances_have_no_cosines(ds, backend):
    schema = vd.Schema().add_embedding("l", DIM, algorithm="dreamdb.lsh-l2")
    registry = vd.Dataset.create("l2", schema, backend, cache_dir=None).manifest.registry
    (index,) = registry[f"embedding.f32.dim={DIM}.metric=l2.bucketed"]["spatial_index"]
    with pytest.raises(vd.InvalidInputError, match="l2"):
        ds.add_multi_vector_index("w", "n", DIM, MOST, ONE, bytes(index), published(backend)[1])


def test_no_single_vectors_are_appended(ds):
    before = ds.current_manifest()
    with pytest.raises(vd.InvalidInputError, match="'mv' has a vector a token"):
        ds.append_embedding_layer("mv", [(T0, QUERY[0].tolist())])
    assert ds.refresh().current_manifest() == before
    with pytest.raises(vd.UnsupportedError, match="query_multi_vector"):
        ds.search("mv", QUERY[0])


def test_specs_are_left_to_the_reference(ds, backend):
    with pytest.raises(vd.UnsupportedError, match="embedding spec"):
        ds.add_multi_vector_index("w", "n", DIM, MOST, ONE, *published(backend), embed_spec=b"x")
