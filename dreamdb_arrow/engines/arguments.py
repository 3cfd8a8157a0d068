"""Arguments of table functions, as they come out of JSON, to values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.errors import InvalidInputError

_SECOND_NS: Final = 1_000_000_000
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:\+00(?::00)?|Z)?")


def time_range(options: Mapping[str, Any]) -> tuple[int, int]:
    """Return t0 and t1 of a table function as nanoseconds. Raises InvalidInputError."""
    t0, t1 = as_time_ns(options.get("t0"), "t0", 0), as_time_ns(options.get("t1"), "t1", TIME_MAX)
    if t0 > t1:
        raise InvalidInputError(f"t0 is after t1: {t0} > {t1}")
    return t0, t1


def as_time_ns(value: Any, name: str, default: int) -> int:
    """Return a time, given as nanoseconds or as the text of a date or a timestamp (of up to nine decimals), UTC."""
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, 0), TIME_MAX)
    matched = _TIME.fullmatch(str(value))
    whole, fraction = matched.groups() if matched else (str(value), None)
    try:
        at = datetime.fromisoformat(whole)
    except ValueError:
        raise InvalidInputError(f"{name} must be nanoseconds or a timestamp, not {value!r:.60}") from None
    seconds = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    return min(max(seconds * _SECOND_NS + int((fraction or "0").ljust(9, "0")), 0), TIME_MAX)
