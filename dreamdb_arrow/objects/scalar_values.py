"""Scalar values: whole columns of distinct values to their bytes, their order and their keys. Specs 0007 and 0011.

The bytes of a value are canonical CBOR. Two orders are in use: records in a bucket and categories lie by the *bytes*;
B-trees by the *value*, numbers as numbers and text as UTF-8, equal ones (0.0 and -0.0) by the bytes. A column of
distinct values is an int64, float64 or bool array, or a list of str, in the value order of its type.

A B-tree's internal pages hold *keys*: a number as eight bytes that sort as the number does, a text as UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.cbor_columns import TEXT, encode_flags, encode_heads, encode_text, left_parts
from dreamdb_arrow.codec.cbor_rows import Spans, read_arguments
from dreamdb_arrow.codec.ragged import Bytes, Ints, Ragged, numbers_at
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.objects.scalar_index import ALGORITHMS

Values: TypeAlias = NDArray[Any] | list[str]

STRING_BYTES_MAX: Final = 8192  # of a value in a B-tree; 0011-R2
_SIGN: Final = np.uint64(1 << 63)
_DOUBLE: Final = Struct(">d")


@dataclass(frozen=True, slots=True)
class ValueType:
    """What the columns of one value type have in common.

    encode    distinct values -> the CBOR of each
    decode    bytes, and where values lie in them -> the values; LayoutError for what is not canonical
    distinct  a value for each row -> the distinct ones, in the order of the type, and the code of each row
    tree      whether it is a B-tree that holds the column, by value; else a list, by bytes
    algorithm of the pages
    """

    encode: Callable[[Any], Ragged]
    decode: Callable[[Bytes, Spans], Any]
    distinct: Callable[[Any], tuple[Any, Ints]]
    algorithm: str = ""

    @property
    def tree(self) -> bool:
        """Whether a B-tree holds the column, by value; else an inline list does, by bytes."""
        return bool(self.algorithm)


def value_type_of(name: str) -> ValueType:
    """Return the type of this name. Raises UnsupportedError."""
    if name not in VALUE_TYPES:
        raise UnsupportedError(f"unknown value type {name!r:.80} of a scalar field")
    return VALUE_TYPES[name]


def take_values(values: Values, order: Ints) -> Any:
    """Return the values at these positions."""
    if isinstance(values, list):
        return [values[at] for at in order.tolist()]
    return values[order]


def byte_order(values: Values, encoded: Ragged) -> Ints:
    """Return the permutation, int64 (n,), from the order of values to that of their bytes.

    Heads put shorter texts first, integers below zero last and from -1 down; floats go by their width, then by
    their bits, which put those below zero last.
    """
    if isinstance(values, list):
        return np.argsort(encoded.lengths, kind="stable")
    if values.dtype.kind == "f":
        return np.lexsort((values.view(np.uint64), encoded.lengths))
    below = int(np.count_nonzero(values < 0))
    return np.r_[below : len(values), below - 1 : -1 : -1] if below else np.arange(len(values))


# --- integers -----------------------------------------------------------------------------------------------


def _encode_ints(values: NDArray[np.int64]) -> Ragged:
    heads = encode_heads(0, _magnitudes(values).view(np.uint64))
    heads.data[heads.starts[values < 0]] |= 0x20  # major type 1: -1 - magnitude
    return heads


def _magnitudes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(values < 0, ~values, values)


def _decode_ints(data: Bytes, spans: Spans) -> NDArray[np.int64]:
    initials = _initials(data, spans)
    if np.any(initials >= 0x40):
        raise LayoutError("a scalar value is not an integer")
    infos = initials & 0x1F
    numbers = infos.astype(np.uint64)
    for info, (size, least) in _WIDE.items():
        rows = np.flatnonzero(infos == info)
        if len(rows) == 0:
            continue
        _expect_lengths(spans.lengths[rows], 1 + size)
        numbers[rows] = numbers_at(data, spans.starts[rows] + 1, f">u{size}")
        if np.any(numbers[rows] < least):
            raise LayoutError("an integer is not in its shortest form")
    if np.any(infos > 0x1B) or np.any(numbers >= _SIGN):
        raise LayoutError("an integer does not fit in 64 bits")
    _expect_lengths(spans.lengths[infos < 24], 1)
    signed = numbers.view(np.int64)
    return np.where(initials >= 0x20, ~signed, signed)


def _distinct_ints(rows: Any) -> tuple[NDArray[np.int64], Ints]:
    values = np.asarray(rows)
    if values.dtype.kind not in "iu" or (values.dtype == np.uint64 and np.any(values >= _SIGN)):
        raise InvalidInputError(f"integers of 64 bits are wanted, not {values.dtype}")
    distinct, codes = np.unique(values.astype(np.int64), return_inverse=True)
    return distinct, codes


# --- floats -------------------------------------------------------------------------------------------------


def _encode_floats(values: NDArray[np.float64]) -> Ragged:
    with np.errstate(over="ignore"):
        single, half = values.astype(np.float32), values.astype(np.float16)
    fits_single, fits_half = single.astype(np.float64) == values, half.astype(np.float64) == values
    rows = np.empty((len(values), 9), np.uint8)
    rows[:, 0] = 0xFB  # 0011-R3
    rows[:, 1:] = _digits(values, ">f8")
    rows[fits_single, 0] = 0xFA
    rows[fits_single, 1:5] = _digits(single[fits_single], ">f4")
    rows[fits_half, 0] = 0xF9
    rows[fits_half, 1:3] = _digits(half[fits_half], ">f2")
    lengths = np.where(fits_half, 3, np.where(fits_single, 5, 9)).astype(np.int64)
    return left_parts(rows, lengths)


def _digits(values: NDArray[Any], dtype: str) -> Bytes:
    return values.astype(dtype).view(np.uint8).reshape(-1, np.dtype(dtype).itemsize)


def _decode_floats(data: Bytes, spans: Spans) -> NDArray[np.float64]:
    initials = _initials(data, spans)
    values = np.empty(len(initials), np.float64)
    if np.any((initials < 0xF9) | (initials > 0xFB)):  # 0011-R3
        raise LayoutError("a scalar value is not a float")
    for initial, size in ((0xF9, 2), (0xFA, 4), (0xFB, 8)):
        rows = np.flatnonzero(initials == initial)
        if len(rows):
            _expect_lengths(spans.lengths[rows], 1 + size)
            values[rows] = numbers_at(data, spans.starts[rows] + 1, f">f{size}")
    if not np.isfinite(values).all():
        raise LayoutError("a scalar value is not finite")
    if np.any(_encode_floats(values).lengths != spans.lengths):
        raise LayoutError("a float is not in its shortest form")
    return values


def _distinct_floats(rows: Any) -> tuple[NDArray[np.float64], Ints]:
    values = np.asarray(rows)
    if values.dtype.kind not in "fiu":
        raise InvalidInputError(f"floats are wanted, not {values.dtype}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():  # 0011-R2
        raise InvalidInputError("NaN and infinity cannot be stored in a scalar field")
    _, firsts, codes = np.unique(order_keys(values), return_index=True, return_inverse=True)
    return values[firsts], codes


# --- text and booleans --------------------------------------------------------------------------------------


def _encode_strings(values: Sequence[str]) -> Ragged:
    return encode_text(Ragged.of(_utf8(values)))


def _utf8(values: Sequence[str]) -> list[bytes]:
    try:
        return [value.encode() for value in values]
    except (UnicodeEncodeError, AttributeError) as error:
        raise InvalidInputError(f"text is wanted: {error}") from None


def _decode_strings(data: Bytes, spans: Spans) -> list[str]:
    _initials(data, spans)
    sizes, starts = read_arguments(data, spans.starts, TEXT)
    stops = spans.starts + spans.lengths
    if np.any(starts > stops) or np.any(sizes != (stops - starts).astype(np.uint64)):
        raise LayoutError("a scalar value is not one text")
    whole = data.tobytes()
    try:
        return [whole[a:b].decode() for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
    except UnicodeDecodeError:
        raise LayoutError("a scalar value is not UTF-8") from None


def _distinct_strings(rows: Any) -> tuple[list[str], Ints]:
    return _number_strings(rows, sorted(_set_of(rows)))


def _distinct_categories(rows: Any) -> tuple[list[str], Ints]:
    by_bytes = sorted(_utf8(list(_set_of(rows))), key=lambda encoded: (len(encoded), encoded))
    return _number_strings(rows, [encoded.decode() for encoded in by_bytes])


def _set_of(rows: Any) -> set[str]:
    found = set(rows)
    if not set(map(type, found)) <= {str}:
        raise InvalidInputError("text is wanted in a column of text")
    return found


def _number_strings(rows: Any, distinct: list[str]) -> tuple[list[str], Ints]:
    codes = dict(zip(distinct, range(len(distinct)), strict=True))
    return distinct, np.fromiter(map(codes.__getitem__, rows), np.int64, len(rows))


def _decode_bools(data: Bytes, spans: Spans) -> NDArray[np.bool_]:
    initials = _initials(data, spans)
    _expect_lengths(spans.lengths, 1)
    if np.any(initials & 0xFE != 0xF4):
        raise LayoutError("a scalar value is not a boolean")
    true: NDArray[np.bool_] = initials == 0xF5
    return true


def _distinct_bools(rows: Any) -> tuple[NDArray[np.bool_], Ints]:
    values = np.asarray(rows)
    if values.dtype != np.bool_:
        raise InvalidInputError(f"booleans are wanted, not {values.dtype}")
    distinct, codes = np.unique(values, return_inverse=True)
    return distinct, codes


# --- order and keys -----------------------------------------------------------------------------------------


def order_keys(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return numbers, uint64 (n,), that sort as entries do: as tree_keys, but 0.0 right before -0.0."""
    keys = tree_keys(values)
    if values.dtype.kind != "f":
        return keys
    keys[(keys == _SIGN) & ~np.signbit(values)] -= np.uint64(1)  # 0011-R9
    return keys


def tree_keys(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the keys of numbers, int64 or float64 (n,), as uint64 (n,): they sort as the numbers do."""
    if values.dtype.kind != "f":
        return np.ascontiguousarray(values).view(np.uint64) ^ _SIGN
    bits = (values + 0.0).view(np.uint64)  # -0.0 has the key of 0.0
    return np.where(bits >= _SIGN, ~bits, bits | _SIGN)


def encode_key(value: Any) -> bytes:
    """Return the key of one value in internal pages."""
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, float):
        return (int(value) + (1 << 63)).to_bytes(8, "big")
    bits = _DOUBLE.pack(value + 0.0)
    return bytes(byte ^ 0xFF for byte in bits) if bits[0] >= 0x80 else bytes([bits[0] | 0x80]) + bits[1:]


def decode_keys(kind: ValueType, keys: Sequence[bytes]) -> Any:
    """Return the values that have these keys. Raises LayoutError for a key of another type."""
    if kind is VALUE_TYPES["string"]:
        try:
            return [key.decode() for key in keys]
        except UnicodeDecodeError:
            raise LayoutError("a key of a B-tree of text is not UTF-8") from None
    if any(len(key) != 8 for key in keys):
        raise LayoutError("a key of a B-tree of numbers has eight bytes")
    numbers = np.frombuffer(b"".join(keys), ">u8").astype(np.uint64)
    return _floats_of_keys(numbers) if kind is VALUE_TYPES["float"] else (numbers ^ _SIGN).view(np.int64)


def _floats_of_keys(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    return np.where(keys >= _SIGN, keys & ~_SIGN, ~keys).view(np.float64)


def _initials(data: Bytes, spans: Spans) -> Bytes:
    if len(spans.lengths) and spans.lengths.min() < 1:
        raise LayoutError("a scalar value has no bytes")
    return data[spans.starts]


def _expect_lengths(lengths: Ints, expected: int) -> None:
    if np.any(lengths != expected):
        raise LayoutError("a scalar value is cut off, or has bytes after its end")


_WIDE: Final = {0x18: (1, 24), 0x19: (2, 1 << 8), 0x1A: (4, 1 << 16), 0x1B: (8, 1 << 32)}
_INT: Final = ValueType(_encode_ints, _decode_ints, _distinct_ints, ALGORITHMS["int"])
VALUE_TYPES: Final[Mapping[str, ValueType]] = MappingProxyType(
    {
        "int": _INT,
        "timestamp": _INT,
        "float": ValueType(_encode_floats, _decode_floats, _distinct_floats, ALGORITHMS["float"]),
        "string": ValueType(_encode_strings, _decode_strings, _distinct_strings, ALGORITHMS["string"]),
        "categorical": ValueType(_encode_strings, _decode_strings, _distinct_categories),
        "bool": ValueType(encode_flags, _decode_bools, _distinct_bools),
    }
)
