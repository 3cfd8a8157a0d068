"""Media Tracks: plain, packed and chunked items, written, read and fetched; duplicates; what is refused."""

from bisect import bisect
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.errors import (
    CorruptDataError,
    DigestMismatchError,
    InvalidInputError,
    LayoutError,
    UnsupportedError,
)
from dreamdb_arrow.objects.media_items import Chunk, encode_items, items_object_of
from dreamdb_arrow.objects.track import Track, encode_track
from dreamdb_arrow.store.batch import OUTBOARDS, Batch
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks import media_bytes, placing
from dreamdb_arrow.tracks.layout import items_directory, payload_directory
from dreamdb_arrow.tracks.media import pack_media, read_media_items, write_media
from dreamdb_arrow.tracks.media_bytes import fetch_media

TIMELINE = address_of(b"a timeline")
PNG = "image.png"
EMPTY = Track((0, 1), PNG, TIMELINE, [])
T0 = 1_700_000_000_000_000_000
WAYS = st.sampled_from([{}, {"pack_items": 1}, {"pack_items": 3}, {"chunk_size": 4}])


def append(store, track, rows, **way):
    batch = Batch(store)
    anchors = np.array([anchor for anchor, _ in rows], np.int64)
    items = pack_media(batch, TIMELINE, PNG, anchors, [blob for _, blob in rows], **way)
    written = write_media(store, batch, track, items)
    batch.flush()
    return written


def as_dict(store, track, known=frozenset()):
    items = read_media_items(store, track, known=known)
    blobs = fetch_media(store, TIMELINE, PNG, items, np.arange(len(items))).tolist()
    return dict(zip(items.anchors.tolist(), blobs, strict=True))


@given(
    st.lists(
        st.tuples(WAYS, st.lists(st.tuples(st.integers(T0, T0 + 20), st.binary(max_size=12)), max_size=8)),
        max_size=5,
    ),
    st.booleans(),
)
def test_what_was_written_is_read(appends, paged):  # 0001-R17, 0007-R3
    with pytest.MonkeyPatch.context() as patch:
        if paged:
            patch.setattr(placing, "INLINE_BYTES_MAX", 0)
        store, track, model, payloads = MemoryStore(), EMPTY, {}, set()
        for way, rows in appends:
            written = append(store, track, rows, **way)
            track = written.track
            payloads |= set(written.payloads)
            model |= dict(rows)
    assert isinstance(track.object_index, dict) == (paged and bool(model))
    assert as_dict(store, track) == model
    assert as_dict(store, track, frozenset(payloads)) == {}
    if model:
        assert track.coverage == (min(model), max(model) + 1)


def test_the_example_of_the_wire_document():
    store = MemoryStore()
    track = append(store, EMPTY, [(T0, b"AB"), (T0 + 1, b"CDE")], pack_items=8).track
    pack = address_of(b"ABCDE")
    assert str(pack) == "dzqsoqtyfcpj6yrt342kxm4svl7ah3t45hlxcz7tvdm43ynntbq4a"
    assert track.object_index == [
        [T0, T0 + 1, 2, pack, False, 0],
        [T0 + 1, T0 + 2, 3, pack, False, 2],
    ]
    assert store.exists(f"{payload_directory(TIMELINE, PNG)}/{pack}")
    assert store.exists(f"{OUTBOARDS}/{pack}")


def test_packs_are_of_one_size_but_the_last():
    store = MemoryStore()
    written = append(store, EMPTY, [(T0 + n, b"%d" % n) for n in range(8)], pack_items=3)
    packs = [store.get(f"{payload_directory(TIMELINE, PNG)}/{name}") for name in written.payloads]
    assert packs == [b"012", b"345", b"67"]
    items = read_media_items(store, written.track)
    assert items.offsets.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert items.packed.all()
    assert fetch_media(store, TIMELINE, PNG, items, np.array([7, 0, 0])).tolist() == [b"7", b"0", b"0"]


def test_a_pack_is_fetched_once(monkeypatch):
    store = MemoryStore()
    track = append(store, EMPTY, [(T0 + n, b"%d" % n) for n in range(9)], pack_items=9).track
    items, fetched, plain = read_media_items(store, track), [], media_bytes.fetch
    monkeypatch.setattr(media_bytes, "fetch", lambda s, *what: fetched.append(what) or plain(s, *what))
    assert len(fetch_media(store, TIMELINE, PNG, items, np.arange(9))) == 9
    assert len(fetched) == 1


@pytest.mark.parametrize(("blob", "sizes"), [(b"x" * 10, [4, 4, 2]), (b"xxxx", [4]), (b"", [0])])
def test_chunks(blob, sizes):
    store = MemoryStore()
    written = append(store, EMPTY, [(T0, blob)], chunk_size=4)
    chunks = tuple(Chunk(address_of(blob[4 * n : 4 * n + s]), s) for n, s in enumerate(sizes))
    expected = encode_items(items_object_of(chunks))
    assert written.track.object_index == [[T0, T0 + 1, len(blob), address_of(expected), True]]
    assert store.get(f"{items_directory(TIMELINE, PNG)}/{address_of(expected)}") == expected
    assert not list(store.list(OUTBOARDS))
    assert as_dict(store, written.track) == {T0: blob}


def test_fragments_keep_their_end_and_what_nobody_can_see_is_left_out():  # 0003-R2
    pack = bytes(address_of(b"AB"))
    index = [[T0, T0 + 2_000_000_000, 2, pack], [2**63 - 2, 2**64 - 1, 2, pack], [2**63 - 1, 2**63, 2, pack]]
    items = read_media_items(MemoryStore(), replace(EMPTY, object_index=index))
    assert items.anchors.tolist() == [T0, 2**63 - 2]
    assert items.stops.tolist() == [T0 + 2_000_000_000, 2**63 - 1]
    assert [bytes(address) for address in items.addresses] == [pack, pack]


def test_entries_that_nobody_can_see_are_kept():
    hidden = [2**64 - 2, 2**64 - 1, 2, bytes(address_of(b"AB"))]
    track = append(MemoryStore(), replace(EMPTY, object_index=[hidden]), [(T0, b"x")]).track
    assert track.object_index[-1] == hidden


def test_the_later_entry_counts_even_when_it_is_known():  # 0001-R17, 0007-R3
    store = MemoryStore()
    first = append(store, EMPTY, [(T0, b"old")])
    second = append(store, first.track, [(T0, b"new")])
    assert as_dict(store, second.track) == {T0: b"new"}
    assert as_dict(store, second.track, frozenset(second.payloads)) == {}


def test_paged_once_a_megabyte_is_passed():  # 0007-R1, 0007-R5
    store, batch = MemoryStore(), Batch(MemoryStore())
    anchors = T0 + np.arange(20_000)
    items = pack_media(batch, TIMELINE, PNG, anchors, [b"x"] * len(anchors), pack_items=20_000)
    most = (
        bisect(
            range(20_000), False, key=lambda count: isinstance(write(store, items, count).object_index, dict)
        )
        - 1
    )
    limit = placing.INLINE_BYTES_MAX
    assert limit - 70 < len(encode_track(write(store, items, most))) <= limit <= 1 << 20
    assert write(store, items, most + 1).object_index["total_items"] == most + 1


def write(store, items, count):
    return write_media(store, Batch(store), EMPTY, items.take(np.arange(count))).track


def test_nothing_to_write():
    written = append(MemoryStore(), EMPTY, [])
    assert (written.track, written.payloads) == (EMPTY, ())
    assert len(read_media_items(MemoryStore(), EMPTY)) == 0


def test_both_ways_at_once():
    with pytest.raises(InvalidInputError):
        append(MemoryStore(), EMPTY, [(T0, b"x")], pack_items=2, chunk_size=2)


@pytest.mark.parametrize("size", [1, 3])
def test_sizes_that_are_wrong(size):  # 0007-R2
    store = MemoryStore()
    for way in ({}, {"chunk_size": 1}, {"pack_items": 9}):
        track = append(store, EMPTY, [(T0, b"AB")], **way).track
        (entry,) = track.object_index
        if way == {"pack_items": 9} and size == 1:
            continue
        with pytest.raises(LayoutError):
            as_dict(store, replace(track, object_index=[[*entry[:2], size, *entry[3:]]]))


def test_a_chunk_of_another_size_than_listed():  # 0007-R2
    store = MemoryStore()
    track = append(store, EMPTY, [(T0, b"ABC")], chunk_size=2).track
    wrong = encode_items(items_object_of((Chunk(address_of(b"AB"), 1), Chunk(address_of(b"C"), 2))))
    store.put(f"{items_directory(TIMELINE, PNG)}/{address_of(wrong)}", wrong)
    with pytest.raises(LayoutError, match="another size"):
        as_dict(store, replace(track, object_index=[[T0, T0 + 1, 3, bytes(address_of(wrong)), True]]))


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ([T0, T0 + 1, 2, bytes(TIMELINE), True, 3], UnsupportedError),
        ([T0, T0 + 1, 2**62, bytes(TIMELINE)], LayoutError),
        ([T0, T0 + 1, 2, bytes(TIMELINE), False, 2**63], LayoutError),
        ([T0, T0 - 1, 2, bytes(TIMELINE)], LayoutError),
    ],
)
def test_entries_that_cannot_be_read(entry, error):
    with pytest.raises(error):
        read_media_items(MemoryStore(), replace(EMPTY, object_index=[entry]))


def test_payloads_that_are_not_their_address():
    for way in ({}, {"pack_items": 2}, {"chunk_size": 2}):
        store = MemoryStore()
        track = append(store, EMPTY, [(T0, b"ABC")], **way).track
        for path in [p for p in store.list() if OUTBOARDS not in p]:
            data = store.get(path)
            store.delete(path)
            store.put(path, data[:-1] + bytes([data[-1] ^ 1]))
            with pytest.raises((DigestMismatchError, CorruptDataError)):
                as_dict(store, track)
            store.delete(path)
            store.put(path, data)


def test_addresses_are_addresses():
    items = pack_media(Batch(MemoryStore()), TIMELINE, PNG, np.array([T0]), [b"x"])
    assert Address(bytes(items.addresses[0])) == address_of(b"x")
    assert items.addresses.shape == (1, 33)


@pytest.mark.parametrize("way", [{}, {"pack_items": 9}])
def test_no_room_is_made_for_what_a_payload_cannot_hold(tmp_path, way):  # 0007-R2
    for store in (MemoryStore(), LocalStore(tmp_path)):
        track = append(store, EMPTY, [(T0, b"AB")], **way).track
        (entry,) = track.object_index
        with pytest.raises(LayoutError, match="another size"):
            as_dict(store, replace(track, object_index=[[*entry[:2], 2**44, *entry[3:]]]))
