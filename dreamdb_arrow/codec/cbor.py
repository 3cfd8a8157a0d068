"""Canonical CBOR: the one encoding of a value, and a decoder that takes nothing else. Specs 0002 and 0007.

The values are int (-2^64 .. 2^64 - 1), float, str, bytes, bool, None, list and dict with str keys. Canonical
is RFC 7049 section 3.9: definite lengths, shortest heads, map keys sorted by the length of their encoding and
then bytewise, each float in the shortest of f16, f32 and f64 that keeps it (a NaN is f97e00), no tags. One
value has one encoding, so that equal values have equal Addresses.

There are two decoders. `decode_strictly` is the definition: plain Python, and the offset of what is wrong.
`decode_cbor` first lets cbor2 (compiled) decode and encode again, in `_decode_compiled`. That is as strict: no
tag of any number gets past `_NO_TAGS`, cbor2 itself watches the depth, and `_plain_levels` lets only values of
the list above by; the canonical encoding of those is unique, so equal bytes are those very bytes. Whatever is
refused on that way is left to the definition to judge.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Never, cast

import cbor2

from dreamdb_arrow.errors import CanonicalError, InvalidInputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_DEPTH: Final = 64
_CONTAINERS: Final = (list, tuple, dict)
_PLAIN: Final = (int, float, str, bytes, bool, type(None), *_CONTAINERS)


def encode_cbor(value: Any) -> bytes:
    """Return the canonical encoding of a value; tuples are written as arrays.

    Raises InvalidInputError for a value that CBOR of this kind does not have, or nested beyond MAX_DEPTH.
    """
    for level in _plain_levels(value):
        _refuse_wide_integers(level)
    try:
        return cbor2.dumps(value, canonical=True)
    except (cbor2.CBOREncodeError, UnicodeEncodeError) as error:
        raise InvalidInputError(f"cannot be encoded: {error}") from error


def decode_cbor(data: Buffer, *, max_depth: int = MAX_DEPTH, repeated_prefix: str | None = None) -> Any:
    """Return the value that these bytes are the canonical encoding of.

    Args:
        data: the whole encoding, and nothing after it.
        max_depth: how many arrays and maps may lie in one another; beyond 300 Python itself may give up.
        repeated_prefix: what keys begin with whose very same pair a map may say again; it is then read once.

    Raises:
        CanonicalError: the bytes are not canonical CBOR; `offset` is where.
    """
    encoded = bytes(data)
    try:
        return _decode_compiled(encoded, max_depth)
    except Exception:  # noqa: BLE001 - whatever cbor2 says, the definition says it with an offset
        return decode_strictly(encoded, max_depth=max_depth, repeated_prefix=repeated_prefix)


def skim_cbor(encoded: bytes, *, repeated_prefix: str | None = None) -> Any:
    """Do as decode_cbor does, in a fifth of the time, but do not ask whether the bytes are canonical.

    For a first look at what will be decoded in earnest before it is used. Raises CanonicalError for what is no CBOR.
    """
    try:
        return _load(encoded, MAX_DEPTH)
    except Exception:  # noqa: BLE001 - as there
        return decode_strictly(encoded, repeated_prefix=repeated_prefix)


def decode_strictly(data: Buffer, *, max_depth: int = MAX_DEPTH, repeated_prefix: str | None = None) -> Any:
    """Do as decode_cbor does, in plain Python, byte by byte: the definition of what is canonical."""
    cursor = _Cursor(bytes(data), repeated_prefix)
    value = _read_value(cursor, max_depth)
    if cursor.offset != len(cursor.data):  # 0002-R7
        raise CanonicalError("bytes after the end of the value", cursor.offset)
    return value


# --- what cbor2 would take and we do not --------------------------------------------------------------------


def _plain_levels(value: Any) -> Iterator[list[Any]]:
    """Yield the value, then the items of its containers, then theirs, each level checked.

    Goes by type, not item by item: pages have thousands of items and a handful of types. Raises
    InvalidInputError for another type, a key that is not text, and a level below MAX_DEPTH, so that the
    encoder of cbor2, which descends without a limit, only sees what is shallow.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        kinds = set(map(type, level))
        _refuse_foreign(kinds)
        yield level
        containers = {kind for kind in kinds if issubclass(kind, _CONTAINERS)}
        if not containers:
            return
        # By identity: a list that holds itself twice must not double the work at each level.
        below = {id(item): item for item in level if type(item) in containers}
        level = list(chain.from_iterable(map(_items_of, below.values())))
    raise InvalidInputError(f"nested deeper than {MAX_DEPTH}")


def _refuse_foreign(kinds: set[type]) -> None:
    for kind in kinds:
        if not issubclass(kind, _PLAIN):
            raise InvalidInputError(f"{kind.__name__} has no place in CBOR of this kind")


def _items_of(container: Any) -> Iterable[Any]:
    if not isinstance(container, dict):
        return cast("Iterable[Any]", container)
    for key in container:
        if not isinstance(key, str):
            raise InvalidInputError(f"a map key must be text, not {type(key).__name__}")
    return container.values()


def _refuse_wide_integers(level: list[Any]) -> None:
    integers = [item for item in level if isinstance(item, int)]
    if integers and not -(1 << 64) <= min(integers) <= max(integers) < 1 << 64:
        raise InvalidInputError("an integer is outside -2^64 .. 2^64 - 1")


def _load(encoded: bytes, max_depth: int) -> Any:
    return cbor2.loads(
        encoded,
        max_depth=max_depth - 1,  # cbor2 does not count an empty innermost container
        allow_indefinite=False,
        semantic_decoders=_NO_TAGS,
        tag_hook=_refuse_tag,
    )


def _decode_compiled(encoded: bytes, max_depth: int) -> Any:
    """Return what decode_strictly returns, or raise anything at all."""
    value = _load(encoded, max_depth)
    for _ in _plain_levels(value):
        pass
    if cbor2.dumps(value, canonical=True) != encoded:  # 0002-R8
        raise ValueError("not canonical")
    return value


def _refuse_tag(*_: Any) -> Never:
    raise ValueError("a tag")


class _EveryTag(Mapping[int, Callable[..., Any]]):
    """A decoder for each tag there is: one that refuses it, before cbor2 looks for one of its own."""

    def __getitem__(self, tag: int) -> Callable[..., Any]:
        return _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 1


_NO_TAGS: Final = _EveryTag()


# --- decoding, defined --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Cursor:
    data: bytes
    repeated_prefix: str | None
    offset: int = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes and move past them."""
        start, stop = self.offset, self.offset + count
        if stop > len(self.data):
            raise CanonicalError(f"{count} bytes wanted, {len(self.data) - start} left", start)
        self.offset = stop
        return self.data[start:stop]

    def may_repeat(self, key: str) -> bool:
        """Whether the pair of this key may be there twice."""
        return self.repeated_prefix is not None and key.startswith(self.repeated_prefix)

    def expect_items(self, count: int, start: int) -> None:
        """Refuse a count that the bytes left cannot hold, before anything is made of that size."""
        if count > len(self.data) - self.offset:  # 0000-R2
            raise CanonicalError(f"{count} items cannot fit in the bytes left", start)


def _read_value(cursor: _Cursor, depth: int) -> Any:
    start = cursor.offset
    initial = cursor.take(1)[0]
    major, info = initial >> 5, initial & 0x1F
    if major == 7:
        return _read_special(cursor, start, info)
    argument = _read_argument(cursor, start, info)
    return _READERS[major](cursor, start, argument, depth)


def _read_argument(cursor: _Cursor, start: int, info: int) -> int:
    if info < 24:
        return info
    if info > 27:  # 0002-R4
        raise CanonicalError("an indefinite length or a reserved head", start)
    width = 1 << (info - 24)
    argument = int.from_bytes(cursor.take(width), "big")
    shortest = 24 if width == 1 else 1 << (4 * width)
    if argument < shortest:  # 0002-R4
        raise CanonicalError("not the shortest head", start)
    return argument


def _read_unsigned(_cursor: _Cursor, _start: int, argument: int, _depth: int) -> int:
    return argument


def _read_negative(_cursor: _Cursor, _start: int, argument: int, _depth: int) -> int:
    return -1 - argument


def _read_bytes(cursor: _Cursor, _start: int, argument: int, _depth: int) -> bytes:
    return cursor.take(argument)


def _read_text(cursor: _Cursor, _start: int, argument: int, _depth: int) -> str:
    start = cursor.offset
    try:
        return cursor.take(argument).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CanonicalError("text that is not UTF-8", start + error.start) from None


def _read_array(cursor: _Cursor, start: int, argument: int, depth: int) -> list[Any]:
    inner = _descend(depth, start)
    cursor.expect_items(argument, start)
    return [_read_value(cursor, inner) for _ in range(argument)]


def _read_map(cursor: _Cursor, start: int, argument: int, depth: int) -> dict[str, Any]:
    inner = _descend(depth, start)
    cursor.expect_items(2 * argument, start)
    pairs: dict[str, Any] = {}
    last_key = last_pair = b""
    for _ in range(argument):
        at = cursor.offset
        key = _read_key(cursor)
        encoded_key = cursor.data[at : cursor.offset]
        pairs[key] = _read_value(cursor, inner)
        encoded_pair = cursor.data[at : cursor.offset]
        if encoded_pair == last_pair and cursor.may_repeat(key):
            continue
        if (len(encoded_key), encoded_key) <= (len(last_key), last_key):  # 0002-R5
            raise CanonicalError(f"map key {key!r:.80} is a duplicate or out of order", at)
        last_key, last_pair = encoded_key, encoded_pair
    return pairs


def _read_key(cursor: _Cursor) -> str:
    start = cursor.offset
    initial = cursor.take(1)[0]
    if initial >> 5 != 3:  # 0002-R5
        raise CanonicalError("a map key that is not text", start)
    return _read_text(cursor, start, _read_argument(cursor, start, initial & 0x1F), 0)


def _read_tag(_cursor: _Cursor, start: int, argument: int, _depth: int) -> Never:
    raise CanonicalError(f"tag {argument}", start)  # 0002-R7


def _descend(depth: int, start: int) -> int:
    if depth <= 0:  # 0002-R8
        raise CanonicalError("nested too deeply", start)
    return depth - 1


def _read_special(cursor: _Cursor, start: int, info: int) -> Any:
    if info in _CONSTANTS:
        return _CONSTANTS[info]
    if info not in _FLOAT_FORMATS:  # 0002-R7
        raise CanonicalError("an undefined, simple or indefinite value", start)
    encoded = cursor.take(1 << (info - 24))
    value: float = struct.unpack(_FLOAT_FORMATS[info], encoded)[0]
    if cbor2.dumps(value, canonical=True) != cursor.data[start : cursor.offset]:  # 0002-R6
        raise CanonicalError("not the shortest float", start)
    return value


_CONSTANTS: Final = {20: False, 21: True, 22: None}
_FLOAT_FORMATS: Final = {25: ">e", 26: ">f", 27: ">d"}
_READERS: Final[tuple[Callable[[_Cursor, int, int, int], Any], ...]] = (
    _read_unsigned,
    _read_negative,
    _read_bytes,
    _read_text,
    _read_array,
    _read_map,
    _read_tag,
)
