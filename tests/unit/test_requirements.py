"""Requirements that only a whole Space can show, each on a small one."""

import itertools
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.columnar.projection import row_entry, spatial_index_address
from dreamdb_arrow.columnar.vendor import (
    COVER,
    MEDIA,
    STRIPE,
    VECTORS,
    VENDOR_MODALITIES,
    Fragment,
    fragment_path,
    read_fragments,
    read_track,
    write_fragments,
)
from dreamdb_arrow.errors import (
    AnchorConflict,
    CorruptDataError,
    InvalidInputError,
    LayoutError,
    RefConflictError,
)
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.history.manifests import MANIFESTS
from dreamdb_arrow.objects.manifest import encode_manifest, order_tracks
from dreamdb_arrow.objects.track import encode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.faulty import FaultyStore

T0 = 1_700_000_000_000_000_000
SCHEMA = (
    vd.Schema()
    .add_scalar_int("n")
    .add_scalar_string("s", required=False)
    .add_image("img", mime="png", required=False)
    .add_embedding("v", 4, algorithm="dreamdb.ivf-cosine", required=False)
)


def row(i, **more):
    return {"_anchor": T0 + i, "n": i, **more}


def full(i):
    return row(i, s=f"text {i}", img=bytes([i] * 5), v=np.array([i, 1, -1, 0.1], "f4"))


@pytest.fixture
def ds(tmp_path):
    made = vd.Dataset.create("t", SCHEMA, MemoryStore(), cache_dir=tmp_path / "cache")
    made.append_many([full(i) for i in range(8)])
    return made


def tip_of(ds):
    return ds.space.store.read_ref("t").address


def anchors_of(ds):
    return [a - T0 for batch in ds.iter_arrow_batches() for a in batch["_anchor"].to_pylist()]


def reopened(ds, store=None):
    return vd.Dataset.open("t", backend=store or ds.space.store, cache_dir=None)


def alter(ds, change):
    """Move the Ref to an altered Manifest, as nobody's writer would."""
    store = ds.space.store
    batch = Batch(store)
    address = batch.add(MANIFESTS, encode_manifest(change(ds.manifest, batch)))
    batch.flush()
    store.swap_ref("t", store.read_ref("t"), address)


# --- the Manifest -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"modality": "image.png"}, {"timeline": address_of(b"another")}])
def test_a_track_that_is_not_its_entrys(ds, change):  # 0001-R9
    entry = row_entry(ds.manifest, "n")

    def lie(manifest, batch):
        data = encode_track(replace(read_track(ds.space.store, entry), **change))
        other = replace(entry, address=batch.add(f"{entry.timeline}/{entry.modality}/track", data))
        return replace(
            manifest, tracks=order_tracks([other if e == entry else e for e in manifest.tracks.active])
        )

    alter(ds, lie)
    with pytest.raises(LayoutError, match=f"{next(iter(change.values()))}.*its entry says {entry.modality}"):
        reopened(ds).count()


def test_a_field_without_a_track(ds):  # 0001-R6
    alter(
        ds,
        lambda m, _: replace(m, tracks=order_tracks([e for e in m.tracks.active if e.field != "n"])),
    )
    with pytest.raises(LayoutError, match="no Track of field 'n'"):
        reopened(ds).count()


@pytest.mark.parametrize("tag", ["scalar.i64.field=n", "embedding.f32.dim=4.bucketed"])
def test_a_field_without_a_registry_entry(ds, tag):  # 0001-R12
    alter(ds, lambda m, _: replace(m, registry={k: v for k, v in m.registry.items() if k != tag}))
    with pytest.raises(LayoutError, match=tag):
        reopened(ds).count()


def test_foreign_keys_and_entries_are_carried_over(ds):  # 0000-R3, 0001-R6, 0008-R5
    foreign = replace(row_entry(ds.manifest, "n"), field="nobody's")
    alter(
        ds,
        lambda m, _: replace(
            m,
            extra={"acme": [1]},
            registry={**m.registry, "acme.key": 7},
            tracks=order_tracks([*m.tracks.active, foreign]),
        ),
    )
    other = reopened(ds)
    other.append_many([full(20)])
    other.flush()
    other.delete([T0])
    assert other.manifest.extra == {"acme": [1]}
    assert other.manifest.registry["acme.key"] == 7
    assert foreign in other.manifest.tracks.active


def test_every_version_names_its_parent_and_is_later(tmp_path):  # 0001-R3, 0001-R7, 0008-R4, 0008-R6
    clock = itertools.count(1000, -10)
    ds = vd.Dataset.create("t", SCHEMA, MemoryStore(), cache_dir=tmp_path, clock=lambda: next(clock))
    for i in range(3):
        before, version = ds.manifest, tip_of(ds)
        ds.append_many([row(i)])
        assert ds.manifest.parents == (version,)
        assert ds.manifest.ts > before.ts
        assert not ds.manifest.tracks.lineage
        assert not ds.manifest.tracks.edges


def test_history_ends_where_a_version_was_collected(ds):  # 0008-R3
    first = ds.manifest.parents[0]
    ds.append_many([full(20)])
    ds.space.store.delete(f"{MANIFESTS}/{first}")
    assert len(reopened(ds).history()) == 2
    assert reopened(ds).count() == 9


def test_snapshots_and_branches_are_new_names(ds):  # 0008-R1, 0008-R2
    ds.snapshot("one")
    ds.branch("side")
    store = ds.space.store
    assert store.read_ref("t@one") == store.read_ref("side") == store.read_ref("t")
    version = tip_of(ds)
    ds.append_many([full(20)])
    for make in (lambda: ds.snapshot("one"), lambda: ds.branch("side")):
        with pytest.raises(RefConflictError):
            make()
    assert store.read_ref("t@one").address == version
    with pytest.raises(InvalidInputError, match="does not move"):
        commit(store, "t@one", lambda *_: Change("commit", registry={"acme": 1}))


# --- operations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([row(30, v=np.array([1, np.nan, 0, 0], "f4"))], "'v', row 0"),  # 0006-R6
        ([row(30, v=np.zeros(4, "f4"))], "'v', row 0"),  # 0004-R3, 0006-R6
        ([row(30), row(31, s="x" * 8193)], "'s', row 1"),  # 0006-R6, 0011-R2
        ([row(30) | {"n": 2**63}], "n"),  # 0006-R6
        ([row(30) | {"n": None}], "'n' is required, row 0"),  # 0001-R16
        ([row(30), row(30)], "given twice"),  # 0003-R5
        ([row(30), row(7)], "is taken"),  # 0003-R5, 0021-R4
        ([row(30), {"n": 1}], "_anchor"),  # 0003-R7
        ([row(30) | {"_anchor": 2**63 - 1}], "outside"),  # 0003-R2
    ],
)
def test_a_batch_that_is_refused_changes_nothing(ds, bad, message):  # 0006-R1, 0006-R2
    tip, held = tip_of(ds), sorted(ds.space.store.list())
    with pytest.raises((InvalidInputError, AnchorConflict), match=message):
        ds.append_many(bad)
    assert tip_of(ds) == tip
    assert sorted(ds.space.store.list()) == held


def test_a_name_that_is_taken(ds):  # 0006-R4
    with pytest.raises(RefConflictError):
        vd.Dataset.create("t", SCHEMA, ds.space.store, cache_dir=None)


def test_anchors_are_assigned_by_the_thousand_after_those_there(tmp_path):  # 0003-R6
    ds = vd.Dataset.create("t", SCHEMA, MemoryStore(), cache_dir=tmp_path, clock=lambda: T0)
    for _ in range(2):
        ds.append_many([{"n": i} for i in range(3)])
    start = anchors_of(ds)[3]
    assert anchors_of(ds) == [0, 1000, 2000, start, start + 1000, start + 2000]
    assert start > 2000


def test_missing_values_leave_no_trace(ds):  # 0006-R3, 0006-R5
    ds.flush()
    before = {e.field: e for e in ds.manifest.tracks.active}
    ds.append_many([row(20)])
    ds.flush()
    after = {e.field: e for e in ds.manifest.tracks.active}
    assert {name for name in ("n", "s", "img", "v") if after[name] != before[name]} == {"n"}
    assert ds.take([T0 + 20]).select(["s", "img", "v"]).to_pylist() == [{"s": None, "img": None, "v": None}]


@pytest.mark.parametrize("flushed", [False, True])
def test_what_was_deleted_stays_so(ds, flushed):  # 0006-R9, 0006-R11, 0020-R6, 0020-R8
    ds.delete([T0 + 3, T0 + 77], reason="gdpr")
    if flushed:
        ds.flush()
    ds.delete([T0 + 5])
    other = reopened(ds)
    assert anchors_of(other) == [0, 1, 2, 4, 6, 7]
    assert other.count() == 6
    assert other.tombstone_set() == [T0 + 3, T0 + 5, T0 + 77]
    for anchor in (3, 77):
        with pytest.raises(AnchorConflict, match="was deleted"):
            other.append_many([full(anchor)])


def test_of_two_commits_at_once_the_later_is_built_again(ds):  # 0005-R12, 0006-R8, 0008-R4
    store, seen = ds.space.store, []

    def build(_parent, address, _batch):
        if not seen:
            reopened(ds).append_many([full(20)])
        seen.append(address)
        return Change("commit", registry={"acme": 1})

    address, manifest = commit(store, "t", build)
    assert len(seen) == 2
    assert manifest.parents == (seen[1],)
    assert tip_of(ds) == address
    assert reopened(ds).count() == 9


def test_objects_come_before_the_ref(tmp_path):  # 0005-R11
    store = FaultyStore(MemoryStore())
    ds = vd.Dataset.create("t", SCHEMA, store, cache_dir=tmp_path)
    del store.log[:]
    ds.append_many([full(1)])
    ds.flush()
    writes = [call.split()[0] for call in store.log if call.startswith(("put", "swap"))]
    assert writes == ["put_many", "swap_ref"] * 2


def test_a_space_without_a_columnar_layer_is_flushed_by_each_append(
    reference_space, tmp_path
):  # 0006-R10, 0021-R3
    shutil.copytree(reference_space("images"), tmp_path / "space")
    (ref,) = {name.partition("@")[0] for name in vd.open_store(tmp_path / "space").list_refs()}
    ds = vd.Dataset.open(ref, backend=tmp_path / "space", cache_dir=tmp_path / "cache")
    before = {e.field: e.address for e in ds.manifest.tracks.active}
    table = next(ds.iter_arrow_batches()).slice(0, 1)
    anchor = pa.array([T0 * 2], pa.int64())
    columns = [n for n in table.schema.names if n not in ("_anchor", "_time")]
    ds.append(pa.table({"_anchor": anchor, **{n: table[n] for n in columns}}))
    after = {e.field: e.address for e in ds.manifest.tracks.active}
    assert before.keys() == after.keys()
    assert [n for n in columns if table[n].null_count == 0 and before[n] == after[n]] == []


# --- fields and their Objects -------------------------------------------------------------------------------


def test_what_create_writes_for_each_field(ds):  # 0001-R1, 0001-R12, 0004-R4, 0011-R1
    store, registry = ds.space.store, ds.manifest.registry
    for tag in ("scalar.i64.field=n", "scalar.str.field=s"):
        assert store.exists(f"scalar-index/{Address(registry[tag]['scalar_index_hash'])}")
    entry = registry["embedding.f32.dim=4.bucketed"]
    assert entry["algorithm"] == "dreamdb.ivf-cosine"
    assert len(entry["spatial_index"]) == 1
    other = vd.Dataset.create("u", SCHEMA, store, cache_dir=None)
    assert other.timeline != ds.timeline


def test_the_first_flush_names_the_index_that_it_trained(ds):  # 0004-R4
    ds.flush()
    address = spatial_index_address(ds.manifest, row_entry(ds.manifest, "v").modality)
    assert ds.space.store.exists(f"spatial-index/{address}")
    assert nearest(ds, nprobe=100) == nearest(ds)


def nearest(ds, **options):
    """Return the numbers of the three rows nearest to row 5, nearest first."""
    found = ds.iter_vector("v", full(5)["v"], 3, fields=["n"], **options)
    return [n for batch in found for n in batch["n"]]


@pytest.mark.parametrize("nprobe", [None, 100])
@pytest.mark.parametrize("flushed", [False, True])
def test_a_search_sees_live_rows_only_and_those_not_flushed(ds, flushed, nprobe):  # 0006-R13, 0020-R8
    if flushed:
        ds.flush()
    assert nearest(ds, nprobe=nprobe)[0] == 5
    ds.append_many([full(5) | row(50)])
    assert nearest(ds, nprobe=nprobe)[:2] == [5, 50]
    ds.delete([T0 + 5])
    assert nearest(ds, nprobe=nprobe)[0] == 50
    assert nearest(ds, nprobe=nprobe, where=[("n", "<", 3)]) == [2, 1, 0]


@pytest.mark.parametrize("limit", [0, (1 << 20) - 1, (500 << 20) + 1, 2.0**20, True])
def test_limits_of_buckets(limit):  # 0007-R10
    with pytest.raises(InvalidInputError, match="bucket_max_bytes"):
        vd.Schema().add_embedding("v", 4, bucket_max_bytes=limit)


# --- the columnar layer -------------------------------------------------------------------------------------


def test_the_registry_of_a_columnar_layer_never_changes(ds):  # 0001-R13, 0008-R9, 0021-R1, 0021-R2
    def vendors():
        return {tag: ds.manifest.registry[tag] for tag in VENDOR_MODALITIES}

    first = vendors()
    assert {(e["kind"], e["object_kind"]) for e in first.values()} == {("continuous", "fragment")}
    assert first[STRIPE]["flush"] == "manual"
    for change in (lambda: ds.append_many([full(20)]), ds.flush, lambda: ds.delete([T0])):
        change()
        assert vendors() == first
        kinds = {e.kind for e in ds.manifest.tracks.active if e.modality in VENDOR_MODALITIES}
        assert kinds == {"continuous"}


@pytest.mark.parametrize(("count", "paged"), [(128, False), (129, True)])
def test_a_long_vendor_track_is_paged(ds, count, paged):  # 0007-R5, 0021-R8
    store, timeline, batch = ds.space.store, ds.manifest.timelines[0], Batch(ds.space.store)
    made = [Fragment(n, n + 1, 1, address_of(b"%d" % n)) for n in range(count)]
    entry = write_fragments(batch, timeline, STRIPE, made[::-1])
    batch.flush()
    assert isinstance(read_track(store, entry).object_index, dict) == paged
    manifest = replace(ds.manifest, tracks=order_tracks([entry]))
    assert read_fragments(store, manifest, STRIPE) == made


def test_stripes_are_sorted_and_know_columns_by_id(ds):  # 0021-R4, 0021-R5
    ds.append_many([full(i) for i in (30, 21, 25)])
    store, seen = ds.space.store, []
    for fragment in read_fragments(store, ds.manifest, STRIPE):
        data = store.get(fragment_path(ds.manifest.timelines[0], STRIPE, fragment.address))
        table = pq.read_table(pa.BufferReader(data))
        seen += table["_anchor"].to_pylist()
        ids = {f.name: int(f.metadata[b"PARQUET:field_id"]) for f in table.schema}
        assert ids == {name: zlib.crc32(name.encode()) & 0x7FFF_FFFF for name in ids}
    assert seen == sorted(set(seen))


def test_media_live_by_the_vendor_track_until_a_flush(ds):  # 0001-R14, 0021-R6
    store, manifest = ds.space.store, ds.manifest
    entry = row_entry(manifest, "img")
    assert read_track(store, entry).object_index == []
    (pack,) = read_fragments(store, manifest, MEDIA)
    data = store.get(fragment_path(entry.timeline, entry.modality, pack.address))
    assert data == b"".join(full(i)["img"] for i in range(8))


def test_vectors_are_kept_bit_for_bit(ds):  # 0006-R7, 0021-R7
    for _ in range(2):
        found = np.stack(ds.take([T0 + i for i in range(8)])["v"].to_pylist()).astype("f4")
        assert found.tobytes() == np.stack([full(i)["v"] for i in range(8)]).tobytes()
        ds.flush()
    assert len(read_fragments(ds.space.store, ds.manifest, VECTORS, "v")) == 1


def test_a_flush_writes_its_note_in_the_same_commit(ds):  # 0021-R9, 0021-R10
    notes = len(read_fragments(ds.space.store, ds.manifest, COVER))
    before, rows = tip_of(ds), ds.to_arrow()
    ds.flush()
    assert ds.manifest.parents == (before,)
    assert len(read_fragments(ds.space.store, ds.manifest, COVER)) == notes + 1
    assert reopened(ds).to_arrow() == rows


def test_a_damaged_stripe_is_not_read(tmp_path):  # 0021-R11
    ds = vd.Dataset.create("t", SCHEMA, tmp_path / "space", cache_dir=tmp_path / "cache")
    ds.append_many([full(1)])
    (fragment,) = read_fragments(ds.space.store, ds.manifest, STRIPE)
    path = tmp_path / "space" / fragment_path(ds.manifest.timelines[0], STRIPE, fragment.address)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptDataError, match=str(fragment.address)):
        reopened(ds, tmp_path / "space").to_arrow()
