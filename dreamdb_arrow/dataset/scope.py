"""What a session may see of a Space: some of its Refs, some of its time. Spec 0023.

Every plan, search and effect of a session asks its scope which version a name stands for, and cuts its time range by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, is_address_text, parse_address
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import DreamDBError, NotFoundError, RefNotFoundError, UnsupportedError
from dreamdb_arrow.history.ancestry import is_ancestor
from dreamdb_arrow.store.names import is_ref_name

EVERY_REF: Final = "*"
BELOW: Final = "/*"
# What can be cut by time (0023-R10): all other functions are refused where the scope ends in time.
CUT: Final = frozenset(
    [
        "scan",
        "track",
        "search",
        "knn",
        "take",
        "items",
        "tombstones",
        "refs",
        "schema",
        "constants",
        "help",
        "align",
        "window",
    ]
)
WHOLE_SPACE: Final = frozenset({"stats"})  # what tells of all Refs together


@dataclass(frozen=True, slots=True)
class Scope:
    """Refs by patterns, and anchors with t0 <= _anchor < t1, in nanoseconds."""

    refs: tuple[str, ...] = (EVERY_REF,)
    t0: int = 0
    t1: int = TIME_MAX

    @property
    def has_all_refs(self) -> bool:
        """Whether no Ref lies outside."""
        return EVERY_REF in self.refs

    @property
    def has_all_time(self) -> bool:
        """Whether no row lies outside by its time."""
        return (self.t0, self.t1) == (0, TIME_MAX)

    def admits(self, ref: str) -> bool:
        """Whether a Ref lies inside; a snapshot does where its Ref does (0023-R8)."""
        return any(_fits(pattern, ref.split("@", maxsplit=1)[0]) for pattern in self.refs)

    def check_ref(self, ref: str) -> str:
        """Return a Ref's name. Raises UnsupportedError for one outside, whether it is there or not."""
        if not self.admits(ref):
            raise UnsupportedError(f"the ref {ref[:200]!r} is outside of what this token allows")
        return ref

    def check_kind(self, kind: str) -> None:
        """Raise UnsupportedError for a function whose answer cannot be cut to this scope."""
        if not self.has_all_time and kind not in CUT:
            raise UnsupportedError(f"dreamdb_{kind} is not available to a token with a time range")
        if not self.has_all_refs and kind in WHOLE_SPACE:
            raise UnsupportedError(f"dreamdb_{kind} is not available to a token for some refs")

    def within(self, refs: Iterable[str]) -> list[str]:
        """Return the Refs that lie inside."""
        return [name for name in refs if self.admits(name)]

    def resolve(self, space: Space, ref: str, as_of: Any = None) -> Address:
        """Return the version that a Ref, and perhaps `as_of`, name, as `Space.resolve` does.

        Raises UnsupportedError for a version that no Ref inside leads to.
        """
        if self.has_all_refs:
            return space.resolve(ref, as_of)
        self.check_ref(ref)
        named = "" if as_of is None else str(as_of)
        if "@" in named and is_ref_name(named):
            self.check_ref(named)
        try:
            if not is_address_text(named):
                return space.resolve(ref, as_of)
            return self._behind(space, ref, parse_address(named))
        except RefNotFoundError as error:  # whose line tells names of other Refs
            raise RefNotFoundError(error.name) from None

    def _behind(self, space: Space, ref: str, version: Address) -> Address:
        try:
            inside = is_ancestor(space.store, version, space.resolve(ref))
        except RefNotFoundError:
            raise
        except DreamDBError:  # it is there or not: either way it is none of this Ref's
            inside = False
        if not inside:
            raise NotFoundError(f"no version {version} lies behind the ref {ref!r}")
        return version

    def find(self, space: Space, name: str, ref: str) -> Address:
        """Return the version that one text names, as `Space.find` does; an address is one behind `ref`."""
        if self.has_all_refs:
            return space.find(name)
        if is_address_text(name):
            return self.resolve(space, ref, name)
        own, _, as_of = name.partition("@")
        return self.resolve(space, own, as_of or None)

    def cut(self, t0: int, t1: int) -> tuple[int, int]:
        """Return the part of a range that lies inside, which may be empty."""
        low, high = max(t0, self.t0), min(t1, self.t1)
        return (low, high) if low <= high else (self.t0, self.t0)

    def cut_rows(self, table: pa.Table) -> pa.Table:
        """Return the rows of a small table whose `_anchor` lies inside."""
        if self.has_all_time or "_anchor" not in table.schema.names:
            return table
        anchors = np.asarray(table["_anchor"].combine_chunks(), dtype=np.int64)
        return table.filter(pa.array((anchors >= self.t0) & (anchors < self.t1)))


EVERYTHING: Final = Scope()


def _fits(pattern: str, ref: str) -> bool:
    """Whether a name is a pattern's: equal to it, or below what stands before `/*`."""
    if pattern == EVERY_REF:
        return True
    return ref.startswith(pattern[:-1]) if pattern.endswith(BELOW) else ref == pattern


def is_pattern(text: str) -> bool:
    """Whether a text is a pattern of Refs: `*`, a name without a label, or such a name and `/*`."""
    return text == EVERY_REF or ("@" not in text and is_ref_name(text.removesuffix(BELOW)))
