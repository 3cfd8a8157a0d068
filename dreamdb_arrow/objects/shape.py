"""The shapes of decoded metadata: what each decoder of an Object asks of the values in it. Specs 0000, 0001, 0007.

Each function returns the value it was given, typed, or raises LayoutError with a sentence about `what` it is.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import LayoutError

U64_MAX: Final = (1 << 64) - 1
NO_KEYS: Final[frozenset[str]] = frozenset()


def expect_map(value: Any, what: str) -> dict[str, Any]:
    """Return a map, whatever its keys."""
    if not isinstance(value, dict):
        raise LayoutError(f"{what} must be a map, found {type(value).__name__}")
    return value


def expect_closed_map(
    value: Any, what: str, required: AbstractSet[str], optional: AbstractSet[str] = NO_KEYS
) -> dict[str, Any]:
    """Return a map that has all of the required keys, and none but those and the optional ones."""
    found = expect_map(value, what)
    keys = found.keys()
    if missing := required - keys:  # 0000-R1
        raise LayoutError(f"{what} lacks {_listed(missing)}")
    if foreign := keys - required - optional:  # 0000-R3
        raise LayoutError(f"{what} may not have {_listed(foreign)}")
    return found


def expect_list(value: Any, what: str) -> list[Any]:
    """Return an array, of whatever items."""
    if not isinstance(value, list):
        raise LayoutError(f"{what} must be an array, found {type(value).__name__}")
    return value


def expect_text(value: Any, what: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise LayoutError(f"{what} must be text, found {type(value).__name__}")
    return value


def expect_bool(value: Any, what: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise LayoutError(f"{what} must be true or false, found {type(value).__name__}")
    return value


def expect_uint(value: Any, what: str) -> int:
    """Return an unsigned integer of 64 bits."""
    if type(value) is not int or not 0 <= value <= U64_MAX:  # 0003-R1
        raise LayoutError(f"{what} must be an unsigned integer of 64 bits, found {value!r:.80}")
    return value


def expect_address(value: Any, what: str) -> Address:
    """Return an Address."""
    if not isinstance(value, bytes):
        raise LayoutError(f"{what} must be an address, found {type(value).__name__}")
    return Address(value)


def expect_addresses(value: Any, what: str) -> tuple[Address, ...]:
    """Return an array of Addresses."""
    return tuple(expect_address(item, what) for item in expect_list(value, what))


def expect_range(value: Any, what: str) -> tuple[int, int]:
    """Return a pair of unsigned integers, the second not below the first."""
    pair = expect_list(value, what)
    if len(pair) != 2:
        raise LayoutError(f"{what} must be a pair, found {len(pair)} items")
    start, stop = expect_uint(pair[0], what), expect_uint(pair[1], what)
    if stop < start:  # 0003-R3
        raise LayoutError(f"{what} ends before it starts: [{start}, {stop}]")
    return start, stop


def _listed(keys: AbstractSet[str]) -> str:
    return ", ".join(f"{key!r:.80}" for key in sorted(keys)[:5])
