from dataclasses import replace

import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.geometry_item import GeometryItem, GeometryPart, encode_geometry_item
from dreamdb_arrow.objects.track import GEOMETRY_KEY, Track
from dreamdb_arrow.objects.video_item import VideoFragment, VideoItem, encode_video_item
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.blobs import fetch_blobs, read_blobs

TIMELINE = address_of(b"timeline")
VIDEOS = "ai.dreamlake.media.video_item.h264.version=1"
POINTS = "ai.dreamlake.spatial.geometry.point"
MINUTE = 60 * 10**9
ZERO = "0" * 16


def put(store, directory, data):
    address = address_of(data)
    store.put(f"{directory}/{address}", data)
    return address


def everything(store, track, kind):
    items = read_blobs(store, track, kind)
    blobs = fetch_blobs(store, TIMELINE, track.modality, kind, items, np.arange(len(items))).tolist()
    return dict(zip(items.anchors.tolist(), blobs, strict=True)), items


# ---------------------------------------------------------------- fragments


def fragments(store, starts, *, init=True, last=10):
    entries = []
    for start in starts:
        data = b"fragment %d" % start
        address = put(store, f"{TIMELINE}/video.h264/{start // MINUTE:016x}", data)
        entries.append([start, start + last, len(data), address])
    name = put(store, f"{TIMELINE}/video.h264/init", b"init") if init else None
    return Track((0, 2**62), "video.h264", TIMELINE, entries, init_segment=name)


@pytest.mark.parametrize("init", [True, False])
def test_fragments_lie_by_the_minute(init):  # 0007-R2
    store = MemoryStore()
    starts = [0, MINUTE - 1, MINUTE, 28333333 * MINUTE + 5, 2**62]
    rows, items = everything(store, fragments(store, starts, init=init), "video")
    assert rows == {start: b"fragment %d" % start for start in starts}
    assert (items.stops - items.anchors == 10).all()


def test_whole_media_beside_fragments():
    """What the reference appends to a Track of fragments lies where all media do."""
    store = MemoryStore()
    track = fragments(store, [3 * MINUTE], init=False)
    address = put(store, f"{TIMELINE}/video.h264/{ZERO}", b"whole")
    mixed = replace(track, object_index=[*track.object_index, [9 * MINUTE, 9 * MINUTE + 1, 5, address]])
    assert everything(store, mixed, "video")[0] == {
        3 * MINUTE: b"fragment %d" % (3 * MINUTE),
        9 * MINUTE: b"whole",
    }


def test_a_fragment_of_another_size_is_refused():  # 0007-R2
    store = MemoryStore()
    track = fragments(store, [MINUTE])
    track.object_index[0][2] += 1
    with pytest.raises(LayoutError, match="its index says"):
        everything(store, track, "video")


# ---------------------------------------------------------------- videos


def video_track(store, index, coverage=(100, 200)):
    return Track(coverage, VIDEOS, TIMELINE, index, item_key_index=[])


def put_video(store, *, offset=None):
    init = put(store, f"{TIMELINE}/{VIDEOS}/init", b"init ")
    data = b"one two" if offset is None else b"xx" * offset + b"one two"
    part = put(store, f"{TIMELINE}/{VIDEOS}/{ZERO}", data)
    parts = [VideoFragment(0, 5, 7, part, None if offset is None else 2 * offset)]
    item = VideoItem(init, 9, VIDEOS, tuple(parts))
    return put(store, f"{TIMELINE}/{VIDEOS}/video-item", encode_video_item(item))


@pytest.mark.parametrize("offset", [None, 0, 3])
def test_a_video_is_its_init_and_its_fragments(offset):
    store = MemoryStore()
    name = put_video(store, offset=offset)
    rows, items = everything(
        store, video_track(store, [[0, 9, b"k", name], [20, 9, b"l", name]]), "video_item"
    )
    assert rows == {100: b"init one two", 120: b"init one two"}
    assert items.stops.tolist() == [109, 129]


def video_page(store, name, number, kind="leaf", entries=None, **changes):
    plain = {"type": kind, "t_min": number * 10, "t_max": number * 10 + 9, "modality": VIDEOS}
    rows = [[0, 9, b"k%d" % number, name]] if entries is None else entries
    return put(store, f"{TIMELINE}/{VIDEOS}/index", encode_cbor({**plain, "entries": rows, **changes}))


def paged(store, leaves, root=None, **changes):
    entries = [[n * 10, n * 10 + 9, leaf, 1] for n, leaf in enumerate(leaves)]
    top = root or video_page(store, None, 0, "internal", entries, t_max=10 * len(leaves) - 1)
    index = {
        "form": "paged",
        "root": top,
        "fanout": len(leaves),
        "page_count": len(leaves) + 1,
        "total_items": len(leaves),
        "tree_height": 2,
    }
    return video_track(store, index | changes)


def test_videos_in_pages():  # 0007-R4
    store = MemoryStore()
    name = put_video(store)
    track = paged(store, [video_page(store, name, n) for n in range(3)])
    rows, _ = everything(store, track, "video_item")
    assert rows == dict.fromkeys([100, 110, 120], b"init one two")


@pytest.mark.parametrize(
    "changes",
    [{"total_items": 2}, {"page_count": 9}, {"tree_height": 1}, {"tree_height": 3}, {"tree_height": 0}],
)
def test_pages_of_videos_that_are_not_what_the_track_says(changes):  # 0007-R4
    store = MemoryStore()
    name = put_video(store)
    track = paged(store, [video_page(store, name, n) for n in range(3)], **changes)
    with pytest.raises(LayoutError):
        read_blobs(store, track, "video_item")


def test_pages_of_videos_that_are_not_what_their_parent_says():  # 0007-R4
    store = MemoryStore()
    name = put_video(store)
    track = paged(store, [video_page(store, name, 0), video_page(store, name, 1, t_max=25)])
    with pytest.raises(LayoutError, match="parent"):
        read_blobs(store, track, "video_item")


def test_pages_of_videos_that_overlap():
    store = MemoryStore()
    name = put_video(store)
    track = paged(
        store, [video_page(store, name, 0, entries=[[0, 19, b"k", name]]), video_page(store, name, 1)]
    )
    with pytest.raises(LayoutError, match="overlap"):
        read_blobs(store, track, "video_item")


def test_an_index_of_videos_of_another_form():  # 0000-R4
    with pytest.raises(UnsupportedError, match="'striped'"):
        read_blobs(MemoryStore(), video_track(None, {"form": "striped"}), "video_item")


# ---------------------------------------------------------------- geometry


def geometry_track(*entries):
    return Track((0, 9), POINTS, TIMELINE, list(entries), index_key=GEOMETRY_KEY)


def put_geometry(store, *sizes, data=b"0123456789" * 3):
    block = put(store, "geometry-data", data)
    parts = tuple(GeometryPart(n, (size // 10,), block, 10 * n, size) for n, size in enumerate(sizes))
    item = GeometryItem("point", "m", 1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), parts)
    return put(store, "geometry-item", encode_geometry_item(item))


def test_geometry_is_its_records():
    store = MemoryStore()
    track = geometry_track([3, put_geometry(store, 10, 10), 99], [5, put_geometry(store), 88])
    assert everything(store, track, "geometry")[0] == {3: b"0123456789" * 2, 5: b""}


def test_values_that_would_fill_the_memory():  # 0000-R2
    """Parts that are listed over and over: the objects stay small, the value does not."""
    store = MemoryStore()
    block = put(store, "geometry-data", bytes(10))
    parts = tuple(GeometryPart(n, (1 << 28,), block, 0, 10 << 28) for n in range(3))
    item = GeometryItem("point", "m", 2, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), parts)
    name = put(store, "geometry-item", encode_geometry_item(item))
    with pytest.raises(LayoutError, match="together"):
        everything(store, geometry_track([3, name, 99]), "geometry")
    fragments = tuple(VideoFragment(n, 1, 1 << 31, block) for n in range(3))
    video = VideoItem(block, 9, VIDEOS, fragments)
    name = put(store, f"{TIMELINE}/{VIDEOS}/video-item", encode_video_item(video))
    with pytest.raises(LayoutError, match="together"):
        everything(store, video_track(store, [[0, 9, b"k", name]]), "video_item")


def test_geometry_beyond_its_data():
    store = MemoryStore()
    with pytest.raises(LayoutError, match="beyond"):
        everything(store, geometry_track([3, put_geometry(store, 10, 30), 99]), "geometry")


def test_a_track_without_geometry():
    with pytest.raises(LayoutError, match="'items'"):
        read_blobs(MemoryStore(), Track((0, 9), POINTS, TIMELINE, []), "geometry")
