"""Objects that were made to do harm, under their right addresses: one clear error, or no harm, in a second and 200 MB."""

import io
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.vectors import decode_vectors
from dreamdb_arrow.columnar.vendor import STRIPE, VECTORS, Fragment, vendor_entry, write_fragments
from dreamdb_arrow.errors import CorruptDataError, DreamDBError, InvalidInputError
from dreamdb_arrow.history.manifests import MANIFESTS
from dreamdb_arrow.objects.index_entries import entries_of_lists
from dreamdb_arrow.objects.index_page import (
    IndexChild,
    encode_index_leaf,
    encode_index_node,
    index_leaf,
    index_node,
)
from dreamdb_arrow.objects.manifest import Manifest, decode_manifest, encode_manifest, order_tracks
from dreamdb_arrow.objects.tombstone_tree import build_pages
from dreamdb_arrow.objects.tombstones import (
    PAGE_ITEMS_MAX,
    PageRef,
    Tombstone,
    TombstoneIndex,
    TombstonePage,
    encode_index,
    encode_page,
)
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.testing.memory import forget_peak, peak_bytes
from dreamdb_arrow.testing.verbs import small_rows, small_schema
from dreamdb_arrow.tracks.layout import index_directory, payload_directory
from dreamdb_arrow.tracks.pages import FORM, HEIGHT_MAX, read_index, shape_of
from dreamdb_arrow.tracks.tombstones import DIRECTORY, read_tombstones

T0 = 1_700_000_000_000_000_000
SECONDS_MAX, MEMORY_MAX = 1.0, 200 << 20
FOLDS = 1000  # of a page onto itself
ZEROS = Address(b"\x1e" + bytes(32))
PATHS = ("../../etc/passwd", "/etc/passwd", "a/../b", "a\0b", "a\nb", "..", "C:\\x", "x" * 5000)


SPENT = defaultdict(list)  # seconds and bytes, by the name of the test


@pytest.fixture(scope="module", autouse=True)
def told(figure):
    yield
    for name, reads in SPENT.items():
        seconds, grown = map(max, zip(*reads, strict=True))
        figure("hostile", name, reads=len(reads), slowest_ms=seconds * 1e3, memory_mb=grown / 2**20)


@pytest.fixture(autouse=True)
def spent(request):
    reads = []
    SPENT[None] = reads
    yield
    del SPENT[None]
    if reads:
        SPENT[request.node.originalname.removeprefix("test_").replace("_", " ")] += reads


@contextmanager
def harmless():
    """Nothing in here may take a second, or 200 MB."""
    forget_peak()
    began, before = time.process_time(), peak_bytes()
    yield
    seconds, grown = time.process_time() - began, peak_bytes() - before
    SPENT[None].append((seconds, grown))
    assert seconds < SECONDS_MAX
    assert grown < MEMORY_MAX


def refused(work, kinds=DreamDBError):
    """The one line of the error that it gives."""
    with harmless(), pytest.raises(kinds) as raised:
        work()
    message = str(raised.value)
    assert message
    assert "\n" not in message
    assert len(message) < 500
    return message


def new_space(flush="manual"):
    ds = vd.Dataset.create("main", small_schema(), MemoryStore(), flush=flush, cache_dir=None)
    ds.append(small_rows(0))
    return ds


def point_to(ds, batch, manifest):
    """Move the Ref to an altered Manifest, as no writer of ours would."""
    store = ds.space.store
    address = batch.add(MANIFESTS, encode_manifest(manifest))
    batch.flush()
    store.swap_ref("main", store.read_ref("main"), address)


def opened(ds):
    return vd.Dataset.open("main", backend=ds.space.store, cache_dir=None)


def with_entry(manifest: Manifest, old, new) -> Manifest:
    active = [new if entry == old else entry for entry in manifest.tracks.active]
    return replace(manifest, tracks=order_tracks(active))


# --- CBOR ---------------------------------------------------------------------------------------------------


def head(major: int, count: int) -> bytes:
    return bytes([major << 5 | 27]) + count.to_bytes(8, "big")


CBOR = {
    "arrays a million deep": b"\x81" * 1_000_000,
    "maps a million deep": b"\xa1\x61a" * 1_000_000,
    "tags a million deep": b"\xc1" * 1_000_000,
    "more items than bytes": head(4, 1 << 60),
    "more pairs than bytes": head(5, 1 << 60),
    "more bytes than there are": head(2, 1 << 62),
    "more text than there is": head(3, 1 << 62),
    "more items than there are": head(4, 100_000) + bytes(99_999),
    "the same key again and again": b"\xb9\xff\xff" + b"\x61a\x00" * 65_535,
    "a number of a megabyte": b"\xc2" + head(2, 1_000_000) + b"\xff" * 1_000_000,
    "a hundred thousand empty lists": head(4, 100_000) + b"\x80" * 100_000,
}


@pytest.mark.parametrize("name", CBOR)
def test_cbor(name):  # 0000-R2
    refused(lambda: decode_manifest(CBOR[name]), CorruptDataError)


def test_a_ref_to_hostile_cbor():
    ds = new_space()
    for data in CBOR.values():
        batch = Batch(ds.space.store)
        address = batch.add(MANIFESTS, data)
        batch.flush()
        ds.space.store.swap_ref("main", ds.space.store.read_ref("main"), address)
        refused(lambda: opened(ds).to_arrow(), CorruptDataError)
        with harmless():
            assert vd.fsck(ds.space.store)["findings"]


# --- trees that fold back on themselves ---------------------------------------------------------------------
#
# A page cannot name itself, or a version its child: both would have to know an address before the bytes are there. What can be
# written is a page that names the same page a thousand times, level upon level: 1000^n leaves in n pages.


def folded_index(levels):
    """A media Track whose index has so many levels, each page with FOLDS times the same page below."""
    store, modality = MemoryStore(), "image.png"
    batch = Batch(store)
    entries = entries_of_lists(shape_of(modality), [[1, 2, 3, ZEROS]])
    place = index_directory(ZEROS, modality)
    address, items = batch.add(place, encode_index_leaf(index_leaf(modality, entries))), 1
    for _ in range(levels):
        child = IndexChild(1, 2, address, items)
        address = batch.add(place, encode_index_node(index_node(modality, [child] * FOLDS)))
        items *= FOLDS
    batch.flush()
    pages = sum(FOLDS**level for level in range(levels + 1))
    counts = {"page_count": pages, "total_items": items, "tree_height": levels + 1}
    return store, Track((1, 2), modality, ZEROS, {"form": FORM, "root": address, "fanout": FOLDS, **counts})


@pytest.mark.parametrize("levels", [1, 3, 5])
def test_an_index_that_folds_back_is_read_once(levels):  # 0007-R4
    store, track = folded_index(levels)
    with harmless():
        assert len(read_index(store, track)) == 1


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_tombstones_that_fold_back(levels):  # 0020-R3
    store = MemoryStore()
    batch = Batch(store)
    root, (leaf,) = build_pages([Tombstone(T0, 1)])
    batch.add(DIRECTORY, leaf)
    ref = root
    for level in range(1, levels + 1):
        page = TombstonePage(level, children=(ref,) * PAGE_ITEMS_MAX)
        address = batch.add(DIRECTORY, encode_page(page))
        ref = PageRef(address, level, ref.count * PAGE_ITEMS_MAX, T0, T0)
    above = batch.add(DIRECTORY, encode_index(TombstoneIndex(ZEROS, 1, ref)))
    batch.flush()
    assert "cannot lie in" in refused(lambda: read_tombstones(store, above), CorruptDataError)


def test_an_index_of_too_many_levels():  # 0007-R4
    store, track = folded_index(1)
    track = replace(track, object_index={**track.object_index, "tree_height": HEIGHT_MAX + 1})
    assert "levels" in refused(lambda: read_index(store, track), CorruptDataError)


@pytest.mark.parametrize("key", ["page_count", "total_items"])
def test_an_index_whose_counts_lie(key):  # 0007-R4
    store, track = folded_index(0)
    track = replace(track, object_index={**track.object_index, key: 1 << 62})
    assert "says" in refused(lambda: read_index(store, track), CorruptDataError)


def test_a_version_with_the_same_parents_over_and_over():
    """Each of many versions has the two before it as parents: 2^n ways lead back, and n versions are looked at."""
    ds = new_space()
    batch, manifest = Batch(ds.space.store), ds.manifest
    made = [batch.add(MANIFESTS, encode_manifest(manifest)), batch.add(MANIFESTS, encode_manifest(manifest))]
    for n in range(200):
        parents = tuple(dict.fromkeys(made[-2:]))
        made.append(
            batch.add(MANIFESTS, encode_manifest(replace(manifest, parents=parents, ts=manifest.ts + n)))
        )
    point_to(ds, batch, replace(manifest, parents=tuple(made[-2:]), ts=manifest.ts + 300))
    with harmless():
        assert len(opened(ds).to_arrow()) == 3
        assert len(opened(ds).history()) > 3
        assert opened(ds).branch("side").merge("main") is not None


# --- small objects that decode to gigabytes -----------------------------------------------------------------


def with_stripe(data, rows=3):
    """A Space whose one stripe is replaced by these bytes."""
    return with_fragment(STRIPE, "", data, rows)


def with_fragment(modality, field, data, rows):
    ds = new_space()
    batch, manifest = Batch(ds.space.store), ds.manifest
    old = vendor_entry(manifest, modality, field)
    address = batch.add_payload(payload_directory(old.timeline, modality), data)
    fragment = Fragment(T0, T0 + rows, len(data), address)
    point_to(
        ds,
        batch,
        with_entry(manifest, old, write_fragments(batch, old.timeline, modality, [fragment], field)),
    )
    return ds


def packed_stripe(groups, group_rows):
    """Rows of one anchor, of which a million are a few bytes."""
    table = pa.table(
        {"_anchor": np.full(group_rows, T0), "_time": pa.array(np.full(group_rows, T0), pa.timestamp("ns"))}
    )
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        for _ in range(groups):
            writer.write_table(table, row_group_size=group_rows)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("groups", "group_rows"), [(1, 3_000_000), (500, 50_000)], ids=["one group", "many groups"]
)
def test_rows_that_take_no_room(groups, group_rows):  # 0021-R17
    data = packed_stripe(groups, group_rows)
    assert len(data) < groups * group_rows / 50
    ds = with_stripe(data)
    for read in (
        lambda: opened(ds).to_arrow(),
        lambda: opened(ds).count(),
        lambda: opened(ds).append(small_rows(5)) and opened(ds).flush(),
    ):
        assert "rows in" in refused(read, CorruptDataError)
    with vd.connect(ds.space.store, cache_dir=None) as con:
        for sql in ("SELECT count(*) FROM dreamdb_scan('main')", "SELECT sum(n) FROM dreamdb_scan('main')"):
            with harmless(), pytest.raises(duckdb.Error, match="rows in"):
                con.execute(sql).fetchall()
    with harmless():
        assert any("rows in" in found["wrong"] for found in vd.fsck(ds.space.store)["findings"])


def packed_vectors(n, codec):
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2 * n, np.float32)), 2)
    batch = pa.record_batch([pa.array(np.arange(T0, T0 + n)), values], names=["_anchor", "vector"])
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_vectors_that_were_packed(codec):  # 0021-R17
    data = packed_vectors(8_000_000, codec)
    assert "compressed" in refused(lambda: decode_vectors(data, 2), CorruptDataError)
    ds = with_fragment(VECTORS, "v", data, 8_000_000)
    refused(lambda: opened(ds).iter_vector("v", [1.0, 0.0], 3), CorruptDataError)
    with harmless():
        assert any("compressed" in found["wrong"] for found in vd.fsck(ds.space.store)["findings"])


def test_vectors_that_were_not_packed():
    data = packed_vectors(10, None)
    assert decode_vectors(data, 2).anchors.tolist() == list(range(T0, T0 + 10))


# --- names that look like paths -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATHS, ids=lambda name: repr(name)[:20])
def test_names_of_refs(tmp_path, name):  # 0005-R6
    root = tmp_path / "inside" / "space"
    ds = vd.Dataset.create("main", small_schema(), root, cache_dir=None)
    before = files_below(tmp_path)
    for work in (
        lambda: vd.Dataset.open(name, backend=root, cache_dir=None),
        lambda: vd.Dataset.create(name, small_schema(), root, cache_dir=None),
        lambda: ds.branch(name),
        lambda: ds.delete_ref(name),
        lambda: ds.merge(name),
    ):
        refused(work)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", PATHS, ids=lambda name: repr(name)[:20])
def test_names_of_fields(name):
    ds = new_space()
    for work in (
        lambda: vd.Schema().add_scalar_int(name),
        lambda: ds.add_scalar_int(name),
        lambda: ds.build_graph_index(name, "n", 2, [(T0, np.zeros(2, np.float32))]),
    ):
        refused(work, InvalidInputError)


@pytest.mark.parametrize("name", PATHS, ids=lambda name: repr(name)[:20])
def test_modalities_in_a_manifest(tmp_path, name):
    """What a hostile Manifest calls a modality becomes a directory: it must stay below the root."""
    root = tmp_path / "inside" / "space"
    ds = vd.Dataset.create("main", small_schema(), root, cache_dir=None)
    ds.append(small_rows(0))
    old = vendor_entry(ds.manifest, STRIPE)
    batch = Batch(ds.space.store)
    point_to(ds, batch, with_entry(ds.manifest, old, replace(old, modality=name)))
    before = files_below(tmp_path)
    refused(lambda: vd.Dataset.open("main", backend=root, cache_dir=None).to_arrow())
    with harmless():
        assert vd.fsck(root)["findings"] or vd.fsck(root)["skipped"]
    assert files_below(tmp_path) == before


def files_below(folder):
    return sorted(str(path) for path in folder.rglob("*") if ".dreamdb" not in str(path))
