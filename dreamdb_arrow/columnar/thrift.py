"""Thrift's compact protocol, as Parquet's footers use it: bytes and values, both ways. Spec 0021.

A struct is a dict of field number -> (type, value); a list is (type of its items, items). Nothing is looked up by name, so
fields that are new to us stay what they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from dreamdb_arrow.errors import LayoutError

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

Struct = dict[int, tuple[int, Any]]


def decode_struct(data: memoryview) -> Struct:
    """Return the struct that bytes begin with. Raises LayoutError for what is none."""
    try:
        return _Reader(bytes(data)).struct()
    except (IndexError, KeyError, struct.error) as error:
        raise LayoutError(f"not a footer of Parquet: {error}") from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.byte()) >= 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def zigzag(self) -> int:
        value = self._data[self._at]
        if value < 0x80:  # as most numbers of a footer are
            self._at += 1
        else:
            value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def struct(self) -> Struct:
        found: Struct = {}
        number = 0
        while head := self.byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self.zigzag()
            found[number] = (kind, _READ[kind](self) if kind > FALSE else kind == TRUE)
        return found

    def list(self) -> tuple[int, list[Any]]:
        head = self.byte()
        size = head >> 4 if head >> 4 < 15 else self.varint()
        kind = head & 15
        read = _READ[kind]
        return kind, [read(self) for _ in range(size)]


_READ: Final[Mapping[int, Callable[[_Reader], Any]]] = {
    TRUE: lambda r: r.byte() == TRUE,
    FALSE: lambda r: r.byte() == TRUE,
    BYTE: lambda r: r.take(1),
    I16: _Reader.zigzag,
    I32: _Reader.zigzag,
    I64: _Reader.zigzag,
    DOUBLE: lambda r: r.take(8),
    BINARY: lambda r: r.take(r.varint()),
    LIST: _Reader.list,
    SET: _Reader.list,
    STRUCT: _Reader.struct,
}


def encode_struct(value: Struct) -> bytes:
    """Return the bytes of a struct."""
    out = bytearray()
    _write_struct(out, value)
    return bytes(out)


def _write_struct(out: bytearray, value: Struct) -> None:
    last = 0
    for number in sorted(value):
        kind, held = value[number]
        told = kind if kind > FALSE else TRUE if held else FALSE
        if 0 < number - last < 16:
            out.append((number - last) << 4 | told)
        else:
            out.append(told)
            _write_zigzag(out, number)
        last = number
        if kind > FALSE:
            _WRITE[kind](out, held)
    out.append(0)


def varint(value: int) -> bytes:
    """Return a number that is not negative, seven bits a byte, the low ones first."""
    out = bytearray()
    _write_varint(out, value)
    return bytes(out)


def zigzag(value: int) -> int:
    """Return a number as one that is not negative: 0, -1, 1, -2 as 0, 1, 2, 3."""
    return value << 1 if value >= 0 else -value * 2 - 1


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _write_zigzag(out: bytearray, value: int) -> None:
    if 0 <= value < 0x40:  # as most numbers of a footer are
        out.append(value << 1)
    else:
        _write_varint(out, zigzag(value))


def _write_binary(out: bytearray, value: bytes) -> None:
    _write_varint(out, len(value))
    out += value


def _write_list(out: bytearray, value: tuple[int, list[Any]]) -> None:
    kind, items = value
    out.append(min(len(items), 15) << 4 | kind)
    if len(items) >= 15:
        _write_varint(out, len(items))
    for item in items:
        _WRITE[kind](out, item)


def _write_bool(out: bytearray, value: bool) -> None:
    out.append(TRUE if value else FALSE)


_WRITE: Final[Mapping[int, Callable[[bytearray, Any], None]]] = {
    TRUE: _write_bool,
    FALSE: _write_bool,
    BYTE: lambda out, value: out.extend(value),
    I16: _write_zigzag,
    I32: _write_zigzag,
    I64: _write_zigzag,
    DOUBLE: lambda out, value: out.extend(value),
    BINARY: _write_binary,
    LIST: _write_list,
    SET: _write_list,
    STRUCT: _write_struct,
}
