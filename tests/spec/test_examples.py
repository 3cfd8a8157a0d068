"""The examples of spec/: bytes that stand there are what the code writes, and what it reads."""

import re

import numpy as np
import pytest

from dreamdb_arrow.codec.address import Address, address_of, parse_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.outboard import encode_outboard
from dreamdb_arrow.columnar.cover_note import CoverNote, decode_cover_note, encode_cover_note
from dreamdb_arrow.columnar.vendor import MARK
from dreamdb_arrow.errors import CorruptDataError, UnsupportedError
from dreamdb_arrow.kernels.rabitq import encode_rabitq, rotation
from dreamdb_arrow.objects.array_item import CsrItems, RaggedItems, decode_items_of, encode_items_of
from dreamdb_arrow.objects.array_type import CSR, OFFSETS, RAGGED, ItemType
from dreamdb_arrow.objects.btree_page import decode_btree_page, encode_entries, encode_leaf
from dreamdb_arrow.objects.genesis import Genesis, decode_genesis, encode_genesis
from dreamdb_arrow.objects.graph_page import GraphPage, decode_graph_page, encode_graph_page
from dreamdb_arrow.objects.hot_shard import HotShard, decode_hot_shard, encode_hot_shard
from dreamdb_arrow.objects.index_entries import MEDIA, entries_of_lists, lists_of_entries
from dreamdb_arrow.objects.index_page import decode_index_page, encode_index_leaf, index_leaf
from dreamdb_arrow.objects.manifest import (
    Manifest,
    TrackEntry,
    decode_manifest,
    encode_manifest,
    order_tracks,
)
from dreamdb_arrow.objects.media_items import Chunk, decode_items, encode_items, items_object_of
from dreamdb_arrow.objects.scalar_bucket import decode_record, encode_records
from dreamdb_arrow.objects.scalar_index import decode_scalar_index, encode_scalar_index, scalar_index_of
from dreamdb_arrow.objects.scalar_values import value_type_of
from dreamdb_arrow.objects.schema import Field, encode_schema
from dreamdb_arrow.objects.spatial_bucket import (
    SpatialBucket,
    VectorSidecar,
    decode_spatial_bucket,
    decode_vector_sidecar,
    encode_spatial_bucket,
    encode_vector_sidecar,
)
from dreamdb_arrow.objects.spatial_index import (
    decode_spatial_index,
    encode_spatial_index,
    lsh_seed,
    make_ivf_cosine,
    make_lsh_cosine,
)
from dreamdb_arrow.objects.tombstone_tree import build_pages
from dreamdb_arrow.objects.tombstones import (
    Tombstone,
    TombstoneIndex,
    TombstonePage,
    decode_index,
    decode_page,
    encode_index,
    encode_page,
)
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track, decode_track, encode_track
from dreamdb_arrow.objects.vector_compressor import (
    decode_vector_compressor,
    encode_vector_compressor,
    make_rabitq,
)
from dreamdb_arrow.objects.video_item import VideoItem, decode_video_item, encode_video_item

T0 = 1_700_000_000_000_000_000
GENESIS = Genesis(bytes(range(16)))
TIMELINE = address_of(encode_genesis(GENESIS))
ZEROS = Address(b"\x1e" + bytes(32))
INDEX = Address(bytes.fromhex("1e052f0c8e18f02a0b712dd3688d5972291500c53de7950ab462de00b7962ab595"))
GRAPH = Address(bytes.fromhex("1e4ca615adea100c637850147ca85269a4e9944c6a971c15a22f0f22a31f6332c2"))
AB, CDE = address_of(b"AB"), address_of(b"CDE")
VECTORS = np.array([[1, 2], [2, 4.5]], np.float32)
EMBEDDING = "embedding.f32.dim=2.bucketed"
CELLS_OF_BYTES = ItemType(RAGGED, "u8", codec=OFFSETS)
MATRIX = ItemType(CSR, "u8", (2, 3))
VIDEO = "ai.dreamlake.media.video_item.h264.version=1"


# --- what the examples show ---------------------------------------------------------------------------------


def manifest():
    entry = TrackEntry("event", "base", "n", ZEROS, (0, 1), "scalar.i64.field=n", TIMELINE)
    registry = {
        "dreamdb.schema": encode_schema([Field("scalar", "n", options={"value_type": "int"})]),
        "scalar.i64.field=n": {"scalar_index_hash": bytes(ZEROS)},
    }
    return Manifest(1, order_tracks([entry]), "w", (), registry, (TIMELINE,))


def packed_index():
    pack = address_of(b"ABCDE")
    return [[T0, T0 + 1, 2, pack, False, 0], [T0 + 1, T0 + 2, 3, pack, False, 2]]


def media_leaf():
    rows = entries_of_lists(MEDIA, [[10, 11, 2, bytes(AB)], [11, 12, 3, bytes(CDE)]])
    return index_leaf("image.png", rows)


def bucket():
    """Return the bytes of the example's bucket: 5 at T0 and 2^33 later, -1 one after T0; and the entries."""
    records = encode_records(np.array([T0, T0 + (1 << 33), T0 + 1]), np.array([2, 1]))
    return records.data.tobytes()


def leaf_entries():
    kind = value_type_of("int")
    name = np.frombuffer(bytes(address_of(bucket())), np.uint8)
    values = np.array([-1, 5])
    template = decode_btree_page(LEAF_OF_ONE, kind)
    firsts, stops = np.array([T0 + 1, T0], np.uint64), np.array([T0 + 2, T0 + (1 << 33) + 1], np.uint64)
    places = np.array([53, 0]), np.array([31, 53])
    return type(template)(values, firsts, stops, np.tile(name, (2, 1)), *places), kind


LEAF_OF_ONE = encode_cbor(
    {
        "type": "leaf",
        "level": 0,
        "entries": [[b"\x00", 0, 1, bytes(ZEROS), 0, 31]],
        "algorithm": "dreamdb.btree-int64",
    }
)


def leaf():
    entries, kind = leaf_entries()
    rows = encode_entries(entries, kind.encode(entries.values))
    return encode_leaf(kind, rows.data.tobytes(), len(entries))


def graph_page():
    vectors = bytes.fromhex("2ef9e43e2ef9643f61f1cf3e8eef693f")
    return GraphPage(
        number=0,
        first_node=0,
        max_degree=2,
        index=GRAPH,
        modality="embedding.f32.dim=2.graph.r=2.fi",
        anchors=np.array([5, 6], np.uint64),
        payloads=np.frombuffer(vectors, np.uint8).reshape(2, 8),
        degrees=np.array([1, 1]),
        neighbours=np.array([1, 0], np.uint64),
    )


def rabitq_record():
    vectors = np.array([[0.5, 1]], np.float32)
    turn = rotation(bytes(32), 2)
    for candidate in (vectors, -vectors, vectors * [1, -1], vectors * [-1, 1]):
        code = encode_rabitq(turn, np.float32(candidate), 1, factors=True)
        if code[0, 0] == 3:
            return (7).to_bytes(8, "big") + code.tobytes()
    raise AssertionError("no vector has the bits of the example")


TOMBSTONE = Tombstone(T0 + 1, 0x1A2033461A8, "gdpr")
NOTE = CoverNote({"n": ZEROS}, {"n": frozenset([ZEROS])})
BUCKET = SpatialBucket(INDEX, EMBEDDING, np.array([5, 9]), VECTORS)
EMPTY_TRACK = Track(EMPTY_COVERAGE, "scalar.i64.field=n", TIMELINE, [])

# (document, name of the block): the bytes that our encoder writes.
ENCODED = {
    ("0001", "genesis"): encode_genesis(GENESIS),
    ("0001", "track"): encode_track(EMPTY_TRACK),
    ("0001", "manifest"): encode_manifest(manifest()),
    ("0002", "outboard"): encode_outboard(b"\xff\xd8" + bytes(1100)),
    ("0004", "spatial-index"): encode_spatial_index(make_lsh_cosine(2, lsh_seed("t", "v"), 4)),
    ("0004", "ivf-index"): encode_spatial_index(make_ivf_cosine(np.eye(2, dtype=np.float32))),
    ("0007", "pack"): b"ABCDE",
    ("0007", "packed-index"): encode_cbor(packed_index()),
    ("0007", "items"): encode_items(items_object_of((Chunk(AB, 2), Chunk(CDE, 3)))),
    ("0007", "index-leaf"): encode_index_leaf(media_leaf()),
    ("0007", "spatial-bucket"): encode_spatial_bucket(BUCKET),
    ("0007", "sidecar"): encode_vector_sidecar(VectorSidecar(EMBEDDING, VECTORS)),
    ("0007", "ragged-array"): encode_items_of(
        CELLS_OF_BYTES, RaggedItems(np.array([2]), np.array([2, 0]), np.array([1, 2], np.uint8))
    )[0],
    ("0007", "sparse-array"): encode_items_of(
        MATRIX,
        CsrItems(np.array([[0, 1, 1]], np.uint64), np.array([1]), np.array([2]), np.array([7], np.uint8)),
    )[0],
    ("0010", "rabitq-object"): encode_vector_compressor(make_rabitq(2, with_correction_factors=True)),
    ("0011", "scalar-index"): encode_scalar_index(scalar_index_of("n", "int")),
    ("0011", "record"): encode_records(np.array([T0, T0 + (1 << 33)]), np.array([2])).data.tobytes(),
    ("0011", "bucket"): bucket(),
    ("0011", "leaf"): leaf(),
    ("0013", "graph-page"): encode_graph_page(graph_page()),
    ("0014", "video-item"): encode_video_item(VideoItem(ZEROS, 10, VIDEO, ())),
    ("0016", "scalar-shard"): encode_hot_shard(
        HotShard("int", ZEROS, 1, 10_000, 30, (10,), ((5).to_bytes(8, "little"),))
    ),
    ("0016", "vector-shard"): encode_hot_shard(
        HotShard(None, ZEROS, 1, 10_000, 30, (10,), (VECTORS[0].tobytes(),))
    ),
    ("0020", "page"): encode_page(TombstonePage(0, entries=(TOMBSTONE,))),
    ("0020", "index"): encode_index(
        TombstoneIndex(TIMELINE, TOMBSTONE.deleted_at, build_pages([TOMBSTONE])[0])
    ),
    ("0021", "cover-note"): encode_cover_note(NOTE),
    ("0021", "mark"): MARK,
}


# The same blocks, read and written again.
AGAIN = {
    ("0001", "genesis"): lambda data: encode_genesis(decode_genesis(data)),
    ("0001", "track"): lambda data: encode_track(decode_track(data)),
    ("0001", "manifest"): lambda data: encode_manifest(decode_manifest(data)),
    ("0004", "spatial-index"): lambda data: encode_spatial_index(decode_spatial_index(data)),
    ("0004", "ivf-index"): lambda data: encode_spatial_index(decode_spatial_index(data)),
    ("0007", "packed-index"): lambda data: encode_cbor(
        lists_of_entries(entries_of_lists(MEDIA, decode_cbor(data)))
    ),
    ("0007", "items"): lambda data: encode_items(decode_items(data)),
    ("0007", "index-leaf"): lambda data: encode_index_leaf(decode_index_page(data, MEDIA, "image.png")),
    ("0007", "spatial-bucket"): lambda data: encode_spatial_bucket(decode_spatial_bucket(data)),
    ("0007", "sidecar"): lambda data: encode_vector_sidecar(decode_vector_sidecar(data)),
    ("0007", "ragged-array"): lambda data: encode_items_of(
        CELLS_OF_BYTES, decode_items_of(CELLS_OF_BYTES, [data])
    )[0],
    ("0007", "sparse-array"): lambda data: encode_items_of(MATRIX, decode_items_of(MATRIX, [data]))[0],
    ("0010", "rabitq-object"): lambda data: encode_vector_compressor(decode_vector_compressor(data)),
    ("0011", "scalar-index"): lambda data: encode_scalar_index(decode_scalar_index(data)),
    ("0011", "record"): lambda data: encode_records(
        decode_record(data), np.array([len(decode_record(data))])
    ).data.tobytes(),
    ("0013", "graph-page"): lambda data: encode_graph_page(decode_graph_page(data)),
    ("0014", "video-item"): lambda data: encode_video_item(decode_video_item(data)),
    ("0016", "scalar-shard"): lambda data: encode_hot_shard(decode_hot_shard(data)),
    ("0016", "vector-shard"): lambda data: encode_hot_shard(decode_hot_shard(data)),
    ("0020", "page"): lambda data: encode_page(decode_page(data)),
    ("0020", "index"): lambda data: encode_index(decode_index(data)),
    ("0021", "cover-note"): lambda data: encode_cover_note(decode_cover_note(data)),
}


# --- the tests ----------------------------------------------------------------------------------------------


def named(keys):
    return [f"{document}-{name}" for document, name in keys]


@pytest.mark.parametrize("key", ENCODED, ids=named(ENCODED))
def test_an_example_is_what_we_write(documents, key):
    document, name = key
    assert documents[document].examples[name].hex() == ENCODED[key].hex()


@pytest.mark.parametrize("key", AGAIN, ids=named(AGAIN))
def test_an_example_is_read_and_written_again(documents, key):
    document, name = key
    data = documents[document].examples[name]
    assert AGAIN[key](data) == data


def test_a_leaf_and_its_bucket_belong_together(documents):  # 0011-R4
    data = documents["0011"].examples
    entries = decode_btree_page(data["leaf"], value_type_of("int"))
    assert bytes(entries.buckets[0]) == address_of(data["bucket"])
    found = {}
    for value, offset, length in zip(entries.values, entries.offsets, entries.lengths, strict=True):
        found[int(value)] = decode_record(data["bucket"][offset : offset + length]).tolist()
    assert found == {-1: [T0 + 1], 5: [T0, T0 + (1 << 33)]}


def test_the_record_of_a_compressed_bucket(documents):  # 0010-R4
    data = documents["0010"].examples["rabitq-record"]
    assert len(data) == 8 + decode_vector_compressor(documents["0010"].examples["rabitq-object"]).code_bytes
    assert (int.from_bytes(data[:8], "big"), data[8]) == (7, 3)
    factor = np.frombuffer(data[9:], "<f4")[0]
    assert round(float(factor), 4) == 0.7745


def test_no_example_is_left_out(documents):
    shown = {(number, name) for number, document in documents.items() for name in document.examples}
    assert shown == set(ENCODED) | {("0010", "rabitq-record")}


def test_addresses_in_comments_are_those_of_the_blocks(documents):
    """A comment `; address d...` speaks of the block that it stands in."""
    seen = 0
    for document in documents.values():
        blocks = re.findall(r"^```hex (\S+)\n(.*?)^```$", document.text, re.MULTILINE | re.DOTALL)
        for name, body in blocks:
            for text in re.findall(r"; (?:.*; )?address (d[a-z2-7]{52})$", body, re.MULTILINE):
                assert parse_address(text) == address_of(document.examples[name])
                seen += 1
    assert seen >= 4


# --- every byte counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", AGAIN, ids=named(AGAIN))
def test_any_other_byte_is_refused_or_means_just_that(documents, key):  # 0000-R1, 0009-R2
    document, name = key
    data = documents[document].examples[name]
    accepted = []
    for at in range(len(data)):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            altered = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            try:
                written = AGAIN[key](altered)
            except (CorruptDataError, UnsupportedError):
                continue
            accepted += [] if written == altered else [(at, flip)]
    assert accepted == []


@pytest.mark.parametrize("key", AGAIN, ids=named(AGAIN))
def test_what_is_cut_off_or_goes_on_is_refused(documents, key):  # 0000-R1, 0000-R2
    document, name = key
    data = documents[document].examples[name]
    for altered in (*(data[:stop] for stop in range(len(data))), data + b"\0", data + data[:9]):
        with pytest.raises((CorruptDataError, UnsupportedError)):
            AGAIN[key](altered)
