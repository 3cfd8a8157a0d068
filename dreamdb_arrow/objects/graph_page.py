"""Graph pages: some nodes of a graph, each with its vector and its neighbours. Spec 0007.

Unlike buckets, little-endian throughout. A header of 192 bytes, then the nodes end to end, of different lengths:
u64 anchor, the vector (or its code), u32 number of neighbours, u64 for the id of each.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address
from dreamdb_arrow.codec.ragged import Bytes, Ints, numbers_at, rows_at, slices, spread
from dreamdb_arrow.errors import LayoutError, UnsupportedError

GRAPH_MAGIC: Final = b"GPGU"
GRAPH_HEADER: Final = 192
TAG_BYTES: Final = 32
PAYLOAD_BYTES_MAX: Final = 4 << 16  # of 65,536 numbers
_VERSION: Final = 1
_HEAD: Final = struct.Struct(f"<4sIIIQII{ADDRESS_BYTES}s{TAG_BYTES}s")  # 97 bytes
_ANCHOR_BYTES: Final = 8
_DEGREE_BYTES: Final = 4
_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class GraphPage:
    """n nodes with ids from `first_node` on.

    number      which page of its graph this is
    max_degree  no node has more neighbours
    index       the GraphIndex; modality: the text in the header, at most 32 characters of the Track's
    anchors     uint64 (n,)
    payloads    uint8 (n, w): vectors as float32 LE, or codes
    degrees     int64 (n,), how many neighbours each node has
    neighbours  uint64 (sum of degrees,), node ids
    """

    number: int
    first_node: int
    max_degree: int
    index: Address
    modality: str
    anchors: NDArray[np.uint64]
    payloads: Bytes
    degrees: Ints
    neighbours: NDArray[np.uint64]


def encode_graph_page(page: GraphPage) -> bytes:
    """Return the bytes of a page."""
    count, width = page.payloads.shape
    assert len(page.anchors) == len(page.degrees) == count
    assert page.degrees.sum() == len(page.neighbours)
    tag = page.modality.encode("ascii")[:TAG_BYTES]
    head = _HEAD.pack(
        GRAPH_MAGIC,
        _VERSION,
        page.number,
        count,
        page.first_node,
        page.max_degree,
        width,
        page.index,
        tag,
    )
    sizes = _ANCHOR_BYTES + width + _DEGREE_BYTES + _ID_BYTES * page.degrees
    starts = sizes.cumsum() - sizes
    body = np.empty(int(sizes.sum()), np.uint8)
    _put(body, starts, page.anchors.astype("<u8"))
    body[(starts[:, None] + _ANCHOR_BYTES + np.arange(width))] = page.payloads
    _put(body, starts + _ANCHOR_BYTES + width, page.degrees.astype("<u4"))
    ids = np.repeat(starts + _ANCHOR_BYTES + width + _DEGREE_BYTES, page.degrees)
    _put(body, ids + _ID_BYTES * spread(page.degrees), page.neighbours.astype("<u8"))
    return head.ljust(GRAPH_HEADER, b"\0") + body.tobytes()


def decode_graph_page(data: bytes) -> GraphPage:
    """Return the page of these bytes.

    Raises:
        LayoutError: a magic, a length, a degree or the padding is not as the layout says.
        UnsupportedError: another version.
    """
    if len(data) < GRAPH_HEADER:
        raise LayoutError(f"a graph page of {len(data)} bytes has no header")
    magic, version, number, count, first, degree, width, index, tag = _HEAD.unpack_from(data)
    if magic != GRAPH_MAGIC:
        raise LayoutError(f"not a graph page: it begins with {magic.hex()}")
    if version != _VERSION:
        raise UnsupportedError(f"a graph page of version {version} cannot be read")
    if data[_HEAD.size : GRAPH_HEADER].strip(b"\0"):
        raise LayoutError("the padding of a graph page is not zero")
    if width > PAYLOAD_BYTES_MAX:  # 0000-R2: of a page without nodes no length says it is wrong
        raise LayoutError(f"a node of a graph cannot have a vector of {width} bytes")
    starts = _node_starts(data, count, width, degree)
    page = np.frombuffer(data, np.uint8)
    at = starts + _ANCHOR_BYTES
    degrees = numbers_at(page, at + width, "<u4").astype(np.int64)
    return GraphPage(
        number=number,
        first_node=first,
        max_degree=degree,
        index=Address(index),
        modality=_modality(tag),
        anchors=numbers_at(page, starts, "<u8"),
        payloads=rows_at(page, at, width) if width and count else np.empty((count, width), np.uint8),
        degrees=degrees,
        neighbours=_neighbours(page, at + width + _DEGREE_BYTES, degrees),
    )


def _node_starts(data: bytes, count: int, width: int, max_degree: int) -> Ints:
    """Return where each node begins, int64 (n,), having checked that they fill the page."""
    fixed = _ANCHOR_BYTES + width + _DEGREE_BYTES
    if GRAPH_HEADER + count * fixed > len(data):  # 0000-R2
        raise LayoutError(f"{count} nodes cannot be in a graph page of {len(data)} bytes")
    starts = np.empty(count, np.int64)
    at = GRAPH_HEADER
    for node in range(count):  # each node says where the next one begins
        if at + fixed > len(data):
            raise LayoutError("a node of a graph page is cut off")
        starts[node] = at
        (degree,) = struct.unpack_from("<I", data, at + fixed - _DEGREE_BYTES)
        if degree > max_degree:
            raise LayoutError(f"a node has {degree} neighbours, its page allows {max_degree}")
        at += fixed + _ID_BYTES * degree
    if at != len(data):
        raise LayoutError(f"nodes of a graph page end at byte {at} of {len(data)}")
    return starts


def _neighbours(page: Bytes, starts: Ints, degrees: Ints) -> NDArray[np.uint64]:
    return slices(page, starts, _ID_BYTES * degrees).data.view("<u8").astype(np.uint64)


def _put(body: Bytes, places: Ints, numbers: NDArray[Any]) -> None:
    width = numbers.dtype.itemsize
    body[places[:, None] + np.arange(width)] = numbers.view(np.uint8).reshape(-1, width)


def _modality(tag: bytes) -> str:
    text = tag.rstrip(b"\0")
    if b"\0" in text or not text.isascii():
        raise LayoutError(f"a header names the modality {tag!r}")
    return text.decode("ascii")
