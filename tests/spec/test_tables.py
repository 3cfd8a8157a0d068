"""The tables of spec/ that map names and values to others: each row is tried on the code."""

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.modality import BUILT_IN_CLASSES
from dreamdb_arrow.codec.time_key import decode_time_key, encode_time_key
from dreamdb_arrow.columnar.arrays import arrow_type
from dreamdb_arrow.columnar.stripe import BLOB_KINDS, MEDIA_REF, SCALAR_TYPES
from dreamdb_arrow.columnar.vendor import VENDOR_MODALITIES
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.kernels.chacha import key_stream
from dreamdb_arrow.objects.array_type import CODECS, CSR, DENSE, LAYOUTS, ItemType, encode_item_type
from dreamdb_arrow.objects.hot_shard import HotShard, scalars_of
from dreamdb_arrow.objects.lineage import CLAIM_KEYS
from dreamdb_arrow.objects.scalar_index import encode_scalar_index, scalar_index_of
from dreamdb_arrow.objects.scalar_values import encode_key
from dreamdb_arrow.objects.schema import ARRAY_STORAGE, VALUE_TYPES, Field, modality_of, track_kind_of
from dreamdb_arrow.objects.spatial_index import (
    SpatialIndex,
    encode_spatial_index,
    lsh_seed,
    make_imi_cosine,
    make_ivf_cosine,
    make_lsh_cosine,
    make_lsh_l2,
)
from dreamdb_arrow.objects.tombstone_tree import build_pages
from dreamdb_arrow.objects.tombstones import Tombstone, decode_page
from dreamdb_arrow.objects.track import WHOLE_COVERAGE, Track
from dreamdb_arrow.objects.vector_compressor import encode_vector_compressor, make_pq, make_rabitq
from dreamdb_arrow.spatial.partitioners import assign_cells
from dreamdb_arrow.store.names import check_ref_name
from dreamdb_arrow.tracks.blobs import MINUTE_NS
from dreamdb_arrow.tracks.constants import JSON_MODALITY, TEXT_MODALITIES, URI_MODALITY, encode_constant
from dreamdb_arrow.tracks.kinds import TrackForm, form_of

ROOT = Path(__file__).parents[2]
ZEROS = Address(b"\x1e" + bytes(32))
CODE = re.compile(r"`([^`]*)`")


@pytest.fixture
def rows(documents):
    """Return a function from a document and the first cells of a table's head to its rows."""

    def find(number, *head):
        (table,) = documents[number].with_head(*head)
        return table.rows

    return find


# --- 0001 ---------------------------------------------------------------------------------------------------

FIELDS = {
    "scalar": Field("scalar", "x", options={"value_type": "int"}),
    "image": Field("image", "x", options={"mime": "png"}),
    "audio": Field("audio", "x", options={"mime": "wav"}),
    "video": Field("video", "x", options={"mime": "mp4"}),
    "embedding": Field("embedding", "x", options={"dim": 4, "algorithm": "dreamdb.lsh-cosine"}),
    "constant": Field("constant", "x", options={"modality": "title.text"}),
    "geometry": Field("geometry", "x", options={"geometry_family": "point"}),
    "video_item": Field("video_item", "x", options={"codec": "h264"}),
    "array": Field(
        "array",
        "x",
        options={
            "track_kind": "event",
            "object_kind": "unbucketed",
            "item_type": encode_item_type(ItemType(DENSE, "f32", (2, 3))),
        },
    ),
}
TAGS = {
    "scalar": "scalar.i64.field=x",
    "image": "image.png",
    "audio": "audio.wav",
    "video": "video.mp4",
    "embedding": "embedding.f32.dim=4.bucketed",
    "constant": "title.text",
    "geometry": "ai.dreamlake.spatial.geometry.point",
    "video_item": "ai.dreamlake.media.video_item.h264.version=1",
    "array": "array.f32.kind=event.storage=unbucketed.shape=2x3.item="
    + str(address_of(encode_cbor(encode_item_type(ItemType(DENSE, "f32", (2, 3)))))),
}


def pattern_of(template):
    """Return what a template such as `scalar.<t>.field=<name>` matches; parts in brackets may be absent."""
    text = re.escape(template).replace(r"\[", "(?:").replace(r"\]", ")?")
    return re.sub(r"<[^>]*>", "[A-Za-z0-9_]+", text)


def test_tags_of_field_kinds(rows):
    seen = {}
    for kinds, tag, track_kind in rows("0001", "field kind", "tag of its Track"):
        for kind in kinds.split(", "):
            assert modality_of(FIELDS[kind]) == TAGS[kind]
            assert track_kind_of(FIELDS[kind]) in track_kind
            shown = CODE.search(tag)[1] if "`" in tag else tag
            if "<" in shown and kind not in {"audio", "video"}:
                assert re.fullmatch(pattern_of(shown), TAGS[kind])
            seen[kind] = True
    assert set(seen) == set(FIELDS)


def test_storage_of_arrays(documents):
    text = documents["0001"].under("Modality tags")
    (stated,) = re.findall(r"The object kind of an array is (.*?)\.", text, re.DOTALL)
    assert dict(re.findall(r"`([a-z-]+)` with kind (\w+)", stated)) == {
        v: k for k, v in ARRAY_STORAGE.items()
    }


def test_value_types_and_their_tags(documents):
    (table,) = documents["0001"].with_head("value type", "int")
    assert dict(zip(table.head[1:], table.rows[0][1:], strict=True)) == dict(VALUE_TYPES)


def test_options_of_field_kinds(rows):
    for kinds, keys in rows("0001", "field kind", "further keys"):
        named = set(CODE.findall(keys)) or {keys}
        for kind in kinds.split(", "):
            assert FIELDS[kind].options.keys() <= named


def test_forms_of_tracks(rows):
    stated = {row[0]: row[1] or None for row in rows("0001", "form") if row[0].startswith("lineage")}
    assert stated == dict(CLAIM_KEYS)


def test_built_in_classes(documents):
    text = documents["0001"].under("Modality tags")
    (listed,) = re.findall(r"Built-in classes: (.*?)\.", text, re.DOTALL)
    assert set(CODE.findall(listed)) == BUILT_IN_CLASSES


# --- 0002, 0003 ---------------------------------------------------------------------------------------------


def test_values_and_their_cbor(rows):
    shown = rows("0002", "value", "bytes")
    for text, encoded in shown:
        value = {"nonce": b"\x00\xff"} if "h'" in text else json.loads(text)
        data = bytes.fromhex(encoded)
        assert encode_cbor(value) == data
        assert repr(decode_cbor(data)) == repr(value)
    assert len(shown) == 9


def test_bytes_and_their_addresses(rows):
    for data, text in rows("0002", "bytes"):
        assert str(address_of(bytes.fromhex("" if data == "none" else data))) == text


def test_anchors_and_their_time_keys(rows):
    for anchor, key in rows("0003", "anchor"):
        assert encode_time_key(int(anchor)) == key
        assert decode_time_key(key) == int(anchor)


def test_times_and_their_minutes(rows):  # 0014-R2
    for time, key in rows("0014", "t0"):
        assert encode_time_key(int(time) // MINUTE_NS) == key


# --- 0004, 0005 ---------------------------------------------------------------------------------------------


def test_vectors_and_their_keys(rows):  # 0004-R6
    index = make_lsh_cosine(2, lsh_seed("t", "v"), 4)
    for vector, key in rows("0004", "vector"):
        numbers = np.array([[float(x) for x in vector.split(", ")]], np.float32)
        assert assign_cells(index, numbers).keys == [key]


def test_the_planes_of_the_example(documents):  # 0004-R5
    text = documents["0004"].under("dreamdb.lsh-cosine")
    words = [int(n) for n in re.findall(r"-?\d{7,}", text)]
    assert key_stream(lsh_seed("t", "v"), 8).tolist() == words


INDEXES: dict[str, SpatialIndex] = {
    "dreamdb.lsh-cosine": make_lsh_cosine(4, bytes(32), 20),
    "dreamdb.lsh-l2": make_lsh_l2(4, bytes(32)),
    "dreamdb.ivf-cosine": make_ivf_cosine(np.ones((5, 4), np.float32)),
    "dreamdb.imi-cosine": make_imi_cosine(np.ones((5, 2), np.float32), np.ones((5, 2), np.float32)),
}
BITS = {"dreamdb.lsh-cosine": 20, "dreamdb.lsh-l2": 64, "dreamdb.ivf-cosine": 3, "dreamdb.imi-cosine": 6}


def test_algorithms_of_spatial_indexes(rows):
    found = {}
    for algorithm, metric, _bits, keys in rows("0004", "algorithm"):
        value = decode_cbor(encode_spatial_index(INDEXES[algorithm]))
        assert (value["metric"], value["bits"]) == (metric, BITS[algorithm])
        assert value["params"].keys() == {"version", *CODE.findall(keys)}
        found[algorithm] = True
    assert found.keys() == INDEXES.keys()


def test_names_of_refs(rows):  # 0005-R6
    (good, _), (bad, _) = rows("0005", "name")
    for name in CODE.findall(good):
        check_ref_name(name)
    for name in [*CODE.findall(bad), "", "a" * 65]:
        with pytest.raises(InvalidInputError):
            check_ref_name(name)


# --- 0007, 0010, 0011 ---------------------------------------------------------------------------------------


def test_modalities_of_constants(rows):
    named = {tag for row in rows("0007", "modality") for tag in re.findall(r"[a-z]+\.[a-z]+\b", row[0])}
    known = {*TEXT_MODALITIES, URI_MODALITY, JSON_MODALITY}
    assert known <= named
    assert encode_constant("title.text", "é") == "é".encode()
    assert encode_constant("author.json", {"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    track = Track(WHOLE_COVERAGE, "title.text", ZEROS, [ZEROS])
    assert form_of(track) == TrackForm.CONSTANT


def test_families_of_arrays(rows):
    stated = {
        row[0]: (tuple(row[1].split(", ")), tuple(row[2].split(", "))) for row in rows("0007", "family")
    }
    assert stated == {family: (CODECS[family], LAYOUTS[family]) for family in CODECS}


COMPRESSORS = {
    "dreamdb.rabitq-cosine": [(make_rabitq(10, bits), -(-10 * bits // 8)) for bits in (1, 2, 4, 8)]
    + [(make_rabitq(10, with_correction_factors=True), 2 + 4)],
    "dreamdb.pq-cosine": [(make_pq(np.ones((5, 3, 2), np.float32)), 5)],
}


def test_compressors_and_their_code_bytes(rows):  # 0010-R1
    for algorithm, keys, _ in rows("0010", "algorithm"):
        named = {name.partition(":")[0] for name in CODE.findall(keys)}
        for compressor, code_bytes in COMPRESSORS[algorithm]:
            value = decode_cbor(encode_vector_compressor(compressor))
            assert value["code_bytes"] == compressor.code_bytes == code_bytes
            assert value["params"].keys() <= named
        assert named == {
            key
            for c, _ in COMPRESSORS[algorithm]
            for key in decode_cbor(encode_vector_compressor(c))["params"]
        }


def test_scalar_indexes_of_value_types(rows):
    seen = set()
    for kinds, algorithm, metric, params in rows("0011", "value type", "algorithm"):
        for kind in kinds.split(", "):
            value = decode_cbor(encode_scalar_index(scalar_index_of("n", kind)))
            assert (value["algorithm"], value["metric"]) == (algorithm, metric)
            assert value["params"] == {k: int(v) for k, v in re.findall(r"(\w+): (\d+)", params)}
            seen.add(kind)
    assert seen == set(VALUE_TYPES)


def test_values_and_their_keys(rows):
    for value, key in rows("0011", "value", "key"):
        assert encode_key(json.loads(value)).hex() == key


VALUES = {
    "int": (b"\xfe" + b"\xff" * 7, -2),
    "timestamp": (b"\x05" + bytes(7), 5),
    "float": (struct.pack("<d", 0.5), 0.5),
    "bool": (b"\1", True),
    "string": ("é".encode(), "é"),
    "categorical": (b"a", "a"),
}


def test_bytes_of_hot_values(rows):  # 0016-R3
    kinds = [kind for row in rows("0016", "value type") for kind in row[0].split(", ")]
    assert sorted(kinds) == sorted(VALUES)
    for kind, (payload, value) in VALUES.items():
        assert list(scalars_of(HotShard(kind, ZEROS, 0, 0, 0, (1,), (payload,)))) == [value]


# --- 0009 ---------------------------------------------------------------------------------------------------

ADAPTER = ROOT / "conformance/adapters/python/adapter.py"


def test_an_adapter_answers_as_the_document_shows(documents, rows):  # 0009-R3
    (block,) = re.findall(r"```json\n(.*?)```", documents["0009"].text, re.DOTALL)
    lines = [json.loads(line) for line in block.splitlines()]
    asked = [line for line in lines if "op" in line] + [{"id": 9, "op": "no.such", "input": {}}]
    done = subprocess.run(
        [sys.executable, ADAPTER],
        input="\n".join(map(json.dumps, asked)),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[:-1] == [line for line in lines if "ok" in line]
    words = {row[0] for row in rows("0009", "word of an answer")}
    assert answers[-1]["error"] == "unknown-op"
    assert {answer.get("error", "invalid") for answer in answers} <= words


# --- 0020, 0021 ---------------------------------------------------------------------------------------------


def test_shapes_of_tombstone_trees(rows):  # 0020-R5
    for count, sizes, levels in rows("0020", "tombstones"):
        root, pages = build_pages([Tombstone(at, 0) for at in range(int(count))])
        leaves = [len(p.entries) for p in map(decode_page, pages) if p.level == 0]
        assert leaves == [int(size) for size in sizes.split(", ")]
        assert root.level + 1 == int(levels)


def test_tags_of_vendor_tracks(rows):  # 0021-R1
    assert tuple(row[0] for row in rows("0021", "modality tag")) == VENDOR_MODALITIES


def test_columns_of_stripes(rows):
    stated = {kind: column for kinds, column in rows("0021", "field") for kind in kinds.split(", ")}
    actual = {kind: str(of) for kind, of in SCALAR_TYPES.items()} | dict.fromkeys(BLOB_KINDS, str(MEDIA_REF))
    assert stated.pop("embedding") == stated.pop("constant") == "none"
    arrays = stated.pop("array")
    assert stated == actual
    assert all(f"{part.name}" in arrays for part in arrow_type(ItemType(CSR, "f32", (2, 2))))
    assert arrow_type(ItemType(DENSE, "f32", (2, 2))) == pa.list_(pa.list_(pa.float32()))
