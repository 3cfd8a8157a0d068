import pytest

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.errors import CorruptDataError, LayoutError
from dreamdb_arrow.objects.genesis import Genesis, decode_genesis, encode_genesis
from dreamdb_arrow.objects.media_items import Chunk, ItemsObject, decode_items, encode_items, items_object_of
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track, decode_track, encode_track

TIMELINE = address_of(b"timeline")


def test_genesis_of_the_wire_document():
    data = bytes.fromhex("a1656e6f6e636550b07fcb2bb0d9f43b61437761229fef2f")
    assert str(address_of(data)) == "d2z2wzwskrp6zadjojgpvdnxcegljzino3pkzpnbh7e6n66ud3cjo"
    assert encode_genesis(decode_genesis(data)) == data


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"nonce": b"x" * 15}, {"nonce": "x" * 16}, {"nonce": b"x" * 16, "salt": 1}, {"salt": 1}],
)
def test_not_a_genesis(value):  # 0000-R3, 0001-R1
    with pytest.raises(LayoutError):
        decode_genesis(encode_cbor(value))


def test_genesis_is_valid_once_built():  # 0001-R1
    with pytest.raises(LayoutError, match="16 bytes"):
        Genesis(b"short")


TRACK = {"coverage": [5, 10], "modality": "image.png", "timeline": TIMELINE, "object_index": []}


def test_track_of_the_wire_document():
    """The worked Track of a vector field, 191 bytes."""
    entry = ["1111", 5, 10, 0xC0, Address(b"\x1e" + bytes(32)), 0, Address(b"\x1e" + bytes(32))]
    track = Track((5, 10), "embedding.f32.dim=2.bucketed", TIMELINE, [entry])
    data = encode_track(track)
    assert len(data) == 191
    assert data.startswith(
        b"\xa4\x68coverage\x82\x05\x0a\x68modality\x78\x1cembedding.f32.dim=2.bucketed\x68timeline\x58\x21"
    )
    assert decode_track(data) == track


def test_track_of_fragments_and_of_video_items():
    for track in (
        Track(EMPTY_COVERAGE, "video.mp4", TIMELINE, [], init_segment=address_of(b"init")),
        Track(
            EMPTY_COVERAGE, "ai.dreamlake.media.video_item.h264.version=1", TIMELINE, [], item_key_index=[]
        ),
    ):
        assert decode_track(encode_track(track)) == track


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": 1},
        {"coverage": [10, 5]},
        {"coverage": [5]},
        {"coverage": [-1, 5]},
        {"coverage": [True, 5]},
        {"coverage": None},
        {"modality": "../../x"},
        {"modality": b"image.png"},
        {"timeline": bytes(33)},
        {"timeline": str(TIMELINE)},
        {"init_segment": None},
        {"init_segment": b""},
        {"item_key_index": None},
    ],
)
def test_not_a_track(changes):  # 0000-R3, 0001-R10, 0003-R3
    with pytest.raises(LayoutError):
        decode_track(encode_cbor(TRACK | changes))


@pytest.mark.parametrize("key", TRACK)
def test_track_lacks_a_key(key):
    with pytest.raises(LayoutError, match=f"track lacks '{key}'"):
        decode_track(encode_cbor({k: v for k, v in TRACK.items() if k != key}))


GEOMETRY_TRACK = {
    "items": [[5, address_of(b"item"), 177]],
    "coverage": [5, 6],
    "modality": "ai.dreamlake.spatial.geometry.point",
    "timeline": TIMELINE,
}


def test_track_of_geometry():
    track = decode_track(encode_cbor(GEOMETRY_TRACK))
    assert track.object_index == GEOMETRY_TRACK["items"]
    assert encode_track(track) == encode_cbor(GEOMETRY_TRACK)


@pytest.mark.parametrize("key", ["object_index", "init_segment", "item_key_index", "extra"])
def test_track_of_geometry_with_a_key_of_others(key):  # 0000-R3
    with pytest.raises(LayoutError, match=f"may not have '{key}'"):
        decode_track(encode_cbor({**GEOMETRY_TRACK, key: address_of(b"x")}))


def test_items():
    items = items_object_of((Chunk(address_of(b"a"), 3), Chunk(address_of(b"b"), 4)))
    assert items.total_size == 7
    assert decode_items(encode_items(items)) == items
    assert decode_items(encode_items(ItemsObject((), 0))) == ItemsObject((), 0)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"chunks": []},
        {"chunks": [], "total_size": 1},
        {"chunks": {}, "total_size": 0},
        {"chunks": [{"hash": TIMELINE}], "total_size": 0},
        {"chunks": [{"hash": TIMELINE, "size": -1}], "total_size": -1},
        {"chunks": [{"hash": b"", "size": 1}], "total_size": 1},
        {"chunks": [{"hash": TIMELINE, "size": 1, "x": 1}], "total_size": 1},
        {"chunks": [{"hash": TIMELINE, "size": 2**64 - 1}] * 2, "total_size": 2**64 - 2},
    ],
)
def test_not_an_items_object(value):  # 0007-R2
    with pytest.raises(CorruptDataError):
        decode_items(encode_cbor(value))
