"""The numbers of spec/: limits, offsets, keys and names that stand in its tables are those of the code."""

import math
import re
import struct

import blake3
import cbor2
import numpy as np
import pytest

from dreamdb_arrow.codec import address, cbor, modality, outboard, time_key
from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor
from dreamdb_arrow.columnar import notes, stripe, tiers, vendor
from dreamdb_arrow.columnar.cover_note import CoverNote, encode_cover_note
from dreamdb_arrow.dataset import anchors, compact_plan, flush, outgoing, purge, search
from dreamdb_arrow.dataset import schema as user_schema
from dreamdb_arrow.dataset import values as incoming
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history import commit, line
from dreamdb_arrow.kernels import blake3_tree, near_rows, vamana_build
from dreamdb_arrow.kernels.rabitq import encode_rabitq, rotation
from dreamdb_arrow.objects import (
    btree_page,
    genesis,
    geometry_item,
    graph_index,
    graph_page,
    hot_shard,
    index_page,
    manifest,
    roaring,
    scalar_bucket,
    scalar_values,
    schema,
    spatial_bucket,
    spatial_index,
    tombstone_tree,
    tombstones,
    track,
    vector_compressor,
    video_item,
)
from dreamdb_arrow.objects.array_item import CsrItems, RaggedItems, encode_items_of
from dreamdb_arrow.objects.array_type import (
    CSR,
    DENSE,
    DIMS_MAX,
    NUMBERS_MAX,
    OFFSETS,
    RAGGED,
    ItemType,
    encode_item_type,
)
from dreamdb_arrow.objects.index_entries import MEDIA, entries_of_lists
from dreamdb_arrow.objects.lineage import Edge, end_of
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, encode_manifest, order_tracks
from dreamdb_arrow.objects.media_items import Chunk, encode_items, items_object_of
from dreamdb_arrow.objects.scalar_index import encode_scalar_index, scalar_index_of
from dreamdb_arrow.servers import health, sandboxes, tokens
from dreamdb_arrow.spatial import partitioners
from dreamdb_arrow.store import names
from dreamdb_arrow.tracks import btree, graph, hot, layout, pages, placing, vectors
from dreamdb_arrow.tracks import tombstones as stored_tombstones

ZEROS = Address(b"\x1e" + bytes(32))
ONES = Address(b"\x1e" + b"\1" * 32)
TAG = "embedding.f32.dim=2.bucketed"


def is_ref_name(text):
    try:
        names.check_ref_name(text)
    except InvalidInputError:
        return False
    return True


# --- limits -------------------------------------------------------------------------------------------------

LIMITS = {
    "0001": {
        "bytes of a Genesis' nonce": genesis.NONCE_BYTES,
        "encoded bytes of the container `tracks`": manifest.TRACKS_BYTES_MAX,
        "characters of a modality tag": modality.MODALITY_CHARACTERS_MAX,
        "segments of a vendor": modality._VENDOR_SEGMENTS,
        "characters of a new field's name": schema.NAME_CHARACTERS_MAX,
    },
    "0002": {
        "multihash code": address.BLAKE3_CODE,
        "bytes of an address": address.ADDRESS_BYTES,
        "characters of its text form": address.ADDRESS_CHARACTERS,
        "depth of nested CBOR": cbor.MAX_DEPTH,
        "bytes of a BLAKE3 chunk": blake3_tree.CHUNK_BYTES,
        "bytes of the length in an outboard": outboard.LENGTH_BYTES,
        "bytes of an inner node": outboard.NODE_BYTES,
    },
    "0003": {
        "digits of a time key": time_key.TIME_KEY_DIGITS,
        "largest anchor that is visible": layout.VISIBLE_ANCHOR_MAX,
        "nanoseconds between assigned anchors": anchors.STEP_NS,
        "nanoseconds that assigned anchors may run ahead of the clock": anchors.AHEAD_NS,
    },
    "0004": {
        "default bits of lsh-cosine": spatial_index.DEFAULT_LSH_BITS,
        "bits of lsh-l2": spatial_index.make_lsh_l2(2, bytes(32)).bits,
        "bytes of a seed": len(spatial_index.lsh_seed("t", "v")),
        "largest dim": spatial_index.MAX_DIM,
        "largest number of words in all planes of an index": spatial_index.MAX_LSH_WORDS,
        "cells that a search by cells reads unless told": partitioners.DEFAULT_NPROBE,
        "largest nprobe": partitioners.MAX_NPROBE,
    },
    "0005": {
        "bytes of a Ref": address.ADDRESS_BYTES,
        "characters of a segment of a Ref's name": max(n for n in range(100) if is_ref_name("a" * n)),
        "characters of a path": names.PATH_CHARACTERS_MAX,
    },
    "0006": {
        "bytes of a text in a `string` field": incoming.STRING_BYTES_MAX,
        "largest k of a search": search.K_MAX,
        "rows that one commit of a flush takes": flush.FLUSH_ROWS_MAX,
    },
    "0007": {
        "bytes of a Track with an inline index of media or cells": placing.INLINE_BYTES_MAX,
        "bytes to which leaves are filled": index_page.LEAF_BYTES,
        "children of an internal page": index_page.CHILDREN_MAX,
        "bytes of an index page that are read": index_page.PAGE_BYTES_MAX,
        "levels of a tree": pages.HEIGHT_MAX,
        "bytes of a bucket's header": spatial_bucket.BUCKET_HEADER,
        "bytes of it with a compressor": spatial_bucket.COMPRESSED_HEADER,
        "bytes of a sidecar's header": spatial_bucket.SIDECAR_HEADER,
        "bytes of the modality in a header": spatial_bucket.TAG_BYTES,
        "bytes of an anchor in a record": spatial_bucket.ANCHOR_BYTES,
        "smallest `bucket_max_bytes`": user_schema.BUCKET_BYTES.start,
        "largest `bucket_max_bytes`": user_schema.BUCKET_BYTES.stop - 1,
        "default `bucket_max_bytes`": vectors.BUCKET_MAX_BYTES,
        "dimensions of an array": DIMS_MAX,
        "numbers of an array": NUMBERS_MAX,
    },
    "0008": {
        "tries of a commit before it gives up": commit.ATTEMPTS,
        "versions without a place that are counted over": line.UNPLACED_MAX,
    },
    "0010": {
        "rows of a codebook": vector_compressor.MAX_CODEBOOK_ROWS,
        "bytes of a seed": vector_compressor.SEED_BYTES,
        "bytes of a factor": vector_compressor.FACTOR_BYTES,
        "largest dim": vector_compressor.MAX_DIM,
        "largest dim of a rotation": vector_compressor.MAX_ROTATION_DIM,
    },
    "0011": {
        "bytes of a text in a `string` field": scalar_values.STRING_BYTES_MAX,
        "encoded bytes of a page": btree_page.PAGE_BYTES_MAX,
        "entries of a leaf": btree_page.LEAF_ENTRIES_MAX,
        "children of an internal page": btree_page.CHILDREN_MAX,
        "highest level of a page": btree_page.LEVEL_MAX,
        "version of a record": scalar_bucket.VERSION,
        "cookie of a bitmap without runs": roaring.COOKIE,
        "cookie of a bitmap with runs": roaring.RUN_COOKIE,
        "members of an array container": roaring.ARRAY_LIMIT,
        "bytes of a bitmap container": roaring.BITMAP_BYTES,
        "containers from which on a bitmap with runs has offsets": roaring.NO_OFFSETS_BELOW,
        "members to which the runs of one reading may unfold": scalar_bucket.MAX_RUN_MEMBERS,
    },
    "0013": {
        "bytes of a page's header": graph_page.GRAPH_HEADER,
        "default nodes of a page": graph_index.GraphLayout(1, 1, 0, 4).page_node_count,
        "default width of a search": graph_index.GraphParams().l_search,
        "largest dim": graph_index.MAX_DIM,
        "largest R": graph_index.MAX_DEGREE,
        "largest nodes of a page": graph_index.MAX_PAGE_NODES,
        "largest nodes of a graph that is walked": graph.NODES_MAX,
        "rows that a row is compared with": near_rows.COMPARED,
        "rows in the largest sample": vamana_build.SAMPLES[-1],
        "candidates out of a sample": vamana_build.FAR,
        "places of which one is drawn": vamana_build.DRAWN,
    },
    "0014": {
        "version of a video item": video_item.VERSION,
        "version of a geometry item": geometry_item.VERSION,
        "bytes of a point": geometry_item.RECORD_BYTES["point"],
        "bytes of a splat": geometry_item.RECORD_BYTES["splat"],
        "bytes of a vertex of a mesh": geometry_item._VERTEX_BYTES,
        "bytes of a triangle": geometry_item._TRIANGLE_BYTES,
        "largest depth": geometry_item.DEPTH_MAX,
    },
    "0016": {
        "version of a scalar shard": hot_shard.SCALAR_VERSION,
        "version of an embedding shard": hot_shard.VECTOR_VERSION,
    },
    "0020": {
        "entries or children of a page": tombstones.PAGE_ITEMS_MAX,
        "highest level": tombstones.LEVEL_MAX,
        "indexes of one graph of merges": stored_tombstones.INDEXES_MAX,
    },
    "0021": {
        "fragments of an inline vendor Track": vendor.INLINE_ENTRIES_MAX,
        "rows of a row group": stripe.ROW_GROUP_ROWS,
        "rows of a row group that is read": stripe.GROUP_ROWS_MAX,
        "rows of a stripe for each of its bytes": stripe.ROWS_A_BYTE_MAX,
        "items of a pack of media": outgoing.PACK_ITEMS_MAX,
        "bytes of a pack of media": outgoing.PACK_BYTES,
        "cover notes before they are united": notes.NOTES_MAX,
        "stripes of a tier that become one": tiers.FANOUT,
        "rows of a stripe that compaction writes": compact_plan.STRIPE_ROWS,
        "bytes of a stripe that compaction writes": compact_plan.STRIPE_BYTES,
        "bytes of a vector stripe that compaction writes": compact_plan.VECTORS_BYTES,
    },
    "0022": {"rounds while Refs move": purge.ROUNDS},
    "0024": {"seconds between questions to the store": health.ASKED_S},
    "0023": {
        "characters of a token": tokens.TOKEN_MAX,
        "patterns of a token": tokens.PATTERNS_MAX,
        "characters of a name": tokens.NAME_CHARACTERS,
        "bytes of a key": tokens.KEY_BYTES,
        "bytes of an id": tokens.ID_BYTES,
        "keys of a file": tokens.KEYS_MAX,
        "days for which a token counts": tokens.SECONDS_MAX // 86400,
        "seconds by which clocks may differ": tokens.SKEW_S,
        "callers with a database of their own": sandboxes.SANDBOXES_MAX,
    },
}


def test_limits_are_those_of_the_code(document):
    stated = {row[0]: number_of(row[1]) for table in document.with_head("limit") for row in table.rows}
    assert stated == LIMITS.get(document.number, {})


# Numbers of requirements that are no limits: widths in bits, MiB, one more than a limit.
OTHERS = {"0002": {16, 32, 264, 265}, "0006": {64}, "0007": {100, 500}, "0021": {31, 32, 129}}


def test_numbers_of_requirements_are_limits(document):
    text = re.sub(r"\d{4}-R\d+|\b00\d\d\b|\bR\d+\b|2\^\d+|`[^`]*`", "", document.under("Requirements"))
    named = {int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*\d|\d", text)}
    known = {*LIMITS.get(document.number, {}).values(), *OTHERS.get(document.number, ()), *range(16)}
    assert named - known == set()


def number_of(text):
    """Return the number of a cell: 65,536 or 0x1e or 2^63 - 2."""
    base, _, less = text.partition(" - ")
    if base.startswith("2^"):
        return (1 << int(base[2:])) - int(less or 0)
    return int(base.replace(",", ""), 0)


# --- offsets ------------------------------------------------------------------------------------------------


def raw_bucket():
    rows = np.array([[1, 2], [2, 4.5]], np.float32)
    return spatial_bucket.encode_spatial_bucket(
        spatial_bucket.SpatialBucket(ZEROS, TAG, np.array([5, 9]), rows)
    )


def compressed_bucket():
    codes = np.array([[1, 2, 3]], np.uint8)
    bucket = spatial_bucket.SpatialBucket(ZEROS, TAG, np.array([5]), None, ONES, codes)
    return spatial_bucket.encode_spatial_bucket(bucket)


def sidecar():
    return spatial_bucket.encode_vector_sidecar(
        spatial_bucket.VectorSidecar(TAG, np.array([[1, 2]], np.float32))
    )


def one_page():
    return graph_page.encode_graph_page(
        graph_page.GraphPage(
            number=3,
            first_node=768,
            max_degree=12,
            index=ZEROS,
            modality=TAG,
            anchors=np.array([5], np.uint64),
            payloads=np.frombuffer(struct.pack("<2f", 1, 2), np.uint8).reshape(1, 8),
            degrees=np.array([2]),
            neighbours=np.array([700, 701], np.uint64),
        )
    )


def one_record():
    anchor = 1_700_000_000_000_000_000
    return scalar_bucket.encode_records(np.array([anchor]), np.array([1])).data.tobytes(), anchor


def tree_of_two_chunks():
    payload = b"a" * 1024 + b"b"
    return outboard.encode_outboard(payload), payload


def chunk_value(payload, number):
    words = blake3_tree.chunk_values(
        np.frombuffer(payload.ljust(1024, b"\0"), np.uint8).reshape(1, 1024),
        np.array([len(payload)]),
        np.array([number], np.uint64),
    )
    return words.T.astype("<u4").tobytes()


def padded(text):
    return text.encode().ljust(32, b"\0")


def u32_be(number):
    return struct.pack(">I", number)


def u32_le(number):
    return struct.pack("<I", number)


def rabitq_record():
    turn, vector = rotation(bytes(32), 12), np.arange(1, 13, dtype=np.float32)[None]
    turned = turn @ vector[0].astype(np.float64)
    bits = np.packbits(turned >= 0, bitorder="little").tobytes()
    factor = np.float32(1 / np.abs(turned).sum()).tobytes()
    return (9).to_bytes(8, "big") + encode_rabitq(turn, vector, 1, factors=True).tobytes(), bits, factor


def ragged():
    items = RaggedItems(np.array([2]), np.array([1, 2]), np.array([1, 2, 3], np.float32))
    return encode_items_of(ItemType(RAGGED, "f32", codec=OFFSETS), items)[0]


def sparse():
    items = CsrItems(
        np.array([[0, 1, 3]], np.uint64),
        np.array([3]),
        np.array([2, 0, 1], np.uint64),
        np.array([4, 5, 6], np.uint8),
    )
    return encode_items_of(ItemType(CSR, "u8", (2, 3)), items)[0]


def u64_be(*numbers):
    return struct.pack(f">{len(numbers)}Q", *numbers)


RECORD, ANCHOR = one_record()
TREE, PAYLOAD = tree_of_two_chunks()
CODED, BITS, FACTOR = rabitq_record()
SIZES = {
    "dim": 2,
    "code_bytes": 3,
    "vector_bytes": 8,
    "degree": 2,
    "rows": 2,
    "count": 3,
    "rest": 99,
    "ceil": math.ceil,
}  # of these samples

# (document, heading): the bytes that our encoder writes, and what each field of the table holds there.
LAYOUTS = {
    ("0002", "Address"): (
        address_of(b"abc"),
        {"code": bytes([address.BLAKE3_CODE]), "hash": blake3.blake3(b"abc").digest()},
    ),
    ("0002", "Outboard"): (
        TREE,
        {
            "length": struct.pack("<Q", len(PAYLOAD)),
            "left": chunk_value(PAYLOAD[:1024], 0),
            "right": chunk_value(PAYLOAD[1024:], 1),
        },
    ),
    ("0005", "Ref"): (bytes(ZEROS), {"address": bytes(ZEROS)}),
    ("0007", "Spatial bucket"): (
        raw_bucket(),
        {
            "magic": b"VBUU",
            "version": u32_be(1),
            "record size": u32_be(16),
            "records": u32_be(2),
            "header size": u32_be(160),
            "index": bytes(ZEROS),
            "modality": padded(TAG),
            "mode": b"\0",
            "padding": bytes(74),
            "anchor": struct.pack(">Q", 5),
            "vector": struct.pack("<2f", 1, 2),
        },
    ),
    ("0007", "Compressed bucket"): (
        compressed_bucket(),
        {
            "header size": u32_be(200),
            "compressor": bytes(ONES),
            "padding": bytes(81),
            "anchor": struct.pack(">Q", 5),
            "code": b"\1\2\3",
        },
    ),
    ("0007", "Sidecar"): (
        sidecar(),
        {
            "magic": b"VSTU",
            "version": u32_be(1),
            "record size": u32_be(8),
            "records": u32_be(1),
            "modality": padded(TAG),
            "padding": bytes(80),
            "vector": struct.pack("<2f", 1, 2),
        },
    ),
    ("0007", "Ragged array"): (
        ragged(),
        {
            "magic": b"RAG1",
            "version": u32_be(1),
            "rows": u64_be(2),
            "cells": u64_be(3),
            "offsets": u64_be(0, 1, 3),
            "values": struct.pack("<3f", 1, 2, 3),
        },
    ),
    ("0007", "Sparse array"): (
        sparse(),
        {
            "magic": b"CSR1",
            "version": u32_be(1),
            "rows": u64_be(2),
            "columns": u64_be(3),
            "count": u64_be(3),
            "offsets": u64_be(0, 1, 3),
            "columns of values": u64_be(2, 0, 1),
            "values": bytes([4, 5, 6]),
        },
    ),
    ("0010", "RaBitQ record"): (CODED, {"anchor": struct.pack(">Q", 9), "bits": BITS, "factor": FACTOR}),
    ("0011", "Record"): (
        RECORD,
        {
            "version": b"\1",
            "blocks": struct.pack("<Q", 1),
            "high": u32_le(ANCHOR >> 32),
            "cookie": u32_le(12346),
            "containers": u32_le(1),
            "key": struct.pack("<H", ANCHOR >> 16 & 0xFFFF),
            "cardinality": struct.pack("<H", 0),
            "offset": u32_le(16),
            "low": struct.pack("<H", ANCHOR & 0xFFFF),
        },
    ),
    ("0013", "Graph page"): (
        one_page(),
        {
            "magic": b"GPGU",
            "version": u32_le(1),
            "page": u32_le(3),
            "nodes": u32_le(1),
            "first node": struct.pack("<Q", 768),
            "R": u32_le(12),
            "vector bytes": u32_le(8),
            "index": bytes(ZEROS),
            "modality": padded(TAG),
            "padding": bytes(95),
            "anchor": struct.pack("<Q", 5),
            "vector": struct.pack("<2f", 1, 2),
            "degree": u32_le(2),
            "neighbours": struct.pack("<2Q", 700, 701),
        },
    ),
}


def of(cell, **more):
    """Return what an offset or a size comes to: `160`, `4 * dim`, `204 + vector bytes`."""
    return eval(cell.replace(" bytes", "_bytes"), {"__builtins__": {}}, SIZES | more)


@pytest.mark.parametrize("key", LAYOUTS, ids=lambda key: f"{key[0]}-{key[1]}")
def test_fields_lie_where_the_table_says(documents, key):
    number, section = key
    data, expected = LAYOUTS[key]
    (table,) = [t for t in documents[number].with_head("offset") if t.section == section]
    more = {"dim": 12} if section == "RaBitQ record" else {}
    found = {
        row[2]: data[of(row[0], **more) : of(row[0], **more) + of(row[1], **more)].hex() for row in table.rows
    }
    assert found == {name: value.hex() for name, value in expected.items()}


def test_no_table_of_offsets_is_left_out(documents):
    shown = {(n, t.section) for n, document in documents.items() for t in document.with_head("offset")}
    assert shown == set(LAYOUTS)


# --- keys of maps -------------------------------------------------------------------------------------------


def entry(name, address=ZEROS):
    return TrackEntry("event", "base", name, address, (0, 1), f"scalar.i64.field={name}", ZEROS)


def small_manifest():
    edge = Edge(end_of(entry("n", ONES)), end_of(entry("n")))
    tracks = order_tracks([entry("n", ONES)], [entry("n")], [edge])
    return decode_cbor(encode_manifest(Manifest(1, tracks, "w", (), {}, (ZEROS,))))


def shard(value_type, payload):
    return hot_shard.HotShard(value_type, ZEROS, 1, 2, 3, (1,), (payload,))


def cover(*maps):
    """Return maps as decoded from what our encoders write."""
    return [decode_cbor(data) for data in maps]


MANIFEST = small_manifest()
PLAIN_TRACK = track.Track((0, 1), "scalar.i64.field=n", ZEROS, [])
FULL_TRACK = track.Track((0, 1), "video.mp4", ZEROS, [], ONES, [])
GRAPH = decode_cbor(
    graph_index.encode_graph_index(
        graph_index.GraphIndex(2, graph_index.GraphParams(), graph_index.GraphLayout(4, 1, 0, 8))
    )
)
GROWN = decode_cbor(
    graph_index.encode_graph_index(
        graph_index.GraphIndex(
            2, graph_index.GraphParams(), graph_index.GraphLayout(4, 1, 0, 8), graph_index.Fresh(ZEROS)
        )
    )
)
LEAF = index_page.index_leaf("image.png", entries_of_lists(MEDIA, [[1, 2, 3, bytes(ZEROS)]]))
TOMBSTONES = (tombstones.Tombstone(1, 2), tombstones.Tombstone(3, 4, "gdpr"))
ROOT, PAGES = tombstone_tree.build_pages([tombstones.Tombstone(at, 0) for at in range(129)])
INDEX = decode_cbor(tombstones.encode_index(tombstones.TombstoneIndex(ZEROS, 1, ROOT)))
TOMBSTONE_PAGE = decode_cbor(tombstones.encode_page(tombstones.TombstonePage(0, entries=TOMBSTONES)))
ITEMS = decode_cbor(encode_items(items_object_of((Chunk(ZEROS, 1),))))

# (document, heading): maps that hold, taken together, exactly these keys; one marked `?` may be absent.
KEYS = {
    ("0001", "Genesis"): cover(genesis.encode_genesis(genesis.Genesis(bytes(16)))),
    ("0001", "Manifest"): [MANIFEST],
    ("0001", "The container `tracks`"): [MANIFEST["tracks"]],
    ("0001", "Entry"): MANIFEST["tracks"]["active"],
    ("0001", "Edge"): MANIFEST["tracks"]["edges"],
    ("0001", "End of an edge"): [MANIFEST["tracks"]["edges"][0]["child"]],
    ("0001", "Track"): cover(track.encode_track(PLAIN_TRACK), track.encode_track(FULL_TRACK)),
    ("0004", "SpatialIndex"): cover(
        spatial_index.encode_spatial_index(spatial_index.make_lsh_cosine(2, bytes(32)))
    ),
    ("0007", "List of chunks"): [ITEMS],
    ("0007", "Chunk"): ITEMS["chunks"],
    ("0007", "Item type"): [
        encode_item_type(ItemType(DENSE, "f32")),
        encode_item_type(ItemType(RAGGED, "f32", codec=OFFSETS)),
        encode_item_type(ItemType(CSR, "f32", (1, 1))),
    ],
    ("0007", "Paged index"): [dict.fromkeys(pages._KEYS)],
    ("0007", "Index page"): cover(index_page.encode_index_leaf(LEAF)),
    ("0010", "VectorCompressor"): cover(
        vector_compressor.encode_vector_compressor(vector_compressor.make_rabitq(2))
    ),
    ("0011", "ScalarIndex"): cover(encode_scalar_index(scalar_index_of("n", "int"))),
    ("0011", "Index of int, float, string and timestamp"): [dict.fromkeys(btree._KEYS)],
    ("0011", "Page"): cover(
        btree_page.encode_node(
            scalar_values.value_type_of("int"),
            btree_page.BtreeNode(1, (btree_page.BtreeChild(b"a", b"b", ZEROS),)),
        )
    ),
    ("0013", "GraphIndex"): [GRAPH],
    ("0013", "Params of a GraphIndex"): [GRAPH["params"]],
    ("0013", "Params of a graph that has grown"): [GROWN["params"]],
    ("0013", "Graph layout"): [GRAPH["graph_layout"]],
    ("0014", "Video item"): cover(
        video_item.encode_video_item(video_item.VideoItem(ZEROS, 1, "video.mp4", ()))
    ),
    ("0014", "Geometry item"): cover(
        geometry_item.encode_geometry_item(
            geometry_item.GeometryItem("point", "m", 1, (0.0,) * 3, (1.0,) * 3, ())
        )
    ),
    ("0016", "Overlay"): [dict.fromkeys(hot._OVERLAY_KEYS)],
    ("0016", "Scalar hot shard"): cover(hot_shard.encode_hot_shard(shard("int", bytes(8)))),
    ("0016", "Embedding hot shard"): [cbor2.loads(hot_shard.encode_hot_shard(shard(None, bytes(8))))],
    ("0020", "Index"): [INDEX],
    ("0020", "Page reference"): [INDEX["root"]],
    ("0020", "Page of level 0"): [TOMBSTONE_PAGE],
    ("0020", "Page above"): cover(PAGES[-1]),
    ("0020", "Tombstone"): TOMBSTONE_PAGE["entries"],
    ("0021", "Cover note"): cover(
        encode_cover_note(CoverNote({}, {})),
        encode_cover_note(CoverNote({}, {}, dropped={"n": frozenset([ZEROS])})),
    ),
}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key[0]}-{key[1]}")
def test_maps_have_the_keys_of_the_table(documents, key):
    number, section = key
    (table,) = [t for t in documents[number].with_head("key", "value") if t.section == section]
    stated = [row[0] for row in table.rows]
    required = {name for name in stated if not name.endswith("?")}
    assert {name.rstrip("?") for name in stated} == {name for each in KEYS[key] for name in each}
    assert [sorted(required - set(each)) for each in KEYS[key] if required - set(each)] == []


def test_no_table_of_keys_is_left_out(documents):
    shown = {(n, t.section) for n, document in documents.items() for t in document.with_head("key", "value")}
    assert shown == set(KEYS)
