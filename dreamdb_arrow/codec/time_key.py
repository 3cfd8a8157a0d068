"""Time keys: anchors to text and back. Spec 0003."""

from __future__ import annotations

from typing import Final

from dreamdb_arrow.errors import InvalidInputError, LayoutError

TIME_KEY_DIGITS: Final = 16
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


def encode_time_key(time_ns: int) -> str:
    """Return a time in nanoseconds as sixteen lower-case hex digits: text order is time order.

    Raises InvalidInputError outside 0 .. 2^64 - 1.
    """
    if not 0 <= time_ns < 1 << 64:  # 0003-R1
        raise InvalidInputError(f"a time must lie in 0 .. 2^64 - 1 nanoseconds, not at {time_ns}")
    return f"{time_ns:016x}"  # 0003-R4


def decode_time_key(text: str) -> int:
    """Return the time, in nanoseconds, of a key.

    Raises LayoutError, with the offending text, for anything that encode_time_key does not write.
    """
    if len(text) != TIME_KEY_DIGITS or set(text) - _HEX_DIGITS:  # 0003-R4
        raise LayoutError(f"not a time key: {text!r:.80}")
    return int(text, 16)
