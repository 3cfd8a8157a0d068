"""Arguments of table functions to values: as text, and those of searches as they come out of JSON."""

from __future__ import annotations

import re
from typing import Any, Final

from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.refs import parse_time_ns

_INTEGER: Final = re.compile(r"[+-]?\d{1,40}")


def time_range(t0: Any, t1: Any) -> tuple[int, int]:
    """Return t0 and t1 of a table function as nanoseconds. Raises InvalidInputError."""
    low, high = as_time_ns(t0, "t0", 0), as_time_ns(t1, "t1", TIME_MAX)
    if low > high:
        raise InvalidInputError(f"t0 is after t1: {low} > {high}")
    return low, high


def as_time_ns(value: Any, name: str, default: int) -> int:
    """Return a time, given as nanoseconds or as the text of a date or a timestamp of up to nine decimals.

    UTC, unless the text has an offset: a TIMESTAMPTZ is told in the session's time zone.
    """
    if value is None:
        return default
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, 0), TIME_MAX)
    time_ns = parse_time_ns(value) if isinstance(value, str) else None
    if time_ns is None:
        raise InvalidInputError(f"{name} must be nanoseconds or a timestamp, not {value!r:.60}")
    return min(max(time_ns, 0), TIME_MAX)
