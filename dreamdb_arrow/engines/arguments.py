"""Arguments of table functions, as they come out of JSON, to values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.refs import parse_time_ns


def time_range(options: Mapping[str, Any]) -> tuple[int, int]:
    """Return t0 and t1 of a table function as nanoseconds. Raises InvalidInputError."""
    t0, t1 = as_time_ns(options.get("t0"), "t0", 0), as_time_ns(options.get("t1"), "t1", TIME_MAX)
    if t0 > t1:
        raise InvalidInputError(f"t0 is after t1: {t0} > {t1}")
    return t0, t1


def as_time_ns(value: Any, name: str, default: int) -> int:
    """Return a time, given as nanoseconds or as the text of a date or a timestamp of up to nine decimals.

    UTC, unless the text has an offset: a TIMESTAMPTZ is told in the session's time zone.
    """
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, 0), TIME_MAX)
    time_ns = parse_time_ns(value) if isinstance(value, str) else None
    if time_ns is None:
        raise InvalidInputError(f"{name} must be nanoseconds or a timestamp, not {value!r:.60}")
    return min(max(time_ns, 0), TIME_MAX)
