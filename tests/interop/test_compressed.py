"""Compressed vectors beside the reference SDK: codes of either side, read and searched by the other."""

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.errors import InvalidInputError
from tests.places import url_of

DIM, N = 16, 120


@pytest.fixture
def backend(tmp_path):
    (tmp_path / "space").mkdir(exist_ok=True)
    return url_of(tmp_path / "space")


def vectors():
    return np.random.default_rng(7).standard_normal((N, DIM)).astype("f4")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def compressor_of(backend, kind):
    if kind == "pq":
        return dreamdb.train_and_publish_pq_compressor(backend, vectors().tolist(), DIM, 4, 16)
    bits = int(kind.removeprefix("rabitq"))
    return dreamdb.publish_rabitq_compressor(
        backend, DIM, bits_per_dim=bits, with_correction_factors=bits == 1
    )


def declare(module, backend, compressor, rerank):
    index = dreamdb.train_and_publish_ivf_centroids(backend, vectors().tolist(), DIM, 6)
    schema = module.Schema().add_scalar_int("n")
    return schema.add_embedding(
        "v", DIM, "dreamdb.ivf-cosine", spatial_index=index, compressor=compressor, rerank=rerank
    )


def rows(held, start=0):
    return [{"_anchor": start + at, "n": at, "v": row} for at, row in enumerate(held)]


def ours_of(backend, tmp_path):
    table = vd.Dataset.open("s", backend=backend, cache_dir=tmp_path / "c").take(np.arange(4 * N))
    return table["_anchor"].to_numpy(), np.stack(table["v"].to_numpy())


def theirs_of(backend):
    found = {}
    for batch in dreamdb.Dataset.open("s", backend=backend).iter_all_batches():
        found |= dict(zip(batch["_time_anchors"], batch["v"], strict=True))
    return np.array(sorted(found)), np.array([found[at] for at in sorted(found)], "f4")


@pytest.mark.parametrize("kind", ["rabitq1", "rabitq2", "rabitq4", "rabitq8", "pq"])
def test_we_read_what_the_reference_makes_of_codes(backend, tmp_path, kind):  # 0010-R6
    schema = declare(dreamdb, backend, compressor_of(backend, kind), rerank=False)
    dreamdb.Dataset.create("s", schema, backend=backend).append_many(rows(vectors()))
    anchors, found = ours_of(backend, tmp_path)
    wanted_anchors, wanted = theirs_of(backend)
    assert anchors.tolist() == wanted_anchors.tolist()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)  # the reference turns in float32


@pytest.mark.parametrize("rerank", [False, True])
@pytest.mark.parametrize("kind", ["rabitq1", "rabitq4", "pq"])
def test_the_reference_reads_and_searches_our_codes(backend, tmp_path, kind, rerank):
    compressor = compressor_of(backend, kind)
    schema = declare(vd, backend, compressor, rerank)
    ds = vd.Dataset.create("s", schema, backend, cache_dir=tmp_path / "c")
    ds.append_many(rows(unit(vectors())))
    ds.flush()
    anchors, wanted = theirs_of(backend)
    assert anchors.tolist() == list(range(N))
    theirs = dreamdb.Dataset.open("s", backend=backend)
    hits = (
        [theirs.iter_vector("v", q.tolist(), top_k=1, rerank_pool_size=40)[0] for q in unit(vectors())[:20]]
        if rerank
        else []
    )
    assert [list(hit["_time_anchors"]) for hit in hits] == [[at] for at in range(len(hits))]
    theirs.append_many(rows(unit(vectors()), start=N))
    again, found = theirs_of(backend)
    assert again.tolist() == list(range(2 * N))
    np.testing.assert_allclose(
        found[:N], found[N:], rtol=1e-3, atol=1e-4
    )  # the codes of both sides say the same
    np.testing.assert_allclose(found[:N], wanted)
    _, exact = ours_of(backend, tmp_path)
    np.testing.assert_array_equal(exact[:N], unit(vectors()))  # our stripes keep what was given


@pytest.mark.parametrize("kind", ["rabitq1", "pq"])
def test_layers_of_codes_take_turns(backend, tmp_path, kind):
    dreamdb.Dataset.create("s", dreamdb.Schema().add_scalar_int("n"), backend=backend).append_many(
        [{"_anchor": at, "n": at} for at in range(8)]
    )
    index = dreamdb.train_and_publish_ivf_centroids(backend, vectors().tolist(), DIM, 4)
    held = unit(vectors())[:8]
    ds = vd.Dataset.open("s", backend=backend, cache_dir=tmp_path / "c")
    ds.add_embedding_layer(
        "v",
        "n",
        DIM,
        "dreamdb.ivf-cosine",
        index,
        compressor_of(backend, kind),
        rerank=True,
        samples=[(at, held[at]) for at in range(4)],
    )
    theirs = dreamdb.Dataset.open("s", backend=backend)
    theirs.append_embedding_layer("v", [(at, held[at]) for at in range(4, 6)])
    ds.refresh().append_embedding_layer("v", [(at, held[at]) for at in range(6, 8)])
    _, found = ours_of(backend, tmp_path)
    np.testing.assert_array_equal(found, held)
    theirs = dreamdb.Dataset.open("s", backend=backend)
    hits = [theirs.iter_vector("v", q.tolist(), top_k=1, rerank_pool_size=8)[0] for q in held]
    assert [list(hit["_time_anchors"]) for hit in hits] == [[at] for at in range(8)]


def test_a_compressor_of_another_dimension_is_refused(backend, tmp_path):
    other = dreamdb.publish_rabitq_compressor(backend, DIM + 8)
    schema = vd.Schema().add_embedding("v", DIM, compressor=other)
    with pytest.raises(InvalidInputError, match="24 dimensions"):
        vd.Dataset.create("s", schema, backend, cache_dir=tmp_path / "c")
