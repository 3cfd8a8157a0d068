"""Reverts of ours in a Space of the PyPI SDK: it reads them, and goes on from there."""

import dreamdb

import dreamdb_arrow as vd
from tests.places import url_of

UNION = "union-tracks"


def their_rows(backend, ref):
    ds = dreamdb.Dataset.open_ref(ref, backend)
    return {row["_anchor"]: row["n"] for batch in ds.iter_arrow_batches() for row in batch.to_pylist()}


def test_the_reference_goes_on_from_a_revert(tmp_path):
    backend = url_of(tmp_path / "space")
    (tmp_path / "space").mkdir(exist_ok=True)
    theirs = dreamdb.Dataset.create(
        "x", dreamdb.Schema().add_scalar_int("n").add_image("im", required=False), backend
    )
    theirs.append_many([{"_anchor": a, "n": a, "im": b"image %d" % a} for a in (1, 2, 3)])
    theirs.delete([3])
    theirs.snapshot("first")
    theirs.append_many([{"_anchor": 4, "n": 4, "im": b"more"}])
    theirs.delete([1])
    ours = vd.Dataset.open("x", backend=backend, cache_dir=tmp_path / "cache")
    ours.revert("first")
    assert their_rows(backend, "x") == {1: 1, 2: 2} == their_rows(backend, "x@first")
    theirs = dreamdb.Dataset.open("x", backend=backend)
    theirs.append_many([{"_anchor": 5, "n": 5, "im": b"again"}])
    side = theirs.branch("side")
    side.append_many([{"_anchor": 6, "n": 6}])
    theirs.append_many([{"_anchor": 7, "n": 7}])
    theirs.merge("side", UNION)
    theirs.compact()
    assert their_rows(backend, "x") == {n: n for n in (1, 2, 5, 6, 7)}
    table = ours.refresh().to_arrow()
    assert dict(zip(table["_anchor"].to_pylist(), table["n"].to_pylist(), strict=True)) == their_rows(
        backend, "x"
    )
    dreamdb.gc(backend, keep_manifests=0, dry_run=False, writers_paused=True)
    assert their_rows(backend, "x") == {n: n for n in (1, 2, 5, 6, 7)}
