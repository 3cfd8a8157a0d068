"""Purge: the bytes of deleted rows leave a Space, and every version that is named. Spec 0022.

    1. which rows: deleted ones, that no branch named shows any more
    2. versions that lead to their bytes are written again without them (`dataset.erase`)
    3. a list of the objects that nothing will lead to then is put beside them, so that an interrupted purge can be finished
    4. the Refs move, each by compare-and-swap; one that has moved meanwhile is looked at again
    5. the objects go; then everything that is left is read once more, and no row may be found

Until a Ref moves, readers see the Space as before. Run again after an interruption, it goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import Address, is_address_text, parse_address
from dreamdb_arrow.codec.address_set import AddressSet
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.distinct import united
from dreamdb_arrow.columnar.cache import DEFAULT_ROOT
from dreamdb_arrow.columnar.cache_folder import shrink
from dreamdb_arrow.columnar.deleted import read_hidden
from dreamdb_arrow.columnar.erasing import Stripes
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.collect import GRACE_SECS
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.delete import as_anchors
from dreamdb_arrow.dataset.erase import Eraser, Progress, oldest_first, see_versions
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.errors import CommitError, CorruptDataError, InvalidInputError, NotFoundError
from dreamdb_arrow.history.gc import Plan, collect, read_refs
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.history.marking import mark_one
from dreamdb_arrow.history.refs import read_tip
from dreamdb_arrow.objects.shape import expect_address, expect_list
from dreamdb_arrow.store.batch import OUTBOARDS, Batch
from dreamdb_arrow.store.interface import Aged, NewObject, Ref, Store
from dreamdb_arrow.store.readback import swap_confirmed
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.cuts import cut_payloads
from dreamdb_arrow.tracks.reach import Reached

LISTS: Final = "purge"  # where lists of objects that are to go lie until they have gone
ROUNDS: Final = 20  # while Refs move
_TOGETHER: Final = 256


class _Dry(Batch):
    """A batch of which nothing is written."""

    def _enqueue(self, item: NewObject, *, waits: bool = False) -> None:
        """Forget an object."""

    def flush(self) -> None:
        """Write nothing."""


@dataclass(slots=True)
class Purged:
    """What a purge did.

    when, reason      when it began (ISO 8601), and what was given as a reason
    anchors           how many deleted rows it was about
    live_elsewhere    how many more are deleted on one branch and live on another, and stay
    refs              by name: the versions before and after, of those that moved
    versions          by old address: the new one, of those that were written again
    objects, size_bytes    that went
    taken_up          paths of objects that stay, as a writer took them up meanwhile
    left_alone        Refs that were not named; what only they lead to was not looked at
    scanned_versions, scanned_objects    that were read once more at the end
    """

    when: str
    reason: str | None
    anchors: int
    live_elsewhere: int
    refs: dict[str, list[str]]
    versions: dict[str, str]
    objects: int
    size_bytes: int
    taken_up: list[str]
    left_alone: list[str]
    scanned_versions: int
    scanned_objects: int


def purge(
    backend: Backend,
    refs: Sequence[str] | None = None,
    *,
    anchors: Any = None,
    reason: str | None = None,
    dry_run: bool = False,
    writers_paused: bool = False,
    cache_dir: str | os.PathLike[str] | None = DEFAULT_ROOT,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Take the bytes of deleted rows out of a Space: out of all versions that Refs lead to, and of the local cache.

    May be interrupted at any point, and run again. Other rows, and versions from before the rows came, stay as they are.
    Anchors stay deleted. What other machines have cached, copied or backed up is theirs to remove.

    Args:
        backend: a URL, a path or a store.
        refs: which, snapshots among them; None for all. Their whole histories count.
        anchors: which rows, deleted ones; None for all that are deleted.
        reason: for the report.
        dry_run: tell what would be done, and write nothing.
        writers_paused: nobody else writes: garbage of all ages is removed, too, which may hold the bytes as well. Else what
            nothing led to before stays for an hour, as it may belong to a commit under way.
        cache_dir: the local cache to be cleared.
        progress: is told what is done, and how far.

    Returns a report as a dict, with what `Purged` has. It holds no value of any row.

    Raises InvalidInputError for rows that are live on a branch that was named, RefNotFoundError; UnsupportedError for rows
    that lie where they cannot be taken out of; CommitError when Refs move again and again; CorruptDataError when rows are
    found after all. Until Refs move, the Space is as it was.
    """
    grace_ns = 0 if writers_paused else GRACE_SECS * 10**9
    options = {"reason": reason, "dry_run": dry_run, "grace_ns": grace_ns, "progress": progress}
    return asdict(purge_rows(Space(backend, cache_dir=cache_dir), refs, anchors, **options))  # type: ignore[arg-type]


def purge_rows(
    space: Space,
    refs: Sequence[str] | None,
    anchors: Any,
    *,
    reason: str | None = None,
    dry_run: bool = False,
    grace_ns: int = 0,
    progress: Progress | None = None,
) -> Purged:
    """Take the bytes of deleted rows out of what Refs lead to.

    Args:
        space: where they are.
        refs: which, snapshots among them; None for all. Their whole histories count.
        anchors: which rows; None for all that are deleted.
        reason: for the report.
        dry_run: tell what would be done.
        grace_ns: objects that nothing leads to stay that long, whatever they hold; 0 when nobody writes.
        progress: is told what is done, and how far.

    Raises InvalidInputError for rows that are live on a branch that was named, RefNotFoundError; UnsupportedError for rows
    that lie where they cannot be taken out of; CommitError when Refs move again and again.
    """
    store, began_ns = space.store, space.store.now_ns()
    names = sorted(read_refs(store)) if refs is None else list(dict.fromkeys(refs))
    tips = {name: read_tip(store, name) for name in names}
    gone, elsewhere = _rows_to_go(space, tips, anchors)
    done = Purged(datetime.now(UTC).isoformat(), reason, len(gone), elsewhere, {}, {}, 0, 0, [], [], 0, 0)
    done.left_alone = sorted(read_refs(store).keys() - set(names))
    eraser = _move_refs(store, names, gone, done, dry_run=dry_run, progress=progress)
    if dry_run:
        return done
    _sweep(store, began_ns, grace_ns, done)
    shrink(space.cache.root, 0)  # of decoded rows, projections and copies nobody knows which rows they hold
    _prove(store, eraser, names, done)
    return done


# --- which rows ---------------------------------------------------------------------------------------------


def _rows_to_go(space: Space, tips: dict[str, Ref], anchors: Any) -> tuple[I64, int]:
    """Return the anchors to be erased, and how many are not since another branch shows them."""
    branches = {name: ref.address for name, ref in tips.items() if "@" not in name}
    deleted = united(read_hidden(space.store, load_manifest(space.store, tip)) for tip in branches.values())
    wanted = deleted if anchors is None else as_anchors(anchors)
    alive = {name: _live(space, name, tip, wanted) for name, tip in branches.items()}
    if anchors is not None:
        for name, held in alive.items():
            if len(held):
                raise InvalidInputError(
                    f"{len(held)} of these rows are live in {name!r}, the first at anchor {held[0]}; delete them there first"
                )
    shown = united(alive.values())  # 0022-R1
    return np.setdiff1d(wanted, shown, assume_unique=True), len(shown)


def _live(space: Space, name: str, tip: Address, anchors: I64) -> I64:
    held: I64 = np.asarray(Dataset(space, name, tip).take(anchors, fields=[])["_anchor"], np.int64)
    return held


# --- versions and Refs --------------------------------------------------------------------------------------


def _move_refs(
    store: Store, names: Sequence[str], gone: I64, done: Purged, *, dry_run: bool, progress: Progress | None
) -> Eraser:
    """Write versions again and move the Refs there, until all of them are."""
    eraser = _eraser(store, names, gone, dry_run=dry_run, progress=progress)
    for _ in range(ROUNDS):
        tips = {name: read_tip(store, name) for name in names}
        for address in oldest_first(store, [ref.address for ref in tips.values()]):
            if address not in eraser.versions:
                eraser.erase(address)
        changed = {old: new for old, new in eraser.versions.items() if old != new}
        done.versions = {str(old): str(new) for old, new in changed.items()}
        moves = {name: ref for name, ref in tips.items() if ref.address in changed}
        done.refs |= {name: [str(ref), str(changed[ref.address])] for name, ref in moves.items()}
        if dry_run or not moves:
            return eraser
        _list_doomed(store, changed)
        # 0022-R5
        moved = [swap_confirmed(store, name, ref, changed[ref.address]) for name, ref in moves.items()]
        if all(moved):
            return eraser
    raise CommitError(names[0], ROUNDS)


def _eraser(
    store: Store, names: Sequence[str], gone: I64, *, dry_run: bool, progress: Progress | None
) -> Eraser:
    batch = (_Dry if dry_run else Batch)(store)
    tips = [read_tip(store, name).address for name in names]
    seen = see_versions(store, oldest_first(store, tips), gone)
    cuts = cut_payloads(store, batch, _directories(store, seen.gone.keys()), seen)
    return Eraser(store, batch, gone, Stripes(store, batch, gone, cuts), progress)


def _directories(store: Store, addresses: Iterable[Address]) -> dict[Address, list[str]]:
    """Return where payloads lie."""
    wanted = {str(address): address for address in addresses}
    found: dict[Address, list[str]] = {}
    for path in store.list() if wanted else ():
        directory, _, name = path.rpartition("/")
        if name in wanted and directory != OUTBOARDS:
            found.setdefault(wanted[name], []).append(directory)
    return found


# --- objects ------------------------------------------------------------------------------------------------


def _list_doomed(store: Store, changed: dict[Address, Address]) -> None:
    """Put down which objects only versions lead to that others take the place of."""
    other = [ref for ref in read_refs(store).values() if ref not in changed]
    live = _reached(store, oldest_first(store, [*other, *changed.values()])).live
    doomed = AddressSet(a for a in _reached(store, changed).live if a not in live)
    doomed.update(old for old in changed if old not in live)
    batch = Batch(store)
    batch.add(LISTS, encode_cbor([bytes(address) for address in doomed]))
    batch.flush()  # 0022-R6


def _reached(store: Store, versions: Iterable[Address]) -> Reached:
    reached = Reached()
    for address in versions:
        with suppress(NotFoundError, CorruptDataError):  # of an older purge that was interrupted
            mark_one(store, address, load_manifest(store, address), reached)
            reached.live.add(address)
    return reached


def _sweep(store: Store, began_ns: int, grace_ns: int, done: Purged) -> None:
    """Remove what was put down to go, by this purge or one that was interrupted, and other garbage that is old enough."""
    lists = list(store.list(f"{LISTS}/"))
    doomed = AddressSet()
    for path in lists:
        data = fetch(store, path, parse_address(path.rpartition("/")[2]))
        doomed.update(
            expect_address(a, "list of a purge") for a in expect_list(decode_cbor(data), "list of a purge")
        )
    versions = list(oldest_first(store, read_refs(store).values()))
    live = _reached(store, versions).live
    for part in _parts(found for found in store.list_aged() if _goes(found, doomed, live)):
        removed = set(store.delete_aged([found.path for found in part], began_ns))
        done.objects += len(removed)
        done.size_bytes += sum(found.size for found in part if found.path in removed)
        # 0022-R7
        done.taken_up += [found.path for found in part if found.path not in removed]
    for path in lists:
        store.delete(path)
    collect(store, Plan(0, grace_ns=grace_ns, roots=tuple(versions)), dry_run=False)


def _goes(found: Aged, doomed: AddressSet, live: AddressSet) -> bool:
    name = found.path.rpartition("/")[2]
    if not is_address_text(name):
        return False
    address = parse_address(name)
    return address in doomed and address not in live


def _parts(found: Iterator[Aged]) -> Iterator[list[Aged]]:
    while part := list(islice(found, _TOGETHER)):
        yield part


# --- the proof ----------------------------------------------------------------------------------------------


def _prove(store: Store, eraser: Eraser, names: Sequence[str], done: Purged) -> None:
    """Read once more all that the Refs lead to. Raises CorruptDataError when a row is found after all."""
    dry = _Dry(store)
    again = Eraser(store, dry, eraser.gone, Stripes(store, dry, eraser.gone, {}), eraser.progress)
    for address in oldest_first(store, [read_tip(store, name).address for name in names]):
        if again.erase(address) != address:  # 0022-R8
            raise CorruptDataError(f"version {address} still holds rows that were purged")
    done.scanned_versions = len(again.versions)
    done.scanned_objects = len(again.tracks) + len(again.stripes.anew)
