"""Graph fields: built as layers, searched, added to; what their rows and versions are like."""

from base64 import b64decode

import numpy as np
import pyarrow as pa
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import as_address
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.dataset import graph_search
from dreamdb_arrow.dataset.graph import train_and_publish_vamana_graph
from dreamdb_arrow.dataset.graph_search import search_graph
from dreamdb_arrow.errors import AnchorConflict, InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.graph_index import GraphParams
from dreamdb_arrow.spatial import graph
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.graph import load_graph_index, page_addresses, read_nodes

DIM, N = 8, 700
RNG = np.random.default_rng(11)
VECTORS = RNG.standard_normal((N + 60, DIM)).astype("f4")
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERIES = RNG.standard_normal((25, DIM)).astype("f4")
T0 = 1000


def samples(low, high):
    return [(T0 + i, VECTORS[i].tolist()) for i in range(low, high)]


def dataset(store=None, *, build=True, cache_dir=None, **options):
    ds = vd.Dataset.create(
        "main", vd.Schema().add_scalar_int("n"), store or MemoryStore(), cache_dir=cache_dir
    )
    ds.append_many([{"_anchor": T0 + i, "n": i} for i in range(N + 60)])
    if build:
        ds.build_graph_index("g", "n", DIM, samples(0, N), **{"r": 12, **options})
    return ds


def stored(ds, field="g"):
    """Return the index and all nodes of a graph field."""
    entry = row_entry(ds.manifest, field)
    index = load_graph_index(ds.space.store, as_address(ds.manifest.registry[entry.modality]["graph_index"]))
    return index, read_nodes(ds.space.store, read_track(ds.space.store, entry), index)


def pages_of(ds):
    return page_addresses(read_track(ds.space.store, row_entry(ds.manifest, "g")))


def exact(rows, queries=QUERIES, k=10):
    """Return the anchors of the nearest among numbered rows."""
    rows = np.asarray(rows)
    return T0 + rows[np.argsort(-queries @ VECTORS[rows].T, axis=1, kind="stable")[:, :k]]


def recall(found, want):
    return np.mean([len({*f} & {*w}) / len(w) for f, w in zip(found.tolist(), want.tolist(), strict=True)])


@pytest.fixture
def walking(monkeypatch):
    """Have searches walk, also where comparing all nodes would be as cheap; tells how often they compared."""
    compared = []
    compare = graph.compare_nodes
    monkeypatch.setattr(graph, "is_cheap", lambda left, *_: left == 0)
    monkeypatch.setattr(graph, "compare_nodes", lambda *a: compared.append(1) or compare(*a))
    return compared


# --- what is written ----------------------------------------------------------------------------------------


def test_a_graph_is_a_layer():  # 0013-R10
    ds = dataset()
    entry, parent = row_entry(ds.manifest, "g"), row_entry(ds.manifest, "n")
    assert (entry.role, entry.kind) == (f"layer-of:{parent.address}", "continuous")
    assert entry.modality == f"embedding.f32.dim={DIM}.graph.r=12.field=g"
    index, nodes = stored(ds)
    said = ds.manifest.registry[entry.modality]
    assert said.keys() == {"kind", "algorithm", "graph_index", "object_kind"}
    (declared,) = [f for f in ds.schema.fields if f.name == "g"]
    assert declared.options["spatial_index"] == said["graph_index"]
    assert declared.options["algorithm"] == said["algorithm"] == "dreamdb.vamana-cosine"
    assert (index.params, index.layout.node_count, index.layout.page_count) == (GraphParams(), N, 3)
    assert np.array_equal(nodes.vectors, VECTORS[:N])
    assert nodes.anchors.tolist() == list(range(T0, T0 + N))


def test_its_vectors_are_rows():
    ds = dataset()
    ds.flush()
    rows = ds.take([T0 + 3, T0 + N])
    assert rows["g"].to_pylist() == [VECTORS[3].tolist(), None]
    assert ds.count() == N + 60
    ds.append_many([{"_anchor": 5, "n": 1}])
    ds.flush()
    ds.compact()
    assert ds.take([T0 + 3])["g"].to_pylist() == [VECTORS[3].tolist()]


def test_the_same_samples_give_the_same_graph():
    first, second, other = dataset(), dataset(), dataset(seed=bytes([1] * 32))
    assert pages_of(first) == pages_of(second) != pages_of(other)


def test_samples_as_a_table():
    ds = dataset(build=False)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS[:N].reshape(-1)), DIM)
    ds.build_graph_index("g", "n", DIM, pa.table({"_anchor": np.arange(T0, T0 + N), "g": vectors}), r=12)
    assert pages_of(ds) == pages_of(dataset())


def test_vectors_of_another_length():  # 0013-R7
    ds = dataset(build=False)
    ds.build_graph_index("g", "n", DIM, [(T0 + i, VECTORS[i] * (i + 1)) for i in range(30)], r=4)
    np.testing.assert_allclose(stored(ds)[1].vectors, VECTORS[:30], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": []}, "at least one vector"),
        ({"samples": [(5, [0.0] * DIM)]}, "no direction"),
        ({"samples": [(5, [1.0] * 7)]}, "g"),
        ({"samples": [5]}, "no pair"),
        ({"samples": pa.table({"g": [[1.0] * DIM]})}, "_anchor"),
        ({"parent_field": "m"}, "no field 'm'"),
        ({"name": "n"}, "there already"),
        ({"r": 0}, "r must be"),
        ({"r": 1 << 20}, "r must be"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"l_build": 0}, "l_build"),
        ({"passes": 0}, "passes"),
        ({"seed": b"x"}, "32 bytes"),
        ({"dim": 0}, "dim"),
    ],
    ids=str,
)
def test_what_is_refused(arguments, message):
    ds = dataset(build=False)
    before = ds.current_manifest()
    given = {"name": "g", "parent_field": "n", "dim": DIM, "samples": samples(0, 5), **arguments}
    with pytest.raises(InvalidInputError, match=message):
        ds.build_graph_index(**given)
    assert ds.refresh().current_manifest() == before


def test_an_anchor_given_twice():
    with pytest.raises(AnchorConflict, match="twice"):
        dataset(build=False).build_graph_index("g", "n", DIM, samples(0, 5) + samples(4, 6))


def test_graphs_that_are_not_built_here():
    with pytest.raises(UnsupportedError, match="embedding spec"):
        dataset(build=False).build_graph_index("g", "n", DIM, samples(0, 5), embed_spec=b"x")


def test_nothing_of_a_graph_is_garbage():
    ds = dataset()
    ds.append_graph_nodes("g", samples(N, N + 5))
    vd.gc(ds.space.store, dry_run=False, writers_paused=True, keep_manifests=1, keep_since_secs=0)
    index, nodes = stored(ds)
    assert len(nodes) == N + 5
    assert load_graph_index(ds.space.store, index.fresh.root).layout.node_count == N


# --- search -------------------------------------------------------------------------------------------------


def test_search(walking):
    ds = dataset()
    anchors, distances = search_graph(ds._rows, "g", QUERIES, 10)
    assert recall(anchors, exact(range(N))) >= 0.99
    one = [search_graph(ds._rows, "g", q[None], 10) for q in QUERIES]
    assert recall(np.concatenate([found for found, _ in one]), exact(range(N))) >= 0.99
    unit = QUERIES.astype("f8") / np.linalg.norm(QUERIES.astype("f8"), axis=1, keepdims=True)
    np.testing.assert_allclose(
        distances, 1 - np.einsum("qd,qkd->qk", unit, VECTORS[anchors - T0].astype("f8")), atol=1e-6
    )
    assert (np.diff(distances, axis=1) >= 0).all()
    assert not walking
    wide = search_graph(ds._rows, "g", QUERIES, 10, l_search=300)[0]
    narrow = search_graph(ds._rows, "g", QUERIES, 1, l_search=1)[0]
    assert recall(wide, exact(range(N))) == 1
    assert narrow.shape == (25, 1)


def test_the_verb_walks():
    ds = dataset()
    hits = ds.search("g", QUERIES, 10, nprobe=200)
    assert recall(hits.anchors, exact(range(N))) >= 0.99
    assert ds.search("g", QUERIES[0], 10).anchors.tolist() == exact(range(N))[0].tolist()  # exact


def test_rows_that_do_not_count(walking):
    ds = dataset()
    ds.delete(T0 + np.arange(0, N, 2))
    left = np.arange(1, N, 2)
    assert recall(search_graph(ds._rows, "g", QUERIES, 10)[0], exact(left)) >= 0.99
    allowed = T0 + np.arange(0, N, 3)
    odd = np.arange(3, N, 6)
    for part in (slice(None), slice(0, 1)):
        found, _ = search_graph(ds._rows, "g", QUERIES[part], 10, allowed=allowed)
        assert recall(found, exact(odd)[part]) >= 0.99
    found, _ = search_graph(ds._rows, "g", QUERIES, 10, t0=T0 + 100, t1=T0 + 200)
    assert recall(found, exact(np.arange(101, 200, 2))) >= 0.99
    both, _ = search_graph(ds._rows, "g", QUERIES, 5, t0=T0 + 100, t1=T0 + 200, allowed=allowed)
    assert recall(both, exact(np.arange(105, 200, 6), k=5)) >= 0.99


def test_always_k_rows(walking):
    ds = dataset()
    rows = np.arange(17, N, 90)
    for allowed in (T0 + rows, np.r_[T0 + rows, 10**9]):
        found, distances = search_graph(ds._rows, "g", QUERIES, 10, l_search=10, allowed=allowed)
        assert np.array_equal(found, exact(rows, k=len(rows)))
        assert distances.shape == found.shape
    none, _ = search_graph(ds._rows, "g", QUERIES, 10, allowed=np.array([1, 2]))
    assert none.shape == (25, 0)


def test_equal_distances_by_anchor():
    ds = dataset(build=False)
    ds.build_graph_index("g", "n", DIM, [(T0 + i, VECTORS[i % 3]) for i in range(60)][::-1], r=8)
    found, _ = search_graph(ds._rows, "g", VECTORS[:1], 20)
    assert found[0].tolist() == [T0 + i for i in range(0, 60, 3)]


@pytest.mark.parametrize("bad", [{"k": 0}, {"k": 1.5}, {"l_search": 0}, {"l_search": True}], ids=str)
def test_counts(bad):
    with pytest.raises(InvalidInputError):
        search_graph(dataset()._rows, "g", QUERIES, **{"k": 3, **bad})


def test_kept_in_the_local_cache(tmp_path, monkeypatch, walking):
    store = MemoryStore()
    want = search_graph(dataset(store, cache_dir=tmp_path)._rows, "g", QUERIES, 10)

    def refuse(*_):
        raise AssertionError("the pages are read again")

    def again():
        opened = vd.Dataset.open("main", backend=store, cache_dir=tmp_path)
        return search_graph(opened._rows, "g", QUERIES, 10)

    with monkeypatch.context() as patch:
        patch.setattr(graph_search, "iterate_pages", refuse)
        assert np.array_equal(again()[0], want[0])
    for file in (tmp_path / "objects").rglob("d*"):  # what went bad is made anew
        if file.is_file():
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.chmod(0o644)
            file.write_bytes(data)
    assert np.array_equal(again()[0], want[0])


def test_pages_that_are_fewer_than_the_index_says(monkeypatch):  # 0013-R5
    ds = dataset()
    pages = list(
        graph_search.iterate_pages(ds.space.store, read_track(ds.space.store, row_entry(ds.manifest, "g")))
    )
    monkeypatch.setattr(graph_search, "iterate_pages", lambda *_: iter(pages[:-1]))
    with pytest.raises(LayoutError, match="700 nodes"):
        search_graph(ds._rows, "g", QUERIES, 3)


def test_the_graph_of_the_reference(reference_space, reference_expected, walking):
    want = reference_expected("vec-vamana")
    ds = vd.Dataset.open(want["ref"], backend=str(reference_space("vec-vamana")), cache_dir=None)
    queries = np.stack([np.frombuffer(b64decode(q["query_f32_b64"]), "<f4") for q in want["queries"]])
    nearest = np.array([[anchor for anchor, *_ in q["exact_top10"]] for q in want["queries"]])
    found, _ = search_graph(ds._rows, want["field"], queries, 10)
    assert recall(found, nearest) >= want["reference_sdk_recall_at_10"]
    assert not walking


# --- nodes that are added -----------------------------------------------------------------------------------


def test_more_nodes(walking):  # 0013-R9
    ds = dataset()
    built, before = stored(ds)
    root = ds.manifest.registry[row_entry(ds.manifest, "g").modality]["graph_index"]
    done = ds.append_graph_nodes("g", samples(N, N + 40))
    assert done == {"nodes": N + 40, "pages_changed": 3, "pages_reused": 0}
    index, nodes = stored(ds)
    entry = row_entry(ds.manifest, "g")
    assert entry.modality == f"embedding.f32.dim={DIM}.graph.r=12.field=g.fresh"
    assert entry.role == row_entry(ds.manifest, "g").role
    assert index.fresh.root == root
    assert index.layout.entry_point == built.layout.entry_point
    assert (index.params, index.layout.node_count) == (built.params, N + 40)
    assert np.array_equal(nodes.vectors[:N], before.vectors)
    assert nodes.anchors.tolist() == list(range(T0, T0 + N + 40))
    assert recall(search_graph(ds._rows, "g", QUERIES, 10)[0], exact(range(N + 40))) >= 0.99
    near_new, _ = search_graph(ds._rows, "g", VECTORS[N : N + 40], 1)
    assert near_new[:, 0].tolist() == list(range(T0 + N, T0 + N + 40))
    assert ds.take([T0 + N])["g"].to_pylist() == [VECTORS[N].tolist()]


def test_pages_without_a_change_stay():  # 0013-R9
    ds = dataset(l_build=6)
    ds.append_graph_nodes("g", [])
    first = pages_of(ds)
    done = ds.append_graph_nodes("g", samples(N, N + 1))
    same = len(set(first) & set(pages_of(ds)))
    assert done == {"nodes": N + 1, "pages_changed": 3 - same, "pages_reused": same}
    _, nodes = stored(ds)
    assert nodes.anchors[-1] == T0 + N


def test_a_graph_is_made_ready_to_grow():
    ds = dataset()
    before = stored(ds)[1].neighbours
    assert ds.append_graph_nodes("g", []) == {"nodes": N, "pages_changed": 0, "pages_reused": 3}
    version = ds.current_manifest()
    assert row_entry(ds.manifest, "g").modality.endswith(".fresh")
    assert np.array_equal(stored(ds)[1].neighbours, before)
    assert ds.append_graph_nodes("g", []) == {"nodes": N, "pages_changed": 0, "pages_reused": 3}
    assert ds.current_manifest() == version


@pytest.mark.parametrize(
    ("field", "given", "message"),
    [
        ("g", [(T0 + 5, VECTORS[0])], "is a node of 'g' already"),
        ("g", [(5, [0.0] * DIM)], "direction"),
        ("g", [(5, [1.0])], "g"),
        ("n", [(5, [1.0] * DIM)], "no graph"),
        ("m", [(5, [1.0] * DIM)], "no field 'm'"),
    ],
)
def test_nodes_that_are_refused(field, given, message):
    ds = dataset()
    before = ds.current_manifest()
    with pytest.raises(InvalidInputError, match=message):
        ds.append_graph_nodes(field, given)
    assert ds.refresh().current_manifest() == before


def test_the_anchor_of_a_deleted_row_stays_taken():
    ds = dataset()
    ds.delete([T0 + 5])
    with pytest.raises(InvalidInputError, match="stays one when its row is deleted"):
        ds.append_graph_nodes("g", [(T0 + 5, VECTORS[0])])


# --- graphs of no Space -------------------------------------------------------------------------------------


def test_a_published_graph():
    store = MemoryStore()
    address = as_address(
        train_and_publish_vamana_graph(store, VECTORS[:300], DIM, "embedding.f32", r=8, page_node_count=64)
    )
    index = load_graph_index(store, address)
    assert (index.layout.max_degree, index.layout.node_count, index.layout.page_count) == (8, 300, 5)
    assert len([p for p in store.list("") if "/graph-page/" in p]) == 5
    with pytest.raises(InvalidInputError, match="sample"):
        train_and_publish_vamana_graph(store, VECTORS, 3, "embedding.f32")
