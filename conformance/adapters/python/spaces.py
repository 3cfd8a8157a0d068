"""Operations on versions and on rows that wait: merge bases, unions, hot shards. Specs 0008, 0014 and 0016."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from metadata import Codec, object_codec

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.history.ancestry import merge_base
from dreamdb_arrow.history.merge import unite
from dreamdb_arrow.history.registries import Parting, unite_registries
from dreamdb_arrow.objects.geometry_item import decode_geometry_item, encode_geometry_item
from dreamdb_arrow.objects.hot_shard import HotShard, decode_hot_shard, encode_hot_shard
from dreamdb_arrow.objects.manifest import Manifest, Tracks, encode_manifest
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.objects.video_item import decode_video_item, encode_video_item
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.memory import MemoryStore
from dreamdb_arrow.tracks.union import Sides, unite_tracks

_TIMELINE: Final = address_of(b"timeline")


def _manifest(ts: int, parents: tuple[Address, ...] = (), registry: dict[str, Any] | None = None) -> Manifest:
    return Manifest(ts, Tracks(()), "somebody", parents, registry or {}, (_TIMELINE,))


# --- versions -----------------------------------------------------------------------------------------------


def _base(versions: list[list[Any]], ours: str, theirs: str) -> str | None:
    """Put the versions, [name, names of parents] and older ones first, into a store; return the base's name."""
    store, addresses = MemoryStore("conformance"), {}
    for ts, (name, parents) in enumerate(versions, 1):
        data = encode_manifest(_manifest(ts, tuple(addresses[parent] for parent in parents)))
        addresses[name] = address_of(data)
        store.put(f"manifests/{addresses[name]}", data)
    found = merge_base(store, addresses[ours], addresses[theirs])
    return None if found is None else next(name for name, a in addresses.items() if a == found)


def _registries(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    unite_registries(Parting(_manifest(1, registry=ours), _manifest(1, registry=theirs)))
    return "alike"


def _tombstones(ours: bytes | None, theirs: bytes | None, base: bytes | None, issued_at: int) -> str | None:
    """Return the text form of the head after a merge."""
    sides = [
        _manifest(1, registry={} if head is None else {"dreamdb.tombstones": {"head": head}})
        for head in (ours, theirs, base)
    ]
    store = MemoryStore("conformance")
    changed = unite(store, Batch(store), Parting(*sides), issued_at).registry
    head = changed["dreamdb.tombstones"]["head"] if changed else ours
    return None if head is None else str(Address(head))


def _index(modality: str, ours: list[Any], theirs: list[Any], base: list[Any]) -> list[Any]:
    """Return the united index of three that stand inline in their Tracks."""
    tracks = [Track((0, 1 << 63), modality, _TIMELINE, index) for index in (ours, theirs, base)]
    store = MemoryStore("conformance")
    index = unite_tracks(store, Batch(store), Sides("f", (tracks[0], tracks[1]), tracks[2])).object_index
    return [list(entry) for entry in index]


# --- hot shards ---------------------------------------------------------------------------------------------


def _read_shard(data: bytes) -> Any:
    shard = decode_hot_shard(data)
    return {
        "value_type": shard.value_type,
        "parent": shard.parent,
        "published_at": shard.published_at,
        "flush_threshold": shard.flush_threshold,
        "ttl_seconds": shard.ttl_seconds,
        "items": [list(item) for item in zip(shard.anchors, shard.payloads, strict=True)],
    }


def _write_shard(value: dict[str, Any]) -> bytes:
    anchors, payloads = zip(*value["items"], strict=True) if value["items"] else ((), ())
    facts = {key: value[key] for key in ("value_type", "published_at", "flush_threshold", "ttl_seconds")}
    return encode_hot_shard(
        HotShard(**facts, parent=Address(value["parent"]), anchors=anchors, payloads=payloads)
    )


CODECS: Final[dict[str, Codec]] = {
    "hot_shard": (_read_shard, _write_shard),
    "video_item": object_codec(decode_video_item, encode_video_item),
    "geometry_item": object_codec(decode_geometry_item, encode_geometry_item),
}
FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "merge.base": _base,
    "merge.registries": _registries,
    "merge.tombstones": _tombstones,
    "merge.index": _index,
}
