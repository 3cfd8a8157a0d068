"""Pages of an anchor index: from an anchor to its exact vector, a row of a sidecar. Spec 0013.

Big-endian throughout; which of the two kinds a page is follows from its place, not from its bytes.

    leaf    u32 count, then for each row: u64 anchor, address of the sidecar, u32 row in it
    root    u32 count, then for each leaf: u64 first anchor, address of the leaf
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import ADDRESS_BYTES, BLAKE3_CODE
from dreamdb_arrow.codec.ragged import Bytes
from dreamdb_arrow.errors import LayoutError

_COUNT_BYTES: Final = 4
_LEAF: Final = np.dtype([("anchor", ">u8"), ("address", "u1", (ADDRESS_BYTES,)), ("row", ">u4")])
_ROOT: Final = np.dtype([("anchor", ">u8"), ("address", "u1", (ADDRESS_BYTES,))])


@dataclass(frozen=True, slots=True, eq=False)
class AnchorLeaf:
    """Rows by anchor: uint64 (n,), ascending; the sidecars' addresses, uint8 (n, 33); rows in them, uint32 (n,)."""

    anchors: NDArray[np.uint64]
    sidecars: Bytes
    rows: NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class AnchorRoot:
    """Leaves by their first anchor: uint64 (n,), ascending; their addresses, uint8 (n, 33)."""

    firsts: NDArray[np.uint64]
    leaves: Bytes


def encode_anchor_leaf(leaf: AnchorLeaf) -> bytes:
    """Return the bytes of a leaf."""
    records = np.empty(len(leaf.anchors), _LEAF)
    records["anchor"], records["address"], records["row"] = leaf.anchors, leaf.sidecars, leaf.rows
    return len(records).to_bytes(_COUNT_BYTES, "big") + records.tobytes()


def encode_anchor_root(root: AnchorRoot) -> bytes:
    """Return the bytes of a root."""
    records = np.empty(len(root.firsts), _ROOT)
    records["anchor"], records["address"] = root.firsts, root.leaves
    return len(records).to_bytes(_COUNT_BYTES, "big") + records.tobytes()


def decode_anchor_leaf(data: bytes) -> AnchorLeaf:
    """Return the leaf of these bytes. Raises LayoutError for a length that is not its count's, or anchors that fall."""
    records = _read(data, _LEAF)
    anchors, rows = records["anchor"].astype(np.uint64), records["row"].astype(np.uint32)
    return AnchorLeaf(anchors, records["address"], rows)


def decode_anchor_root(data: bytes) -> AnchorRoot:
    """Return the root of these bytes. Raises as decode_anchor_leaf does."""
    records = _read(data, _ROOT)
    return AnchorRoot(records["anchor"].astype(np.uint64), records["address"])


def _read(data: bytes, kind: np.dtype[np.void]) -> NDArray[np.void]:
    count = int.from_bytes(data[:_COUNT_BYTES], "big")
    if len(data) != _COUNT_BYTES + count * kind.itemsize:  # 0000-R2
        raise LayoutError(f"a page of an anchor index of {count} records cannot have {len(data)} bytes")
    records = np.frombuffer(data, kind, count, _COUNT_BYTES)
    if np.any(records["address"][:, 0] != BLAKE3_CODE):  # 0002-R2
        raise LayoutError("a page of an anchor index holds something else than addresses")
    anchors = records["anchor"]
    if np.any(anchors[1:] < anchors[:-1]):
        raise LayoutError("the anchors of a page of an anchor index fall")
    return records
