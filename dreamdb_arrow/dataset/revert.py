"""Revert: a new version that is equal to an old one; the history goes on. Spec 0008."""

from __future__ import annotations

import time
from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.commit import Change, Clock, check_writable, commit
from dreamdb_arrow.history.manifests import hold_version
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.batch import Batch

OPERATION: Final = "revert"


def revert_ref(space: Space, name: str, version: object, clock: Clock = time.time_ns) -> Address:
    """Commit to a Ref what an older version held, and return the new version; none where the tip holds just that.

    Args:
        space: the Space.
        name: the Ref.
        version: what names the older version, as `resolve_as_of` takes it.
        clock: nanoseconds since 1970.

    Raises NotFoundError where there is no such version any more, InvalidInputError for one of another dataset.
    """
    address = space.resolve(name, version)
    hold_version(space.store, address)  # 0008-R23: no Ref need lead there any more
    wanted = space.rows(address).manifest  # 0008-R19: what cannot be read is not brought back

    def build(parent: Manifest, _: Address, __: Batch) -> Change:
        if parent.timelines != wanted.timelines:
            raise InvalidInputError(f"{version!r:.80} is no version of {name!r}: it has another timeline")
        check_writable(wanted)
        return Change(OPERATION, restored=None if _same(parent, wanted) else wanted)

    return commit(space.store, name, build, clock=clock)[0]


def _same(ours: Manifest, theirs: Manifest) -> bool:
    held = (ours.tracks.active, ours.registry, ours.extra)
    return held == (theirs.tracks.active, theirs.registry, theirs.extra)
