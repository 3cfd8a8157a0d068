"""Multi-vector fields beside the reference SDK: those of either side, asked by the other."""

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from tests.places import url_of

DIM, ROWS, MOST, K = 16, 80, 5, 10
T0 = 1_700_000_000_000_000_000
RNG = np.random.default_rng(31)
CENTRES = RNG.standard_normal((10, DIM))
DOCS = [
    (T0 + i, (CENTRES[i % 10] + 0.7 * RNG.standard_normal((RNG.integers(1, MOST + 1), DIM))).astype("f4"))
    for i in range(ROWS)
]
ASKED = [(CENTRES[i % 10] + 0.7 * RNG.standard_normal((3, DIM))).astype("f4") for i in range(20)]


def build(module, backend):
    kind = {"cache_dir": None} if module is vd else {}
    ds = module.Dataset.create("main", module.Schema().add_scalar_int("n"), backend, **kind)
    rows = range(ROWS - 1)  # the last one has tokens and no row
    ds.append_many([{"_anchor": T0 + i, "n": i} for i in rows])
    if module is vd:
        ds.flush()
    plain = np.concatenate([tokens for _, tokens in DOCS])
    index = dreamdb.train_and_publish_ivf_centroids(backend, plain, DIM, 8)
    coder = dreamdb.publish_rabitq_compressor(backend, DIM)
    ds.add_multi_vector_index("mv", "n", DIM, MOST, DOCS, index, coder)
    return ds


@pytest.fixture(params=[vd, dreamdb], ids=["ours", "theirs"])
def backend(request, tmp_path):
    (tmp_path / "space").mkdir(exist_ok=True)
    where = url_of(tmp_path / "space")
    build(request.param, where)
    return where


def both(backend):
    ours = vd.Dataset.open("main", backend=backend, cache_dir=None)
    return ours, dreamdb.Dataset.open_ref("main", backend)


def test_the_answers_are_the_same(backend):  # 0015-R4
    """When the reference looks at as many tokens for each of the query's as there are."""
    ours, theirs = both(backend)
    for query in ASKED:
        found, wanted = (ds.query_multi_vector("mv", query, K, 1000) for ds in (ours, theirs))
        assert [a for a, _ in found] == [a for a, _ in wanted]
        assert [s for _, s in found] == pytest.approx([s for _, s in wanted], abs=1e-5)


def test_rows_go_on_beside_it(backend):
    ours, theirs = both(backend)
    theirs.append_many([{"_anchor": T0 + ROWS, "n": ROWS}])
    ours.refresh().append_many([{"_anchor": T0 + ROWS + 1, "n": ROWS + 1}])
    ours.flush()
    ours, theirs = both(backend)
    assert len(ours) == ROWS + 1
    assert (
        ours.query_multi_vector("mv", ASKED[0], 1)[0][0] == theirs.query_multi_vector("mv", ASKED[0], 1)[0][0]
    )


def test_a_deleted_row_is_left_out_here(backend):  # 0020-R8
    """The reference goes on showing it: its tombstone is for the row, the tokens have anchors of their own."""
    ours, theirs = both(backend)
    (first, _), *_ = theirs.query_multi_vector("mv", ASKED[0], K)
    theirs.delete([first])
    ours, theirs = both(backend)
    assert first in dict(theirs.query_multi_vector("mv", ASKED[0], K))
    assert first not in dict(ours.query_multi_vector("mv", ASKED[0], ROWS))


def test_the_two_say_the_same(tmp_path):  # 0015-R3
    """Schema, registry, coverage, and which cells there are."""
    seen = []
    for module in (vd, dreamdb):
        root = tmp_path / module.__name__
        root.mkdir(exist_ok=True)
        build(module, url_of(root))
        manifest = vd.Dataset.open("main", backend=root, cache_dir=None).manifest
        (entry,) = (e for e in manifest.tracks.active if e.field == "mv")
        assert entry.role.startswith("layer-of:")
        declared = [f for f in manifest.registry["dreamdb.schema"]["fields"] if f["name"] == "mv"]
        cells = sorted(path.parent.name for path in root.glob(f"d*/{entry.modality}/[01]*/d*"))
        registered = manifest.registry[entry.modality]
        seen.append((entry.kind, entry.modality, entry.coverage, declared, registered, cells))
    assert seen[0] == seen[1]
    assert len(seen[0][-1]) > 1
