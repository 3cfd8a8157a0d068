"""Operations on items of typed arrays. Spec 0007."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from metadata import Codec

from dreamdb_arrow.objects.array_item import (
    CsrItems,
    DenseItems,
    RaggedItems,
    decode_items_of,
    encode_items_of,
)
from dreamdb_arrow.objects.array_type import ItemType, decode_item_type


def _numbers(values: np.ndarray) -> bytes:
    """Return numbers little-endian, rows first; moved as integers, so that every bit stays."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(f"u{flat.itemsize}").astype(f"<u{flat.itemsize}").tobytes()


def _values(of: ItemType, data: bytes, *shape: int) -> np.ndarray:
    width = of.native.itemsize
    return np.frombuffer(data, f"<u{width}").astype(f"u{width}").view(of.native).reshape(shape)


def _read(data: bytes, item_type: dict[str, Any]) -> Any:
    items = decode_items_of(decode_item_type(item_type), [data])
    if isinstance(items, DenseItems):
        return {"values": _numbers(items.values)}
    if isinstance(items, RaggedItems):
        return {"lengths": items.lengths.tolist(), "values": _numbers(items.values)}
    return {
        "row_offsets": items.row_offsets[0].tolist(),
        "column_indices": items.column_indices.tolist(),
        "values": _numbers(items.values),
    }


def _write(value: dict[str, Any], item_type: dict[str, Any]) -> bytes:
    of = decode_item_type(item_type)
    return encode_items_of(of, _items(of, value))[0]


def _items(of: ItemType, value: dict[str, Any]) -> DenseItems | RaggedItems | CsrItems:
    if "lengths" in value:
        lengths = np.array(value["lengths"], np.int64)
        return RaggedItems(np.array([len(lengths)]), lengths, _values(of, value["values"], -1, *of.shape))
    if "row_offsets" not in value:
        return DenseItems(_values(of, value["values"], 1, *of.shape))
    indices = np.array(value["column_indices"], np.uint64)
    offsets = np.array([value["row_offsets"]], np.uint64)
    return CsrItems(offsets, np.array([len(indices)]), indices, _values(of, value["values"], -1))


CODECS: Final[dict[str, Codec]] = {"array_item": (_read, _write)}
FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {}
