"""The line of first parents, walked in large steps: by the pointers of writer tags where these hold. Spec 0008.

What a walk finds does not depend on pointers, only how many Manifests it loads. A pointer whose target is gone, is damaged
or contradicts it counts for nothing; the first parent is asked instead, whose own pointer leads about half as far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import CorruptDataError, ObjectNotFoundError, UnsupportedError
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.history.marks import Mark, marks_after, marks_of, marks_text, newest_with
from dreamdb_arrow.history.writer import FIRST, Place, Skip, place_of, skip_depth
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.interface import Store

UNPLACED_MAX: Final = 32  # versions of other writers that a commit counts over, before counting begins anew
STEPS_MAX: Final = 128  # steps that a commit goes back for the target of its pointer


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was loaded: its place is None where its writer tag tells none."""

    address: Address
    manifest: Manifest
    place: Place | None

    @property
    def skip(self) -> Skip | None:
        """Its pointer, if it has one."""
        return None if self.place is None else self.place.skip


def load_version(store: Store, address: Address) -> Version:
    """Load a version. Raises as load_manifest does."""
    manifest = load_manifest(store, address)
    return Version(address, manifest, place_of(manifest.writer))


def parent_of(store: Store, version: Version) -> Version | None:
    """Return the first parent; None where there is none, or none any more."""
    if not version.manifest.parents:
        return None
    try:
        return load_version(store, version.manifest.parents[0])
    except ObjectNotFoundError:
        return None  # 0008-R3


def target_of(store: Store, version: Version) -> Version | None:
    """Return what a version's pointer leads to; None without one, or when that is not as the pointer says."""
    if version.place is None or version.place.skip is None:
        return None
    skip = version.place.skip
    found = _try_version(store, skip.address)
    if (
        found is None
        or found.place is None
        or found.place.depth != skip.depth
        or found.place.merges > version.place.merges
    ):
        return None
    return found if skip.low <= found.manifest.ts else None


def step_back(store: Store, version: Version, leads_on: Callable[[Skip], bool]) -> Version | None:
    """Return the target of a version's pointer if that leads on and holds, or else the first parent."""
    skip = version.skip
    target = target_of(store, version) if skip is not None and leads_on(skip) else None
    return parent_of(store, version) if target is None else target


def newest_until(store: Store, tip: Address, time_ns: int) -> Address | None:
    """Return the newest version of a line whose `ts` is not after a time; None where there is none, or none any more.

    Never relies on `ts` to fall from child to parent (0001-R3): a pointer is followed only when all that it passes is too new.
    """
    here: Version | None = load_version(store, tip)
    while here is not None and here.manifest.ts > time_ns:
        marked = _marked(store, here, time_ns)
        here = marked or step_back(store, here, lambda skip: skip.low > time_ns)
    return None if here is None else here.address


def _marked(store: Store, version: Version, time_ns: int) -> Version | None:
    """Return where the marks of a version lead for a time; None without marks, or when that is not as they say."""
    mark = None if version.place is None else newest_with(marks_of(version.place.marks), time_ns)
    if mark is None or version.place is None:
        return None
    found = _try_version(store, mark.address)
    if found is None or found.manifest.ts < mark.low:
        return None
    if found.place is None:  # of another writer: the oldest that there is a mark for
        return found if mark.address in version.manifest.parents else None
    return (
        found
        if found.place.depth < version.place.depth and found.place.merges <= version.place.merges
        else None
    )


def _try_version(store: Store, address: Address) -> Version | None:
    try:
        return load_version(store, address)
    except (ObjectNotFoundError, CorruptDataError, UnsupportedError):
        return None  # 0008-R17


# --- meeting ------------------------------------------------------------------------------------------------


def meeting(store: Store, ours: Version, theirs: Version) -> Version | None:
    """Return the newest version that is on both lines; None where there is none, or places do not tell it."""
    a: Version | None = ours
    b: Version | None = theirs
    while a is not None and b is not None and a.address != b.address:
        one, two = a.place, b.place
        if one is None or two is None:
            return None
        if one.depth == two.depth:
            a, b = _both_back(store, a, b)
        elif one.depth > two.depth:
            a = _back_to(store, a, two.depth)
        else:
            b = _back_to(store, b, one.depth)
    return None if b is None else a


def _back_to(store: Store, version: Version, depth: int) -> Version | None:
    return step_back(store, version, lambda skip: skip.depth >= depth)


def _both_back(store: Store, a: Version, b: Version) -> tuple[Version | None, Version | None]:
    """Step back from two versions of one depth: by their pointers only where these end apart at one depth again."""
    one, two = a.skip, b.skip
    if one is not None and two is not None and one.depth == two.depth and one.address != two.address:
        targets = target_of(store, a), target_of(store, b)
        if None not in targets:
            return targets
    return parent_of(store, a), parent_of(store, b)


# --- places of new versions ---------------------------------------------------------------------------------


def place_after(store: Store, parent: Version, *, joins: bool) -> Place:
    """Return the place of a version on top of another one; `joins` says that it has a second parent.

    Loads one Manifest at most on a line of ours. Versions of others have no place, and are counted over.
    """
    counted = _nearest_place(store, parent)
    if counted is None:
        return FIRST
    near, passed = counted
    depth = near.depth + len(passed)
    merges = near.merges + sum(len(v.manifest.parents) > 1 for v in passed[1:]) + joins
    marks = marks_of(near.marks)
    for version in passed:
        marks = marks_after(
            marks, Mark(version.manifest.ts, version.address), has_marks=version.place is not None
        )
    return Place(depth, merges, _find_skip(store, parent, skip_depth(depth)), marks_text(marks))


def _nearest_place(store: Store, version: Version) -> tuple[Place, list[Version]] | None:
    """Return the first place at or behind a version, and the versions from there on, oldest first."""
    here: Version | None = version
    passed: list[Version] = []
    while here is not None and len(passed) <= UNPLACED_MAX:
        passed.append(here)
        if here.place is not None:
            return here.place, passed[::-1]
        here = _try_parent(store, here)
    return None


def _try_parent(store: Store, version: Version) -> Version | None:
    """Return the first parent if it can be read: a commit does not fail for what it only counts."""
    try:
        return parent_of(store, version)
    except (CorruptDataError, UnsupportedError):
        return None


def _find_skip(store: Store, parent: Version, depth: int) -> Skip | None:
    """Return a pointer for a child of `parent`: to this depth, or to the placed version nearest to it that is found."""
    here: Version | None = parent
    low = parent.manifest.ts
    found: Skip | None = None
    for _ in range(STEPS_MAX):
        if here is None:
            break
        if here.place is not None:
            found = Skip(here.place.depth, low, here.address)
            if here.place.depth <= depth:
                break
        skip = here.skip
        if skip is not None and skip.depth == depth:  # readers look whether its target is there
            return Skip(depth, min(low, skip.low), skip.address)
        here, low = _back_with_low(store, here, depth, low)
    return found


def _back_with_low(store: Store, version: Version, depth: int, low: int) -> tuple[Version | None, int]:
    """Step back, but not beyond a depth; return also the lowest `ts` with what this passed."""
    skip = version.skip
    if skip is not None and skip.depth > depth and (target := target_of(store, version)) is not None:
        return target, min(low, skip.low)
    parent = _try_parent(store, version)
    return parent, low if parent is None else min(low, parent.manifest.ts)
