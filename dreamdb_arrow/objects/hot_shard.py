"""Hot shards: rows that wait, beside a field's Track, to be written into it. Spec 0016.

One shard holds all that waits of one field, of scalars or of vectors. The two kinds have one set of facts and two
encodings: a shard of scalars is canonical CBOR, one of vectors has its keys in an order of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.cbor_columns import BYTES, UINT
from dreamdb_arrow.codec.cbor_rows import read_head
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.shape import (
    U64_MAX,
    expect_address,
    expect_closed_map,
    expect_list,
    expect_text,
    expect_uint,
)

SCALAR_VERSION: Final = 2
VECTOR_VERSION: Final = 1
_NUMBER_BYTES: Final = 4
_SCALAR_KEYS: Final = frozenset(
    {"items", "version", "field_kind", "ttl_seconds", "parent_track", "published_at", "flush_threshold"}
)
_VECTOR_KEYS: Final = ("version", "parent_track", "published_at", "flush_threshold", "ttl_seconds", "items")
_VECTOR_HEAD: Final = bytes([0xA0 | len(_VECTOR_KEYS)])


@dataclass(frozen=True, slots=True)
class HotShard:
    """What waits of one field.

    value_type       of scalars; None for vectors
    parent           the Track that it waits beside
    published_at     nanoseconds since 1970, when the first of it came
    flush_threshold  so many rows are written out at once
    ttl_seconds      so long may they wait
    anchors          of scalars ascending, each once; of vectors as they came
    payloads         of each, bytes as `scalars_of` and `vectors_of` read them
    """

    value_type: str | None
    parent: Address
    published_at: int
    flush_threshold: int
    ttl_seconds: int
    anchors: tuple[int, ...]
    payloads: tuple[bytes, ...]


def encode_hot_shard(shard: HotShard) -> bytes:
    """Return the bytes. Raises InvalidInputError for what decode_hot_shard would refuse."""
    try:
        _check_items(shard)
    except LayoutError as error:
        raise InvalidInputError(f"hot shard cannot be written: {error}") from error
    values = {
        "version": VECTOR_VERSION if shard.value_type is None else SCALAR_VERSION,
        "parent_track": shard.parent,
        "published_at": shard.published_at,
        "flush_threshold": shard.flush_threshold,
        "ttl_seconds": shard.ttl_seconds,
        "items": [list(item) for item in zip(shard.anchors, shard.payloads, strict=True)],
    }
    if shard.value_type is not None:
        return encode_cbor({**values, "field_kind": shard.value_type})
    return _VECTOR_HEAD + b"".join(encode_cbor(key) + encode_cbor(values[key]) for key in _VECTOR_KEYS)


def decode_hot_shard(data: bytes) -> HotShard:
    """Return the hot shard of these bytes, of either kind.

    Raises CanonicalError or LayoutError; UnsupportedError for a kind of scalars that is not known.
    """
    shard = _decode_vectors(data) if data[:1] == _VECTOR_HEAD else _decode_scalars(data)
    _check_items(shard)
    return shard


def _decode_scalars(data: bytes) -> HotShard:
    fields = expect_closed_map(decode_cbor(data), "hot shard", _SCALAR_KEYS)
    if type(fields["version"]) is not int or fields["version"] != SCALAR_VERSION:  # 2.0 is not 2
        raise LayoutError(f"version of a hot shard of scalars is {fields['version']!r:.20}")
    value_type = expect_text(fields["field_kind"], "field_kind of a hot shard")
    if value_type not in _CODECS:
        raise UnsupportedError(f"hot shards of {value_type!r:.80} are not supported")
    anchors, payloads = _decode_items(fields["items"])
    return HotShard(
        value_type,
        expect_address(fields["parent_track"], "parent_track of a hot shard"),
        expect_uint(fields["published_at"], "published_at of a hot shard"),
        expect_uint(fields["flush_threshold"], "flush_threshold of a hot shard"),
        expect_uint(fields["ttl_seconds"], "ttl_seconds of a hot shard"),
        anchors,
        payloads,
    )


def _decode_vectors(data: bytes) -> HotShard:
    """Read the keys in their one order; each value but the last is a single head, or a head and an address."""
    at = _after(data, 1, b"\x67version\x01")
    at = _after(data, at, b"\x6cparent_track")
    size, at = read_head(data, at, BYTES)
    parent, at = Address(data[at : at + size]), at + size
    published, at = read_head(data, _after(data, at, b"\x6cpublished_at"), UINT)
    threshold, at = read_head(data, _after(data, at, b"\x6fflush_threshold"), UINT)
    ttl, at = read_head(data, _after(data, at, b"\x6bttl_seconds"), UINT)
    anchors, payloads = _decode_items(decode_cbor(data[_after(data, at, b"\x65items") :]))
    return HotShard(None, parent, published, threshold, ttl, anchors, payloads)


def _after(data: bytes, at: int, expected: bytes) -> int:
    if data[at : at + len(expected)] != expected:
        raise LayoutError(f"hot shard of vectors: {expected!r} is not at byte {at}")
    return at + len(expected)


def _decode_items(value: Any) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
    items = expect_list(value, "items of a hot shard")
    for item in items:
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], bytes):
            raise LayoutError("an item of a hot shard is an anchor and bytes")
    anchors = tuple(expect_uint(item[0], "anchor of a hot shard") for item in items)
    return anchors, tuple(item[1] for item in items)


def _check_items(shard: HotShard) -> None:
    if any(not 0 <= anchor <= U64_MAX for anchor in shard.anchors):
        raise LayoutError("an anchor of a hot shard is no unsigned integer of 64 bits")
    if shard.value_type is None:
        widths = set(map(len, shard.payloads))
        if len(widths) > 1 or any(width == 0 or width % _NUMBER_BYTES for width in widths):
            raise LayoutError("the vectors of a hot shard differ in length, or are cut off")
        return
    if any(left >= right for left, right in pairwise(shard.anchors)):
        raise LayoutError("the anchors of a hot shard of scalars do not ascend")
    scalars_of(shard)


# --- payloads -----------------------------------------------------------------------------------------------


def scalars_of(shard: HotShard) -> Any:
    """Return the values of a shard of scalars, one a row: an int64, float64 or bool array, or a list of str.

    Raises LayoutError for bytes that are no value of the type.
    """
    assert shard.value_type is not None
    return _CODECS[shard.value_type](shard.payloads)


def vectors_of(shard: HotShard, dim: int) -> NDArray[np.float32]:
    """Return the vectors of a shard, float32 (n, dim). Raises LayoutError for vectors of another length."""
    data = b"".join(shard.payloads)
    if shard.value_type is not None or len(data) != len(shard.payloads) * dim * _NUMBER_BYTES:
        raise LayoutError(f"a hot shard does not hold vectors of {dim} numbers")
    return np.frombuffer(data, "<f4").reshape(-1, dim).astype(np.float32)


def _numbers(dtype: str) -> Callable[[Sequence[bytes]], NDArray[Any]]:
    width = np.dtype(dtype).itemsize

    def decode(payloads: Sequence[bytes]) -> NDArray[Any]:
        if any(len(payload) != width for payload in payloads):
            raise LayoutError(f"a value of a hot shard does not have {width} bytes")
        numbers = np.frombuffer(b"".join(payloads), dtype)
        return numbers.astype(numbers.dtype.newbyteorder("="))

    return decode


def _floats(payloads: Sequence[bytes]) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = _numbers("<f8")(payloads)
    if not np.isfinite(numbers).all():
        raise LayoutError("a value of a hot shard is not finite")
    return numbers


def _bools(payloads: Sequence[bytes]) -> NDArray[np.bool_]:
    numbers = _numbers("u1")(payloads)
    if np.any(numbers > 1):
        raise LayoutError("a value of a hot shard is neither 0 nor 1")
    return numbers.astype(np.bool_)


def _texts(payloads: Sequence[bytes]) -> list[str]:
    try:
        return [payload.decode() for payload in payloads]
    except UnicodeDecodeError:
        raise LayoutError("a value of a hot shard is not UTF-8") from None


_CODECS: Final[Mapping[str, Callable[[Sequence[bytes]], Any]]] = MappingProxyType(
    {
        "int": _numbers("<i8"),
        "timestamp": _numbers("<i8"),
        "float": _floats,
        "bool": _bools,
        "string": _texts,
        "categorical": _texts,
    }
)
