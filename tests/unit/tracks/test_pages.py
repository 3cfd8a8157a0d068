"""Page trees of media and spatial Tracks: built, walked, and refused when the counts are wrong."""

from dataclasses import replace

import numpy as np
import pytest

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor
from dreamdb_arrow.errors import DigestMismatchError, LayoutError, UnsupportedError
from dreamdb_arrow.objects import index_page
from dreamdb_arrow.objects.index_entries import CELLS, MEDIA, entries_of_lists, lists_of_entries
from dreamdb_arrow.objects.index_page import IndexChild, IndexNode, encode_index_node
from dreamdb_arrow.objects.track import Track, decode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks import index_pages, pages
from dreamdb_arrow.tracks.filling import cut_by_number
from dreamdb_arrow.tracks.layout import index_directory

TIMELINE = address_of(b"a timeline")
A = bytes(address_of(b"payload"))
PNG, EMBEDDING = "image.png", "embedding.f32.dim=2.bucketed"
T0 = 1_700_000_000_000_000_000


def rows_of(modality, count):
    rng = np.random.default_rng(count)
    rows = [[T0 + 1000 * n, T0 + 1000 * n + 1, int(rng.integers(0, 9999)), A] for n in range(count)]
    return [[f"{n:016b}", *row] for n, row in enumerate(rows)] if modality == EMBEDDING else rows


def walk_entries(store, timeline, modality, index):
    for leaf in pages.iterate_index(store, Track((0, 1), modality, timeline, index)):
        yield from lists_of_entries(leaf)


def build(store, modality, rows):
    batch = Batch(store)
    index = pages.build_index(batch, TIMELINE, modality, entries_of_lists(pages.shape_of(modality), rows))
    batch.flush()
    return index


@pytest.mark.parametrize("modality", [PNG, EMBEDDING])
@pytest.mark.parametrize("count", [1, 2, 3, 40, 700])
def test_walk_gives_what_was_built(modality, count, monkeypatch):
    monkeypatch.setattr(index_page, "LEAF_BYTES", 600)
    monkeypatch.setattr(index_pages, "LEAF_BYTES", 600)
    monkeypatch.setattr(index_pages, "CHILDREN_MAX", 5)
    store, rows = MemoryStore(), rows_of(modality, count)
    index = build(store, modality, rows)
    assert list(walk_entries(store, TIMELINE, modality, index)) == rows
    assert index["page_count"] == len(list(store.list()))
    assert index["total_items"] == count
    sizes = [store.size(path) for path in store.list()]
    assert max(sizes) <= 600 + 500 * (modality == EMBEDDING)  # two children, however long their keys


def test_inline_entries_are_walked_too():
    rows = rows_of(PNG, 5)
    assert list(walk_entries(MemoryStore(), TIMELINE, PNG, rows)) == rows


def test_the_stored_tree_is_built_again(reference_space):
    root = reference_space("paged-media")
    store = LocalStore(root, sync=False)
    for path in sorted(root.glob("d*/image.png/track/*")):
        track = decode_track(path.read_bytes())
        if isinstance(track.object_index, dict):
            entries = pages.read_index(store, track)
            batch = Batch(MemoryStore())
            assert pages.build_index(batch, track.timeline, track.modality, entries) == track.object_index


def test_pages_above_are_filled_evenly():  # 0007-R6
    store = MemoryStore()
    index = build(store, PNG, rows_of(PNG, 98_000))  # 262 leaves of the reference were 131 and 131
    root = store.get(f"{index_directory(TIMELINE, PNG)}/{Address(index['root'])}")
    children = [child[2] for child in decode_cbor(root)["entries"]]
    counts = [
        len(decode_cbor(store.get(f"{index_directory(TIMELINE, PNG)}/{Address(c)}"))["entries"])
        for c in children
    ]
    assert sum(counts) == index["page_count"] - 3
    assert max(counts) - min(counts) <= 1
    assert (len(counts), index["tree_height"], index["fanout"]) == (2, 3, max(counts))


@pytest.mark.parametrize("key", ["page_count", "total_items", "tree_height"])
@pytest.mark.parametrize("by", [-1, 1, 90])
def test_counts_that_are_wrong(key, by, monkeypatch):  # 0007-R4
    monkeypatch.setattr(index_page, "LEAF_BYTES", 600)
    store = MemoryStore()
    index = build(store, PNG, rows_of(PNG, 100))
    with pytest.raises(LayoutError):
        list(walk_entries(store, TIMELINE, PNG, index | {key: index[key] + by}))


def test_counts_of_a_child_that_are_wrong():  # 0007-R4
    store = MemoryStore()
    index = build(store, PNG, rows_of(PNG, 10))
    node = IndexNode(PNG, T0, T0 + 1, (IndexChild(T0, T0 + 1, index["root"], 11),))
    root = address_of(encode_index_node(node))
    store.put(f"{index_directory(TIMELINE, PNG)}/{root}", encode_index_node(node))
    with pytest.raises(LayoutError, match="its parent says 11"):
        list(walk_entries(store, TIMELINE, PNG, index | {"root": root, "tree_height": 2, "page_count": 2}))
    with pytest.raises(LayoutError, match="several levels"):
        list(walk_entries(store, TIMELINE, PNG, index | {"root": root}))


@pytest.mark.parametrize(
    "index", [{"form": "paged"}, {"form": "paged", "root": A, "fanout": 1}, 7, "x", None, [7]]
)
def test_indexes_that_are_none(index):
    with pytest.raises(LayoutError):
        list(walk_entries(MemoryStore(), TIMELINE, PNG, index))


def test_forms_that_are_not_known():
    with pytest.raises(UnsupportedError, match="'hot-overlay-v1'"):
        list(walk_entries(MemoryStore(), TIMELINE, PNG, {"form": "hot-overlay-v1"}))


def test_pages_that_are_not_their_address():
    store = MemoryStore()
    index = build(store, PNG, rows_of(PNG, 10))
    (path,) = store.list()
    data = store.get(path)
    store.delete(path)
    store.put(path, data[:-1] + b"h")
    with pytest.raises(DigestMismatchError):
        list(walk_entries(store, TIMELINE, PNG, index))


def test_shapes_go_by_modality():
    assert pages.shape_of(EMBEDDING) is CELLS
    assert pages.shape_of(PNG) is pages.shape_of("org.dreamdb.arrow.stripe.v1") is MEDIA
    track = Track((0, 1), PNG, TIMELINE, rows_of(EMBEDDING, 1))
    with pytest.raises(LayoutError):
        pages.read_index(MemoryStore(), track)
    assert len(pages.read_index(MemoryStore(), replace(track, modality=EMBEDDING))) == 1


@pytest.mark.parametrize(("items", "count"), [(1, 1), (262, 2), (257, 3), (7, 3)])
def test_cut_by_number(items, count):
    parts = cut_by_number(items, count)
    assert [item for start, stop in parts for item in range(start, stop)] == list(range(items))
    sizes = [stop - start for start, stop in parts]
    assert len(parts) == count
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1
