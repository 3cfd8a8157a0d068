"""Requirements that stored Spaces of the reference show, or small ones of our own: documents 0007 to 0019."""

import base64
import json
import shutil
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cbor2
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.time_key import encode_time_key
from dreamdb_arrow.columnar.cover_note import decode_cover_note
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.vendor import COVER, STRIPE, add_track, fragment_path, read_fragments, read_track
from dreamdb_arrow.dataset.collect import gc
from dreamdb_arrow.dataset.items import init_segment, list_items
from dreamdb_arrow.dataset.merge import union_change
from dreamdb_arrow.errors import (
    AnchorConflict,
    CorruptDataError,
    DigestMismatchError,
    InvalidInputError,
    LayoutError,
    MergeError,
    NotFoundError,
    RefConflictError,
    UnsupportedError,
)
from dreamdb_arrow.history.ancestry import merge_base
from dreamdb_arrow.history.commit import commit
from dreamdb_arrow.history.gc import Plan, collect, read_refs
from dreamdb_arrow.history.manifests import MANIFESTS, load_manifest
from dreamdb_arrow.history.registries import Parting
from dreamdb_arrow.objects.btree_page import ScalarEntries
from dreamdb_arrow.objects.geometry_item import (
    GeometryItem,
    GeometryPart,
    decode_geometry_item,
    encode_geometry_item,
)
from dreamdb_arrow.objects.graph_index import GraphIndex, GraphLayout, GraphParams
from dreamdb_arrow.objects.graph_page import decode_graph_page
from dreamdb_arrow.objects.hot_shard import HotShard, decode_hot_shard, encode_hot_shard
from dreamdb_arrow.objects.manifest import TrackEntry, encode_manifest, order_tracks
from dreamdb_arrow.objects.schema import Field, decode_schema, encode_schema, modality_of, track_kind_of
from dreamdb_arrow.objects.spatial_bucket import decode_spatial_bucket
from dreamdb_arrow.objects.tombstones import decode_index
from dreamdb_arrow.objects.track import WHOLE_COVERAGE, Track
from dreamdb_arrow.objects.vector_compressor import decode_vector_compressor
from dreamdb_arrow.objects.video_item import (
    VideoFragment,
    VideoItem,
    decode_video_item,
    encode_video_item,
)
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.blobs import MINUTE_NS
from dreamdb_arrow.tracks.btree_pages import sort_entries
from dreamdb_arrow.tracks.constants import read_constant

ROOT = Path(__file__).parents[2]
T0 = 1_700_000_000_000_000_000
ZEROS = Address(b"\x1e" + bytes(32))
SCHEMA = (
    vd.Schema()
    .add_scalar_int("n")
    .add_scalar_string("s", required=False)
    .add_image("img", mime="png", required=False)
    .add_embedding("v", 2, lsh_bits=2, required=False)
)


def row(i, **more):
    return {"_anchor": T0 + i, "n": i, "s": f"text {i}", "img": bytes([i] * 5), "v": [1.0, float(i)], **more}


def new_dataset(store=None, name="t", count=4):
    ds = vd.Dataset.create(name, SCHEMA, MemoryStore() if store is None else store, cache_dir=None)
    ds.append_many([row(i) for i in range(count)])
    ds.flush()
    return ds


def opened(ds, ref="t"):
    return vd.Dataset.open_ref(ref, ds.space.store, cache_dir=None)


def rows_of(ds):
    return ds.to_arrow().sort_by("_anchor").to_pylist()


def with_entry(manifest, old, new):
    active = [new if entry == old else entry for entry in manifest.tracks.active]
    return replace(manifest, tracks=order_tracks(active))


def point_to(ds, batch, manifest):
    """Move the Ref of a Dataset to an altered Manifest, as nobody's writer would; return the Dataset there."""
    store = ds.space.store
    address = batch.add(MANIFESTS, encode_manifest(manifest))
    batch.flush()
    store.swap_ref(ds.ref_name(), store.read_ref(ds.ref_name()), address)
    return opened(ds, ds.ref_name())


def stored(reference_space, name):
    """Return the Dataset of a stored Space, its Ref being the only one without a label."""
    root = reference_space(name)
    ref = next(r for r in vd.open_store(root).list_refs() if "@" not in r)
    return vd.Dataset.open_ref(ref, root, cache_dir=None)


# --- 0007 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [[], [ZEROS, ZEROS]])
def test_a_constant_has_one_payload(index):  # 0007-R12
    with pytest.raises(LayoutError, match="one payload"):
        read_constant(MemoryStore(), Track(WHOLE_COVERAGE, "title.text", ZEROS, index))


@pytest.mark.parametrize(
    ("modality", "payload"),
    [
        ("title.text", b"\xff"),
        ("source.uri", "ü".encode()),
        ("author.json", b"{"),
        ("author.json", b"[" * 9999),
    ],
)
def test_a_constant_is_what_its_modality_allows(modality, payload):  # 0007-R12
    store = MemoryStore()
    store.put(f"{ZEROS}/{modality}/{address_of(payload)}", payload)
    with pytest.raises(LayoutError, match=modality):
        read_constant(store, Track(WHOLE_COVERAGE, modality, ZEROS, [address_of(payload)]))


# --- 0011 ---------------------------------------------------------------------------------------------------


def test_entries_of_one_value_lie_by_all_they_say():  # 0011-R9
    names = np.frombuffer(bytes(ZEROS) + bytes(address_of(b"x")) + bytes(ZEROS), np.uint8).reshape(3, 33)
    firsts, stops = np.array([1, 1, 1], np.uint64), np.array([5, 3, 3], np.uint64)
    shuffled = ScalarEntries(np.array([7, 7, 7]), firsts, stops, names, np.zeros(3, int), np.ones(3, int))
    ordered = sort_entries(shuffled)
    keys = list(zip(ordered.stops.tolist(), map(bytes, ordered.buckets), strict=True))
    assert keys == sorted(keys)


# --- 0008 ---------------------------------------------------------------------------------------------------


def test_lineage_of_fields_that_stay_is_kept(reference_space, tmp_path):  # 0008-R11
    shutil.copytree(reference_space("append-delete"), tmp_path / "space")
    store = vd.open_store(tmp_path / "space")
    ref = next(r for r in store.list_refs() if "@" not in r)
    ds = vd.Dataset.open_ref(ref, store, cache_dir=None)
    before = ds.manifest.tracks
    assert before.lineage
    ds.set_description("changes no field")
    after = ds.manifest.tracks
    assert (after.lineage, after.edges) == (before.lineage, before.edges)


def test_a_fast_forward_writes_nothing():  # 0008-R12
    ds = new_dataset()
    branch = ds.branch("b")
    branch.append_many([row(9)])
    held = sorted(ds.space.store.list())
    ds.merge("b")
    assert sorted(ds.space.store.list()) == held
    assert ds.current_manifest() == branch.current_manifest()
    assert opened(ds).count() == 5


def test_two_branches_that_parted_are_not_fast_forwarded():  # 0008-R12
    ds = new_dataset()
    ds.branch("b").append_many([row(9)])
    ds.append_many([row(8)])
    with pytest.raises(MergeError, match="does not descend"):
        ds.merge("b")


def test_a_union_has_the_rows_of_both():  # 0008-R7, 0008-R8, 0020-R7
    ds = new_dataset()
    branch = ds.branch("b")
    branch.append_many([row(9)])
    branch.flush()
    branch.delete([T0 + 1])
    ds.append_many([row(8)])
    ds.flush()
    ds.delete([T0 + 2])
    ds.merge("b", strategy="union-tracks")
    parents = load_manifest(ds.space.store, ds.space.store.read_ref("t").address).parents
    assert len(parents) == 2
    assert [r["n"] for r in rows_of(opened(ds))] == [0, 3, 8, 9]
    head = opened(ds).manifest.registry["dreamdb.tombstones"]["head"]
    index = decode_index(ds.space.store.get(f"tombstones/{Address(head)}"))
    assert index.root is None
    assert index.parents == tuple(sorted(index.parents))
    assert len(index.parents) == 2


def test_registries_that_differ_are_not_united():  # 0008-R9
    ds = new_dataset()
    ds.branch("b").set_description("one thing")
    ds.set_description("another")
    tip = ds.current_manifest()
    with pytest.raises(MergeError, match=r"dreamdb\.description"):
        ds.merge("b", strategy="union-tracks")
    assert opened(ds).current_manifest() == tip


def test_what_refs_lead_to_is_not_collected():  # 0008-R13
    ds = new_dataset()
    store = ds.space.store
    ds.snapshot("first")
    first = rows_of(opened(ds, "t@first"))
    for i in range(20, 24):
        ds.append_many([row(i)])
        ds.flush()
    last = rows_of(opened(ds))
    found = gc(store, keep_manifests=0, dry_run=False, writers_paused=True)
    assert found["deleted"] > 0
    assert rows_of(opened(ds, "t@first")) == first
    assert rows_of(opened(ds)) == last
    assert gc(store, keep_manifests=0)["deletable"] == 0


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_nothing_is_collected_where_something_is_missing(damage):  # 0008-R13
    ds = new_dataset()
    store = ds.space.store
    entry = row_entry(ds.manifest, "n")
    path = f"{entry.timeline}/{entry.modality}/track/{entry.address}"
    data = store.get(path)
    store.delete(path)
    if damage == "damaged":
        store.put(path, data[:-1] + b"\0")
    held = sorted(store.list())
    with pytest.raises((NotFoundError, CorruptDataError)):
        gc(store, keep_manifests=0, dry_run=False, writers_paused=True)
    assert sorted(store.list()) == held


def test_nothing_is_collected_when_a_ref_has_moved():  # 0008-R14
    ds = new_dataset()
    store = ds.space.store
    for i in range(20, 23):
        ds.append_many([row(i)])
        ds.flush()
    assert collect(store, Plan(0), dry_run=True).paths
    held = []

    def progress(*_):
        ds.append_many([row(30)])
        held.extend(sorted(store.list()))

    with pytest.raises(RefConflictError):
        collect(store, Plan(0), dry_run=False, progress=progress)
    assert sorted(store.list()) == held


def test_a_compaction_changes_no_row():  # 0008-R15
    ds = new_dataset()
    for i in range(20, 24):
        ds.append_many([row(i)])
        ds.flush()
    before = rows_of(opened(ds))
    assert ds.compact()["manifest"] is not None
    assert rows_of(opened(ds)) == before
    assert ds.compact()["manifest"] is None


def unite_as_others_do(ds, ref):
    """A union by somebody who does not ask whether values differ."""
    store, target = ds.space.store, ds.space.resolve(ref)
    base = load_manifest(store, merge_base(store, ds.space.resolve(ds.ref_name()), target))

    def build(parent, _, batch):
        return union_change(store, batch, Parting(parent, load_manifest(store, target), base), [target], T0)

    commit(store, ds.ref_name(), build)


def test_two_vectors_at_one_anchor_are_not_compacted(reference_space):  # 0008-R15
    ds = new_dataset()
    for ref, vector in (("a", [1.0, 0.5]), ("b", [1.0, 0.25])):
        branch = ds.branch(ref)
        branch.append_many([{"_anchor": T0 + 50, "n": 50, "v": vector}])
        branch.flush()
    ds.merge("a", strategy="union-tracks")
    with pytest.raises(MergeError):
        ds.merge("b", strategy="union-tracks")
    unite_as_others_do(ds, "b")
    tip = opened(ds).current_manifest()
    with pytest.raises(AnchorConflict):
        opened(ds).compact()
    assert opened(ds).current_manifest() == tip


# --- 0009 ---------------------------------------------------------------------------------------------------


def test_no_input_has_two_results():  # 0009-R3
    seen = {}
    for path in ROOT.glob("conformance/vectors/**/*.json"):
        group = json.loads(path.read_text("utf-8"))
        for case in group["cases"]:
            key = (group["op"], json.dumps(case["input"], sort_keys=True))
            result = (case["result"], json.dumps(case.get("expected"), sort_keys=True))
            assert seen.setdefault(key, result) == result, f"{path}: {case['id']}"
    assert len(seen) > 100


# --- 0010, 0013, 0015: what is not decoded yet --------------------------------------------------------------


def test_sidecars_stand_in_for_codes(reference_space, reference_expected):  # 0010-R6
    ds = stored(reference_space, "vec-ivf-pq")
    assert dict(ds.unavailable) == {}
    assert ds.count() == reference_expected("vec-ivf-pq")["count"]


def test_codes_without_sidecars_are_decoded(reference_space, reference_expected):  # 0010-R6
    ds, want = stored(reference_space, "vec-ivf-rabitq4"), reference_expected("vec-ivf-rabitq4")
    given = np.frombuffer(base64.b64decode(want["vectors_f32_b64"]), "<f4").reshape(
        want["count"], want["dim"]
    )
    found = np.stack(ds.take(np.array(want["anchors"]), ["v"])["v"].to_pylist())
    assert not np.array_equal(found, given)
    cosine = (found * given).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(given, axis=1)
    assert cosine.min() > 0.98


def test_codes_of_an_unknown_algorithm_are_not_shown(reference_space, tmp_path):  # 0010-R6, 0000-R4
    shutil.copytree(reference_space("vec-ivf-rabitq4"), tmp_path / "space")
    ds = stored(lambda _: tmp_path / "space", "")
    store, entry = ds.space.store, row_entry(ds.manifest, "v")
    count = ds.count()
    (path,) = (tmp_path / "space/vector-compressor").iterdir()
    batch = Batch(store)
    unknown = batch.add("vector-compressor", path.read_bytes().replace(b"rabitq", b"qinco2"))
    track = read_track(store, entry)
    index = []
    for key, *times, size, address in track.object_index:
        data = store.get(f"{entry.timeline}/{entry.modality}/{key}/{Address(address)}")
        made = data[:86] + bytes(unknown) + data[119:]
        index.append([key, *times, size, batch.add(f"{entry.timeline}/{entry.modality}/{key}", made)])
    changed = replace(entry, address=add_track(batch, replace(track, object_index=index)))
    registry = dict(ds.manifest.registry)
    registry[entry.modality] = registry[entry.modality] | {"vector_compressor": bytes(unknown)}
    other = point_to(ds, batch, with_entry(replace(ds.manifest, registry=registry), entry, changed))
    assert list(other.unavailable) == ["v"]
    assert "qinco2" in other.unavailable["v"]
    assert other.count() == count


@pytest.mark.parametrize("name", ["vec-ivf-pq", "vec-ivf-rabitq", "vec-ivf-rabitq4"])
def test_stored_codes_have_the_size_that_the_compressor_says(reference_space, name):  # 0010-R1, 0010-R2
    root = reference_space(name)
    (path,) = (root / "vector-compressor").iterdir()
    compressor = decode_vector_compressor(path.read_bytes())
    buckets = [p for p in root.glob("*/embedding*/[01]*/*") if p.read_bytes()[:4] == b"VBUU"]
    assert buckets
    for each in buckets[:20]:
        bucket = decode_spatial_bucket(each.read_bytes())
        assert bucket.compressor == address_of(path.read_bytes())
        assert bucket.codes.shape[1] == compressor.code_bytes


def test_vectors_of_graphs_are_rows(reference_space, reference_expected):  # 0013-R2
    ds, want = stored(reference_space, "vec-vamana"), reference_expected("vec-vamana")
    given = np.frombuffer(base64.b64decode(want["vectors_f32_b64"]), "<f4").reshape(
        want["count"], want["dim"]
    )
    found = np.stack(ds.take(np.array(want["anchors"]), ["g"])["g"].to_pylist())
    assert np.array_equal(found.astype("f4"), given)
    assert len(rows_of(ds)) == want["count"]


def test_graphs_of_codes_are_not_shown(reference_space, tmp_path):  # 0013-R2
    shutil.copytree(reference_space("vec-vamana"), tmp_path / "space")
    ds = stored(lambda _: tmp_path / "space", "")
    tag = row_entry(ds.manifest, "g").modality
    registry = dict(ds.manifest.registry)
    registry[tag] = registry[tag] | {"vector_compressor": bytes(ZEROS)}
    other = point_to(ds, Batch(ds.space.store), replace(ds.manifest, registry=registry))
    assert list(other.unavailable) == ["g"]
    assert other.count() == 300


def test_rows_are_not_added_to_a_graph(reference_space, tmp_path):  # 0013-R4
    shutil.copytree(reference_space("vec-vamana"), tmp_path / "space")
    ds = stored(lambda _: tmp_path / "space", "")
    tip = ds.current_manifest()
    with pytest.raises((UnsupportedError, InvalidInputError)):
        ds.append_many([{"_anchor": T0, "p": [1.0, 2.0], "g": [1.0] * 24}])
    assert opened(ds, ds.ref_name()).current_manifest() == tip


def test_stored_graph_pages_are_as_drawn(reference_space):  # 0013-R1
    pages = [
        decode_graph_page(p.read_bytes()) for p in reference_space("vec-vamana").glob("*/*/graph-page/*")
    ]
    pages.sort(key=lambda page: page.number)
    assert [page.first_node for page in pages] == [256 * page.number for page in pages]
    assert sum(len(page.anchors) for page in pages) == 300


@pytest.mark.parametrize(
    "layout",
    [GraphLayout(4, 10, 10, 8), GraphLayout(4, 10, 0, 12), GraphLayout(0, 10, 0, 8), GraphLayout(4, 0, 0, 8)],
)
def test_graphs_that_cannot_be(layout):  # 0013-R3
    with pytest.raises(LayoutError):
        GraphIndex(2, GraphParams(), layout)


def test_text_indexes_are_carried_along(reference_space, tmp_path):  # 0015-R1
    shutil.copytree(reference_space("vec-hybrid"), tmp_path / "space")
    ds = stored(lambda _: tmp_path / "space", "vec-hybrid")
    before = {k: v for k, v in ds.manifest.registry.items() if k.startswith("text.")}
    assert sorted(before) == ["text.utf8.bm25.field=t", "text.utf8.splade.field=t"]
    ds.set_description("carried along")
    ds.delete([1000])
    assert {k: v for k, v in ds.manifest.registry.items() if k.startswith("text.")} == before


def test_multi_vectors_are_no_rows(reference_space):  # 0015-R2
    ds = stored(reference_space, "vec-hybrid")
    assert list(ds.unavailable) == ["mv"]
    assert "multivec" in ds.unavailable["mv"]
    assert [r["_anchor"] for r in rows_of(ds)] == list(range(1000, 1060))


def test_text_indexes_hold_what_the_document_says(reference_space, documents):  # 0015-R1
    """The keys lie in the order of the tables."""
    heads = {"BM25 key": "bm25", "SPLADE key": "splade"}
    for table in (t for t in documents["0015"].tables if t.head[0] in heads):
        (path,) = reference_space("vec-hybrid").glob(f"*/text.utf8.{heads[table.head[0]]}*/text-index/*")
        assert list(cbor2.loads(path.read_bytes())) == [r[0] for r in table.rows]
        entry = stored(reference_space, "vec-hybrid").manifest.registry[path.parts[-3]]
        assert sorted(entry) == ["algorithm", "source_track", "text_index"]


# --- 0012, 0018, 0019: several stores, several owners -------------------------------------------------------


def copied(store, names):
    other = MemoryStore()
    for path in names:
        other.put(path, store.get(path))
    for name, address in read_refs(store).items():
        other.swap_ref(name, other.read_ref(name), address)
    return other


def test_a_copy_reads_as_the_original(tmp_path):  # 0012-R1
    ds = new_dataset()
    ds.delete([T0 + 2])
    ds.append_many([row(9)])
    store = ds.space.store
    for order in (sorted(store.list()), sorted(store.list(), reverse=True)):
        other = vd.Dataset.open("t", backend=copied(store, order), cache_dir=None)
        assert other.current_manifest() == ds.current_manifest()
        assert rows_of(other) == rows_of(opened(ds))
    moved = tmp_path / "elsewhere"
    local = new_dataset(tmp_path / "here")
    shutil.copytree(tmp_path / "here", moved)
    assert rows_of(vd.Dataset.open("t", backend=moved, cache_dir=None)) == rows_of(opened(local))


def test_a_copy_is_checked(tmp_path):  # 0012-R2
    store = new_dataset().space.store
    other = copied(store, sorted(store.list()))
    ds = vd.Dataset.open("t", backend=other, cache_dir=None)
    (fragment,) = read_fragments(other, ds.manifest, STRIPE)
    path = fragment_path(ds.manifest.timelines[0], STRIPE, fragment.address)
    data = other.get(path)
    other.delete(path)
    other.put(path, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DigestMismatchError):
        rows_of(ds)


def test_datasets_of_one_store_do_not_meet():  # 0018-R1
    store = MemoryStore()
    ours, theirs = new_dataset(store, "team-a/photos"), new_dataset(store, "team-b/photos")
    theirs.snapshot("v1")
    before = rows_of(theirs)
    ours.append_many([row(9)])
    ours.delete([T0])
    ours.add_scalar_int("late")
    ours.flush()
    ours.compact()
    gc(store, keep_manifests=0, dry_run=False, writers_paused=True)
    for ref in ("team-b/photos", "team-b/photos@v1"):
        assert rows_of(opened(theirs, ref)) == before
    assert ours.timeline != theirs.timeline


@pytest.mark.parametrize("local", [False, True])
def test_refs_are_listed_by_prefix(tmp_path, local):  # 0018-R2
    (tmp_path / "space").mkdir()
    store = vd.open_store(tmp_path / "space") if local else MemoryStore()
    ds = new_dataset(store, "team-a/photos", 1)
    ds.branch("team-a/work")
    ds.branch("team-b/photos")
    ds.snapshot("v1")
    assert store.list_refs("team-a/") == ["team-a/photos", "team-a/photos@v1", "team-a/work"]
    assert store.list_refs("team-b/") == ["team-b/photos"]
    assert store.list_refs("team-c/") == []


def xored(data):
    return bytes(np.frombuffer(data, np.uint8) ^ np.uint8(0x5A))


@pytest.mark.parametrize("part", ["bucket", "track", "index", STRIPE, "manifests"])
def test_objects_encrypted_in_place_are_refused(part):  # 0019-R1, 0002-R3
    ds = new_dataset()
    ds.append_many([row(9)])
    ds.flush()
    store = ds.space.store
    for path in [p for p in store.list() if f"/{part}/" in f"/{p}"]:
        data = store.get(path)
        store.delete(path)
        store.put(path, xored(data))
    reader = rows_of if part in {STRIPE, "manifests"} else lambda ds: ds.compact()
    with pytest.raises(CorruptDataError):
        reader(opened(ds))


def test_objects_that_were_encrypted_and_addressed_anew_are_refused():  # 0019-R1
    ds = new_dataset()
    store, entry = ds.space.store, row_entry(ds.manifest, "n")
    path = f"{entry.timeline}/{entry.modality}/track"
    batch = Batch(store)
    address = batch.add(path, xored(store.get(f"{path}/{entry.address}")))
    batch.flush()
    point_to(ds, batch, with_entry(ds.manifest, entry, replace(entry, address=address)))
    with pytest.raises(CorruptDataError):
        rows_of(opened(ds))


# --- 0014, 0016 ---------------------------------------------------------------------------------------------

VIDEO = "ai.dreamlake.media.video_item.h264.version=1"


@pytest.mark.parametrize(
    "fragments", [[(0, 6), (5, 1)], [(0, 11)], [(3, 2), (0, 1)]], ids=["overlap", "too long", "order"]
)
def test_fragments_of_a_video_item_follow_one_another(fragments):  # 0014-R4
    parts = tuple(VideoFragment(start, duration, 1, ZEROS) for start, duration in fragments)
    with pytest.raises(LayoutError, match="overlap"):
        decode_video_item(encode_video_item(VideoItem(ZEROS, 10, VIDEO, parts)))


def test_fragments_of_a_video_item_may_leave_gaps():  # 0014-R4
    parts = (VideoFragment(1, 2, 5, ZEROS), VideoFragment(4, 6, 7, ZEROS, 3))
    item = VideoItem(ZEROS, 10, VIDEO, parts)
    assert decode_video_item(encode_video_item(item)) == item


def geometry(family, *parts):
    return GeometryItem(family, "m", 1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), parts)


@pytest.mark.parametrize(
    "item",
    [
        geometry("point", GeometryPart(0, (2,), ZEROS, 0, 19)),
        geometry("splat", GeometryPart(0, (2,), ZEROS, 0, 20)),
        geometry("point", GeometryPart(1, (1,), ZEROS, 0, 10), GeometryPart(0, (1,), ZEROS, 10, 10)),
        geometry("mesh", GeometryPart(0, (3, 1), ZEROS, 0, 29)),
    ],
    ids=["points", "splats", "order", "mesh"],
)
def test_parts_of_geometry_have_the_bytes_of_their_counts(item):  # 0014-R5
    with pytest.raises(LayoutError):
        decode_geometry_item(encode_geometry_item(item))


@pytest.mark.parametrize(
    "item",
    [
        geometry("point", GeometryPart(0, (1,), ZEROS, 0, 10), GeometryPart(1, (1,), ZEROS, 10, 10)),
        geometry("splat", GeometryPart(0, (2,), ZEROS, 0, 92)),
        geometry("mesh", GeometryPart(0, (3, 1), ZEROS, 0, 30)),
    ],
    ids=["points", "splats", "mesh"],
)
def test_parts_of_geometry(item):  # 0014-R5
    assert decode_geometry_item(encode_geometry_item(item)) == item


@pytest.mark.parametrize(
    ("value_type", "anchors", "payloads"),
    [
        ("int", (2, 1), (bytes(8), bytes(8))),
        ("int", (1, 1), (bytes(8), bytes(8))),
        ("int", (1,), (bytes(7),)),
        ("bool", (1,), (b"\2",)),
        ("string", (1,), (b"\xff",)),
        (None, (1, 2), (bytes(8), bytes(4))),
        (None, (1,), (bytes(7),)),
    ],
)
def test_hot_shards_that_cannot_be(value_type, anchors, payloads):  # 0016-R3
    good = encode_hot_shard(HotShard("int", ZEROS, 0, 0, 0, (), ()))
    value = decode_cbor(good) | {"items": [list(i) for i in zip(anchors, payloads, strict=True)]}
    if value_type is not None:
        data = encode_cbor(value | {"field_kind": value_type})
    else:
        empty = encode_hot_shard(HotShard(None, ZEROS, 0, 0, 0, (), ()))
        data = empty[:-1] + encode_cbor(value["items"])
    with pytest.raises(LayoutError):
        decode_hot_shard(data)


def cmaf_space():
    """Return a Dataset with a video of three fragments, and the Track's entry."""
    schema = vd.Schema().add_scalar_int("n", required=False).add_video("cam", mime="mp4", required=False)
    ds = vd.Dataset.create("t", schema, MemoryStore(), cache_dir=None)
    entry = row_entry(ds.manifest, "cam")
    batch = Batch(ds.space.store)
    base = f"{entry.timeline}/{entry.modality}"
    index = []
    for start, stop, data in ((0, 40, b"first"), (40, 90, b"second"), (120, 125, b"third")):
        minute = encode_time_key((T0 + start) // MINUTE_NS)
        fragment = batch.add_payload(f"{base}/{minute}", data)
        index.append([T0 + start, T0 + stop, len(data), bytes(fragment)])
    init = batch.add(f"{base}/init", b"ftyp moov")
    track = Track((T0, T0 + 125), entry.modality, entry.timeline, index, init)
    changed = replace(entry, address=add_track(batch, track), coverage=track.coverage)
    return point_to(ds, batch, with_entry(ds.manifest, entry, changed)), changed


def test_fragments_are_rows_with_their_real_times(tmp_path):  # 0014-R2
    ds, _ = cmaf_space()
    assert [(r["_anchor"] - T0, r["cam"]) for r in rows_of(ds)] == [
        (0, b"first"),
        (40, b"second"),
        (120, b"third"),
    ]
    items = list_items(ds._rows, "cam")
    assert [end - T0 for end in items["t1"].to_pylist()] == [40, 90, 125]


def test_init_segments_are_checked():  # 0014-R1
    ds, entry = cmaf_space()
    assert init_segment(ds._rows, "cam") == b"ftyp moov"
    store = ds.space.store
    address = read_track(store, entry).init_segment
    path = f"{entry.timeline}/{entry.modality}/init/{address}"
    store.delete(path)
    with pytest.raises(NotFoundError):
        init_segment(opened(ds)._rows, "cam")
    store.put(path, b"ftyp mooV")
    with pytest.raises(DigestMismatchError):
        init_segment(opened(ds)._rows, "cam")


def space_with(field, make):
    """Return a Dataset of a scalar and one more field, whose Track is what `make(batch, base)` returns."""
    ds = vd.Dataset.create(
        "t", vd.Schema().add_scalar_int("n", required=False), MemoryStore(), cache_dir=None
    )
    ds.append_many([{"_anchor": T0 + 9, "n": 1}])
    batch, manifest = Batch(ds.space.store), ds.manifest
    modality, timeline = modality_of(field), manifest.timelines[0]
    track = replace(make(batch, f"{timeline}/{modality}"), modality=modality, timeline=timeline)
    kind = track_kind_of(field)
    entry = TrackEntry(kind, "base", field.name, add_track(batch, track), track.coverage, modality, timeline)
    fields = [*decode_schema(manifest.registry), field]
    registry = {**manifest.registry, "dreamdb.schema": encode_schema(fields)}
    registry[modality] = {"kind": kind, "object_kind": "x"}
    tracks = order_tracks([*manifest.tracks.active, entry])
    return point_to(ds, batch, replace(manifest, registry=registry, tracks=tracks))


def one_video(batch, base):
    init, data = batch.add(f"{base}/init", b"init"), batch.add_payload(f"{base}/{16 * '0'}", b"moof mdat")
    item = VideoItem(init, 30, VIDEO, (VideoFragment(0, 30, 9, data),))
    name = batch.add(f"{base}/video-item", encode_video_item(item))
    rows, keys = [[5, 30, b"key", name]], [[b"key", 5, 30, name]]
    return Track((T0, T0 + 35), VIDEO, ZEROS, rows, None, keys)


def one_geometry(batch, _base):
    data = batch.add("geometry-data", bytes(range(20)))
    parts = (GeometryPart(0, (1,), data, 0, 10), GeometryPart(1, (1,), data, 10, 10))
    item = encode_geometry_item(geometry("point", *parts))
    index = [[T0, bytes(batch.add("geometry-item", item)), len(item)]]
    return Track((T0, T0 + 1), "image.png", ZEROS, index, index_key="items")


@pytest.mark.parametrize(
    ("field", "make", "rows"),
    [
        (Field("video_item", "x", options={"codec": "h264"}), one_video, [(5, b"initmoof mdat"), (9, None)]),
        (
            Field("geometry", "x", options={"geometry_family": "point"}),
            one_geometry,
            [(0, bytes(range(20))), (9, None)],
        ),
    ],
    ids=["video_item", "geometry"],
)
def test_video_items_and_geometry_are_rows(field, make, rows):  # 0014-R3
    ds = space_with(field, make)
    assert dict(ds.unavailable) == {}
    assert [(r["_anchor"] - T0, r["x"]) for r in rows_of(ds)] == rows


def test_an_unknown_kind_of_field_is_unavailable():  # 0014-R3, 0000-R4
    ds = new_dataset()
    fields = [*decode_schema(ds.manifest.registry), Field("hologram", "x")]
    registry = {**ds.manifest.registry, "dreamdb.schema": encode_schema(fields)}
    entry = replace(row_entry(ds.manifest, "img"), field="x")
    tracks = order_tracks([*ds.manifest.tracks.active, entry])
    other = point_to(ds, Batch(ds.space.store), replace(ds.manifest, registry=registry, tracks=tracks))
    assert "hologram" in other.unavailable["x"]
    assert [r["n"] for r in rows_of(other)] == [0, 1, 2, 3]


def hot_space():
    """Return a Dataset whose fields n and v have hot shards."""
    ds = new_dataset()
    manifest, batch = ds.manifest, Batch(ds.space.store)
    scalar, vector = row_entry(manifest, "n"), row_entry(manifest, "v")
    registry = dict(manifest.registry)

    def put(entry, value_type, anchors, payloads):
        shard = HotShard(value_type, entry.address, 1, 10_000, 30, anchors, payloads)
        address = batch.add(f"{entry.timeline}/{entry.modality}/hot-shard", encode_hot_shard(shard))
        registry[entry.modality] = {**registry[entry.modality], "hot_shard": bytes(address)}
        return address

    values = tuple(number.to_bytes(8, "little", signed=True) for number in (70, -71))
    hot = put(scalar, "int", (T0 + 70, T0 + 71), values)
    # Of row 70 the last vector counts; row 0 has one in the Track.
    put(vector, None, (T0 + 70, T0 + 70, T0), tuple(struct.pack("<2f", 1, y) for y in (0.25, 0.5, 0.75)))
    index = {"form": "hot-overlay-v1", "hot_shard": bytes(hot), "base_track": bytes(scalar.address)}
    overlay = Track((T0, T0 + 72), scalar.modality, scalar.timeline, index)
    changed = replace(scalar, address=add_track(batch, overlay), coverage=overlay.coverage)
    return point_to(ds, batch, with_entry(replace(manifest, registry=registry), scalar, changed))


HOT_ROWS = [(0, [1, 0]), (1, [1, 1]), (2, [1, 2]), (3, [1, 3]), (70, [1, 0.5]), (-71, None)]


def test_hot_rows_are_rows():  # 0016-R1
    assert [(r["n"], r["v"]) for r in rows_of(hot_space())] == HOT_ROWS


def test_hot_rows_survive_what_we_write():  # 0016-R2
    ds = hot_space()
    ds.append_many([row(90)])
    with suppress(UnsupportedError):  # a flush into a Track with hot rows may be refused, not done by halves
        ds.flush()
    ds = opened(ds)
    ds.delete([T0 + 1])
    found = [(r["n"], r["v"]) for r in rows_of(opened(ds))]
    assert found == [*(each for each in HOT_ROWS if each[0] != 1), (90, [1, 90])]


# --- 0021 ---------------------------------------------------------------------------------------------------


def test_a_field_that_comes_back_does_not_find_its_old_values():  # 0021-R12
    ds = vd.Dataset.create("t", SCHEMA, MemoryStore(), cache_dir=None)
    ds.append_many([row(i) for i in range(3)])
    ds.decommission_modality("s")
    notes = [decode_cover_note(data) for data in notes_of(ds)]
    assert [sorted(note.dropped) for note in notes][-1] == ["s"]
    ds.add_scalar_string("s")
    ds.append_many([row(9)])
    assert [r["s"] for r in rows_of(opened(ds))] == [None, None, None, "text 9"]


def notes_of(ds):
    store, timeline = ds.space.store, ds.manifest.timelines[0]
    found = sorted(read_fragments(store, ds.manifest, COVER), key=lambda fragment: fragment.t0)
    return [store.get(fragment_path(timeline, COVER, fragment.address)) for fragment in found]


# --- 0017 ---------------------------------------------------------------------------------------------------


def test_rows_from_before_a_field_have_null_in_it():  # 0017-R2
    ds = new_dataset()
    before = ds.current_manifest()
    ds.add_scalar_int("late", required=True)
    ds.append_many([row(9, late=5)])
    assert [r["late"] for r in rows_of(opened(ds))] == [None] * 4 + [5]
    assert "late" not in vd.Dataset.open_by_manifest(before, ds.space.store, cache_dir=None).schema.names


def test_a_second_embedding_of_one_form_is_the_next_version():  # 0017-R3
    ds = new_dataset()
    for name in ("w", "x"):
        ds.add_embedding(name, 2, lsh_bits=2)
    tags = [row_entry(ds.manifest, name).modality for name in ("v", "w", "x")]
    assert tags == [f"embedding.f32.dim=2.bucketed{end}" for end in ("", ".version=2", ".version=3")]


def test_a_layer_is_a_field(reference_space):  # 0017-R4
    ds = new_dataset()
    parent = row_entry(ds.manifest, "n")
    ds.add_scalar_layer("q", "n", "float", [(T0 + 1, 0.5), (T0 + 3, 1.5)])
    assert row_entry(ds.manifest, "q").role == f"layer-of:{parent.address}"
    assert [r["q"] for r in rows_of(opened(ds))] == [None, 0.5, None, 1.5]
    ds.append_many([row(9, q=2.5)])
    ds.flush()
    assert row_entry(ds.manifest, "q").role == f"layer-of:{parent.address}"
    assert rows_of(opened(ds))[-1]["q"] == 2.5


def test_a_decommissioned_field_is_still_there_in_older_versions():  # 0017-R5
    ds = new_dataset()
    before, old = ds.current_manifest(), rows_of(ds)
    commits = len(ds.history())
    ds.decommission_modality("s")
    assert len(ds.history()) == commits + 1
    tracks = ds.manifest.tracks
    ends = [end for edge in tracks.edges for end in (edge.child, edge.exact_parent)]
    assert "s" not in {each.field for each in (*tracks.active, *tracks.lineage, *ends)}
    assert "s" not in rows_of(opened(ds))[0]
    assert rows_of(vd.Dataset.open_by_manifest(before, ds.space.store, cache_dir=None)) == old
