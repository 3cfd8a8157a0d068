"""The options of `iter_vector`: which make sense, and which rows a pool and a mode choose."""

import numpy as np
import pytest

import dreamdb_arrow as vd

DIM, ROWS, K = 16, 600, 10
RNG = np.random.default_rng(5)
CENTRES = RNG.standard_normal((12, DIM))
VECTORS = (CENTRES[RNG.integers(0, 12, ROWS)] + 0.5 * RNG.standard_normal((ROWS, DIM))).astype("f4")
QUERY = VECTORS[3]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    backend = f"file://{tmp_path_factory.mktemp('ranking')}"
    coder = vd.publish_rabitq_compressor(backend, DIM, bits_per_dim=1)
    index = vd.train_and_publish_ivf_centroids(backend, VECTORS, DIM, 12)
    for name, options in (
        ("raw", {}),
        ("coded", {"compressor": coder, "rerank": True}),
        ("bare", {"compressor": coder}),
    ):
        field = {"algorithm": "dreamdb.ivf-cosine", "spatial_index": index} | options
        ds = vd.Dataset.create(name, vd.Schema().add_embedding("v", DIM, **field), backend, cache_dir=None)
        ds.append({"_anchor": np.arange(ROWS), "v": VECTORS})
        ds.flush()
    return backend


@pytest.fixture
def opened(space):
    return lambda name: vd.Dataset.open(name, backend=space, cache_dir=None)


def found(ds, **options):
    return [a for batch in ds.iter_vector("v", QUERY, K, **options) for a in batch["_time_anchors"]]


def exact():
    cosine = VECTORS @ QUERY / np.linalg.norm(VECTORS, axis=1)
    return np.argsort(-cosine, kind="stable")[:K].tolist()


def test_a_pool_of_all_rows_leaves_none_out(opened):
    assert found(opened("coded"), nprobe=12, rerank_pool_size=ROWS) == exact()
    assert found(opened("coded"), rerank_pool_size=ROWS) == exact()


def test_codes_alone_choose_rows(opened):
    """The smallest pool is what codes alone choose; a larger one finds more of the nearest."""
    ds = opened("coded")
    chosen = found(ds, rerank_mode="approximate")
    assert len(chosen) == K
    assert chosen == found(ds, rerank_pool_size=K)
    assert chosen == found(ds, rerank_pool_size=200, rerank_mode="approximate")
    assert len({*chosen} & {*exact()}) < K
    assert found(ds, rerank_pool_size=200, rerank_mode="exact") == exact()


def test_without_a_pool_every_row_of_the_cells_is_compared(opened):
    assert (
        found(opened("coded"), nprobe=12) == found(opened("coded"), nprobe=12, rerank_mode="exact") == exact()
    )
    assert found(opened("coded")) == exact()


@pytest.mark.parametrize("mode", ["inherit", "approximate", "exact"])
def test_raw_vectors_are_compared_as_they_are(opened, mode):
    ds = opened("raw")
    assert (
        found(ds, nprobe=12, rerank_pool_size=K, rerank_mode=mode) == found(ds, rerank_mode=mode) == exact()
    )


def test_the_vectors_always_come_back(opened):
    (batch,) = opened("raw").iter_vector("v", QUERY, K, fields=[], as_numpy=True)
    assert list(batch) == ["v", "_time_anchors"]
    np.testing.assert_array_equal(batch["v"], VECTORS[exact()])


BOUND = "an address of 33 bytes"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("coded", {"rerank_mode": "bad"}, "rerank_mode must be inherit, approximate or exact, not 'bad'"),
        ("coded", {"rerank_mode": None}, "rerank_mode must be"),
        ("coded", {"rerank_pool_size": K - 1}, "rerank_pool_size must be at least top_k, 10; it is 9"),
        ("raw", {"rerank_pool_size": K - 1}, "at least top_k"),
        ("coded", {"rerank_pool_size": 0}, "rerank_pool_size must be a whole number"),
        ("coded", {"rerank_pool_size": True}, "rerank_pool_size must be a whole number"),
        ("coded", {"rerank_pool_size": 12.5}, "rerank_pool_size must be a whole number"),
        ("coded", {"batch_size": 0}, "batch_size must be a whole number"),
        ("bare", {"rerank_mode": "exact"}, "'v' has codes and no exact vectors"),
        ("raw", {"spec_id": b"x"}, f"spec_id must be {BOUND}"),
        ("raw", {"spec_id": "x"}, f"spec_id must be {BOUND}"),
        ("raw", {"spec_id": b"\x1e" + bytes(32)}, "'v' is bound to no embedding spec, not to dyaaa"),
    ],
)
def test_options_that_make_no_sense(opened, name, options, words):
    with pytest.raises(vd.InvalidInputError, match=words):
        found(opened(name), **options)


def test_a_graph_has_no_pool(tmp_path):
    ds = vd.Dataset.create("g", vd.Schema().add_scalar_int("n"), f"file://{tmp_path}/s", cache_dir=None)
    ds.append({"_anchor": np.arange(50), "n": np.arange(50)})
    ds.flush()
    unit = VECTORS[:50] / np.linalg.norm(VECTORS[:50], axis=1, keepdims=True)
    ds.build_graph_index("v", "n", DIM, list(enumerate(unit.tolist())), r=8)
    for options in ({"rerank_pool_size": 20}, {"rerank_mode": "exact"}, {"rerank_mode": "approximate"}):
        with pytest.raises(vd.InvalidInputError, match="'v' is a graph"):
            found(ds, **options)
    assert found(ds)[0] == 3
