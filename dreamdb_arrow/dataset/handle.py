"""What every verb of a Dataset works on: a Space, a Ref of it, the version it was opened at, a clock. Spec 0006."""

from __future__ import annotations

import time

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.history.commit import Clock


class Handle:
    """A Ref of a Space at one version. The verbs, grouped by subject, are in the classes that build on it."""

    def __init__(self, space: Space, ref: str, version: Address, clock: Clock = time.time_ns) -> None:
        self.space, self._ref, self._version, self._clock = space, ref, version, clock

    @property
    def _rows(self) -> RowSet:
        return self.space.rows(self._version)
