"""Marks: the versions behind a version, in blocks of growing size, so that few Manifests lead to any time. Spec 0008.

A mark stands for a block of consecutive versions of a line: where the block ends, and the lowest `ts` in it. A version has up to
`BASE - 1` marks of single versions, as many of blocks of `BASE`, of `BASE` squared, and so on; together they are all that is
behind it. The version at the end of a block has the marks of what is inside. So a search loads one Manifest a level. What is
in marks is only believed when what they lead to bears it out (`history.line`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dreamdb_arrow.codec.address import ADDRESS_BYTES, BLAKE3_CODE, Address

BASE: Final = 24  # 13,824 versions are three levels, 331,776 are four
_LEVEL_MAX: Final = 255
_TS_BYTES: Final = 8
_HEAD: Final = bytes([BLAKE3_CODE])
_MARK_BYTES: Final = _TS_BYTES + ADDRESS_BYTES - len(_HEAD)


@dataclass(frozen=True, slots=True)
class Mark:
    """A block of versions: the lowest `ts` in it, and its newest version."""

    low: int
    address: Address


Marks = tuple[tuple[Mark, ...], ...]  # by level, single versions first; each oldest first
NO_MARKS: Final[Marks] = ()


def marks_after(marks: Marks, version: Mark, *, has_marks: bool = True) -> Marks:
    """Return the marks of a child: those of its first parent, and the parent itself.

    A version of another writer has no marks, so no block ends with it unless it is the last that a level has room for.
    """
    carried: Mark | None = version
    levels = list[tuple[Mark, ...]]()
    for level in (*marks, ()):
        held = level if carried is None else (*level, carried)
        carried = None
        if len(held) >= (BASE if has_marks else _LEVEL_MAX):
            carried, held = Mark(min(mark.low for mark in held), held[-1].address), ()
        levels.append(held)
    if carried is not None:
        levels.append((carried,))
    return tuple(levels if levels[-1] else levels[:-1])


def newest_with(marks: Marks, time_ns: int) -> Mark | None:
    """Return the newest block with a version that is not after a time; of blocks that are all too new, the oldest."""
    oldest = None
    for mark in _newest_first(marks):
        oldest = mark
        if mark.low <= time_ns:
            break
    return oldest


def _newest_first(marks: Marks) -> Iterator[Mark]:
    for level in marks:
        yield from reversed(level)


def marks_text(marks: Marks) -> str:
    """Return marks as text for a writer tag."""
    return base64.urlsafe_b64encode(b"".join(map(_level_bytes, marks))).decode().rstrip("=")


def _level_bytes(level: Sequence[Mark]) -> bytes:
    held = b"".join(m.low.to_bytes(_TS_BYTES) + m.address[len(_HEAD) :] for m in level)
    return bytes([len(level)]) + held


@lru_cache(64)
def marks_of(text: str) -> Marks:
    """Return the marks that a text tells; none for a text that is no marks."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return NO_MARKS
    levels, at = list[tuple[Mark, ...]](), 0
    while at < len(data):
        end = at + 1 + data[at] * _MARK_BYTES
        if end > len(data):
            return NO_MARKS
        levels.append(tuple(map(_mark, (data[i : i + _MARK_BYTES] for i in range(at + 1, end, _MARK_BYTES)))))
        at = end
    return tuple(levels)


def _mark(data: bytes) -> Mark:
    return Mark(int.from_bytes(data[:_TS_BYTES]), Address(_HEAD + data[_TS_BYTES:]))
