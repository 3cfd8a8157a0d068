"""Paged indexes of media and cells changed by copy-on-write: equal to one built at once, exact counts, few pages."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.errors import CorruptDataError, LayoutError, ObjectNotFoundError
from dreamdb_arrow.objects import index_page
from dreamdb_arrow.objects.index_entries import CELLS, entries_of_lists, lists_of_entries
from dreamdb_arrow.objects.index_page import IndexChild, IndexNode, decode_index_page, encode_index_node
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks import index_pages, pages
from dreamdb_arrow.tracks.index_insertion import addresses_of, insert_in_index
from dreamdb_arrow.tracks.index_pages import sort_index_entries
from dreamdb_arrow.tracks.layout import index_directory

TIMELINE = address_of(b"a timeline")
PNG, EMBEDDING = "image.png", "embedding.f32.dim=2.bucketed"
T0 = 1_700_000_000_000_000_000


class CountingStore(MemoryStore):
    """Counts pages read and written."""

    read = written = 0

    def get(self, path):
        self.read += 1
        return super().get(path)

    def put_many(self, items):
        self.written += len(items)
        super().put_many(items)


def entries_of(modality, times, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        [T0 + t, T0 + t + 1, int(rng.integers(0, 9999)), bytes(address_of(str(t).encode()))] for t in times
    ]
    if modality == EMBEDDING:
        rows = [[f"{int(rng.integers(0, 64)):06b}", *row] for row in rows]
    return sort_index_entries(entries_of_lists(pages.shape_of(modality), rows))


def build(store, modality, times):
    batch = Batch(store)
    index = pages.build_index(batch, TIMELINE, modality, entries_of(modality, times))
    batch.flush()
    return Track((T0, T0 + 1), modality, TIMELINE, index)


def insert(store, track, new):
    store.read = store.written = 0
    batch = Batch(store)
    track = replace(track, object_index=insert_in_index(store, batch, track, new))
    batch.flush()
    return track


def leaf_sizes(store, track):
    """Walk the whole tree, so that its counts are checked, and return the sizes of its leaves."""
    directory, tree = index_directory(TIMELINE, track.modality), pages.paged_tree(track)
    level, count, places = [tree.root], 0, []
    for height in range(tree.height - 1, -1, -1):
        data = [store.get(f"{directory}/{address}") for address in level]
        found = [decode_index_page(page, pages.shape_of(track.modality), track.modality) for page in data]
        count += len(found)
        if height:
            level = [child.address for page in found for child in page.children]
            places = [child.keys or child.t_min for page in found for child in page.children]
            firsts = [place[0] if isinstance(place, tuple) else place for place in places]
            assert firsts == sorted(firsts)
            assert all(len(page.children) <= track.object_index["fanout"] for page in found)
    assert count == tree.pages
    assert sum(len(page.entries) for page in found) == tree.items
    return [len(page) for page in data]


@given(
    st.sampled_from([PNG, EMBEDDING]),
    st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=30), min_size=2, max_size=8),
    st.sampled_from([300, 600, 16_384]),
    st.sampled_from([2, 3, 256]),
)
def test_any_sequence_of_inserts_reads_as_one_build(modality, batches, leaf_bytes, children):
    # 0007-R4, 0007-R5
    with pytest.MonkeyPatch.context() as patch:
        for module in (index_page, index_pages):
            patch.setattr(module, "LEAF_BYTES", leaf_bytes)
        patch.setattr(index_pages, "CHILDREN_MAX", children)
        store = CountingStore()
        track = build(store, modality, batches[0])
        model = lists_of_entries(entries_of(modality, batches[0]))
        for seed, times in enumerate(batches[1:], start=1):
            new = entries_of(modality, times, seed)
            track = insert(store, track, new)
            model += lists_of_entries(new)
            leaf_sizes(store, track)
    rows = lists_of_entries(pages.read_index(store, track))
    if modality == PNG:
        assert rows == sorted(model, key=lambda row: row[0])  # of one time the later after the earlier
    else:
        assert sorted(map(repr, rows)) == sorted(map(repr, model))
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_later_items_change_the_right_edge_only():  # 0007-R6
    store = CountingStore()
    track = build(store, PNG, range(30_000))
    for nth in range(5):
        track = insert(store, track, entries_of(PNG, range(30_000 + 1000 * nth, 31_000 + 1000 * nth)))
        assert store.read == 2
        assert store.written <= 7
    sizes = leaf_sizes(store, track)
    assert min(sizes[:-1]) > 16_384 - 100
    assert len(pages.read_index(store, track)) == 35_000


def test_late_items_change_the_leaves_they_fall_into():
    store = CountingStore()
    track = build(store, PNG, range(0, 60_000, 2))
    track = insert(store, track, entries_of(PNG, [101, 103, 40_001]))
    assert store.read == 3
    assert store.written == 5
    leaf_sizes(store, track)


def test_cells_change_where_their_keys_are():
    store = CountingStore()
    track = build(store, EMBEDDING, range(20_000))
    new = entries_of(EMBEDDING, range(10**6, 10**6 + 40))
    one = new.take(np.flatnonzero(np.array(new.keys) == new.keys[0]))
    track = insert(store, track, one)
    assert store.read <= 3
    assert store.written <= 4
    leaf_sizes(store, track)


@pytest.mark.parametrize("where", ["right", "middle", "random"])
def test_small_flushes_leave_no_small_pages(where, monkeypatch):
    for module in (index_page, index_pages):
        monkeypatch.setattr(module, "LEAF_BYTES", 1000)
    monkeypatch.setattr(index_pages, "CHILDREN_MAX", 8)
    store, rng = CountingStore(), np.random.default_rng(0)
    track = build(store, PNG, range(0, 10_000, 10))
    for nth in range(150):
        first = {"right": 10_000 + 5 * nth, "middle": 5001}.get(where)
        times = np.sort(rng.integers(0, 10_000, 5)) if first is None else first + np.arange(5)
        track = insert(store, track, entries_of(PNG, times.tolist()))
    assert np.mean(leaf_sizes(store, track)) > (900 if where == "right" else 450)
    assert np.median(leaf_sizes(store, track)) > 400
    assert track.object_index["tree_height"] <= 5


def folded(store, track, children):
    node = IndexNode(PNG, T0, T0 + 100, tuple(children))
    root = address_of(encode_index_node(node))
    store.put(f"{index_directory(TIMELINE, PNG)}/{root}", encode_index_node(node))
    index = track.object_index | {"root": bytes(root), "tree_height": track.object_index["tree_height"] + 1}
    return replace(track, object_index=index)


def test_indexes_that_nothing_is_added_to():
    store, new = CountingStore(), entries_of(PNG, [5])
    track = build(store, PNG, range(10))
    child = IndexChild(T0, T0 + 10, Address(track.object_index["root"]), 10)
    once = folded(store, track, [child])
    with pytest.raises(LayoutError, match="out of order"):
        insert(store, folded(store, track, [child, replace(child, t_min=T0 - 1)]), new)
    with pytest.raises(LayoutError, match="its parent says 11"):
        insert(store, folded(store, track, [replace(child, items=11)]), new)
    above = IndexChild(T0, T0 + 10, Address(once.object_index["root"]), 10)
    with pytest.raises(LayoutError, match="twice"):
        insert(store, folded(store, once, [above, above]), new)
    with pytest.raises(LayoutError, match="fanout"):
        insert(store, replace(track, object_index=track.object_index | {"fanout": "x"}), new)
    with pytest.raises(LayoutError):
        insert(store, replace(once, object_index=once.object_index | {"tree_height": 1}), new)
    cells = build(store, EMBEDDING, range(5))
    bad = entries_of_lists(CELLS, [["x/../y", T0, T0 + 1, 1, bytes(TIMELINE)]])
    batch = Batch(store)
    hostile = replace(cells, object_index=pages.build_index(batch, TIMELINE, EMBEDDING, bad))
    batch.flush()
    with pytest.raises(LayoutError, match="base 2"):
        insert(store, hostile, entries_of(EMBEDDING, [9]))


@pytest.mark.parametrize("modality", [PNG, EMBEDDING])
def test_changed_pages_are_refused_or_written_on_soundly(modality, monkeypatch):
    """Flip bytes of the root and of a leaf, give them the addresses they then have, and insert."""
    for module in (index_page, index_pages):
        monkeypatch.setattr(module, "LEAF_BYTES", 600)
    store, rng, shape = CountingStore(), np.random.default_rng(0), pages.shape_of(modality)
    whole = build(store, modality, range(60))
    directory = index_directory(TIMELINE, modality)
    root = store.get(f"{directory}/{Address(whole.object_index['root'])}")
    child = decode_index_page(root, shape, modality).children[0].address
    leaf = store.get(f"{directory}/{child}")
    outcomes = set()
    for nth in range(400):
        page = bytearray(leaf if nth % 2 else root)
        page[int(rng.integers(0, len(page)))] = int(rng.integers(0, 256))
        changed = address_of(bytes(page))
        store.put(f"{directory}/{changed}", bytes(page))
        if nth % 2:
            top = root.replace(bytes(child), bytes(changed))
            changed = address_of(top)
            store.put(f"{directory}/{changed}", top)
        track = replace(whole, object_index=whole.object_index | {"root": bytes(changed)})
        try:
            insert(store, track, entries_of(modality, [1, 2, 30]))
            outcomes.add("written")
        except (CorruptDataError, ObjectNotFoundError):
            outcomes.add("refused")
    assert "refused" in outcomes


def test_addresses_come_once():
    assert len(addresses_of(entries_of(PNG, [1, 2, 2, 1]))) == 2
