"""What the PyPI SDK `dreamdb` can write beyond rows, media and vectors: we read the same rows, and write on where it can."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from conformance.spaces.make_features import (
    SCALARS,
    SECOND,
    T0,
    fragment_bytes,
    init_bytes,
    scalar_row,
    scalar_schema,
)
from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.columnar.vendor import add_track, read_track
from dreamdb_arrow.objects.genesis import Genesis, encode_genesis
from dreamdb_arrow.objects.manifest import LIST_FORM, Tracks, encode_manifest, order_tracks
from dreamdb_arrow.objects.spatial_index import encode_spatial_index, make_lsh_cosine
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.tracks.pages import build_index, read_index
from dreamdb_arrow.tracks.vectors import write_vectors
from tests.places import url_of


@pytest.fixture
def backend(tmp_path) -> str:
    (tmp_path / "space").mkdir(exist_ok=True)
    return url_of(tmp_path / "space")


def ours(backend: str, ref: str = "main") -> vd.Dataset:
    return vd.Dataset.open(ref, backend=backend, cache_dir=None)


def plain(row: dict) -> dict:
    """A row without missing values, its vectors as bytes."""
    return {
        n: np.asarray(v, "f4").tobytes() if isinstance(v, list | np.ndarray) else v
        for n, v in row.items()
        if v is not None
    }


def our_rows(backend: str, ref: str = "main") -> dict[int, dict]:
    """What Python sees, and SQL too."""
    ds = ours(backend, ref)
    batches = list(ds.iter_stream())
    rows = {
        a: plain({n: c[i] for n, c in b.items() if n != "_time_anchors"})
        for b in batches
        for i, a in enumerate(b["_time_anchors"])
    }
    con = vd.connect(backend, cache_dir=None)
    found = con.sql(f"SELECT _anchor FROM dreamdb_scan('{ref}') ORDER BY 1").fetchall()
    assert [a for (a,) in found] == sorted(rows)
    assert ds.count() == len(rows)
    con.close()
    return rows


def their_rows(backend: str, ref: str = "main") -> dict[int, dict]:
    rows = {}
    for batch in dreamdb.Dataset.open_ref(ref, backend).iter_all_batches():
        for i, anchor in enumerate(batch["_time_anchors"]):
            rows[anchor] = plain({n: c[i] for n, c in batch.items() if n != "_time_anchors"})
    return rows


def samples(*numbers: int) -> list[dict]:
    return [{"_anchor": i, **scalar_row(i)} for i in numbers]


def without(rows: dict[int, dict], name: str) -> dict[int, dict]:
    return {a: {n: v for n, v in row.items() if n != name} for a, row in rows.items()}


# ---------------------------------------------------------------- hot rows


@pytest.mark.parametrize("cold", [0, 3])
def test_hot_scalars_of_every_type_are_rows(backend, cold):  # 0016-R1
    ds = dreamdb.Dataset.create("main", scalar_schema(), backend=backend)
    if cold:
        ds.append_many(samples(*range(cold)))
    ds.append_many(samples(5, 4), hot=True)
    ds.append_many([{"_anchor": 6, "string": "only"}, {"_anchor": 7, "bool": False}], hot=True)
    ds.append_many(samples(7), hot=True)  # values that are hot already are taken once
    assert our_rows(backend) == their_rows(backend)
    assert len(our_rows(backend)) == ds.count() == cold + 4
    before = our_rows(backend)
    ds.delete([5])
    assert set(our_rows(backend)) == set(before) - {5}
    ds.flush_hot()
    assert our_rows(backend) == their_rows(backend) == {a: r for a, r in before.items() if a != 5}


def test_hot_vectors_are_rows_before_the_sdk_counts_them(backend):  # 0016-R1
    schema = (
        dreamdb.Schema()
        .add_embedding("v", dim=2, lsh_bits=2, required=False)
        .add_scalar_int("n", required=False)
    )
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    ds.append_many([{"_anchor": 1, "v": [1, 1]}, {"_anchor": 2, "v": [1, 2]}], hot=True)
    ds.append_many([{"_anchor": 2, "v": [9, 1]}], hot=True)
    ds.append_many([{"_anchor": 3, "v": [1, 3]}])  # cold, while vectors alone are hot
    ds.append_many([{"_anchor": 3, "v": [7, 3]}, {"_anchor": 5, "v": [-1, 3]}], hot=True)
    want = {
        a: {"v": np.asarray(v, "f4").tobytes()}
        for a, v in {1: [1, 1], 2: [9, 1], 3: [1, 3], 5: [-1, 3]}.items()
    }
    assert our_rows(backend) == want
    assert ds.count() == 1
    for nprobe in (None, 1, 4):
        found = ours(backend).iter_vector("v", [-1, 3], 1, nprobe=nprobe)
        assert found[0]["_time_anchors"] == [5]
    (every,) = ours(backend).iter_vector("v", [-1, 3], 9, nprobe=4)
    assert sorted(every["_time_anchors"]) == [1, 2, 3, 5]
    assert dict(zip(every["_time_anchors"], every["v"], strict=True))[3] == [1, 3]
    con = vd.connect(backend, cache_dir=None)
    assert con.sql("SELECT _anchor FROM dreamdb_knn('main', 'v', [-1, 3], k := 1)").fetchall() == [(5,)]
    con.close()
    ds.flush_hot()  # of the two at 3, both of them in the Track now, the SDK shows now one and then the other
    for rows in (our_rows(backend), their_rows(backend)):
        assert rows.pop(3)["v"] in {np.asarray(v, "f4").tobytes() for v in ([1, 3], [7, 3])}
        assert rows == {a: r for a, r in want.items() if a != 3}


def test_our_append_takes_hot_scalars_with_it(backend):  # 0016-R2
    ds = dreamdb.Dataset.create("main", scalar_schema(), backend=backend)
    ds.append_many(samples(0, 1))
    ds.append_many(samples(2, 3), hot=True)
    before = our_rows(backend)
    mine = ours(backend)
    with pytest.raises(vd.AnchorConflict):
        mine.append_many(samples(3))
    mine.append_many([{"_anchor": 9, "int": 9, "categorical": "new"}])  # fields that are left alone stay hot
    want = before | {9: {"int": 9, "categorical": "new"}}
    assert our_rows(backend) == their_rows(backend) == want
    mine.delete([2])
    del want[2]
    assert our_rows(backend) == their_rows(backend) == want
    theirs = dreamdb.Dataset.open("main", backend=backend)
    theirs.append_many(samples(20), hot=True)
    theirs.flush_hot()
    assert our_rows(backend) == their_rows(backend) == want | {20: plain(scalar_row(20))}


def test_hot_rows_in_a_space_of_ours(backend):  # 0016-R1, 0016-R2
    schema = vd.Schema().add_scalar_int("n").add_embedding("v", dim=2, lsh_bits=2, required=False)
    mine = vd.Dataset.create("main", schema, backend=backend, cache_dir=None)
    mine.append_many([{"_anchor": i, "n": i, "v": [1, i]} for i in range(3)])
    mine.flush()
    theirs = dreamdb.Dataset.open("main", backend=backend)
    theirs.append_many([{"_anchor": i, "n": i, "v": [1, i]} for i in range(3, 5)], hot=True)
    want = {i: {"n": i, "v": np.asarray([1, i], "f4").tobytes()} for i in range(5)}
    assert our_rows(backend) == want
    mine.refresh().append_many([{"_anchor": 9, "n": 9}])
    want[9] = {"n": 9}
    assert our_rows(backend) == want
    mine.flush()
    assert our_rows(backend) == want
    assert without(their_rows(backend), "v") == without(want, "v")
    dreamdb.Dataset.open("main", backend=backend).flush_hot()
    assert our_rows(backend) == their_rows(backend) == want


def test_hot_snapshots_and_branches_stay(backend):  # 0008-R1
    ds = dreamdb.Dataset.create("main", scalar_schema(), backend=backend)
    ds.append_many(samples(1), hot=True)
    ds.snapshot("then")
    ds.append_many(samples(2), hot=True)
    ds.branch("side").flush_hot()
    assert set(our_rows(backend, "main@then")) == {1}
    assert our_rows(backend, "side") == our_rows(backend) == their_rows(backend)


# ---------------------------------------------------------------- video, geometry


def ingest(ds, folder: Path, starts: list[int], last: int = SECOND) -> dict[int, dict]:
    (folder / "init").write_bytes(init_bytes())
    listed = []
    for i, start in enumerate(starts):
        (folder / str(start)).write_bytes(fragment_bytes(i, 20 + i))
        listed.append((str(folder / str(start)), start, start + last))
    ds.ingest_cmaf("clip", str(folder / "init"), listed)
    return {start: {"clip": fragment_bytes(i, 20 + i)} for i, start in enumerate(starts)}


def test_fragments_lie_by_the_minute(backend, tmp_path):  # 0007-R2
    schema = (
        dreamdb.Schema().add_video("clip", mime="h264", required=False).add_scalar_int("n", required=False)
    )
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    starts = [0, 59 * SECOND, 60 * SECOND, T0, T0 + 119 * SECOND]
    rows = ingest(ds, tmp_path, starts)
    assert our_rows(backend) == their_rows(backend) == rows
    items = ours(backend).items("clip").to_pylist()
    assert [(i["_anchor"], i["t1"]) for i in items] == [(s, s + SECOND) for s in starts]
    assert len({i["init"] for i in items} - {None}) == 1
    whole = ours(backend).init_segment("clip") + b"".join(r["clip"] for r in rows.values())
    assert whole == Path(ds.read_video("clip")).read_bytes()
    con = vd.connect(backend, cache_dir=None)
    sql = "SELECT max(t1 - _anchor), sum(size) FROM dreamdb_items('main', 'clip')"
    assert con.sql(sql).fetchall() == [(SECOND, sum(len(r["clip"]) for r in rows.values()))]
    con.close()
    ours(backend).append_many([{"_anchor": 5, "n": 5}])  # a field beside it
    assert our_rows(backend) == their_rows(backend) == rows | {5: {"n": 5}}


def test_what_an_append_of_theirs_makes_unreadable_to_them(backend, tmp_path):
    ds = dreamdb.Dataset.create("main", dreamdb.Schema().add_video("clip", mime="h264"), backend=backend)
    rows = ingest(ds, tmp_path, [T0])
    ds.append_many([{"_anchor": T0 + 5000 * SECOND, "clip": b"whole"}])
    with pytest.raises(RuntimeError, match="not found"):
        their_rows(backend)
    assert our_rows(backend) == rows | {T0 + 5000 * SECOND: {"clip": b"whole"}}
    assert ours(backend).init_segment("clip") is None


def test_video_items(backend):
    schema = dreamdb.Schema().add_video_item("v").add_scalar_int("n", required=False)
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    fragments = [(fragment_bytes(i), i * SECOND, (i + 1) * SECOND) for i in range(3)]
    body = b"".join(data for data, _, _ in fragments)
    rows = {}
    for key, start in ((b"b", T0), (b"a", 5), (b"c", T0 + 60 * SECOND)):
        ds.publish_prepared_video_item(
            "v", key, start, 4 * SECOND, init_bytes(key), fragments, fragment_pack_bytes=400
        )
        rows[start] = {"v": init_bytes(key) + body}
    assert our_rows(backend) == rows
    assert sorted(rows) == ds.list_anchors()
    mine = ours(backend)
    for item in mine.items("v").to_pylist():
        theirs = ds.video_item_at("v", item["_anchor"] + 1)
        assert (item["_anchor"], item["t1"]) == (theirs["t_start"], theirs["t_start"] + theirs["duration"])
        assert (item["key"], item["object"], item["init"]) == (
            theirs["item_key"],
            theirs["item_address"],
            theirs["init_address"],
        )
        assert item["size"] == len(rows[item["_anchor"]]["v"])
        assert mine.init_segment("v", item["_anchor"]) == init_bytes(item["key"])
    with pytest.raises(vd.InvalidInputError, match="no video at anchor 6"):
        mine.init_segment("v", 6)
    with pytest.raises(vd.InvalidInputError, match="'v'"):
        mine.append_many([{"_anchor": 1, "v": b"x"}])
    mine.append_many([{"_anchor": 6, "n": 1}])
    mine.delete([T0])
    rows[6] = {"n": 1}
    del rows[T0]
    assert our_rows(backend) == rows
    assert sorted(rows) == dreamdb.Dataset.open("main", backend=backend).list_anchors()


def test_geometry(backend):
    schema = dreamdb.Schema().add_geometry("g", "point").add_geometry("m", "mesh")
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    rng = np.random.default_rng(0)
    points = [rng.integers(0, 1 << 16, 3).astype("<u2").tobytes() + bytes([i] * 4) for i in range(50)]
    ds.publish_geometry_cells("g", 7, b"".join(points), depth=2, units="km", origin=(1.0, 2.0, -3.0))
    corners = struct.pack("<9H", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    ds.publish_geometry_mesh("m", 9, [(0, 3, 1, corners + struct.pack("<3I", 0, 1, 2))])
    rows = our_rows(backend)
    assert set(rows) == {7, 9}
    assert ds.count() == 0  # the SDK does not count them
    data = rows[7]["g"]
    assert sorted(data[at : at + 10] for at in range(0, len(data), 10)) == sorted(points)
    reader = ds.open_geometry_item("g", 7)
    want = {n: list(v) if isinstance(v, tuple) else v for n, v in reader.metadata().items()}
    (item,) = ours(backend).items("g").to_pylist()
    told = json.loads(item["detail"])
    assert (told["units"], told["depth"], told["origin"]) == ("km", 2, [1.0, 2.0, -3.0])
    assert [(p["name"], *p["counts"], p["size"]) for p in told["parts"]] == [
        (c["key"], c["count"], c["size"]) for c in want["cells"]
    ]
    assert rows[9]["m"] == bytes(ds.open_geometry_item("m", 9).read_mesh_lod(0))


# ---------------------------------------------------------------- layers, entities, checkpoints


def test_layers_of_every_type(backend):
    ds = dreamdb.Dataset.create("main", dreamdb.Schema().add_image("img"), backend=backend)
    ds.append_many([{"_anchor": i, "img": bytes([i])} for i in range(5)])
    for kind in SCALARS:
        ds.add_scalar_layer(f"l_{kind}", "img", kind, [(i, scalar_row(i)[kind]) for i in (0, 2, 9)])
    ds.add_image_layer("th", "img", [(1, b"t1")])
    ds.append_image_layer("th", [(2, b"t2"), (11, b"t11")])
    assert our_rows(backend) == their_rows(backend)
    ours(backend).append_many([{"_anchor": 30, "img": b"new", "l_int": 4, "th": b"t30"}])
    assert our_rows(backend) == their_rows(backend)
    dreamdb.Dataset.open("main", backend=backend).append_image_layer("th", [(3, b"t3")])
    assert our_rows(backend) == their_rows(backend)


def test_rows_with_entity_keys(backend):  # 0001-R8
    schema = dreamdb.Schema().add_scalar_int("n", required=False).add_image("img", required=False)
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    ds.append_many([{"_anchor": 1, "n": 1}])
    ds.enable_entity_keys("int")
    first = ds.create_entity(-7, {"n": 5, "img": b"x"})
    ds.supersede_entity(-7, {"n": 6}, expected=first["revision"])
    gone = ds.create_entity(8, {"n": 8})
    ds.delete_entity(8, expected=gone["revision"])
    assert our_rows(backend) == their_rows(backend)
    tip = ds.current_manifest()
    for write in (lambda d: d.append_many([{"_anchor": 99, "n": 1}]), lambda d: d.delete([1])):
        with pytest.raises(vd.UnsupportedError, match="entity operations of the reference"):
            write(ours(backend))
    assert ours(backend).current_manifest() == tip


@pytest.mark.parametrize("indexed", [False, True])
def test_checkpoints(backend, indexed):  # 0001-R8
    schema = dreamdb.Schema().add_scalar_int("n", required=False).add_video_item("v")
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    ds.append_many([{"_anchor": 1, "n": 1}])
    ds.publish_prepared_video_item("v", b"a", 10, 100, init_bytes(), [(fragment_bytes(0), 0, 100)])
    if indexed:
        vectors = np.random.default_rng(0).standard_normal((40, 4))
        index = dreamdb.train_and_publish_ivf_centroids(backend, vectors.tolist(), 4, 3)
        compressor = dreamdb.publish_rabitq_compressor(backend, 4)
        ds.add_embedding_layer(
            "e", "v", 4, "dreamdb.ivf-cosine", index, compressor, True, [(10, [1.0, 2, 3, 4])]
        )
    plan = (ds.plan_indexed_ingest_checkpoint if indexed else ds.plan_ingest_checkpoint)("here", "old")
    before = our_rows(backend)
    ds.apply_ingest_checkpoint(plan, "here")
    assert our_rows(backend) == before
    assert [h["operation"] for h in ours(backend).history()] == ["ingest-checkpoint"]
    ds = dreamdb.Dataset.open("main", backend=backend)
    ds.append_many([{"_anchor": 2, "n": 2}])
    assert our_rows(backend) == before | {2: {"n": 2}}
    if indexed:
        with pytest.raises(vd.UnsupportedError, match="reference SDK"):
            ours(backend).append_many([{"_anchor": 3, "n": 3}])
    else:
        ours(backend).append_many([{"_anchor": 3, "n": 3}])
        assert dreamdb.Dataset.open("main", backend=backend).count() == 4


def test_reencoded_vectors(backend):
    rng = np.random.default_rng(0)
    index = dreamdb.train_and_publish_ivf_centroids(backend, rng.standard_normal((40, 4)).tolist(), 4, 3)
    compressor = dreamdb.publish_rabitq_compressor(backend, 4)
    schema = dreamdb.Schema().add_embedding(
        "v", dim=4, algorithm="dreamdb.ivf-cosine", spatial_index=index, compressor=compressor, rerank=True
    )
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    vectors = rng.standard_normal((6, 4)).astype("f4")
    ds.append_many([{"_anchor": i, "v": vectors[i]} for i in range(6)])
    ds.add_embedding_layer("w", "v", 4, "dreamdb.ivf-cosine", index, compressor, True, [], version=2)
    turned = {i: (vectors[i] * -2).astype("f4") for i in range(6)}
    ds.reencode("v", "w", lambda batch: [(a, turned[a].tolist()) for a, _ in batch], "model@1", batch_size=2)
    assert our_rows(backend) == {i: {"v": vectors[i].tobytes(), "w": turned[i].tobytes()} for i in range(6)}


def test_anchors_of_hot_vectors_are_taken(backend):  # 0003-R5
    """Their Track's coverage says nothing of them."""
    schema = dreamdb.Schema().add_embedding("v", dim=2, lsh_bits=2)
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    ds.append_many([{"_anchor": 5, "v": [1, 1]}], hot=True)
    with pytest.raises(vd.AnchorConflict):
        ours(backend).append_many([{"_anchor": 5, "v": [2, 1]}])
    ours(backend).append_many([{"_anchor": 6, "v": [2, 1]}])
    dreamdb.Dataset.open("main", backend=backend).flush_hot()
    assert set(our_rows(backend)) == set(their_rows(backend)) == {5, 6}


@pytest.mark.parametrize("first", [True, False])
def test_rows_go_to_the_timeline_of_the_fields(backend, first):  # 0001-R4
    """The reference accepts a second timeline, before or after the one that the fields lie on."""
    schema = dreamdb.Schema().add_scalar_int("n", required=False).add_image("img", required=False)
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    ds.append_many([{"_anchor": 1, "n": 1, "img": b"one"}])
    mine = ours(backend)
    store = mine.space.store
    other = Batch(store)
    added = other.add("genesis", encode_genesis(Genesis(b"0123456789abcdef")))
    old = mine.manifest
    timelines = (added, old.timelines[0]) if first else (old.timelines[0], added)
    tip = other.add("manifests", encode_manifest(replace(old, timelines=timelines)))
    other.flush()
    store.swap_ref("main", store.read_ref("main"), tip)
    ours(backend).append_many([{"_anchor": 2, "n": 2, "img": b"two"}])
    ours(backend).delete([1])
    assert our_rows(backend) == their_rows(backend) == {2: {"n": 2, "img": b"two"}}
    theirs = dreamdb.Dataset.open("main", backend=backend)
    assert theirs.timeline() == ours(backend).timeline() == str(old.timelines[0])
    assert theirs.tombstone_set() == [1]
    theirs.append_many([{"_anchor": 3, "img": b"three"}])
    assert our_rows(backend) == their_rows(backend)


def embedding_spec(dim: int) -> dict:
    """The smallest declaration of an embedding space that the SDK takes."""
    name = bytes(address_of(b"anything"))
    basis = {
        "dim": dim,
        "output": "pooled",
        "normalize": "l2",
        "tokenizer": {"identity": "words", "max_length": 77, "padding": "none"},
        "checkpoint": "a model",
        "text_template": "{}",
    }
    realization = {
        "basis_core": basis,
        "probe_set": {"count": 1000, "digest": name, "encoding": "dreamdb.probe-array.v1"},
        "reference": {"dim": dim, "count": 1000, "dtype": "f32le", "digest": name},
    }
    commitment = bytes(address_of(encode_cbor(realization)))
    one = struct.pack("<d", 1.0)
    impl = {
        "artifacts": [{"role": "weights", "digest": name}],
        "decoder": "none",
        "image_resize": "none",
        "precision": "f32",
        "runtime": "none",
    }
    parity = {"against": commitment, "count": 1000, "min_f64le": one, "mean_f64le": one}
    return {
        "identity_basis": {**basis, "realization_commitment": commitment},
        "realization_manifest": realization,
        "implementation_records": [{"impl": impl, "parity": parity}],
    }


def test_an_identified_embedding_space(backend):  # 0001-R12
    spec = embedding_spec(2)
    schema = dreamdb.Schema().add_embedding("v", 2, required=False, lsh_bits=3, embed_spec=encode_cbor(spec))
    ds = dreamdb.Dataset.create("main", schema.add_scalar_int("n"), backend=backend)
    bound = address_of(encode_cbor(spec["identity_basis"]))
    vectors = np.random.default_rng(0).standard_normal((20, 2)).astype("f4")
    ds.append_many(
        [{"_anchor": i, "n": i, "v": v} for i, v in enumerate(vectors)], embedding_specs={"v": bytes(bound)}
    )
    want = {i: {"n": i, "v": v.tobytes()} for i, v in enumerate(vectors)}
    assert our_rows(backend) == their_rows(backend) == want
    mine = ours(backend)
    assert f".spec={bound}." in next(e.modality for e in mine.manifest.tracks.active if e.field == "v")
    theirs = [
        a
        for b in ds.iter_vector("v", vectors[3], 5, nprobe=3, spec_id=bytes(bound))
        for a in b["_time_anchors"]
    ]
    for options in ({}, {"spec_id": bytes(bound)}):
        (batch,) = mine.iter_vector("v", vectors[3], 5, nprobe=3, **options)
        assert batch["_time_anchors"] == theirs
    with pytest.raises(vd.InvalidInputError, match=f"bound to embedding spec {bound}, not to"):
        mine.iter_vector("v", vectors[3], 5, spec_id=bytes(address_of(b"another")))
    with pytest.raises(vd.UnsupportedError, match=f"bound to embedding spec {bound}"):
        mine.append_many([{"_anchor": 30, "n": 1, "v": [1.0, 2.0]}])
    mine.append_many([{"_anchor": 30, "n": 1}])
    mine.add_scalar_int("m")
    assert our_rows(backend) == their_rows(backend) == want | {30: {"n": 1}}


def test_graphs(backend):
    """The SDK neither counts nor iterates where the first embedding is a graph; it searches."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 4)).astype("f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ds = dreamdb.Dataset.create("main", dreamdb.Schema().add_scalar_int("n"), backend=backend)
    ds.append_many([{"_anchor": i, "n": i} for i in range(30)])
    ds.build_graph_index("g", "n", 4, [(i, vectors[i].tolist()) for i in range(30)], r=6)
    want = {i: {"n": i, "g": vectors[i].tobytes()} for i in range(30)}
    assert our_rows(backend) == want

    def nearest(opened):
        return [[a for b in opened.iter_vector("g", v, 5) for a in b["_time_anchors"]] for v in vectors[:5]]

    assert nearest(ours(backend)) == nearest(ds)
    compressor = dreamdb.publish_rabitq_compressor(backend, 4)
    (file,) = Path(backend.removeprefix("file://")).glob("vector-compressor/*")
    assert address_of(file.read_bytes()) == compressor
    side = ds.branch("side")
    side.compress_graph_index("g", file.read_bytes())
    assert our_rows(backend, "side") == want  # exact: from the graph that was compressed
    ds.append_graph_nodes("g", [(i, vectors[i].tolist()) for i in range(30, 40)])
    rows = our_rows(backend)
    added = {
        i: rows[i] for i in range(30, 40)
    }  # the SDK makes them unit length again, which moves a last bit
    for i, row in added.items():
        assert np.allclose(np.frombuffer(row["g"], "f4"), vectors[i], atol=1e-6)
    want |= added
    assert rows == want
    ds.delete([3, 33])
    del want[3], want[33]
    assert our_rows(backend) == want
    assert nearest(ours(backend)) == nearest(ds)
    with pytest.raises(vd.UnsupportedError, match="'g' is no field of cells"):
        ours(backend).append_many([{"_anchor": 90, "n": 1, "g": [1, 0, 0, 0]}])
    ours(backend).append_many([{"_anchor": 91, "n": 91}])
    assert our_rows(backend) == want | {91: {"n": 91}}
    assert nearest(dreamdb.Dataset.open("main", backend=backend)) == nearest(ds)


# ---------------------------------------------------------------- crafted Spaces


def alter(backend: str, change) -> vd.Dataset:
    """Put a changed Manifest in the place of the tip: what no SDK writes, but the reference reads."""
    mine = ours(backend)
    store = mine.space.store
    batch = Batch(store)
    tip = batch.add("manifests", change(mine.manifest, batch))
    batch.flush()
    store.swap_ref("main", store.read_ref("main"), tip)
    return ours(backend)


def test_tracks_in_a_plain_list_are_read_only(backend):  # 0001-R8
    ds = dreamdb.Dataset.create("main", scalar_schema(), backend=backend)
    ds.append_many(samples(*range(4)))
    before = our_rows(backend)
    listed = alter(
        backend,
        lambda m, _: encode_manifest(replace(m, tracks=Tracks(m.tracks.active, form=LIST_FORM))),
    )
    assert our_rows(backend) == their_rows(backend) == before
    for opened in (listed, dreamdb.Dataset.open("main", backend=backend)):
        with pytest.raises((vd.UnsupportedError, RuntimeError), match="migrated"):
            opened.append_many(samples(9))


def test_one_anchor_given_twice(backend):  # 0001-R17
    schema = (
        scalar_schema()
        .add_image("img", required=False)
        .add_image("pack", mime="png", required=False, pack_items=2)
    )
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    for numbers in ((4, 1), (2,), (3,)):
        ds.append_many(
            [{"_anchor": 7, **scalar_row(i), "img": b"img %d" % i, "pack": b"%d" % i} for i in numbers]
        )
    assert our_rows(backend) == their_rows(backend)
    assert our_rows(backend)[7]["img"] == b"img 3"


def test_fragments_in_pages(backend, tmp_path):  # 0007-R4
    schema = dreamdb.Schema().add_video("clip", mime="h264", required=False)
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    rows = ingest(ds, tmp_path, [T0 + i * 7 * SECOND for i in range(40)])

    def page(manifest, batch):
        (entry,) = manifest.tracks.active
        store = ours(backend).space.store
        track = read_track(store, entry)
        pages = build_index(batch, entry.timeline, entry.modality, read_index(store, track))
        paged = replace(entry, address=add_track(batch, replace(track, object_index=pages)))
        return encode_manifest(replace(manifest, tracks=order_tracks([paged])))

    mine = alter(backend, page)
    assert isinstance(read_track(mine.space.store, mine.manifest.tracks.active[0]).object_index, dict)
    assert our_rows(backend) == their_rows(backend) == rows
    items = mine.items("clip").to_pylist()
    assert [(i["_anchor"], i["t1"] - i["_anchor"]) for i in items] == [(a, SECOND) for a in rows]
    with pytest.raises(vd.UnsupportedError, match="'clip' holds CMAF fragments"):
        mine.append_many([{"_anchor": 1, "clip": b"whole"}])


def test_several_hash_tables(backend):  # 0007-R8
    """Each table holds every vector; the SDK reads such fields, and cannot make them."""
    schema = dreamdb.Schema().add_embedding("v", dim=4, lsh_bits=3, required=False)
    ds = dreamdb.Dataset.create("main", schema, backend=backend)
    vectors = np.random.default_rng(0).standard_normal((12, 4)).astype("f4")
    ds.append_many([{"_anchor": i, "v": v} for i, v in enumerate(vectors)])
    second = make_lsh_cosine(4, bytes([7] * 32), 3)

    def double(manifest, batch):
        (entry,) = manifest.tracks.active
        store = ours(backend).space.store
        track = read_track(store, entry)
        modality = f"{entry.modality}.tables=2"
        for key, *_, bucket in track.object_index:
            folder = f"{entry.timeline}/{{}}/{key}"
            batch.add_payload(
                folder.format(modality), store.get(f"{folder.format(entry.modality)}/{Address(bucket)}")
            )
        other = Track(EMPTY_COVERAGE, modality, entry.timeline, [])
        index = batch.add("spatial-index", encode_spatial_index(second))
        added = write_vectors(store, batch, other, second, index, np.arange(12), vectors).track
        rows = [[*row, table] for table, t in enumerate((track, added)) for row in t.object_index]
        both = replace(track, modality=modality, object_index=rows)
        registered = manifest.registry[entry.modality]
        registry = {k: v for k, v in manifest.registry.items() if k != entry.modality}
        registry[modality] = {**registered, "spatial_index": [*registered["spatial_index"], bytes(index)]}
        active = replace(entry, modality=modality, address=add_track(batch, both))
        return encode_manifest(replace(manifest, registry=registry, tracks=order_tracks([active])))

    alter(backend, double)
    want = {i: {"v": v.tobytes()} for i, v in enumerate(vectors)}
    assert our_rows(backend) == their_rows(backend) == want
    ours(backend).append_many([{"_anchor": 20, "v": vectors[0] * 2}])
    want[20] = {"v": (vectors[0] * 2).tobytes()}
    assert our_rows(backend) == their_rows(backend) == want
    found = ours(backend).iter_vector("v", vectors[3], 1)
    assert found[0]["_time_anchors"] == [3]


def test_fragments_that_the_reference_adds_to_our_space_shut_the_field_at_once(backend, tmp_path):
    """A stripe with rows that no flush could ever write is not made."""
    schema = vd.Schema().add_scalar_int("n").add_video("clip", mime="h264", required=False)
    mine = vd.Dataset.create("main", schema, backend, cache_dir=tmp_path / "cache")
    mine.append_many([{"_anchor": 1, "n": 1}])
    ingest(dreamdb.Dataset.open("main", backend=backend), tmp_path, [T0])
    version = mine.refresh().current_manifest()
    with pytest.raises(vd.UnsupportedError, match="'clip' holds CMAF fragments"):
        mine.append_many([{"_anchor": 2, "n": 2, "clip": b"whole"}])
    assert mine.refresh().current_manifest() == version
    mine.append_many([{"_anchor": 2, "n": 2}])
    mine.flush()
    assert set(our_rows(backend)) == set(their_rows(backend)) == {1, 2, T0}
