"""Every metadata object of every stored Space decodes, and encodes to the very bytes it was read from."""

from pathlib import Path

from dreamdb_arrow.codec.address import address_of, is_address_text
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.modality import parse_modality
from dreamdb_arrow.objects import (
    genesis,
    geometry_item,
    hot_shard,
    manifest,
    media_items,
    scalar_index,
    schema,
    tombstone_tree,
    tombstones,
    track,
    video_item,
)

# Not canonical, by the wire document: text indexes and embedding hot shards keep a key order of their own.
FIXED_ORDER = {"text-index", "hot-shard"}
CBOR_DIRECTORIES = {"genesis", "manifests", "scalar-index", "tombstones", "track", "index", "items"} | {
    "spatial-index",
    "vector-compressor",
    "graph-index",
}


def objects_in(root: Path, *directories: str) -> list[bytes]:
    found = [p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.parent.name in directories]
    return [data for data in found if data]


def test_addresses_of_all_objects(reference_space, reference_name):
    checked = 0
    for path in reference_space(reference_name).rglob("d*"):
        if path.is_file() and is_address_text(path.name) and path.parent.name != "bao-outboard":
            assert str(address_of(path.read_bytes())) == path.name, path
            checked += 1
    assert checked > 5


def test_all_metadata_is_canonical(reference_space, reference_name):
    for data in objects_in(reference_space(reference_name), *CBOR_DIRECTORIES):
        assert encode_cbor(decode_cbor(data)) == data


def test_genesis(reference_space, reference_name):
    for data in objects_in(reference_space(reference_name), "genesis"):
        assert genesis.encode_genesis(genesis.decode_genesis(data)) == data


def test_manifests(reference_space, reference_name):
    manifests = objects_in(reference_space(reference_name), "manifests")
    assert manifests
    for data in manifests:
        decoded = manifest.decode_manifest(data)
        assert manifest.encode_manifest(decoded) == data
        assert decoded.tracks.read_only == (decoded.tracks.form in {"lineage-v4", "lineage-v5"})
        assert not decoded.extra


def test_tracks(reference_space, reference_name):
    tracks = objects_in(reference_space(reference_name), "track")
    assert tracks
    for data in tracks:
        decoded = track.decode_track(data)
        assert track.encode_track(decoded) == data
        assert str(parse_modality(decoded.modality)) == decoded.modality


def test_scalar_indexes(reference_space, reference_name):
    for data in objects_in(reference_space(reference_name), "scalar-index"):
        assert scalar_index.encode_scalar_index(scalar_index.decode_scalar_index(data)) == data


def test_hot_shards(reference_space, reference_name):
    shards = objects_in(reference_space(reference_name), "hot-shard")
    assert bool(shards) == (reference_name == "hot")
    for data in shards:
        assert hot_shard.encode_hot_shard(hot_shard.decode_hot_shard(data)) == data


def test_video_items(reference_space, reference_name):
    for data in objects_in(reference_space(reference_name), "video-item"):
        assert video_item.encode_video_item(video_item.decode_video_item(data)) == data


def test_geometry_items(reference_space, reference_name):
    for data in objects_in(reference_space(reference_name), "geometry-item"):
        assert geometry_item.encode_geometry_item(geometry_item.decode_geometry_item(data)) == data


def test_items(reference_space, reference_name):
    for data in objects_in(reference_space(reference_name), "items"):
        assert media_items.encode_items(media_items.decode_items(data)) == data


def test_tombstones(reference_space, reference_name):
    pages = {}
    indexes = []
    for data in objects_in(reference_space(reference_name), "tombstones"):
        if decode_cbor(data)["kind"].startswith("dreamdb.tombstone-index"):
            indexes.append(tombstones.decode_index(data))
            assert tombstones.encode_index(indexes[-1]) == data
        else:
            pages[address_of(data)] = tombstones.decode_page(data)
            assert tombstones.encode_page(pages[address_of(data)]) == data
    for index in indexes:
        if index.root is not None:
            page = pages[index.root.address]
            tombstones.check_page(page, index.root)
            assert page.level > 0 or tombstone_tree.build_pages(page.entries)[0] == index.root


def test_schemas(reference_space, reference_name):
    """Schemas encode to what they were, and the modality of each field is that of its Track."""
    for data in objects_in(reference_space(reference_name), "manifests"):
        decoded = manifest.decode_manifest(data)
        fields = schema.decode_schema(decoded.registry)
        assert schema.encode_schema(fields) == decoded.registry[schema.SCHEMA_KEY]
        for field in fields:
            entry = manifest.find_entry(decoded.tracks, field.name)
            assert entry is not None
            assert schema.track_kind_of(field) == entry.kind
            if "graph" not in entry.modality and "multivec" not in entry.modality:
                assert schema.modality_of(field) == entry.modality


def test_expected_schemas(reference_space, reference_expected, reference_name):
    refs = reference_expected(reference_name).get("refs", {})  # those of vectors do not list their schema
    for expected in refs.values():
        path = reference_space(reference_name) / "manifests" / expected["manifest"]
        fields = schema.decode_schema(manifest.decode_manifest(path.read_bytes()).registry)
        found = [{"kind": f.kind, "name": f.name, "required": f.required, **f.options} for f in fields]
        noted = [{k: {"$hex": v.hex()} if isinstance(v, bytes) else v for k, v in f.items()} for f in found]
        assert noted == expected["schema"]
