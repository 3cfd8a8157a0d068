"""The stored Spaces: every row of every ref out of their Tracks, buckets to the byte, first appends to the address."""

import json

import blake3
import numpy as np
import pytest

from dreamdb_arrow.codec.address import address_of, as_address
from dreamdb_arrow.objects.manifest import decode_manifest
from dreamdb_arrow.objects.scalar_bucket import encode_records
from dreamdb_arrow.objects.scalar_records import decode_records
from dreamdb_arrow.objects.scalar_values import value_type_of
from dreamdb_arrow.objects.track import decode_track, encode_track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks import scalars
from dreamdb_arrow.tracks.layout import bucket_directory, payload_directory, track_directory
from dreamdb_arrow.tracks.media import pack_media, read_media_items, write_media
from dreamdb_arrow.tracks.media_bytes import fetch_media
from dreamdb_arrow.tracks.scalars import bucket_addresses, read_scalars, write_scalars
from dreamdb_arrow.tracks.tombstones import read_tombstones

SPACES = [
    "append-delete",
    "branch-merge",
    "evolution-meta",
    "images",
    "packed-images",
    "paged-btree",
    "paged-media",
    "scalars-nulls",
]
TYPES = {
    "i64": "int",
    "f64": "float",
    "str": "string",
    "ts": "timestamp",
    "cat": "categorical",
    "bool": "bool",
}
MEDIA = ("image", "audio", "video")


def open_stored(root):
    return LocalStore(root, sync=False)


def type_of(modality):
    return TYPES[modality.split(".")[1]]


def plain(values):
    return values if isinstance(values, list) else values.tolist()


def read_column(store, entry):
    """Return the values of one field by anchor, as the expectations note them; None for a constant."""
    track = decode_track(store.get(f"{track_directory(entry.timeline, entry.modality)}/{entry.address}"))
    if entry.modality.startswith("scalar."):
        column = read_scalars(store, track, type_of(entry.modality))
        values = plain(column.values)
        return {
            a: values[code] for a, code in zip(column.anchors.tolist(), column.codes.tolist(), strict=True)
        }
    if entry.modality.split(".")[0] in MEDIA:
        items = read_media_items(store, track)
        blobs = fetch_media(store, track.timeline, track.modality, items, np.arange(len(items))).tolist()
        return {a: {"$hex": blob.hex()} for a, blob in zip(items.anchors.tolist(), blobs, strict=True)}
    return None


def read_rows(store, manifest):
    head = manifest.registry.get("dreamdb.tombstones", {}).get("head")
    hidden = set(read_tombstones(store, as_address(head)).anchors.tolist()) if head else set()
    rows = {}
    for entry in manifest.tracks.active:
        for anchor, value in (read_column(store, entry) or {}).items():
            if anchor not in hidden:
                rows.setdefault(anchor, {})[entry.field] = value
    return rows


@pytest.mark.parametrize("name", SPACES)
def test_every_row_of_every_ref(reference_space, reference_expected, name):
    store = open_stored(reference_space(name))
    for ref in reference_expected(name)["refs"].values():
        rows = read_rows(store, decode_manifest(store.get(f"manifests/{ref['manifest']}")))
        assert len(rows) == ref["count"]
        if "rows" in ref:
            assert {str(anchor): row for anchor, row in rows.items()} == ref["rows"]
        else:
            assert {a: rows[int(a)] for a in ref["rows_sampled"]} == ref["rows_sampled"]
            text = json.dumps(sorted(rows.items()), sort_keys=True, separators=(",", ":"))
            assert blake3.blake3(text.encode()).hexdigest() == ref["rows_blake3"]


def stored_tracks(root, prefix):
    tracks = {}
    for path in sorted(root.glob(f"d*/{prefix}*/track/*")):
        tracks.setdefault(path.parts[-3], {})[path.name] = decode_track(path.read_bytes())
    return tracks


def test_buckets_to_the_byte(reference_space, reference_name):  # 0011-R6
    root = reference_space(reference_name)
    store = open_stored(root)
    for modality, tracks in stored_tracks(root, "scalar.").items():
        for track in tracks.values():
            if isinstance(track.object_index, dict) and track.object_index["form"].startswith("hot"):
                continue
            entries = scalars._read_entries(store, track, value_type_of(type_of(modality)))
            buckets, codes = scalars.number_addresses(entries.buckets)
            for number, bucket in enumerate(buckets):
                data = store.get(f"{bucket_directory(track.timeline, modality)}/{bucket}")
                mine = entries.take(np.flatnonzero(codes == number))
                places = np.unique(
                    np.c_[mine.offsets, np.where(mine.lengths < 0, len(data), mine.lengths)], axis=0
                )
                records = encode_records(*decode_records(data, *places.T.copy()))
                assert records.data.tobytes() == data


@pytest.mark.parametrize("name", SPACES)
def test_first_appends_have_the_same_address(reference_space, name):  # 0000-R5, 0011-R7
    root = reference_space(name)
    store, checked = open_stored(root), 0
    for modality, tracks in stored_tracks(root, "scalar.").items():
        empty = next((track for track in tracks.values() if track.object_index == []), None)
        for address, track in tracks.items():
            buckets = bucket_addresses(store, track, type_of(modality))
            column = read_scalars(store, track, type_of(modality))
            entry = (
                track.object_index[0]
                if isinstance(track.object_index, list) and track.object_index
                else [0] * 6
            )
            if empty is None or len(buckets) != 1 or len(entry) == 4:
                continue
            values = plain(column.values)
            rows = [values[code] for code in column.codes]
            batch = Batch(MemoryStore())
            kind = value_type_of(type_of(modality))
            given = rows if isinstance(column.values, list) else np.array(rows, column.values.dtype)
            written = write_scalars(store, batch, empty, "x", type_of(modality), column.anchors, given)
            assert kind.tree == isinstance(written.track.object_index, dict)
            assert str(address_of(encode_track(written.track))) == address
            assert frozenset(written.payloads) == buckets
            checked += 1
    assert checked or name == "paged-media"


@pytest.mark.parametrize("name", ["images", "packed-images"])
def test_media_appends_have_the_same_address(reference_space, reference_expected, name):
    root = reference_space(name)
    store, checked = open_stored(root), 0
    schema = {field["name"]: field for field in reference_expected(name)["refs"]["main"]["schema"]}
    manifest = decode_manifest(store.get(f"manifests/{reference_expected(name)['refs']['main']['manifest']}"))
    lineage = {entry.address: entry for entry in (*manifest.tracks.active, *manifest.tracks.lineage)}
    parents = {edge.child.address: edge.exact_parent.address for edge in manifest.tracks.edges}
    for child, parent in parents.items():
        entry = lineage[child]
        if entry.modality.split(".")[0] not in MEDIA:
            continue
        before, after = (
            decode_track(store.get(f"{track_directory(entry.timeline, entry.modality)}/{address}"))
            for address in (parent, child)
        )
        known = frozenset(as_address(row[3]) for row in before.object_index)
        items = read_media_items(store, after, known=known)
        blobs = fetch_media(store, entry.timeline, entry.modality, items, np.arange(len(items))).tolist()
        field = schema[entry.field]
        way = {"pack_items": field.get("pack_items"), "chunk_size": field.get("chunk_size")}
        added = MemoryStore()
        batch = Batch(added)
        packed = pack_media(batch, entry.timeline, entry.modality, items.anchors, blobs, **way)
        written = write_media(store, batch, before, packed)
        batch.flush()
        if len(known) + len(set(written.payloads)) == len({bytes(row[3]) for row in after.object_index}):
            assert address_of(encode_track(written.track)) == child
            checked += 1
        for path in added.list(payload_directory(entry.timeline, entry.modality)):
            assert added.get(path) == store.get(path)
    assert checked > 2
