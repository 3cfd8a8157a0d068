"""Every decoder of bytes that come from outside, as one function of bytes, for `testing.fuzz`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import ADDRESS_BYTES, as_address, parse_address
from dreamdb_arrow.codec.cbor import decode_cbor
from dreamdb_arrow.codec.modality import check_modality, parse_modality
from dreamdb_arrow.codec.time_key import decode_time_key
from dreamdb_arrow.columnar.cover_note import decode_cover_note
from dreamdb_arrow.columnar.stripe import decode_stripe
from dreamdb_arrow.columnar.vectors import decode_vectors
from dreamdb_arrow.errors import DreamDBError, LayoutError
from dreamdb_arrow.history.writer import place_of
from dreamdb_arrow.objects.anchor_index_page import decode_anchor_leaf, decode_anchor_root
from dreamdb_arrow.objects.array_index import decode_array_page
from dreamdb_arrow.objects.array_item import decode_items_of
from dreamdb_arrow.objects.array_type import CSR, DENSE, NPY, OFFSETS, RAGGED, RAW, ItemType
from dreamdb_arrow.objects.btree_page import decode_btree_page
from dreamdb_arrow.objects.genesis import decode_genesis
from dreamdb_arrow.objects.geometry_item import decode_geometry_item
from dreamdb_arrow.objects.graph_index import decode_graph_index
from dreamdb_arrow.objects.graph_page import decode_graph_page
from dreamdb_arrow.objects.hot_shard import decode_hot_shard
from dreamdb_arrow.objects.index_entries import CELLS, MEDIA, entries_of_lists
from dreamdb_arrow.objects.index_page import decode_index_page, encode_index_leaf, index_leaf
from dreamdb_arrow.objects.manifest import decode_manifest
from dreamdb_arrow.objects.media_items import decode_items
from dreamdb_arrow.objects.scalar_bucket import decode_record
from dreamdb_arrow.objects.scalar_index import decode_scalar_index
from dreamdb_arrow.objects.scalar_records import decode_records
from dreamdb_arrow.objects.scalar_values import VALUE_TYPES, ValueType
from dreamdb_arrow.objects.schema import decode_schema
from dreamdb_arrow.objects.spatial_bucket import decode_spatial_bucket, decode_vector_sidecar
from dreamdb_arrow.objects.spatial_index import decode_spatial_index
from dreamdb_arrow.objects.tombstone_tree import decode_leaf
from dreamdb_arrow.objects.tombstones import decode_index, decode_page
from dreamdb_arrow.objects.track import decode_track
from dreamdb_arrow.objects.vector_compressor import decode_vector_compressor
from dreamdb_arrow.objects.video_item import decode_video_item, decode_video_page
from dreamdb_arrow.tracks.index_pages import sort_index_entries

Decoder = Callable[[bytes], Any]


def _text(decode: Callable[[str], Any]) -> Decoder:
    """Have text decoded that was bytes; what is no text is refused here."""

    def decoded(data: bytes) -> Any:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise LayoutError("no text") from None
        return decode(text)

    return decoded


def _paged(decode: Callable[[bytes, str], Any]) -> Decoder:
    """Have a page decoded as one of the modality that it says it is of."""

    def decoded(data: bytes) -> Any:
        said = decode_cbor(data)
        modality = said.get("modality") if isinstance(said, dict) else None
        return decode(data, modality if isinstance(modality, str) else "image.png")

    return decoded


def _btree_page(kind: ValueType, data: bytes) -> Any:
    return decode_btree_page(data, kind)


def _schema(data: bytes) -> Any:
    """Decode what the registry of a Manifest says of its fields."""
    return decode_schema(decode_manifest(data).registry)


def _records(data: bytes) -> Any:
    """Decode a bucket of one record, in the way for many."""
    return decode_records(data, np.array([0]), np.array([len(data)]))


def _ref(data: bytes) -> Any:
    if len(data) != ADDRESS_BYTES:
        raise LayoutError("a Ref has 33 bytes")
    return as_address(data)


def _of(family: str, dtype: str, shape: tuple[int, ...], codec: str) -> Decoder:
    return lambda data: decode_items_of(ItemType(family, dtype, shape, codec=codec), [data])


def pages_of_cells(corpus: Iterable[bytes]) -> list[bytes]:
    """Return the cells that small Tracks list by themselves, as the pages that larger ones would have."""
    pages = []
    for data in corpus:
        with suppress(DreamDBError):
            track = decode_track(data)
            entries = sort_index_entries(entries_of_lists(CELLS, track.object_index))
            pages += [encode_index_leaf(index_leaf(track.modality, entries))] if len(entries) else []
    return pages


DECODERS: Final = MappingProxyType[str, Decoder](
    {
        "cbor": decode_cbor,
        "address": _text(parse_address),
        "modality": _text(parse_modality),
        "modality of a path": _text(check_modality),
        "time key": _text(decode_time_key),
        "ref": _ref,
        "writer tag": _text(place_of),
        "manifest": decode_manifest,
        "schema": _schema,
        "genesis": decode_genesis,
        "track": decode_track,
        "media page": _paged(lambda data, modality: decode_index_page(data, MEDIA, modality)),
        "cell page": _paged(lambda data, modality: decode_index_page(data, CELLS, modality)),
        "array page": _paged(decode_array_page),
        "video page": _paged(decode_video_page),
        "anchor leaf": decode_anchor_leaf,
        "anchor root": decode_anchor_root,
        **{
            f"B-tree page, {name}": partial(_btree_page, kind)
            for name, kind in VALUE_TYPES.items()
            if kind.algorithm
        },
        "scalar index": decode_scalar_index,
        "scalar record": decode_record,
        "scalar records": _records,
        "spatial index": decode_spatial_index,
        "spatial bucket": decode_spatial_bucket,
        "vector sidecar": decode_vector_sidecar,
        "vector compressor": decode_vector_compressor,
        "graph index": decode_graph_index,
        "graph page": decode_graph_page,
        "hot shard": decode_hot_shard,
        "items": decode_items,
        "video item": decode_video_item,
        "geometry item": decode_geometry_item,
        "tombstone page": decode_page,
        "tombstone leaf": decode_leaf,
        "tombstone index": decode_index,
        "array": _of(DENSE, "f32", (2, 3), RAW),
        "array, ragged": _of(RAGGED, "f32", (3,), OFFSETS),
        "array, csr": _of(CSR, "f32", (3, 4), RAW),
        "array, npy": _of(DENSE, "f32", (3,), NPY),
        "cover note": decode_cover_note,
        "stripe": lambda data: decode_stripe(pa.BufferReader(data)),
        "vector stripe": lambda data: decode_vectors(data, 4),
    }
)


def seeds_of(
    decode: Decoder, corpus: Iterable[bytes], refused: tuple[type[Exception], ...], most: int
) -> list[bytes]:
    """Return those objects that a decoder accepts, the shortest ones."""
    found = []
    for data in corpus:
        try:
            decode(data)
        except refused:
            continue
        found.append(data)
    return sorted(found, key=len)[:most]
