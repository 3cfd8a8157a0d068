import struct
from dataclasses import replace

import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import CorruptDataError, LayoutError
from dreamdb_arrow.objects.geometry_item import (
    GeometryItem,
    GeometryPart,
    decode_geometry_entries,
    decode_geometry_item,
    encode_geometry_item,
)
from dreamdb_arrow.objects.video_item import (
    VideoEntry,
    VideoFragment,
    VideoItem,
    VideoLeaf,
    VideoNode,
    decode_video_entries,
    decode_video_item,
    decode_video_page,
    encode_video_item,
)

A, B = address_of(b"a"), address_of(b"b")
MODALITY = "ai.dreamlake.media.video_item.h264.version=1"
VIDEO = VideoItem(A, 100, MODALITY, (VideoFragment(0, 40, 128, B), VideoFragment(50, 50, 9, A, 128)))
CLOUD = GeometryItem(
    "point",
    "mm",
    1,
    (0.0, -1.5, 2.0),
    (1.0, 0.5, 1.0),
    (GeometryPart(0, (2,), A, 0, 20), GeometryPart(7, (1,), A, 20, 10)),
)
MESH = replace(
    CLOUD,
    family="mesh",
    depth=0,
    parts=(GeometryPart(3, (3, 1), A, 0, 30), GeometryPart(0, (4, 2), B, 0, 48)),
)


def corrupted(data):
    yield from (
        data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        for at in range(len(data))
        for bit in range(8)
    )
    yield from (data[:at] for at in range(len(data)))


@pytest.mark.parametrize(
    ("item", "encode", "decode"),
    [
        (VIDEO, encode_video_item, decode_video_item),
        (replace(VIDEO, fragments=()), encode_video_item, decode_video_item),
        (CLOUD, encode_geometry_item, decode_geometry_item),
        (MESH, encode_geometry_item, decode_geometry_item),
        (replace(CLOUD, family="splat", parts=()), encode_geometry_item, decode_geometry_item),
    ],
    ids=["video", "no fragments", "points", "mesh", "splats"],
)
def test_there_and_back_and_no_byte_may_change(item, encode, decode):  # 0002-R8
    data = encode(item)
    assert decode(data) == item
    for other in corrupted(data):
        try:
            decoded = decode(other)
        except CorruptDataError:
            continue
        assert encode(decoded) == other


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"extra": 1},
        {"modality": "../x"},
        {"duration": 99},
        {"duration": -1},
        {"init": b""},
        {"fragments": [[0, 40, 128, B, False]]},
        {"fragments": [[0, 40, 128, B, True, 5]]},
        {"fragments": [[0, 40, 128]]},
        {"fragments": [[0, 40, 128, B], [39, 1, 1, B]]},
        {"fragments": [[0, 101, 128, B]]},
        {"fragments": [5]},
    ],
    ids=repr,
)
def test_no_video_item(changes):  # 0000-R1, 0000-R3
    value = decode_cbor(encode_video_item(VIDEO))
    with pytest.raises(LayoutError):
        decode_video_item(encode_cbor(value | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 0},
        {"depth": 17},
        {"family": "voxel"},
        {"family": "mesh"},
        {"family": "splat"},
        {"units": 1},
        {"step_f64le": bytes(23)},
        {"origin_f64le": struct.pack("<3d", 0, float("inf"), 0)},
        {"index": {"form": "cells-v2", "cells": []}},
        {"index": {"form": "cells-v1"}},
        {"index": {"form": "cells-v1", "cells": [[0, 2, A, 0]]}},
        {"index": {"form": "cells-v1", "cells": [[0, 2, A, 0, 21]]}},
        {"index": {"form": "cells-v1", "cells": [[1, 0, A, 0, 0], [1, 0, A, 0, 0]]}},
    ],
    ids=repr,
)
def test_no_geometry_item(changes):  # 0000-R1, 0000-R3
    value = decode_cbor(encode_geometry_item(CLOUD))
    with pytest.raises(LayoutError):
        decode_geometry_item(encode_cbor(value | changes))


@pytest.mark.parametrize("level", [[0, 3, 1, A], [0, 3, 1, A, 29], [0, -3, 1, A, 30]], ids=repr)
def test_no_level_of_a_mesh(level):
    value = decode_cbor(encode_geometry_item(MESH))
    with pytest.raises(LayoutError):
        decode_geometry_item(encode_cbor(value | {"index": {"form": "mesh-lods-v1", "levels": [level]}}))


def test_entries_of_videos_are_relative():
    assert decode_video_entries([[0, 5, b"k", A], [7, 3, b"", B]], 100) == (
        VideoEntry(100, 5, b"k", A),
        VideoEntry(107, 3, b"", B),
    )


@pytest.mark.parametrize(
    "entries",
    [
        [[0, 5, b"k"]],
        [[0, 5, "k", A]],
        [[0, 5, b"k", b"x"]],
        [[0, 0, b"k", A]],
        [[0, 5, b"k", A], [4, 5, b"l", A]],
        [[5, 5, b"k", A], [0, 5, b"l", A]],
        {},
        [1],
    ],
    ids=repr,
)
def test_no_entries_of_videos(entries):
    with pytest.raises(LayoutError):
        decode_video_entries(entries)


def page(**changes):
    plain = {"type": "leaf", "t_min": 10, "t_max": 20, "entries": [[0, 5, b"k", A]], "modality": MODALITY}
    return encode_cbor(plain | changes)


def test_pages_of_videos():
    leaf = decode_video_page(page(), MODALITY)
    assert leaf == VideoLeaf(10, 20, (VideoEntry(10, 5, b"k", A),))
    node = decode_video_page(page(type="internal", entries=[[0, 9, A, 3]]), MODALITY)
    assert isinstance(node, VideoNode)
    assert [(c.t_min, c.t_max, c.address, c.count) for c in node.children] == [(0, 9, A, 3)]


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "root"},
        {"modality": "image.png"},
        {"level": 0},
        {"t_min": -1},
        {"type": "internal"},
        {"type": "internal", "entries": [[0, 9, A]]},
    ],
    ids=repr,
)
def test_no_page_of_videos(changes):  # 0000-R1
    with pytest.raises(LayoutError):
        decode_video_page(page(**changes), MODALITY)


def test_entries_of_geometry():
    found = decode_geometry_entries([[1, A, 5], [9, B, 6]])
    assert [(e.anchor, e.item, e.size) for e in found] == [(1, A, 5), (9, B, 6)]
    for wrong in ([[1, A]], [[9, A, 1], [1, A, 1]], [[1, A, 1], [1, A, 1]], [[1, b"", 1]], [1], {}):
        with pytest.raises(LayoutError):
            decode_geometry_entries(wrong)
