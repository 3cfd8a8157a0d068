"""Graphs beside the reference SDK: those of either side, searched and added to by the other."""

from pathlib import Path

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.graph_search import search_graph
from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.spatial import graph
from tests.places import url_of

DIM, N, MORE, DEGREE = 24, 1200, 100, 12
T0 = 10_000


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("f4")


def groups(seed, count):
    """Vectors of forty groups, as embeddings are: neither all alike nor all apart."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((40, DIM))
    return unit(centres[rng.integers(0, 40, count)] + 0.6 * rng.standard_normal((count, DIM)))


VECTORS, QUERIES = groups(2, N + 2 * MORE), groups(3, 60)


@pytest.fixture
def backend(tmp_path):
    (tmp_path / "space").mkdir(exist_ok=True)
    return url_of(tmp_path / "space")


@pytest.fixture(autouse=True)
def walking(monkeypatch):
    """Have our searches walk, also where comparing all nodes would be as cheap."""
    monkeypatch.setattr(graph, "is_cheap", lambda *_: False)


def samples(low, high):
    return [(T0 + i, VECTORS[i].tolist()) for i in range(low, high)]


def build(module, backend, **options):
    kind = {"cache_dir": None} if module is vd else {}
    ds = module.Dataset.create("main", module.Schema().add_scalar_int("n"), backend, **kind)
    ds.append_many([{"_anchor": T0 + i, "n": i} for i in range(N + 2 * MORE)])
    if module is vd:
        ds.flush()
    ds.build_graph_index("g", "n", DIM, samples(0, N), r=DEGREE, **options)
    return ds


def ours(backend, ref="main"):
    return vd.Dataset.open(ref, backend=backend, cache_dir=None)


def theirs(backend, ref="main"):
    return dreamdb.Dataset.open_ref(ref, backend)


def recall(found, count):
    want = np.argsort(-QUERIES @ VECTORS[:count].T, axis=1, kind="stable")[:, :10] + T0
    pairs = zip(found, want.tolist(), strict=True)
    return float(np.mean([len({*f} & {*w}) / 10 for f, w in pairs]))


def their_recall(backend, count, ref="main"):
    opened = theirs(backend, ref)
    assert opened.audit_graph_index("g") == count
    answers = [[a for b in opened.iter_vector("g", q, 10) for a in b["_time_anchors"]] for q in QUERIES]
    return recall(answers, count)


def our_recall(backend, count, ref="main"):
    rows = ours(backend, ref)._rows
    many = recall(search_graph(rows, "g", QUERIES, 10)[0].tolist(), count)
    single = [search_graph(rows, "g", q[None], 10)[0][0].tolist() for q in QUERIES]
    return min(many, recall(single, count))


def test_a_graph_of_ours_is_as_good_as_one_of_theirs(tmp_path):  # 0013-R8
    backends = {}
    for module in (vd, dreamdb):
        (tmp_path / module.__name__).mkdir(exist_ok=True)
        backends[module] = url_of(tmp_path / module.__name__)
        build(module, backends[module])
    found = {module: (their_recall(b, N), our_recall(b, N)) for module, b in backends.items()}
    assert min(found[vd]) >= 0.95
    assert found[vd][0] >= found[dreamdb][0]  # walked by the reference
    assert found[dreamdb][1] >= found[dreamdb][0]  # and theirs by us


@pytest.mark.parametrize("module", [vd, dreamdb], ids=["ours", "theirs"])
def test_nodes_added_in_turn(backend, module):  # 0013-R9
    build(module, backend)
    done = ours(backend).append_graph_nodes("g", samples(N, N + MORE))
    assert done["nodes"] == N + MORE
    assert min(their_recall(backend, N + MORE), our_recall(backend, N + MORE)) >= 0.95
    theirs(backend).append_graph_nodes("g", samples(N + MORE, N + 2 * MORE))
    assert min(their_recall(backend, N + 2 * MORE), our_recall(backend, N + 2 * MORE)) >= 0.95
    assert theirs(backend).consolidate_graph("g")["nodes"] == N + 2 * MORE
    assert our_recall(backend, N + 2 * MORE) >= 0.95
    theirs(backend).delete([T0, T0 + 1])
    again = ours(backend)
    again.append_graph_nodes("g", [(5, VECTORS[0])])
    assert search_graph(again._rows, "g", VECTORS[:1], 1)[0].tolist() == [[5]]
    assert theirs(backend).audit_graph_index("g") == N + 2 * MORE + 1


def test_a_graph_of_ours_made_ready_to_grow(backend):
    build(vd, backend)
    ours(backend).append_graph_nodes("g", [])
    assert their_recall(backend, N) >= 0.95
    done = theirs(backend).append_graph_nodes("g", samples(N, N + 5))
    assert done["nodes"] == N + 5


@pytest.mark.parametrize("module", [vd, dreamdb], ids=["ours", "theirs"])
def test_a_compressed_graph(backend, module):
    """Searched by its exact predecessor, which has the same nodes and edges; nobody adds to it."""
    build(module, backend)
    dreamdb.publish_rabitq_compressor(backend, DIM)
    (file,) = Path(backend.removeprefix("file://")).glob("vector-compressor/*")
    theirs(backend).branch("side")
    theirs(backend, "side").compress_graph_index("g", file.read_bytes())
    assert our_recall(backend, N, "side") >= 0.95
    assert our_recall(backend, N) >= 0.95
    with pytest.raises(UnsupportedError, match="compressed"):
        ours(backend, "side").append_graph_nodes("g", samples(N, N + 1))


def test_the_two_write_the_same_objects_but_for_edges(tmp_path):  # 0013-R10
    """Registry, schema and index of a graph of one vector, which has no choice of edges, are the same."""
    seen = []
    for module in (vd, dreamdb):
        (tmp_path / module.__name__).mkdir(exist_ok=True)
        backend = url_of(tmp_path / module.__name__)
        build_one(module, backend)
        manifest = ours(backend).manifest
        modality = f"embedding.f32.dim={DIM}.graph.r=4.field=g"
        fields = manifest.registry["dreamdb.schema"]["fields"]
        pages = sorted(p.name for p in Path(tmp_path / module.__name__).glob("d*/*.graph.*/graph-page/*"))
        seen.append((manifest.registry[modality], [f for f in fields if f["name"] == "g"], pages))
    assert seen[0] == seen[1]


def build_one(module, backend):
    kind = {"cache_dir": None} if module is vd else {}
    ds = module.Dataset.create("main", module.Schema().add_scalar_int("n"), backend, **kind)
    ds.append_many([{"_anchor": T0, "n": 1}])
    ds.build_graph_index("g", "n", DIM, samples(0, 1), r=4)
