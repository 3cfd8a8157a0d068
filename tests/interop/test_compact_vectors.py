"""Vectors left to their cells, with the PyPI SDK beside: it appends, compacts, merges and collects; both see the same rows."""

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.rows import vector_stripes
from tests.interop.test_compact_stripes import our_rows, their_rows
from tests.places import url_of


def made(backend: str, form: str) -> vd.Dataset:
    coder = vd.publish_rabitq_compressor(backend, 4) if form == "codes" else None
    schema = vd.Schema().add_scalar_int("n").add_embedding("v", 4, lsh_bits=2, rerank=True, compressor=coder)
    return vd.Dataset.create("main", schema, backend, cache_dir=None)


def samples(start: int, n: int) -> list:
    vectors = np.random.default_rng(start).standard_normal((n, 4)).astype("f4")
    return [{"_anchor": start + i, "n": i, "v": vector.tolist()} for i, vector in enumerate(vectors)]


def opened(backend: str, ref: str = "main"):
    return vd.Dataset.open(ref, backend=backend, cache_dir=None), dreamdb.Dataset.open_ref(ref, backend)


def left_to_cells(ds) -> bool:
    return vector_stripes(ds.space.store, ds.manifest, "v") == ((), True)


@pytest.mark.parametrize("form", ["raw", "codes"])
def test_the_sdk_goes_on_where_vectors_are_left_to_cells(tmp_path, form):
    (tmp_path / "space").mkdir(exist_ok=True)
    backend = url_of(tmp_path / "space")
    ds, want = made(backend, form), {}

    def check(*, shown_by_both: bool = True) -> None:
        ours, theirs = opened(backend)
        assert our_rows(ours) == want
        if form == "raw" and shown_by_both:  # of codes, the SDK returns reconstructions
            assert their_rows(theirs) == want

    def took(rows: list) -> None:
        want.update({r["_anchor"]: {"n": r["n"], "v": np.asarray(r["v"], "f4").tobytes()} for r in rows})

    for start in (0, 40):
        ds.append_many(samples(start, 20))
        took(samples(start, 20))
    ds.flush()
    ds.compact()
    assert left_to_cells(ds)
    check()
    dreamdb.gc(
        backend, keep_manifests=50, dry_run=False, writers_paused=True
    )  # it merges only what has its past
    check()
    opened(backend)[0].branch("side")
    opened(backend)[1].append_many(samples(100, 10))
    took(samples(100, 10))
    check()
    opened(backend)[1].compact()  # it writes the cells anew
    check()
    side = opened(backend, "side")[0]
    side.append_many(samples(200, 5))
    side.flush()
    side.compact(tracks=False)  # cells that both wrote anew the SDK does not merge
    assert left_to_cells(side)
    opened(backend)[1].merge("side", strategy="union-tracks")
    took(samples(200, 5))
    check()
    ds = opened(backend)[0]
    ds.append_many(samples(20, 5))
    took(samples(20, 5))
    check(shown_by_both=False)
    ds.flush()
    ds.compact()
    assert left_to_cells(ds)
    dreamdb.gc(backend, keep_manifests=0, dry_run=False, writers_paused=True)
    check()
    query = samples(100, 1)[0]["v"]
    assert opened(backend)[0].search("v", query, 1).anchors.tolist() == [100]
