"""File-system check of a Space: what is damaged, missing, or not what others say of it. Specs 0002, 0008 and 0021.

Three passes. Along the versions: Refs, Manifests and all that these lead to. Over the objects, each once: whether they hash
to their names, have the one form of their kind, and outboards belong to their payloads. Into the versions of Refs: whether
payloads hold what indexes say of them, and stripes the rows of the Tracks that notes speak of. Nothing is written.

Where something on the way to objects is damaged, what lies behind is not known; all objects are looked at then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from dreamdb_arrow.codec.address import Address, address_of, is_address_text, parse_address
from dreamdb_arrow.codec.address_set import AddressSet
from dreamdb_arrow.codec.outboard import encode_outboard
from dreamdb_arrow.errors import (
    CorruptDataError,
    DigestMismatchError,
    DreamDBError,
    NotFoundError,
    ObjectNotFoundError,
    UnsupportedError,
)
from dreamdb_arrow.history.contents import check_version
from dreamdb_arrow.history.manifests import load_manifest, manifest_path
from dreamdb_arrow.history.marking import addresses_in, mark_one
from dreamdb_arrow.history.object_kinds import PAYLOADS, REF, UNKNOWN, check_form, kind_of
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.batch import OUTBOARDS
from dreamdb_arrow.store.interface import Absent, Aged, Store
from dreamdb_arrow.store.names import REFS
from dreamdb_arrow.store.verified import bytes_of, call_each
from dreamdb_arrow.tracks.reach import Reached

if TYPE_CHECKING:
    from typing_extensions import Buffer

TAGS: Final = "tags/"  # refs of the reference SDK that hold no address
DAMAGED: Final = "its bytes do not belong to its address"
MISSING: Final = "it is not there"
UNTOLD: Final = "whether it is whole cannot be told, as its payload is not"
_TOGETHER: Final = 256

Stage = Literal["versions", "objects", "rows"]
Progress = Callable[[Stage, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    path     where it lies in the store; empty for an object of which only the address is known
    address  of the object, as text; empty for a Ref
    kind     of the object, such as "track" or "scalar bucket"
    wrong    what is wrong with it
    """

    path: str
    address: str
    kind: str
    wrong: str


@dataclass(slots=True)
class Report:
    """What a check looked at, and found.

    refs, versions    how many were followed
    objects           how many were read, `size_bytes` together
    unreachable       how many there are that nothing looked at leads to
    skipped           versions and Tracks of kinds that are not known, and why
    findings          what is wrong, in the order of paths
    """

    refs: int = 0
    versions: int = 0
    objects: int = 0
    size_bytes: int = 0
    unreachable: int = 0
    skipped: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def fsck(
    store: Store,
    refs: Collection[str] | None = None,
    versions: Collection[Address] = (),
    *,
    history: bool = True,
    unreachable: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Check what Refs lead to.

    Args:
        store: where the Space lives.
        refs: which; None for all.
        versions: further versions.
        history: follow the ancestors of these too, as far as they have not been collected.
        unreachable: look also at objects that nothing leads to.
        progress: is told the stage, and how many objects it has seen.
    """
    check = _Check(store, progress)
    tips = [*check.tips(store.list_refs() if refs is None else refs), *versions]
    check.follow(tips, history=history)
    check.read_all(unreachable=unreachable)
    for address in dict.fromkeys(tips):
        check.look_into(address)
    check.report.findings.sort(key=lambda found: (found.path, found.wrong))
    return check.report


class _Check:
    """A check under way."""

    def __init__(self, store: Store, progress: Progress | None) -> None:
        self.report = Report()
        self._store, self._progress = store, progress
        self._reached = Reached()
        self._named = AddressSet()  # what registries hold that looks like an address, and need not be one
        self._complete = True
        self._wrong: set[tuple[str, str]] = set()

    def _tell(self, stage: Stage, count: int) -> None:
        if self._progress is not None:
            self._progress(stage, count)

    def _note(self, path: str, wrong: str, address: str = "", kind: str = "") -> None:
        name = path.rpartition("/")[2]
        found = Finding(
            path, address or (name if is_address_text(name) else ""), kind or kind_of(path), wrong
        )
        if (key := (path or found.address, wrong)) not in self._wrong:
            self._wrong.add(key)
            self.report.findings.append(found)

    def _note_error(self, path: str, error: DreamDBError) -> None:
        """Note an error where it says that it is, or at the path of what was read."""
        if isinstance(error, DigestMismatchError):
            self._note(error.path, DAMAGED)
        elif isinstance(error, ObjectNotFoundError):
            self._note(error.path, MISSING)
        elif isinstance(error, UnsupportedError):
            self.report.skipped.append(f"{path}: {error}")
        else:
            self._note(path, str(error))

    # --- along the versions ---------------------------------------------------------------------------------

    def tips(self, names: Collection[str]) -> Iterator[Address]:
        """Yield what Refs name."""
        for name in names:
            self.report.refs += 1
            try:
                found = self._store.read_ref(name)
            except CorruptDataError as error:
                if name.startswith(TAGS):
                    self.report.skipped.append(f"{REFS}/{name}: a tag of another SDK names no version here")
                    continue
                self._note_ref(name, str(error))
                continue
            if isinstance(found, Absent):
                self._note_ref(name, "there is no such ref")
            elif not self._store.exists(manifest_path(found.address)):
                self._note_ref(name, f"it names no version: {found.address}")
                self._note(manifest_path(found.address), MISSING)
            else:
                yield found.address

    def _note_ref(self, name: str, wrong: str) -> None:
        self._complete = False
        self._note(f"{REFS}/{name}", wrong, kind=REF)

    def follow(self, tips: Collection[Address], *, history: bool) -> None:
        """Mark what versions lead to, and check what they say of their parents."""
        pending, seen = list(dict.fromkeys(tips)), AddressSet(tips)
        wanted = AddressSet(tips)
        while pending:
            address = pending.pop()
            manifest = self._load(address, needed=address in wanted)
            if manifest is None:
                continue
            self.report.versions += 1
            self._tell("versions", self.report.versions)
            self._named.update(addresses_in({**manifest.registry, "": dict(manifest.extra)}))
            self._mark(address, manifest)
            self._check_timelines(address, manifest)
            if history:
                pending += [parent for parent in manifest.parents if parent not in seen]
                seen.update(manifest.parents)

    def _load(self, address: Address, *, needed: bool) -> Manifest | None:
        try:
            return load_manifest(self._store, address)
        except ObjectNotFoundError as error:
            if not needed:
                return None  # 0008-R3
            self._note_error(manifest_path(address), error)
        except DreamDBError as error:
            self._note_error(manifest_path(address), error)
        self._complete = False
        return None

    def _mark(self, address: Address, manifest: Manifest) -> None:
        try:
            mark_one(self._store, address, manifest, self._reached)
        except (NotFoundError, CorruptDataError, UnsupportedError) as error:
            self._complete = False
            self._note_error(manifest_path(address), error)

    def _check_timelines(self, address: Address, manifest: Manifest) -> None:
        for entry in (*manifest.tracks.active, *manifest.tracks.lineage):
            if entry.timeline not in manifest.timelines:
                self._note(
                    manifest_path(address), f"field {entry.field!r} is on a timeline that it does not name"
                )
        for parent in manifest.parents:
            try:
                before = load_manifest(self._store, parent)
            except DreamDBError:
                continue  # collected, or noted when it is followed
            if not set(before.timelines) <= set(manifest.timelines):
                self._note(manifest_path(address), f"its parent {parent} has a timeline that it has not")

    # --- over the objects -----------------------------------------------------------------------------------

    def read_all(self, *, unreachable: bool) -> None:
        """Check every object that something leads to, or may lead to, by itself."""
        stored = AddressSet()
        everything = unreachable or not self._complete
        listed = iter(self._store.list_aged())
        while part := list(islice(listed, _TOGETHER)):
            wanted = [found for found in part if self._is_wanted(found, stored, everything=everything)]
            for found, wrong in zip(wanted, call_each(self._look_at, wanted), strict=True):
                for path, text in wrong:
                    self._note(path, text)
                self.report.objects += 1
                self.report.size_bytes += found.size
            self._tell("objects", self.report.objects)
        for address in self._reached.live:
            if address not in stored and address not in self._named:
                self._note("", MISSING, str(address), UNKNOWN)

    def _is_wanted(self, found: Aged, stored: AddressSet, *, everything: bool) -> bool:
        directory, _, name = found.path.rpartition("/")
        if not is_address_text(name) or directory == OUTBOARDS:
            return False  # outboards are looked at beside their payloads
        address = parse_address(name)
        stored.add(address)
        if address in self._reached.live:
            return True
        self.report.unreachable += 1
        return everything

    def _look_at(self, found: Aged) -> list[tuple[str, str]]:
        """Return path and words for what is wrong with an object, and with its outboard."""
        path, kind = found.path, kind_of(found.path)
        try:
            data = bytes_of(self._store, path)
        except DreamDBError as error:
            return [(path, str(error))]
        name = path.rpartition("/")[2]
        if str(address_of(data)) != name:
            outboard = f"{OUTBOARDS}/{name}"
            return [(path, DAMAGED), *([(outboard, UNTOLD)] if self._store.exists(outboard) else [])]
        wrong = []
        try:
            check_form(kind, path, data)
        except UnsupportedError:
            pass
        except CorruptDataError as error:
            wrong.append((path, f"it is no {kind}: {error}"))
        return wrong + self._look_at_outboard(f"{OUTBOARDS}/{name}", kind, data)

    def _look_at_outboard(self, path: str, kind: str, data: Buffer) -> list[tuple[str, str]]:
        try:
            held = self._store.get(path)
        except ObjectNotFoundError:
            return [(path, MISSING)] if kind in PAYLOADS and self._is_needed(path) else []
        return [] if held == encode_outboard(data) else [(path, DAMAGED)]

    def _is_needed(self, path: str) -> bool:
        """Whether something may lead there: a writer that was interrupted leaves payloads before their outboards."""
        return not self._complete or parse_address(path.rpartition("/")[2]) in self._reached.live

    # --- into the versions ----------------------------------------------------------------------------------

    def look_into(self, address: Address) -> None:
        """Check whether what a version leads to fits together."""
        try:
            manifest = load_manifest(self._store, address)
        except DreamDBError as error:
            self._note_error(manifest_path(address), error)
            return
        for count, (path, wrong) in enumerate(check_version(self._store, address, manifest), 1):
            if wrong is not None:
                self._note_error(path, wrong)
            self._tell("rows", count)
