"""Tombstones in a store: the stored sets, whole sets written, unions of merges, graphs that are too much."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import Address, address_of, as_address
from dreamdb_arrow.errors import DigestMismatchError, InvalidInputError, LayoutError
from dreamdb_arrow.objects.manifest import decode_manifest
from dreamdb_arrow.objects.tombstone_tree import NO_TOMBSTONES, build_pages, tombstones_of, unite
from dreamdb_arrow.objects.tombstones import (
    Tombstone,
    TombstoneIndex,
    decode_index,
    encode_index,
)
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks import tombstones
from dreamdb_arrow.tracks.tombstones import add_tombstones, delete_anchors, read_tombstones

TIMELINE = address_of(b"a timeline")


def write(store, new, at=1, timeline=TIMELINE, head=None):
    batch = Batch(store)
    made = add_tombstones(store, batch, timeline, head, new, at)
    batch.flush()
    return made


def deleted(anchors, at=5, reason=None):
    return delete_anchors(np.array(anchors, np.int64), at, reason)


def link(store, *parents, root=None):
    data = encode_index(TombstoneIndex(TIMELINE, 1, root, parents))
    store.put(f"tombstones/{address_of(data)}", data)
    return address_of(data)


def rows(held):
    return list(zip(held.anchors.tolist(), held.deleted_at.tolist(), held.reasons, strict=True))


@pytest.mark.parametrize("name", ["append-delete", "branch-merge"])
def test_stored_sets(reference_space, reference_expected, name):
    store = LocalStore(reference_space(name), sync=False)
    checked = 0
    for ref in reference_expected(name)["refs"].values():
        manifest = decode_manifest(store.get(f"manifests/{ref['manifest']}"))
        if "dreamdb.tombstones" not in manifest.registry:
            assert ref["tombstones"] == []
            continue
        head = as_address(manifest.registry["dreamdb.tombstones"]["head"])
        held = read_tombstones(store, head)
        assert held.anchors.tolist() == ref["tombstones"]
        index = decode_index(store.get(f"tombstones/{head}"))
        if index.root is not None and not index.parents:
            assert write(MemoryStore(), held, index.issued_at, index.timeline) == head
            checked += 1
    assert checked


@given(
    st.dictionaries(
        st.integers(0, 2**63 - 2), st.tuples(st.integers(0, 2**40), st.none() | st.text(max_size=3))
    )
)
def test_what_was_written_is_read(model):
    entries = [Tombstone(anchor, *model[anchor]) for anchor in sorted(model)]
    store = MemoryStore()
    head = write(store, tombstones_of(entries))
    held = NO_TOMBSTONES if head is None else read_tombstones(store, head)
    assert rows(held) == [tuple(entry) for entry in entries]


ANCHORS = st.lists(st.integers(0, 3000) | st.integers(0, 2**63 - 2), max_size=700)
REASONS = st.none() | st.sampled_from(["gdpr", "twice"])


@given(st.lists(st.tuples(ANCHORS, st.integers(0, 2**40), REASONS), max_size=5))
def test_one_delete_after_another(deletes):  # 0020-R2, 0020-R6
    """Whatever is deleted, and in whatever order: the earliest tombstone of each anchor, in pages as they must be."""
    store, head, parts = MemoryStore(), None, []
    for anchors, at, reason in deletes:
        parts.append(deleted(anchors, at, reason))
        head = write(store, parts[-1], at, head=head) or head
    if head is not None:
        assert rows(read_tombstones(store, head)) == rows(unite(parts))
        assert len(decode_index(store.get(f"tombstones/{head}")).parents) == 0
    assert head is not None or not any(map(len, parts))


def test_a_delete_among_many_writes_the_pages_on_its_way():
    store = MemoryStore()
    head = write(store, deleted(range(0, 200_000, 2)))
    before = set(store.list("tombstones/"))
    head = write(store, deleted([777]), head=head)
    assert (
        len(set(store.list("tombstones/")) - before) == 5
    )  # index, a page of each of two levels, and a full page's halves
    assert len(read_tombstones(store, head)) == 100_001
    assert write(store, deleted([777, 2]), 9, head=head) is None


def test_a_delete_after_a_merge_makes_one_tree_of_both():
    store = MemoryStore()
    base = write(store, deleted(range(0, 100_000, 2), 5))
    left = write(store, deleted([1, 3], 8, "left"), head=base)
    right = write(store, deleted([3, 5], 7, "right"), head=base)
    before = set(store.list("tombstones/"))
    head = write(store, deleted([7, 0], 9), head=link(store, left, right))
    assert len(set(store.list("tombstones/")) - before) < 8  # with the index of the merge
    held = rows(read_tombstones(store, head))
    assert [row for row in held if row[0] % 2] == [
        (1, 8, "left"),
        (3, 7, "right"),
        (5, 7, "right"),
        (7, 9, None),
    ]
    assert (held[0], len(held)) == ((0, 5, None), 50_004)


@pytest.mark.parametrize("count", [0, 1, 128, 129, 257, 20_000])
def test_many(count):
    store = MemoryStore()
    head = write(store, deleted(np.arange(count)[::-1], 5, "gdpr"))
    assert (head is None) == (count == 0)
    assert count == 0 or rows(read_tombstones(store, head)) == [(n, 5, "gdpr") for n in range(count)]


def test_what_is_deleted_stays_as_it_was():  # 0020-R6
    store = MemoryStore()
    head = write(store, deleted([3, 1, 3], 5, "a"))
    head = write(store, deleted([2, 3], 9), head=head)
    assert rows(read_tombstones(store, head)) == [(1, 5, "a"), (2, 9, None), (3, 5, "a")]
    assert write(store, deleted([], 9), head=head) is None


@pytest.mark.parametrize("anchor", [-1, 2**63 - 1])
def test_anchors_that_nobody_can_see(anchor):
    with pytest.raises(InvalidInputError):
        deleted([anchor])


def test_a_merge_is_the_union_of_both_sides():  # 0008-R8, 0020-R1, 0020-R7
    store = MemoryStore()
    left = write(store, deleted([1, 2], 5, "left"))
    right = write(store, deleted([2, 3], 4, "right"))
    head = link(store, link(store, left, right), left)
    assert rows(read_tombstones(store, head)) == [(1, 5, "left"), (2, 4, "right"), (3, 4, "right")]
    assert len(read_tombstones(store, link(store))) == 0


def test_a_graph_that_folds_back_on_itself_is_walked_once():  # 0020-R1
    store = MemoryStore()
    head = write(store, deleted([7], 5))
    for _ in range(64):
        head = link(store, head, head, link(store, head))
    assert read_tombstones(store, head).anchors.tolist() == [7]


def test_a_graph_that_is_too_large(monkeypatch):
    monkeypatch.setattr(tombstones, "INDEXES_MAX", 10)
    store = MemoryStore()
    head = link(store)
    for _ in range(12):
        head = link(store, head)
    with pytest.raises(LayoutError, match="more than 10"):
        read_tombstones(store, head)


def test_pages_that_are_not_what_was_said_of_them():  # 0020-R3
    store = MemoryStore()
    root, pages = build_pages([Tombstone(1, 2), Tombstone(3, 4)])
    for page in pages:
        store.put(f"tombstones/{address_of(page)}", page)
    wrong = type(root)(root.address, root.level, root.count - 1, root.min_anchor, root.max_anchor)
    with pytest.raises(LayoutError):
        read_tombstones(store, link(store, root=wrong))
    assert len(read_tombstones(store, link(store, root=root))) == 2


def test_objects_that_are_not_their_address():
    store = MemoryStore()
    head = write(store, deleted(range(300), 5))
    for path in list(store.list("tombstones/")):
        data = store.get(path)
        store.delete(path)
        store.put(path, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(DigestMismatchError):
            read_tombstones(store, head)
        store.delete(path)
        store.put(path, data)


def test_what_nobody_can_see_is_left_out():
    store = MemoryStore()
    root, pages = build_pages([Tombstone(1, 2**64 - 1), Tombstone(2**64 - 1, 4)])
    for page in pages:
        store.put(f"tombstones/{address_of(page)}", page)
    held = read_tombstones(store, link(store, root=root))
    assert rows(held) == [(1, 2**63 - 2, None)]
    assert json.dumps(rows(held))
    assert isinstance(link(store), Address)
