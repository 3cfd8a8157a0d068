"""What a store may be asked for: which paths objects have, and what a ref is called. Spec 0005.

Whatever a store is asked for passes through here first, so no store has to defend its directory, bucket or
dictionary by itself. Both grammars leave out `..` and the empty segment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from dreamdb_arrow.errors import InvalidInputError

REFS: Final = "refs"
LOCKS: Final = ".dreamdb-cas-locks"
TEMPORARY: Final = ".dreamdb-tmp"
RESERVED: Final = frozenset({REFS, LOCKS, TEMPORARY})  # first segments that no object has; 0005-R5, 0005-R10
PATH_CHARACTERS_MAX: Final = 1024 - len(REFS) - 1  # an S3 key has room for that, below refs/ too

_REF_SEGMENT: Final = re.compile(r"[a-z0-9_@-]{1,64}")  # 0005-R6
# Control characters, the backslash and lone surrogates; `.tmp-` is how the reference SDK marks a file it is writing.
_NEVER_IN_A_PATH: Final = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|\.tmp-")
_NOT_A_SEGMENT: Final = frozenset({"", ".", ".."})


def is_ref_name(name: str) -> bool:
    """Whether a ref may have this name: segments of 1 to 64 of [a-z0-9_@-], with "/" between them."""
    if len(name) > PATH_CHARACTERS_MAX:
        return False
    return all(_REF_SEGMENT.fullmatch(segment) for segment in name.split("/"))


def is_object_path(path: str) -> bool:
    """Whether an object may lie at this path: relative, plain segments, not in a directory the store keeps."""
    segments = path.split("/")
    return (
        len(path) <= PATH_CHARACTERS_MAX
        and segments[0] not in RESERVED  # 0005-R3
        and _NOT_A_SEGMENT.isdisjoint(segments)
        and _NEVER_IN_A_PATH.search(path) is None
    )


def check_ref_name(name: str) -> str:
    """Return the name. Raises InvalidInputError, which shows it, unless a ref may have it."""
    if not is_ref_name(name):
        raise InvalidInputError(
            f"not a ref name: {name[:200]!r}; use segments of 1 to 64 letters a-z, digits, '_', '@' or '-', separated by '/'"
        )
    return name


def check_object_path(path: str) -> str:
    """Return the path. Raises InvalidInputError, which shows it, unless an object may lie there."""
    if not is_object_path(path):
        raise InvalidInputError(
            f"not an object path: {path[:200]!r}; use a relative path without empty, '.' or '..' segments, outside {REFS}/"
        )
    return path


def check_ranges(path: str, ranges: Sequence[tuple[int, int]]) -> None:
    """Raise InvalidInputError unless start and length of each range are at least 0."""
    if any(start < 0 or length < 0 for start, length in ranges):
        raise InvalidInputError(f"not ranges of {path}: {ranges[:5]}; start and length are at least 0")
