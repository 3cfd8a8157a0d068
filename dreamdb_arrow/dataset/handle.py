"""What every verb of a Dataset works on: a Space, a Ref of it, the version it was opened at, a clock. Spec 0006."""

from __future__ import annotations

import time
from copy import copy
from typing import Any, Self

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.history.commit import Clock


class Handle:
    """A Ref of a Space at one version. The verbs, grouped by subject, are in the classes that build on it."""

    def __init__(self, space: Space, ref: str, version: Address, clock: Clock = time.time_ns) -> None:
        self.space, self._ref, self._version, self._clock = space, ref, version, clock

    def __reduce__(self) -> tuple[type[Self], tuple[Space, str, Address]]:
        """Pickle to the address: where the Space is, the Ref and the version; whoever unpickles it opens its own files.

        Raises InvalidInputError for a Space in memory. A clock of one's own stays behind.
        """
        return type(self), (self.space, self._ref, self._version)

    def __copy__(self) -> Self:
        return type(self)(self.space, self._ref, self._version, self._clock)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy(self)  # a version does not change, and its Space is meant to be shared

    @property
    def version(self) -> Address:
        """The version that this handle is at."""
        return self._version

    @property
    def _rows(self) -> RowSet:
        return self.space.rows(self._version)
