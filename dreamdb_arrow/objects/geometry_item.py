"""Geometry items: points, splats or a mesh on a grid, in data objects cut by cell or by level. Spec 0007."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.shape import (
    expect_address,
    expect_closed_map,
    expect_list,
    expect_text,
    expect_uint,
)

VERSION: Final = 1
RECORD_BYTES: Final[Mapping[str, int]] = MappingProxyType({"point": 10, "splat": 46})
MESH: Final = "mesh"
DEPTH_MAX: Final = 16  # coordinates have sixteen bits
_VERTEX_BYTES, _TRIANGLE_BYTES = 6, 12
_CELLS, _LEVELS = "cells-v1", "mesh-lods-v1"
_KEYS: Final = frozenset({"v", "depth", "index", "units", "family", "step_f64le", "origin_f64le"})

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class GeometryPart:
    """A cell, or a level of a mesh: how much is in it, and where its bytes lie.

    name    the cell's key, or the level's error in steps of the grid
    counts  how many records; or how many vertices and triangles
    """

    name: int
    counts: tuple[int, ...]
    address: Address
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class GeometryItem:
    """One piece of geometry: a coordinate c of the grid stands for origin + c * step, in `units`."""

    family: str
    units: str
    depth: int
    origin: Triple
    step: Triple
    parts: tuple[GeometryPart, ...]


@dataclass(frozen=True, slots=True)
class GeometryEntry:
    """A geometry item in the index of a Track: its anchor, its address, the size of its object."""

    anchor: int
    item: Address
    size: int


def encode_geometry_item(item: GeometryItem) -> bytes:
    """Return the canonical bytes."""
    if item.family == MESH:
        rows = [[p.name, *p.counts, p.address, p.size] for p in item.parts]
        index: dict[str, Any] = {"form": _LEVELS, "levels": rows}
    else:
        rows = [[p.name, *p.counts, p.address, p.offset, p.size] for p in item.parts]
        index = {"form": _CELLS, "cells": rows}
    fields = {
        "v": VERSION,
        "depth": item.depth,
        "index": index,
        "units": item.units,
        "family": item.family,
        "step_f64le": struct.pack("<3d", *item.step),
        "origin_f64le": struct.pack("<3d", *item.origin),
    }
    return encode_cbor(fields)


def decode_geometry_item(data: bytes) -> GeometryItem:
    """Return the geometry item of these bytes. Raises CanonicalError or LayoutError."""
    fields = expect_closed_map(decode_cbor(data), "geometry item", _KEYS)
    if type(fields["v"]) is not int or fields["v"] != VERSION:  # neither 1.0 nor true is 1
        raise LayoutError(f"version of a geometry item is {fields['v']!r:.20}, not {VERSION}")
    family = expect_text(fields["family"], "family of a geometry item")
    if family != MESH and family not in RECORD_BYTES:
        raise LayoutError(f"not a family of geometry: {family!r:.40}")
    depth = expect_uint(fields["depth"], "depth of a geometry item")
    if depth > DEPTH_MAX:
        raise LayoutError(f"depth of a geometry item is {depth}, above {DEPTH_MAX}")
    return GeometryItem(
        family,
        expect_text(fields["units"], "units of a geometry item"),
        depth,
        _decode_triple(fields["origin_f64le"]),
        _decode_triple(fields["step_f64le"]),
        _decode_index(fields["index"], family),
    )


def _decode_triple(value: Any) -> Triple:
    if not isinstance(value, bytes) or len(value) != 24:
        raise LayoutError("origin and step of a geometry item have 24 bytes")
    x, y, z = struct.unpack("<3d", value)
    if not (isfinite(x) and isfinite(y) and isfinite(z)):
        raise LayoutError("origin and step of a geometry item must be finite")
    return x, y, z


def _decode_index(value: Any, family: str) -> tuple[GeometryPart, ...]:
    form, key, decode = (
        (_LEVELS, "levels", _decode_level) if family == MESH else (_CELLS, "cells", _decode_cell)
    )
    fields = expect_closed_map(value, "index of a geometry item", frozenset({"form", key}))
    if fields["form"] != form:
        raise LayoutError(f"index of a {family} is of form {fields['form']!r:.40}, not {form}")
    parts = tuple(decode(row, family) for row in expect_list(fields[key], key))
    if family != MESH and any(a.name >= b.name for a, b in pairwise(parts)):
        raise LayoutError("the cells of a geometry item do not ascend")
    return parts


def _decode_cell(value: Any, family: str) -> GeometryPart:
    row = expect_list(value, "cell")
    if len(row) != 5:
        raise LayoutError("a cell has five items")
    name, count, offset, size = (expect_uint(row[at], "cell") for at in (0, 1, 3, 4))
    if size != count * RECORD_BYTES[family]:
        raise LayoutError(f"a cell of {count} records of a {family} has {size} bytes")
    return GeometryPart(name, (count,), expect_address(row[2], "data of a cell"), offset, size)


def _decode_level(value: Any, _: str) -> GeometryPart:
    row = expect_list(value, "level of a mesh")
    if len(row) != 5:
        raise LayoutError("a level of a mesh has five items")
    name, vertices, triangles, size = (expect_uint(row[at], "level of a mesh") for at in (0, 1, 2, 4))
    if size != vertices * _VERTEX_BYTES + triangles * _TRIANGLE_BYTES:
        raise LayoutError(
            f"a level of {vertices} vertices and {triangles} triangles of a mesh has {size} bytes"
        )
    return GeometryPart(name, (vertices, triangles), expect_address(row[3], "data of a level"), 0, size)


def decode_geometry_entries(value: Any) -> tuple[GeometryEntry, ...]:
    """Return the entries of a Track. Raises LayoutError unless their anchors ascend."""
    entries = tuple(map(_decode_entry, expect_list(value, "items of a geometry Track")))
    if any(a.anchor >= b.anchor for a, b in pairwise(entries)):
        raise LayoutError("the anchors of a geometry Track do not ascend")
    return entries


def _decode_entry(value: Any) -> GeometryEntry:
    row = expect_list(value, "entry of a geometry Track")
    if len(row) != 3:
        raise LayoutError("an entry of a geometry Track has three items")
    return GeometryEntry(
        expect_uint(row[0], "anchor of a geometry item"),
        expect_address(row[1], "address of a geometry item"),
        expect_uint(row[2], "size of a geometry item"),
    )
