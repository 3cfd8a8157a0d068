"""Damage: what an object can have, found by reading it. Specs 0002 and 0008.

Every object whose name is an address must hash to it, whether something leads to it or not; every outboard must be that of its
payload; and everything that a Ref leads to must be there, and say of itself what its kind may say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from dreamdb_arrow.codec.address import Address, address_of, is_address_text, parse_address
from dreamdb_arrow.codec.outboard import encode_outboard
from dreamdb_arrow.errors import CorruptDataError, DreamDBError, NotFoundError, UnsupportedError
from dreamdb_arrow.history.manifests import MANIFESTS, load_manifest
from dreamdb_arrow.history.marking import mark_version
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.batch import OUTBOARDS
from dreamdb_arrow.store.interface import Absent, Store
from dreamdb_arrow.store.verified import call_each
from dreamdb_arrow.tracks.reach import Reached

_TOGETHER: Final = 256  # objects that are read at a time
Progress = Callable[[int, int], object]  # how many objects of how many have been read


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    path     where: of an object, or `refs/<name>`
    problem  what, in a sentence
    live     whether a Ref leads to it
    payload  of an outboard, the path of what it belongs to
    """

    path: str
    problem: str
    live: bool = True
    payload: str | None = None


@dataclass(slots=True)
class Walk:
    """What Refs lead to.

    tips      the versions that Refs name
    versions  the Manifests that were read, by address
    reached   all addresses
    findings  what is wrong with the way
    """

    tips: list[Address] = field(default_factory=list)
    versions: dict[Address, Manifest] = field(default_factory=dict)
    reached: Reached = field(default_factory=Reached)
    findings: list[Finding] = field(default_factory=list)


# --- the way from refs --------------------------------------------------------------------------------------


def walk_refs(store: Store, names: Iterable[str], depth: int | None = None) -> Walk:
    """Follow Refs to all that they lead to: the versions behind them too, `depth` of them, or as many as are there."""
    found = Walk()
    for name in names:
        try:
            tip = store.read_ref(name)
        except CorruptDataError as error:
            found.findings.append(Finding(f"refs/{name}", str(error)))
            continue
        if isinstance(tip, Absent):
            found.findings.append(Finding(f"refs/{name}", f"no ref is called {name!r}"))
            continue
        if not store.exists(f"{MANIFESTS}/{tip.address}"):
            found.findings.append(
                Finding(f"refs/{name}", f"names {tip.address}, and there is no such version")
            )
            continue
        found.tips.append(tip.address)
        walk_version(store, tip.address, found, depth)
    return found


def walk_version(store: Store, tip: Address, found: Walk, depth: int | None = None) -> None:
    """Add what a version leads to, and the versions behind it.

    One that is missing ends the way, as collectors may have removed it; what is damaged is a finding.
    """
    level, behind = [tip], 0
    while level and (depth is None or behind <= depth):
        above: dict[Address, None] = {}
        for address in level:
            if address in found.versions or address in found.reached.read:
                continue
            manifest = _read_version(store, address, found)
            if manifest is not None:
                above |= dict.fromkeys(manifest.parents)
        level, behind = list(above), behind + 1


def _read_version(store: Store, address: Address, found: Walk) -> Manifest | None:
    path = f"{MANIFESTS}/{address}"
    try:
        manifest = load_manifest(store, address)
    except NotFoundError:
        return None
    except DreamDBError as error:
        found.findings.append(Finding(path, str(error)))
        found.reached.live.add(address)
        return None
    found.versions[address] = manifest
    found.findings += [Finding(path, problem) for problem in _odd_parents(store, manifest)]
    found.findings += [_finding_of(*told) for told in mark_version(store, address, manifest, found.reached)]
    return manifest


def _odd_parents(store: Store, manifest: Manifest) -> Iterator[str]:
    """Yield what a version and its parents disagree on."""
    for address in manifest.parents:
        with suppress(DreamDBError):  # missing or damaged: that is told of the parent
            parent = load_manifest(store, address)
            if parent.ts > manifest.ts:  # 0001-R3
                yield f"is older than its parent {address}"
            if parent.timelines != manifest.timelines:
                yield f"has other timelines than its parent {address}"


def _finding_of(path: str, error: DreamDBError) -> Finding:
    if isinstance(error, UnsupportedError):
        return Finding(path, f"cannot be followed: {error}")
    return Finding(path, str(error))


# --- what is there ------------------------------------------------------------------------------------------


def read_objects(
    store: Store, reached: Reached, only: bool = False, progress: Progress | None = None
) -> Iterator[Finding]:
    """Read objects and yield what is wrong with them; then which of those that something leads to are missing.

    With `only`, objects that nothing leads to are not read.
    """
    live = reached.live
    paths = [path for path in store.list() if is_address_text(path.rpartition("/")[2])]
    outboards = {p.rpartition("/")[2] for p in paths if p.startswith(f"{OUTBOARDS}/")}
    wanted = [p for p in paths if not p.startswith(f"{OUTBOARDS}/")]
    wanted = [p for p in wanted if not only or parse_address(p.rpartition("/")[2]) in live]
    seen: set[Address] = set()
    for at in range(0, len(wanted), _TOGETHER):
        part = wanted[at : at + _TOGETHER]
        for path, problems in zip(
            part, call_each(lambda p: _problems(store, p, outboards), part), strict=True
        ):
            address = parse_address(path.rpartition("/")[2])
            seen.add(address)
            for where, problem in problems:
                yield Finding(where, problem, address in live, None if where == path else path)
        if progress:
            progress(at + len(part), len(wanted))
    for address in sorted(live - seen - reached.named):
        yield Finding(str(address), "is missing, and a ref leads to it")


def _problems(store: Store, path: str, outboards: Collection[str]) -> list[tuple[str, str]]:
    """Return what is wrong with an object and its outboard, with the path of each."""
    name = path.rpartition("/")[2]
    try:
        data = store.get(path)
        found = address_of(data)
        if str(found) != name:  # 0002-R3
            return [(path, f"does not hash to its address (found {found})")]
        outboard = f"{OUTBOARDS}/{name}"
        if name in outboards and store.get(outboard) != encode_outboard(data):  # 0002-R9
            return [(outboard, "is not the outboard of its payload")]
    except DreamDBError as error:
        return [(path, str(error))]
    return []
