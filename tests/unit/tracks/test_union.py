"""Unions of two Tracks: every kind, inline and in pages; shared pages are not read."""

import numpy as np
import pytest

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.columnar.vendor import add_track
from dreamdb_arrow.errors import MergeError, UnsupportedError
from dreamdb_arrow.objects.spatial_index import make_lsh_cosine
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, WHOLE_COVERAGE, Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.kinds import TrackForm, form_of
from dreamdb_arrow.tracks.layout import track_directory
from dreamdb_arrow.tracks.media import pack_media, read_media_items, write_media
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.reach import Reached, is_address, reach_track
from dreamdb_arrow.tracks.scalars import read_scalars, write_scalars
from dreamdb_arrow.tracks.union import Sides, have_rivals, unite_tracks
from dreamdb_arrow.tracks.vectors import iterate_vectors, write_vectors

TIMELINE = Address(address_of(b"timeline"))
INDEX = make_lsh_cosine(2, bytes(32), 4)
INDEX_ADDRESS = Address(address_of(b"index"))
A, B = (Address(address_of(data)) for data in (b"a", b"b"))


def empty(modality):
    return Track(EMPTY_COVERAGE, modality, TIMELINE, [])


def saved(store, write):
    batch = Batch(store)
    written = write(batch)
    batch.flush()
    return written.track


def united(store, ours, theirs, base=None):
    batch = Batch(store)
    track = unite_tracks(store, batch, Sides("x", (ours, theirs), base))
    batch.flush()
    return track


def with_ints(store, track, anchors, values=None):
    given = np.asarray(anchors) if values is None else np.asarray(values)
    return saved(
        store, lambda batch: write_scalars(store, batch, track, "x", "int", np.asarray(anchors), given)
    )


def ints(store, track):
    column = read_scalars(store, track, "int")
    return dict(zip(column.anchors.tolist(), column.values[column.codes].tolist(), strict=True))


def test_a_column_has_the_rows_of_both():  # 0008-R7
    store = MemoryStore()
    base = with_ints(store, empty("scalar.i64.field=x"), range(100))
    ours, theirs = with_ints(store, base, [200, 201]), with_ints(store, base, [300, 5000])
    both = united(store, ours, theirs, base)
    assert ints(store, both) == {a: a for a in (*range(100), 200, 201, 300, 5000)}
    assert both.coverage == (0, 5001)
    assert both.object_index["total_entries"] == 104
    assert united(store, both, theirs) == both
    assert ints(store, united(store, theirs, both)) == ints(store, both)


def test_pages_that_both_have_are_not_read(monkeypatch):
    store = MemoryStore()
    base = with_ints(store, empty("scalar.i64.field=x"), range(60_000))
    ours, theirs = with_ints(store, base, [70_000]), with_ints(store, base, [80_000])
    reads = []
    get = MemoryStore.get
    monkeypatch.setattr(MemoryStore, "get", lambda self, path: reads.append(path) or get(self, path))
    both = united(store, ours, theirs, base)
    assert both.object_index["page_count"] > 15
    assert len(set(reads)) <= 4
    assert both.object_index["total_entries"] == 60_002


def test_two_values_at_one_anchor_both_stay_in_the_order_the_reference_asks_for():  # 0001-R17, 0011-R9
    store = MemoryStore()
    base = with_ints(store, empty("scalar.i64.field=x"), [1])
    for nth in range(8):
        ours = with_ints(store, base, [5, 100 + nth], [7, 7])
        theirs = with_ints(store, base, [5, 50 + nth, 200], [7, 7, 8])
        entries = united(store, ours, theirs, base)
        other = united(store, theirs, ours, base)
        assert entries.object_index == other.object_index
        assert ints(store, entries) == {1: 1, 5: 7, 50 + nth: 7, 100 + nth: 7, 200: 8}


def test_categories_are_united_by_value_and_time():
    store = MemoryStore()
    base = empty("scalar.cat.field=x")

    def add(track, anchors, values):
        return saved(
            store,
            lambda batch: write_scalars(store, batch, track, "x", "categorical", np.array(anchors), values),
        )

    ours, theirs = add(base, [1, 2], ["b", "a"]), add(base, [3], ["a"])
    both = united(store, ours, theirs, base)
    assert [(row[0], row[1]) for row in both.object_index] == [(b"aa", 2), (b"aa", 3), (b"ab", 1)]
    assert united(store, both, ours).object_index == both.object_index


def media(store, track, items, size=1):
    def write(batch):
        anchors = np.array(sorted(items))
        blobs = [items[a] for a in sorted(items)]
        return write_media(store, batch, track, pack_media(batch, TIMELINE, track.modality, anchors, blobs))

    return saved(store, write)


def test_media_are_united_by_time_and_theirs_shows():  # 0001-R17
    store = MemoryStore()
    base = media(store, empty("image.png"), {1: b"one"})
    ours, theirs = (
        media(store, base, {5: b"ours", 9: b"nine"}),
        media(store, base, {5: b"theirs", 7: b"seven"}),
    )
    for left, right, wanted in ((ours, theirs, b"theirs"), (theirs, ours, b"ours")):
        both = united(store, left, right, base)
        assert [row[0] for row in both.object_index] == [1, 5, 5, 7, 9]
        items = read_media_items(store, both)
        assert items.anchors.tolist() == [1, 5, 7, 9]
        assert bytes(items.addresses[1]) == address_of(wanted)
        assert have_rivals(store, left, right)
    assert not have_rivals(store, ours, base)


def test_paged_media_are_united():
    store = MemoryStore()
    base = media(store, empty("image.png"), {a: b"%d" % a for a in range(0, 60_000, 2)})
    ours, theirs = (
        media(store, base, {100_000: b"ours"}),
        media(store, base, {a: b"%d" % a for a in range(1, 9, 2)}),
    )
    both = united(store, ours, theirs, base)
    assert both.object_index["form"] == "paged"
    assert both.object_index["total_items"] == 30_005
    assert read_index(store, both).firsts[:6].tolist() == [0, 1, 2, 3, 4, 5]


# --- cells --------------------------------------------------------------------------------------------------


def vectors(store, track, anchors, rerank=False):
    rows = np.array([[1.0, a] for a in anchors], np.float32)
    return saved(
        store,
        lambda batch: write_vectors(
            store, batch, track, INDEX, INDEX_ADDRESS, np.array(anchors), rows, rerank=rerank
        ),
    )


def held(store, track):
    return sorted(int(a) for block in iterate_vectors(store, track, 2) for a in block.anchors)


@pytest.mark.parametrize("rerank", [False, True])
def test_rows_that_both_flushed_are_there_once(rerank):
    store = MemoryStore()
    base = vectors(store, empty("embedding.f32.dim=2.bucketed"), [1, 2], rerank)
    ours = vectors(store, base, [10, 11, 12, 20], rerank)
    theirs = vectors(store, base, [10, 11, 12, 30], rerank)
    both = united(store, ours, theirs, base)
    assert held(store, both) == [1, 2, 10, 11, 12, 20, 30]
    assert {len(row) for row in both.object_index} == {7 if rerank else 5}
    same = vectors(store, base, [10, 11], rerank)
    assert held(store, united(store, ours, same, base)) == [1, 2, 10, 11, 12, 20]


def test_rivals_in_a_cell_both_stay():
    store = MemoryStore()
    base = empty("embedding.f32.dim=2.bucketed")
    ours = vectors(store, base, [1, 5])

    def write(batch):
        rival = np.array([[1.0, 1.5]], np.float32)
        return write_vectors(store, batch, base, INDEX, INDEX_ADDRESS, np.array([1]), rival)

    assert held(store, united(store, ours, saved(store, write), base)) == [1, 1, 5]


# --- other kinds --------------------------------------------------------------------------------------------

ARRAY = f"array.f32.kind=event.storage=unbucketed.shape=2.item={A}"


def test_arrays_are_united_by_anchor_and_theirs_stays():
    store = MemoryStore()
    ours = Track((1, 4), ARRAY, TIMELINE, [[A, 1], [B, 3]])
    theirs = Track((1, 3), ARRAY, TIMELINE, [[A, 1], [A, 2], [A, 3]])
    both = united(store, ours, theirs)
    assert both.object_index == [[A, 1], [A, 2], [A, 3]]
    assert both.coverage == (1, 4)


def test_an_empty_side_gives_way():
    store = MemoryStore()
    one = with_ints(store, empty("scalar.i64.field=x"), [1])
    none = empty("scalar.i64.field=x")
    assert united(store, one, none) is one
    assert united(store, none, one) is one


@pytest.mark.parametrize(
    ("ours", "theirs", "error", "match"),
    [
        (
            Track(WHOLE_COVERAGE, "title.text", TIMELINE, [A]),
            [B],
            MergeError,
            "constant 'x' has another value",
        ),
        (
            Track((0, 9), "embedding.f32.dim=2.graph.r=4.field=x", TIMELINE, [[A]]),
            [[B]],
            UnsupportedError,
            "changed on both",
        ),
        (
            Track((0, 9), "org.acme.ext.blob.v1", TIMELINE, [[A, 1]]),
            [[B, 2]],
            UnsupportedError,
            "changed on both",
        ),
        (
            Track(
                (0, 9),
                "scalar.i64.field=x",
                TIMELINE,
                {"form": "hot-overlay-v1", "hot_shard": A, "base_track": B},
            ),
            [],
            UnsupportedError,
            r"call flush_hot\(\) with the SDK that wrote them",
        ),
        (
            Track((0, 9), "scalar.i64.field=x", TIMELINE, {"form": "other"}),
            {"form": "else"},
            UnsupportedError,
            "both sides",
        ),
    ],
)
def test_what_cannot_be_united_is_refused(ours, theirs, error, match):
    store = MemoryStore()
    other = Track(ours.coverage, ours.modality, TIMELINE, theirs)
    with pytest.raises(error, match=match):
        united(store, ours, other)
    assert list(store.list()) == []


def test_other_modalities_and_init_segments_are_refused():
    store = MemoryStore()
    with pytest.raises(MergeError, match=r"is image\.png on one side, image\.jpeg on the other"):
        united(store, empty("image.png"), empty("image.jpeg"))
    tracks = [Track((0, 9), "video.h264", TIMELINE, [[0, 9, 1, A]], init_segment=a) for a in (A, B)]
    with pytest.raises(MergeError, match="different init segments"):
        united(store, *tracks)


# --- forms and reach ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modality", "index", "form"),
    [
        ("scalar.i64.field=x", [], TrackForm.BTREE),
        ("scalar.i64.field=x", [[b"\x01", 0, 1, A]], TrackForm.OTHER),
        ("scalar.bool.field=x", [[b"\xf5", 0, 1, A]], TrackForm.LIST),
        ("image.png", {"form": "paged"}, TrackForm.FRAGMENTS),
        ("image.png", {"form": "paged-v2"}, TrackForm.OTHER),
        ("embedding.f32.dim=2.bucketed.multivec.maxtokens=4", [], TrackForm.CELLS),
        ("org.acme.ext.blob.v1", [[0, 1, 2, A]], TrackForm.FRAGMENTS),
        ("org.acme.ext.blob.v1", [A], TrackForm.OTHER),
        ("ai.dreamlake.media.video_item.h264.version=1", [[0, 1, 2, A]], TrackForm.OTHER),
        ("sensor.imu", [[0, 1, 2, A]], TrackForm.OTHER),
    ],
)
def test_the_form_follows_from_modality_and_index(modality, index, form):
    assert form_of(Track((0, 1), modality, TIMELINE, index)) is form


def reached(store, track):
    batch = Batch(store)
    address = add_track(batch, track)
    batch.flush()
    found = Reached()
    reach_track(store, f"{track_directory(TIMELINE, track.modality)}/{address}", address, found)
    return found.live


def test_everything_that_was_written_is_reached():  # 0008-R13
    for make in (
        lambda store: with_ints(store, empty("scalar.i64.field=x"), range(20_000)),
        lambda store: media(store, empty("image.png"), {a: b"%d" % a for a in range(20_000)}),
        lambda store: vectors(store, empty("embedding.f32.dim=2.bucketed"), range(50), rerank=True),
    ):
        store = MemoryStore()
        live = reached(store, make(store))
        stored = {path.rpartition("/")[2] for path in store.list()}
        assert {str(address) for address in live} == stored


def test_lists_of_user_modalities_are_reached_and_those_of_the_reference_refused():
    store = MemoryStore()
    assert {A, B} <= set(reached(store, Track((0, 9), "org.acme.ext.blob.v1", TIMELINE, [[A, 1], [B, 2]])))
    assert {A} <= set(reached(store, Track((0, 9), "org.acme.ext.blob.v1", TIMELINE, [A])))
    for track in (
        Track((0, 9), "ai.dreamlake.media.video_item.h264.version=1", TIMELINE, [[0, 1, 2, A]]),
        Track((0, 9), "org.acme.ext.blob.v1", TIMELINE, {"form": "unheard of"}),
        Track((0, 9), "image.png", TIMELINE, [[0, 1, 2, A]], item_key_index={"root": A}),
    ):
        with pytest.raises(UnsupportedError, match="collect with the SDK that wrote them"):
            reached(store, track)
    assert not is_address(b"\x1f" + bytes(32))
