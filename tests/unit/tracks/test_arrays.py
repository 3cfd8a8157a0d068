"""Array Tracks: written, read, extended, paged; and indexes that are refused. Spec 0007."""

from dataclasses import replace

import numpy as np
import pytest

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import CorruptDataError, DigestMismatchError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.array_index import ArrayEntries, decode_array_page, encode_array_leaf
from dreamdb_arrow.objects.array_item import DenseItems
from dreamdb_arrow.objects.array_type import DENSE, ItemType
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track, encode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.arrays import (
    ArrayItems,
    array_directory,
    fetch_arrays,
    have_rival_arrays,
    place_array_entries,
    read_array_entries,
    read_array_items,
    unite_arrays,
    write_arrays,
)
from dreamdb_arrow.tracks.constants import read_array_constant, write_array_constant

TIMELINE = address_of(b"timeline")
OF = ItemType(DENSE, "u16", (2,))
EVENT = "array.u16.kind=event.storage=unbucketed.shape=2.item=d"
BATCH = "array.u16.kind=continuous.storage=time_batch.shape=2.item=d"
BOTH = pytest.mark.parametrize("modality", [EVENT, BATCH])


def empty(modality: str) -> Track:
    return Track(EMPTY_COVERAGE, modality, TIMELINE, [])


def extend(store, track: Track, anchors: list[int], values: list[list[int]]) -> Track:
    batch = Batch(store)
    items = DenseItems(np.array(values, "u2").reshape(-1, 2))
    written = write_arrays(store, batch, track, OF, np.array(anchors, np.int64), items)
    batch.flush()
    return written.track


def shown(store, track: Track) -> dict[int, list[int]]:
    items = read_array_items(store, track)
    values = fetch_arrays(store, track, OF, items).values.tolist()
    return dict(zip(items.anchors.tolist(), values, strict=True))


@BOTH
def test_what_is_written_is_read(modality):
    store = MemoryStore()
    track = extend(store, empty(modality), [5, 2, 9], [[1, 2], [3, 4], [1, 2]])
    assert shown(store, track) == {2: [3, 4], 5: [1, 2], 9: [1, 2]}
    assert track.coverage == (2, 10)
    more = extend(store, track, [1, 20], [[7, 7], [8, 8]])
    assert shown(store, more) == {1: [7, 7], 2: [3, 4], 5: [1, 2], 9: [1, 2], 20: [8, 8]}
    assert more.coverage == (1, 21)
    assert extend(store, more, [], []) == more


def test_entries_are_as_the_reference_has_them():
    store = MemoryStore()
    payload = address_of(b"\1\0\2\0")
    track = extend(store, empty(EVENT), [1000], [[1, 2]])
    assert track.object_index == [[bytes(payload), 1000]]
    path = f"{TIMELINE}/{EVENT}/00000000000003e8/{payload}"
    assert store.get(path) == b"\1\0\2\0"
    assert store.get(f"bao-outboard/{payload}") == b"\4" + bytes(7)
    batched = extend(store, empty(BATCH), [1000], [[1, 2]])
    assert batched.object_index == [[1000, 1001, 1000, bytes(payload)]]


@BOTH
def test_a_new_item_takes_the_place_of_an_old_one(modality):
    store = MemoryStore()
    track = extend(store, empty(modality), [5, 7], [[1, 2], [7, 7]])
    assert extend(store, track, [5], [[1, 2]]) == track
    more = extend(store, track, [5, 6], [[3, 4], [5, 6]])
    assert shown(store, more) == {5: [3, 4], 6: [5, 6], 7: [7, 7]}
    assert len(more.object_index) == 3


@BOTH
def test_unions_have_one_item_an_anchor(modality):  # 0008-R7
    store = MemoryStore()
    ours = extend(store, empty(modality), [1, 5, 7], [[1, 1], [1, 2], [7, 7]])
    theirs = extend(store, empty(modality), [5, 7, 9], [[3, 4], [7, 7], [9, 9]])
    assert have_rival_arrays(store, ours, theirs)
    assert not have_rival_arrays(store, ours, extend(store, empty(modality), [5, 8], [[1, 2], [8, 8]]))
    assert not have_rival_arrays(store, ours, extend(store, empty(modality), [8], [[8, 8]]))
    united = replace(ours, object_index=unite_arrays(store, Batch(store), (ours, theirs)))
    assert shown(store, united) == {1: [1, 1], 5: [3, 4], 7: [7, 7], 9: [9, 9]}


def test_big_unions_are_paged():
    store, track, _ = many(EVENT, 27_000)
    batch = Batch(store)
    index = unite_arrays(store, batch, (track, extend(store, empty(EVENT), [5], [[1, 2]])))
    batch.flush()
    assert index["total_items"] == 27_001
    assert read_array_items(store, replace(track, object_index=index)).anchors[0] == 5


def test_of_two_items_at_one_anchor_the_last_shows():  # 0001-R17
    store = MemoryStore()
    track = extend(store, empty(EVENT), [5, 6], [[1, 2], [3, 4]])
    (first, _), (second, _) = track.object_index
    extend(store, empty(EVENT), [5], [[3, 4]])
    twice = replace(track, object_index=[[first, 5], [second, 5]])
    assert shown(store, twice) == {5: [3, 4]}


def test_anchors_that_nobody_can_see_stay_in_the_track():  # 0003-R2
    store = MemoryStore()
    track = extend(store, empty(EVENT), [5], [[1, 2]])
    far = [track.object_index[0][0], (1 << 63) + 5]
    wide = replace(track, object_index=[*track.object_index, far], coverage=(5, (1 << 63) + 6))
    assert shown(store, wide) == {5: [1, 2]}
    assert extend(store, wide, [6], [[1, 2]]).object_index[-1] == far


def many(modality: str, count: int) -> tuple[MemoryStore, Track, ArrayEntries]:
    store = MemoryStore()
    anchors = (10**18 + 7 * np.arange(count)).astype(np.uint64)
    addresses = np.frombuffer(b"".join(address_of(b"%d" % i) for i in range(count)), np.uint8)
    entries = ArrayEntries(anchors, addresses.reshape(-1, 33))
    batch = Batch(store)
    track = place_array_entries(batch, empty(modality), entries, anchors)
    batch.flush()
    return store, track, entries


@BOTH
def test_a_track_beyond_a_mebibyte_is_paged(modality):  # 0007-R1, 0007-R6
    store, track, entries = many(modality, 27_000)
    assert track.object_index["form"] == "paged"
    assert track.object_index["total_items"] == 27_000
    assert track.object_index["tree_height"] == 2
    found, keys = read_array_entries(store, track)
    assert np.array_equal(found.anchors, entries.anchors)
    assert np.array_equal(keys, entries.anchors)
    assert np.array_equal(found.addresses, entries.addresses)
    pages = [store.get(path) for path in store.list("") if "/index/" in path]
    assert max(map(len, pages)) <= 16_384
    items = read_array_items(store, track)
    assert isinstance(items, ArrayItems)
    assert len(items) == 27_000


def test_a_paged_track_takes_more():
    store, track, _ = many(EVENT, 30_000)
    more = extend(store, track, [5], [[1, 2]])
    assert more.object_index["total_items"] == 30_001
    assert len(encode_track(more)) < 1000
    items = read_array_items(store, more)
    assert items.anchors[0] == 5
    assert fetch_arrays(store, more, OF, items.take(slice(1))).values.tolist() == [[1, 2]]


def test_three_levels():
    store, track, entries = many(EVENT, 27_000)
    root = decode_cbor(store.get(f"{TIMELINE}/{EVENT}/index/{Address(track.object_index['root'])}"))
    first, rest = root["entries"][:1], root["entries"][1:]
    directory = f"{TIMELINE}/{EVENT}/index"
    batch = Batch(store)
    nodes = []
    for part in (first, rest):
        t_min, t_max = part[0][0], part[-1][1]
        page = encode_cbor(root | {"entries": part, "t_min": t_min, "t_max": t_max})
        nodes.append([t_min, t_max, bytes(batch.add(directory, page)), sum(e[3] for e in part)])
    top = batch.add(directory, encode_cbor(root | {"entries": nodes}))
    batch.flush()
    told = track.object_index | {"root": bytes(top), "tree_height": 3}
    deeper = replace(track, object_index=told | {"page_count": told["page_count"] + 2})
    assert np.array_equal(read_array_entries(store, deeper)[0].anchors, entries.anchors)
    with pytest.raises(LayoutError, match="says"):
        read_array_entries(store, replace(track, object_index=told))


@pytest.mark.parametrize(
    "index",
    [
        [[1]],
        [[bytes(33), 5]],
        [[b"\x1e" + bytes(32)]],
        [[b"\x1e" + bytes(32), -1]],
        [[b"\x1e" + bytes(32), 1 << 64]],
        [[b"\x1e" + bytes(32), "5"]],
        [[b"\x1e" + bytes(32), 5, 6]],
        [(b"\x1e" + bytes(32), 5), None],
        "text",
        7,
        None,
    ],
    ids=str,
)
def test_indexes_that_are_refused(index):
    with pytest.raises(LayoutError):
        read_array_items(MemoryStore(), replace(empty(EVENT), object_index=index))


def test_batches_that_are_refused():
    name = b"\x1e" + bytes(32)
    for row in ([5, 6, 5, name, False], [5, 6, 5, name, False, 0], [6, 5, 5, name], [name, 5]):
        with pytest.raises(LayoutError):
            read_array_items(MemoryStore(), replace(empty(BATCH), object_index=[row]))


def test_forms_that_are_not_supported():
    with pytest.raises(UnsupportedError, match="form"):
        read_array_items(MemoryStore(), replace(empty(EVENT), object_index={"form": "tree"}))
    with pytest.raises(UnsupportedError, match="no items"):
        read_array_items(MemoryStore(), empty("array.u16.kind=constant.storage=constant.shape=2.item=d"))


def test_every_flipped_bit_of_a_leaf_is_refused_or_canonical():  # 0000-R2
    names = np.frombuffer(address_of(b"a") + address_of(b"b"), np.uint8).reshape(2, 33)
    page = encode_array_leaf(EVENT, ArrayEntries(np.array([1000, 1300], np.uint64), names))
    assert len(decode_array_page(page, EVENT)) == 2
    for at in range(len(page) * 8):
        changed = page[: at // 8] + bytes([page[at // 8] ^ 1 << at % 8]) + page[at // 8 + 1 :]
        try:
            found = decode_array_page(changed, EVENT)
        except CorruptDataError:
            continue
        kept = decode_cbor(changed)
        assert encode_cbor(kept) == changed
        assert [a - kept["t_min"] for a in found.anchors.tolist()] == [e[1] for e in kept["entries"]]
    for size in range(len(page)):
        with pytest.raises(CorruptDataError):
            decode_array_page(page[:size], EVENT)


def test_leaves_that_are_refused():
    name = bytes(address_of(b"a"))
    good = {"type": "leaf", "t_min": 5, "t_max": 6, "entries": [[name, 0]], "modality": EVENT}
    assert decode_array_page(encode_cbor(good), EVENT).anchors.tolist() == [5]
    for change in (
        {"modality": BATCH},
        {"entries": []},
        {"t_max": 4},
        {"t_min": (1 << 64) - 1, "t_max": (1 << 64) - 1, "entries": [[name, 1]]},
        {"type": "twig"},
    ):
        with pytest.raises(LayoutError):
            decode_array_page(encode_cbor(good | change), EVENT)


def test_altered_payloads_are_refused():  # 0002-R3
    store = MemoryStore()
    track = extend(store, empty(EVENT), [5], [[1, 2]])
    path = f"{array_directory(track, 5)}/{address_of(bytes([1, 0, 2, 0]))}"
    store.delete(path)
    store.put(path, b"\1\0\2\1")
    with pytest.raises(DigestMismatchError):
        shown(store, track)


def test_payloads_of_another_type_are_refused():
    store = MemoryStore()
    track = extend(store, empty(EVENT), [5], [[1, 2]])
    with pytest.raises(LayoutError, match="bytes"):
        fetch_arrays(store, track, replace(OF, dtype="u32"), read_array_items(store, track))


def test_constants():
    store = MemoryStore()
    batch = Batch(store)
    modality = "array.u16.kind=constant.storage=constant.shape=2.item=d"
    written = write_array_constant(batch, TIMELINE, modality, OF, DenseItems(np.array([[3, 4]], "u2")))
    batch.flush()
    assert written.track.coverage == (0, (1 << 64) - 1)
    assert store.get(f"{TIMELINE}/{modality}/{written.payloads[0]}") == b"\3\0\4\0"
    assert read_array_constant(store, written.track, OF).values.tolist() == [[3, 4]]
    with pytest.raises(LayoutError, match="one payload"):
        read_array_constant(store, replace(written.track, object_index=[]), OF)
