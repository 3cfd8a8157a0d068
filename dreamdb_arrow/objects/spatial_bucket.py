"""Spatial buckets and exact-vector sidecars: the rows of one cell. Spec 0007.

A bucket (`VBUU`) is a header and records `anchor, payload` without padding: integers and anchors are big-endian,
vectors float32 little-endian, exactly as they were given. With a VectorCompressor the payload is a code; the
exact vectors then lie in a sidecar (`VSTU`), record i beside record i. Decoded arrays are views into the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address
from dreamdb_arrow.errors import LayoutError, UnsupportedError

if TYPE_CHECKING:
    from typing_extensions import Buffer

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

BUCKET_MAGIC: Final = b"VBUU"
SIDECAR_MAGIC: Final = b"VSTU"
BUCKET_HEADER: Final = 160
COMPRESSED_HEADER: Final = 200
SIDECAR_HEADER: Final = 128
TAG_BYTES: Final = 32
ANCHOR_BYTES: Final = 8
PAYLOAD_BYTES_MAX: Final = 4 << 16  # of 65,536 numbers
_VERSION: Final = 1
_BUCKET_HEAD: Final = struct.Struct(f">4sIIII{ADDRESS_BYTES}s{TAG_BYTES}sB")  # 86 bytes
_SIDECAR_HEAD: Final = struct.Struct(f">4sIII{TAG_BYTES}s")  # 48 bytes
_COMPRESSOR_END: Final = _BUCKET_HEAD.size + ADDRESS_BYTES
_COUNT: Final = slice(12, 16)  # in a header, where the number of records is
_INLINE: Final = 0


@dataclass(frozen=True, slots=True, eq=False)
class SpatialBucket:
    """Rows of one cell: `vectors` of a raw bucket, `codes` of a compressed one; the other is None.

    anchors: int64 (n,); an anchor of 2^63 or above, which nobody can see, comes out negative.
    vectors: float32 (n, d). codes: uint8 (n, code_bytes), as stored.
    modality: the text in the header, at most 32 characters of the Track's modality.
    """

    index: Address
    modality: str
    anchors: I64
    vectors: F32 | None
    compressor: Address | None = None
    codes: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class VectorSidecar:
    """The exact vectors of a bucket's rows, float32 (n, d), in the bucket's order."""

    modality: str
    vectors: F32


def record_bytes(dim: int) -> int:
    """Return the size of one record of a raw bucket."""
    return ANCHOR_BYTES + 4 * dim


def encode_spatial_bucket(bucket: SpatialBucket) -> bytes:
    """Return the bytes of a bucket."""
    payload = bucket.vectors if bucket.compressor is None else bucket.codes
    assert payload is not None
    assert payload.ndim == 2
    assert len(payload) == len(bucket.anchors)
    records = np.empty(len(payload), dtype=_record_type(payload.dtype, payload.shape[1]))
    records["anchor"] = bucket.anchors
    records["payload"] = payload
    size = BUCKET_HEADER if bucket.compressor is None else COMPRESSED_HEADER
    head = _BUCKET_HEAD.pack(
        BUCKET_MAGIC,
        _VERSION,
        records.dtype.itemsize,
        len(records),
        size,
        bucket.index,
        _tag(bucket.modality),
        _INLINE,
    )
    return (head + (bucket.compressor or b"")).ljust(size, b"\0") + records.tobytes()


def decode_spatial_bucket(data: Buffer) -> SpatialBucket:
    """Return the bucket of these bytes; its vectors or codes are views into them.

    Raises:
        LayoutError: a length, a magic or the padding is not as the layout says.
        UnsupportedError: another version, or records that are references.
    """
    view = memoryview(data).cast("B")
    if len(view) < BUCKET_HEADER:
        raise LayoutError(f"a bucket of {len(view)} bytes has no header")
    magic, version, size, count, header, index, tag, mode = _BUCKET_HEAD.unpack_from(view)
    _check_head("bucket", (magic, BUCKET_MAGIC), version, (header + count * size, len(view)))
    if mode != _INLINE:  # 0007-R9
        raise UnsupportedError(f"bucket records of mode {mode} cannot be read")
    compressor = _read_compressor(view, header)
    _check_padding(view[_BUCKET_HEAD.size if compressor is None else _COMPRESSOR_END : header])
    records = np.frombuffer(view, _payload_type(size, compressor), count, header)
    anchors, payload = records["anchor"].astype(np.int64), records["payload"]
    if compressor is None:
        return SpatialBucket(Address(index), _untag(tag), anchors, payload)
    return SpatialBucket(Address(index), _untag(tag), anchors, None, compressor, payload)


def join_raw_buckets(parts: Sequence[bytes]) -> SpatialBucket | None:
    """Return the rows of several buckets as one; None unless all are raw and their headers differ in the count alone.

    Raises as decode_spatial_bucket does for the first; what is wrong with another shows when it is decoded by itself.
    """
    first = decode_spatial_bucket(parts[0])
    if first.vectors is None:
        return None
    before, after = parts[0][: _COUNT.start], parts[0][_COUNT.stop : BUCKET_HEADER]
    size = record_bytes(first.vectors.shape[1])
    for part in parts:
        length = BUCKET_HEADER + size * int.from_bytes(part[_COUNT], "big")
        if (
            part[: _COUNT.start] != before
            or part[_COUNT.stop : BUCKET_HEADER] != after
            or len(part) != length
        ):
            return None
    joined = b"".join([memoryview(part)[BUCKET_HEADER:] for part in parts])
    records = np.frombuffer(joined, _payload_type(size, None))
    return replace(first, anchors=records["anchor"].astype(np.int64), vectors=records["payload"])


def encode_vector_sidecar(sidecar: VectorSidecar) -> bytes:
    """Return the bytes of a sidecar."""
    count, dim = sidecar.vectors.shape
    head = _SIDECAR_HEAD.pack(SIDECAR_MAGIC, _VERSION, 4 * dim, count, _tag(sidecar.modality))
    return head.ljust(SIDECAR_HEADER, b"\0") + np.ascontiguousarray(sidecar.vectors, dtype="<f4").tobytes()


def decode_vector_sidecar(data: Buffer) -> VectorSidecar:
    """Return the sidecar of these bytes; its vectors are a view into them. Raises as decode_spatial_bucket."""
    view = memoryview(data).cast("B")
    if len(view) < SIDECAR_HEADER:
        raise LayoutError(f"a sidecar of {len(view)} bytes has no header")
    magic, version, size, count, tag = _SIDECAR_HEAD.unpack_from(view)
    _check_head("sidecar", (magic, SIDECAR_MAGIC), version, (SIDECAR_HEADER + count * size, len(view)))
    _check_padding(view[_SIDECAR_HEAD.size : SIDECAR_HEADER])
    if size < 4 or size % 4:
        raise LayoutError(f"{size} bytes are not a vector of float32")
    numbers = np.frombuffer(view, dtype="<f4", offset=SIDECAR_HEADER)
    return VectorSidecar(_untag(tag), numbers.reshape(count, size // 4))


# --- parts --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)  # a dtype takes longer to make than a small bucket to read
def _record_type(kind: np.dtype[Any], width: int) -> np.dtype[np.void]:
    stored = "u1" if kind == np.uint8 else "<f4"
    return np.dtype([("anchor", ">u8"), ("payload", stored, (width,))])


def _payload_type(size: int, compressor: Address | None) -> np.dtype[np.void]:
    payload = size - ANCHOR_BYTES
    if payload > PAYLOAD_BYTES_MAX:  # 0000-R2: of an empty bucket no length says it is wrong
        raise LayoutError(f"a bucket cannot have records of {size} bytes")
    if compressor is not None and payload >= 1:
        return _record_type(np.dtype(np.uint8), payload)
    if compressor is None and payload >= 4 and payload % 4 == 0:
        return _record_type(np.dtype(np.float32), payload // 4)
    raise LayoutError(f"a bucket cannot have records of {size} bytes")


def _read_compressor(view: memoryview, header: int) -> Address | None:
    if header == BUCKET_HEADER:
        return None
    if header != COMPRESSED_HEADER:
        raise LayoutError(f"a bucket's header has 160 or 200 bytes, not {header}")
    return Address(bytes(view[_BUCKET_HEAD.size : _COMPRESSOR_END]))


def _check_head(what: str, magic: tuple[bytes, bytes], version: int, length: tuple[int, int]) -> None:
    if magic[0] != magic[1]:  # 0007-R9
        raise LayoutError(f"not a {what}: it begins with {magic[0].hex()}")
    if version != _VERSION:
        raise UnsupportedError(f"a {what} of version {version} cannot be read")
    if length[0] != length[1]:  # 0007-R9
        raise LayoutError(f"a {what} says {length[0]} bytes and has {length[1]}")


def _check_padding(view: memoryview) -> None:
    if bytes(view).strip(b"\0"):
        raise LayoutError("the padding of a header is not zero")


def _tag(modality: str) -> bytes:
    return modality.encode("ascii")[:TAG_BYTES].ljust(TAG_BYTES, b"\0")


def _untag(tag: bytes) -> str:
    text = tag.rstrip(b"\0")
    if b"\0" in text or not text.isascii():
        raise LayoutError(f"a header names the modality {tag!r}")
    return text.decode("ascii")
