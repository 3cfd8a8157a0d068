"""Scalar B-trees changed by copy-on-write: equal to a bulk load, exact counts, few pages, none of them degenerate."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.errors import CorruptDataError, LayoutError, ObjectNotFoundError
from dreamdb_arrow.objects.btree_page import (
    PAGE_BYTES_MAX,
    BtreeChild,
    BtreeNode,
    decode_btree_page,
    encode_node,
)
from dreamdb_arrow.objects.scalar_values import encode_key, value_type_of
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks import btree, btree_pages
from dreamdb_arrow.tracks.btree import btree_of, read_btree
from dreamdb_arrow.tracks.filling import Room, cut_evenly, cut_from_left, run_end
from dreamdb_arrow.tracks.layout import index_directory
from dreamdb_arrow.tracks.scalars import read_scalars, write_scalars

TIMELINE = address_of(b"a timeline")
TAGS = {"int": "i64", "float": "f64", "string": "str", "timestamp": "ts"}
VALUES = {
    "int": st.one_of(st.integers(-20, 20), st.integers(-(2**63), 2**63 - 1)),
    "float": st.one_of(st.sampled_from([0.0, -0.0, 1.5]), st.floats(allow_nan=False, allow_infinity=False)),
    "string": st.one_of(st.text("ab", max_size=4), st.text(max_size=90)),
}
CASES = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.lists(st.lists(VALUES[name], min_size=1, max_size=25), max_size=8)
    )
)


class CountingStore(MemoryStore):
    """Counts pages read and written."""

    read = written = 0

    def get(self, path):
        self.read += "/index/" in path
        return super().get(path)

    def put_many(self, items):
        self.written += sum("/index/" in item.path for item in items)
        super().put_many(items)


def empty_track(value_type="int"):
    return Track((0, 1), f"scalar.{TAGS[value_type]}.field=x", TIMELINE, [])


def append(store, track, values, value_type="int", at=10**18):
    batch = Batch(store)
    store.read = store.written = 0
    column = values if value_type == "string" else np.array(values, "f8" if value_type == "float" else "i8")
    track = write_scalars(store, batch, track, "x", value_type, at + np.arange(len(values)), column).track
    batch.flush()
    return track


def check_tree(store, track, value_type, children_max):
    """Assert all that the reference asks of a tree, and return the sizes of its leaves."""
    tree, kind = btree_of(track), value_type_of(value_type)
    level = [(Address(tree.root), None)]
    pages, leaves, entries = 0, [], 0
    for height in range(tree.height - 1, -1, -1):
        below = []
        for address, claim in level:
            data = store.get(f"{index_directory(TIMELINE, track.modality)}/{address}")
            page = decode_btree_page(data, kind)
            pages += 1
            assert len(data) <= btree_pages.PAGE_BYTES_MAX
            if isinstance(page, BtreeNode):
                assert page.level == height
                assert len(page.children) <= children_max
                bounds = page.children[0].low, page.children[-1].high
                below += [(child.address, (child.low, child.high)) for child in page.children]
                keys = [(child.low, child.high, child.address) for child in page.children]
                assert keys == sorted(keys)
            else:
                assert height == 0
                bounds = encode_key(page.values[0]), encode_key(page.values[-1])
                leaves.append(len(data))
                entries += len(page)
            assert claim in (None, bounds)
        assert all(left[1][1] <= right[1][0] for left, right in pairwise(below))
        level = below
    assert (pages, entries) == (tree.pages, tree.items)
    return leaves


def entries_of(store, track, value_type):
    found = read_btree(store, track, value_type_of(value_type))
    values = found.values if isinstance(found.values, list) else found.values.tolist()
    return sorted(zip(map(repr, values), found.firsts.tolist(), strict=True))


@given(CASES, st.sampled_from([300, 700, PAGE_BYTES_MAX]), st.sampled_from([2, 3, 256]))
def test_any_sequence_of_inserts_reads_as_a_bulk_load(case, page_bytes, children):  # 0011-R9, 0011-R11
    value_type, batches = case
    store, track, rows = CountingStore(), empty_track(value_type), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            btree_pages, "PAGE_BYTES_MAX", page_bytes if value_type != "string" else max(page_bytes, 3000)
        )
        patch.setattr(btree_pages, "CHILDREN_MAX", children)
        for nth, values in enumerate(batches):
            track = append(store, track, values, value_type, at=1000 * nth)
            rows += [(1000 * nth + at, value) for at, value in enumerate(values)]
            check_tree(store, track, value_type, children)
    if not rows:
        return
    column = read_scalars(store, track, value_type)
    whole = append(store, empty_track(value_type), [value for _, value in rows], value_type)
    bulk = read_scalars(store, whole, value_type)
    assert column.anchors.tolist() == [anchor for anchor, _ in rows]
    assert column.codes.tolist() == bulk.codes.tolist()
    assert list(map(repr, column.values)) == list(map(repr, bulk.values))


@pytest.mark.parametrize("value_type", sorted(TAGS))
@pytest.mark.parametrize("where", ["right", "middle"])
def test_a_flush_into_a_big_tree_touches_few_pages(value_type, where):
    store, rng = CountingStore(), np.random.default_rng(1)

    def values(numbers):
        return [f"{n:010d}" for n in numbers] if value_type == "string" else numbers

    track = append(store, empty_track(value_type), values(rng.permutation(100_000) * 1000), value_type)
    begin = 100_000_000 if where == "right" else 50_000_001
    track = append(store, track, values(range(begin, begin + 1000)), value_type, at=2 * 10**18)
    assert store.read <= 5
    assert store.written <= 8
    check_tree(store, track, value_type, 256)


@pytest.mark.parametrize(
    ("where", "fullness"), [("right", 0.9), ("left", 0.45), ("middle", 0.45), ("random", 0.5), ("gap", 0.45)]
)
def test_small_flushes_leave_no_small_pages(where, fullness, monkeypatch):
    monkeypatch.setattr(btree_pages, "PAGE_BYTES_MAX", 2000)
    monkeypatch.setattr(btree_pages, "CHILDREN_MAX", 8)
    store, rng = CountingStore(), np.random.default_rng(2)
    track = append(store, empty_track(), np.arange(1000) * 1000)
    for nth in range(150):
        first = {"right": 10**6 + nth * 10, "left": -10 * nth, "middle": 500_001, "gap": 500_001 + nth}.get(
            where
        )
        values = rng.integers(0, 10**6, 10) if first is None else first + np.arange(10)
        track = append(store, track, values, at=2 * 10**18 + nth * 100)
    leaves = check_tree(store, track, "int", 8)
    assert np.mean(leaves) > fullness * 2000
    assert np.median(leaves) > 0.4 * 2000
    assert track.object_index["tree_height"] <= 5


def test_a_tree_of_small_pages_gets_better_where_it_changes(monkeypatch):
    store = CountingStore()
    with monkeypatch.context() as patch:
        patch.setattr(btree_pages, "LEAF_ENTRIES_MAX", 4)
        track = append(store, empty_track(), np.arange(800) * 10)
    assert len(check_tree(store, track, "int", 256)) == 200
    for nth in range(20):
        track = append(store, track, [4001 + nth], at=2 * 10**18 + nth)
    leaves = check_tree(store, track, "int", 256)
    assert len(leaves) < 150
    assert max(leaves) > PAGE_BYTES_MAX // 4
    assert track.object_index["tree_height"] == 2
    assert len(read_scalars(store, track, "int")) == 820


def test_long_runs_are_rewritten_in_windows(monkeypatch):
    monkeypatch.setattr(btree_pages, "LEAF_ENTRIES_MAX", 5)
    monkeypatch.setattr(btree_pages, "CHILDREN_MAX", 300)
    store, taken = CountingStore(), []
    track = append(store, empty_track(), np.arange(1000) * 10)
    plain = btree.fetch_many
    monkeypatch.setattr(btree, "fetch_many", lambda s, wanted: taken.append(len(wanted)) or plain(s, wanted))
    track = append(store, track, np.arange(1000) * 10 + 5, at=2 * 10**18)
    assert max(taken) <= 64
    assert sum(taken) == 201
    check_tree(store, track, "int", 300)


def test_keys_that_no_writer_makes_do_not_fill_pages_for_ever():
    store, kind = CountingStore(), value_type_of("string")
    track = append(store, empty_track("string"), ["a"], "string")
    directory = index_directory(TIMELINE, track.modality)
    data = store.get(f"{directory}/{track.object_index['root']}")
    page = decode_btree_page(data, kind)
    long = kind.encode(["b" * 60_000])
    rows = btree_pages.encode_entries(page, kind.encode(["a"])).data.tobytes()
    rows += btree_pages.encode_entries(page, long).data.tobytes()
    leaf = btree_pages.encode_leaf(kind, rows, 2)
    store.put(f"{directory}/{address_of(leaf)}", leaf)
    index = track.object_index | {"root": address_of(leaf), "total_entries": 2}
    broken = Track((0, 1), track.modality, TIMELINE, index)
    with pytest.raises(LayoutError):
        append(store, broken, ["b" * 8000 + str(n) for n in range(9)], "string")


def test_a_leaf_with_other_bounds_than_said_is_not_written_on():  # 0011-R11
    store, kind = CountingStore(), value_type_of("int")
    track = append(store, empty_track(), [1, 2, 3])
    keys = [encode_key(np.int64(value)) for value in (1, 4)]
    node = encode_node(kind, BtreeNode(1, (BtreeChild(*keys, Address(track.object_index["root"])),)))
    store.put(f"{index_directory(TIMELINE, track.modality)}/{address_of(node)}", node)
    index = track.object_index | {"root": address_of(node), "tree_height": 2, "page_count": 2}
    with pytest.raises(LayoutError, match="other bounds"):
        append(store, Track((0, 1), track.modality, TIMELINE, index), [2])


@pytest.mark.parametrize("value_type", ["int", "string"])
def test_changed_pages_are_refused_or_written_on_soundly(value_type):
    """Flip bytes of the root and of a leaf, give them the addresses they then have, and insert."""
    rng, kind = np.random.default_rng(0), value_type_of(value_type)
    values = [f"{n:04d}" for n in range(300)] if value_type == "string" else list(range(300))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(btree_pages, "LEAF_ENTRIES_MAX", 10)
        store = CountingStore()
        whole = append(store, empty_track(value_type), values, value_type)
        directory = index_directory(TIMELINE, whole.modality)
        root = store.get(f"{directory}/{whole.object_index['root']}")
        child = decode_btree_page(root, kind).children[3].address
        leaf = store.get(f"{directory}/{child}")
        outcomes = set()
        for nth in range(400):
            page = bytearray(leaf if nth % 2 else root)
            page[int(rng.integers(0, len(page)))] = int(rng.integers(0, 256))
            changed = address_of(bytes(page))
            store.put(f"{directory}/{changed}", bytes(page))
            if nth % 2:
                top = root.replace(bytes(child), bytes(changed))
                store.put(f"{directory}/{address_of(top)}", top)
                changed = address_of(top)
            track = replace(whole, object_index=whole.object_index | {"root": bytes(changed)})
            try:
                append(store, track, values[30:40], value_type, at=2 * 10**18)
                outcomes.add("written")
            except (CorruptDataError, ObjectNotFoundError):
                outcomes.add("refused")
    assert "refused" in outcomes


SIZES = st.lists(st.integers(1, 60), max_size=60)


@given(SIZES, st.integers(1, 12))
def test_cuts_hold_all_items_in_pages_that_are_small_enough(sizes, items):
    room = Room(70, items, lambda count: 5 + (count > 3))
    for cut in (cut_from_left, cut_evenly):
        bounds = cut(np.array(sizes, np.int64), room)
        assert [at for start, stop in bounds for at in range(start, stop)] == list(range(len(sizes)))
        assert all(
            stop - start == 1 or room.holds(sum(sizes[start:stop]), stop - start) for start, stop in bounds
        )
    left = cut_from_left(np.array(sizes, np.int64), room)
    for (start, stop), (_, end) in pairwise(left):
        assert not room.holds(sum(sizes[start : stop + 1]), stop + 1 - start)
        assert end > stop


@pytest.mark.parametrize(("length", "expected"), [(1, 1), (64, 64), (65, 33), (200, 50)])
def test_long_runs_are_cut(length, expected):
    assert run_end(np.array([False, *[True] * length, False]), 1) == 1 + expected
    assert run_end(np.ones(length, np.bool_), 0) == expected
