"""Values as JSON can say them: what vectors and the line protocol hold.

Integers within 2^53 - 1, text, true, false, null and arrays stand for themselves. Objects are maps with text keys. Else:

    {"$int": "18446744073709551615"}   an integer beyond 2^53 - 1
    {"$f64": "3ff8000000000000"}       a float, the eight bytes of binary64 big-endian
    {"$bytes": "1e05"}                 bytes
    {"$f32": "0000803f"}               float32 little-endian, end to end; compared within a tolerance
    {"$map": [["$bytes", 1]]}          a map with a key that begins with "$"
"""

from __future__ import annotations

import struct
from typing import Any, Final

SAFE: Final = (1 << 53) - 1


class F32(bytes):
    """Numbers as float32 little-endian whose last bits depend on the order of a sum."""

    __slots__ = ()


def to_json(value: Any) -> Any:  # noqa: PLR0911 - one for each mark
    """Return a value as JSON says it."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if -SAFE <= value <= SAFE else {"$int": str(value)}
    if isinstance(value, float):
        return {"$f64": struct.pack(">d", value).hex()}
    if isinstance(value, F32):
        return {"$f32": value.hex()}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": bytes(value).hex()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    pairs = sorted(value.items())
    if any(key.startswith("$") for key, _ in pairs):
        return {"$map": [[key, to_json(item)] for key, item in pairs]}
    return {key: to_json(item) for key, item in pairs}


def from_json(value: Any) -> Any:
    """Return the value that JSON says. Raises ValueError for a number that is no integer, and unknown marks."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict):
        (mark, said), *others = value.items() or [("", None)]
        if mark.startswith("$"):
            if others or mark not in _MARKS:
                raise ValueError(f"not a value: {str(value)[:80]}")
            return _MARKS[mark](said)
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, float):
        raise ValueError(f"a float must be written as $f64, not {value}")  # noqa: TRY004
    return value


def expand_hex(said: Any) -> bytes:
    """Return bytes given as hex, or as a list of [hex, how often]."""
    if isinstance(said, str):
        return bytes.fromhex(said)
    return b"".join(bytes.fromhex(part) * times for part, times in said)


_MARKS: Final = {
    "$int": int,
    "$f64": lambda said: struct.unpack(">d", bytes.fromhex(said))[0],
    "$f32": lambda said: F32(bytes.fromhex(said)),
    "$bytes": bytes.fromhex,
    "$map": lambda said: {key: from_json(item) for key, item in said},
}
