"""Kinds of objects, as their paths tell them, and whether their bytes are of the one form that the kind has. Spec 0002."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from dreamdb_arrow.codec.cbor import decode_cbor
from dreamdb_arrow.codec.modality import parse_modality
from dreamdb_arrow.columnar.cover_note import decode_cover_note
from dreamdb_arrow.columnar.stripe import open_stripe
from dreamdb_arrow.columnar.vectors import only_batch
from dreamdb_arrow.columnar.vendor import COVER, MARK, MEDIA, STRIPE, VECTORS
from dreamdb_arrow.errors import CorruptDataError
from dreamdb_arrow.objects.array_index import decode_array_page
from dreamdb_arrow.objects.btree_page import decode_btree_page
from dreamdb_arrow.objects.genesis import decode_genesis
from dreamdb_arrow.objects.geometry_item import decode_geometry_item
from dreamdb_arrow.objects.graph_index import decode_graph_index
from dreamdb_arrow.objects.graph_page import decode_graph_page
from dreamdb_arrow.objects.hot_shard import decode_hot_shard
from dreamdb_arrow.objects.index_entries import CELLS
from dreamdb_arrow.objects.index_entries import MEDIA as MEDIA_ENTRIES
from dreamdb_arrow.objects.index_page import decode_index_page
from dreamdb_arrow.objects.manifest import decode_manifest
from dreamdb_arrow.objects.media_items import decode_items
from dreamdb_arrow.objects.scalar_index import decode_scalar_index
from dreamdb_arrow.objects.scalar_values import value_type_of
from dreamdb_arrow.objects.spatial_bucket import decode_spatial_bucket, decode_vector_sidecar
from dreamdb_arrow.objects.spatial_index import decode_spatial_index
from dreamdb_arrow.objects.tombstones import decode_index, decode_page
from dreamdb_arrow.objects.track import decode_track
from dreamdb_arrow.objects.vector_compressor import decode_vector_compressor
from dreamdb_arrow.store.batch import OUTBOARDS
from dreamdb_arrow.tracks.kinds import scalar_type_of

OUTBOARD: Final = "outboard"
REF: Final = "ref"
UNKNOWN: Final = "object"
PAYLOADS: Final = frozenset(
    {"scalar bucket", "spatial bucket", "vector sidecar", "array item"}
)  # with outboards

_MAPPED: Final = frozenset({"stripe", "vector stripe"})  # which may be large

_FIRST: Final = MappingProxyType(
    {
        "manifests": "manifest",
        "genesis": "genesis",
        "tombstones": "tombstones",
        "scalar-index": "scalar index",
        "spatial-index": "spatial index",
        "vector-compressor": "vector compressor",
        "graph-index": "graph index",
        "geometry-item": "geometry item",
        "geometry-data": "geometry data",
        "entity-key-index": "entity key index",
        OUTBOARDS: OUTBOARD,
    }
)
_THIRD: Final = MappingProxyType(
    {
        "track": "track",
        "items": "items",
        "bucket": "scalar bucket",
        "init": "initialization bytes",
        "hot-shard": "hot shard",
        "graph-page": "graph page",
        "vectors": "vector sidecar",
        "text-index": "text index",
    }
)
_VENDOR: Final = MappingProxyType(
    {STRIPE: "stripe", VECTORS: "vector stripe", COVER: "cover note", MEDIA: "media"}
)
_TIME: Final = re.compile("[0-9a-f]{16}")
_SEGMENTS: Final = 4  # timeline, modality, place, address


def kind_of(path: str) -> str:
    """Return what lies at a path, in a word or two."""
    parts = path.split("/")
    if parts[0] in _FIRST:
        return _FIRST[parts[0]]
    if len(parts) != _SEGMENTS:
        return "constant" if len(parts) == _SEGMENTS - 1 else UNKNOWN
    _, modality, place, _ = parts
    if place == "index":
        return _page_kind(modality)
    if place in _THIRD:
        return _THIRD[place]
    if _TIME.fullmatch(place):
        return _VENDOR.get(modality, "array item" if modality.startswith("array.") else "media")
    return "spatial bucket" if ".bucketed" in modality else UNKNOWN


def _page_kind(modality: str) -> str:
    if modality.startswith("scalar."):
        return "scalar page"
    if modality.startswith("embedding."):
        return "cell page"
    return "array page" if modality.startswith("array.") else "media page"


def check_form(kind: str, path: str, data: Any) -> None:
    """Raise CorruptDataError unless bytes are of the form of their kind; of kinds that are not known nothing is asked."""
    check = _CHECKS.get(kind)
    if check is not None:
        modality = path.split("/")[1]
        check(data if kind in _MAPPED else bytes(data), modality)


def _tombstones(data: bytes, _: str) -> None:
    """Indexes and pages lie side by side."""
    value = decode_cbor(data)
    (decode_index if isinstance(value, dict) and "parents" in value else decode_page)(data)


def _vectors(data: Any, _: str) -> None:
    """A vector stripe, or the mark in the place of one."""
    if memoryview(data).nbytes == len(MARK) and bytes(data) == MARK:
        return
    try:
        only_batch(pa.BufferReader(pa.py_buffer(data)))
    except (pa.ArrowException, ValueError) as error:
        raise CorruptDataError(f"not a vector stripe: {error}") from None


def _media_page(data: bytes, modality: str) -> None:
    if (
        not parse_modality(modality).vendor or modality in _VENDOR
    ):  # pages of video items have a form of their own
        decode_index_page(data, MEDIA_ENTRIES, modality)


def _scalar_page(data: bytes, modality: str) -> None:
    decode_btree_page(data, value_type_of(scalar_type_of(modality)))


_CHECKS: Final[Mapping[str, Callable[[Any, str], object]]] = MappingProxyType(
    {
        "manifest": lambda data, _: decode_manifest(data),
        "genesis": lambda data, _: decode_genesis(data),
        "tombstones": _tombstones,
        "scalar index": lambda data, _: decode_scalar_index(data),
        "spatial index": lambda data, _: decode_spatial_index(data),
        "vector compressor": lambda data, _: decode_vector_compressor(data),
        "graph index": lambda data, _: decode_graph_index(data),
        "graph page": lambda data, _: decode_graph_page(data),
        "geometry item": lambda data, _: decode_geometry_item(data),
        "track": lambda data, _: decode_track(data),
        "items": lambda data, _: decode_items(data),
        "hot shard": lambda data, _: decode_hot_shard(data),
        "scalar page": _scalar_page,
        "cell page": lambda data, modality: decode_index_page(data, CELLS, modality),
        "media page": _media_page,
        "array page": lambda data, modality: (
            decode_array_page(data, modality)
            if "storage=time-batch" not in modality
            else decode_index_page(data, MEDIA_ENTRIES, modality)
        ),
        "vector sidecar": lambda data, _: decode_vector_sidecar(data),
        "spatial bucket": lambda data, _: decode_spatial_bucket(data),
        "stripe": lambda data, _: open_stripe(pa.py_buffer(data)),
        "vector stripe": _vectors,
        "cover note": lambda data, _: decode_cover_note(data),
    }
)
