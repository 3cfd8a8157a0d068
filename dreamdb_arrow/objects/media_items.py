"""Items objects: the chunks of one media item that is stored in chunks. Spec 0007."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.shape import expect_address, expect_closed_map, expect_list, expect_uint

_ITEMS_KEYS: Final = frozenset({"chunks", "total_size"})
_CHUNK_KEYS: Final = frozenset({"hash", "size"})


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of an item: the Address of its bytes and how many they are."""

    address: Address
    size: int


@dataclass(frozen=True, slots=True)
class ItemsObject:
    """An item: the chunks that make it up, in order, and their sizes taken together."""

    chunks: tuple[Chunk, ...]
    total_size: int


def items_object_of(chunks: tuple[Chunk, ...]) -> ItemsObject:
    """Return the ItemsObject of these chunks."""
    return ItemsObject(chunks, sum(chunk.size for chunk in chunks))


def encode_items(items: ItemsObject) -> bytes:
    """Return the canonical bytes."""
    chunks = [{"hash": chunk.address, "size": chunk.size} for chunk in items.chunks]
    return encode_cbor({"chunks": chunks, "total_size": items.total_size})


def decode_items(data: bytes) -> ItemsObject:
    """Return the ItemsObject of these bytes, its total checked. Raises CanonicalError or LayoutError."""
    fields = expect_closed_map(decode_cbor(data), "items object", _ITEMS_KEYS)
    chunks = tuple(map(_decode_chunk, expect_list(fields["chunks"], "chunks of an item")))
    items = ItemsObject(chunks, expect_uint(fields["total_size"], "total_size of an item"))
    if items != items_object_of(chunks):  # 0007-R2
        raise LayoutError(f"total_size of an item is {items.total_size}, but its chunks say otherwise")
    return items


def _decode_chunk(value: Any) -> Chunk:
    fields = expect_closed_map(value, "chunk of an item", _CHUNK_KEYS)
    return Chunk(
        expect_address(fields["hash"], "hash of a chunk"), expect_uint(fields["size"], "size of a chunk")
    )
